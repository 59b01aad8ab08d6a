import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geomask.bottleneck.codec import MAX_VALUES
from geomask.bottleneck.container import HEAD, Container, Header
from geomask.bottleneck.histograms import NO_CUT, TOTAL
from geomask.bottleneck.tables import Tables
from geomask.errors import RunError, SelectionError

MODEL = "00112233445566778899aabbccddeeff" * 2
HALF, QUARTER = TOTAL // 2, TOTAL // 4
#: Written by hand: a latent of two classes, and one of a single symbol.
TABLES = Tables(
    np.array([-1, 7], np.int32),
    np.array(
        [
            [[QUARTER, HALF, QUARTER], [TOTAL - 2, 1, 1], [1000, 1000, TOTAL - 2000]],
            [[TOTAL, 0, 0], [TOTAL, 0, 0], [TOTAL, 0, 0]],
        ],
        np.int32,
    ),
    np.array([[0], [NO_CUT]], np.int32),
)
LATENTS = np.array([[[0, 1, 1, -1], [-1, 0, 1, 1], [1, 1, -1, -1]], [[7] * 4] * 3], np.int32)
SEEN = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 1]], bool)
WHOLE = Container(LATENTS, np.ones((3, 4), bool), MODEL, 16)
PARTIAL = Container(LATENTS, SEEN, MODEL, 16)


def sealed(body: bytes) -> bytes:
    return body + struct.pack("<I", zlib.crc32(body))


def head(**changes: int | bytes) -> bytes:
    """A header of this version for 2 latents of 3 x 4, but for what is changed."""
    digest = bytes.fromhex(TABLES.digest)[:8]
    fields: dict[str, int | bytes] = {"magic": b"GMFC", "version": 1, "flags": 0, "model": bytes.fromhex(MODEL)[:8]}
    fields |= {"tables": digest, "latents": 2, "stride": 16, "rows": 3, "columns": 4}
    return struct.pack("<4sBB8s8sHBHH", *(fields | changes).values())


def masked(packed: bytes, declared: int | None = None) -> bytes:
    return sealed(head(flags=1) + struct.pack("<I", len(packed) if declared is None else declared) + packed)


# Change the version before these.
GOLDEN = bytes.fromhex("474d4643010000112233445566778714b2048852039d020010030004007de27c40f696b901277950fb9a1c6d16")
GOLDEN_PARTIAL = bytes.fromhex(
    "474d4643010100112233445566778714b2048852039d020010030004000a00000078da7b330100026a017dacf17c406b716ec70cff3bb9"
)


def test_the_form_is_that_of_version_1() -> None:
    assert WHOLE.encode(TABLES) == GOLDEN
    assert GOLDEN[: HEAD.size] == head()
    back = Container.decode(GOLDEN, TABLES, MODEL, (3, 4))
    np.testing.assert_array_equal(back.latents, LATENTS)
    assert back.seen.all()
    assert (back.model, back.stride) == (MODEL, 16)


def test_the_form_with_a_mask_is_that_of_version_1() -> None:
    back = Container.decode(GOLDEN_PARTIAL, TABLES, MODEL)  # another zlib may pack the mask in other bytes
    np.testing.assert_array_equal(back.seen, SEEN)
    np.testing.assert_array_equal(back.latents, np.where(SEEN, LATENTS, [[[0]], [[7]]]))
    assert GOLDEN_PARTIAL[: HEAD.size] == head(flags=1)
    packed = zlib.decompress(GOLDEN_PARTIAL[HEAD.size + 4 : -12])
    assert packed == bytes([0b1110_1100, 0b1001_0000])
    assert PARTIAL.encode(TABLES)[-12:-4] == GOLDEN_PARTIAL[-12:-4]  # the coded latents, two words


FITTED = Tables.fit(np.random.default_rng(0).binomial(16, 0.5, (4, 3, 30, 30)).astype(np.int32))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 255), st.floats(0, 1), st.integers(0, 999))
def test_containers_come_back(rows: int, columns: int, stride: int, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    latents, seen = FITTED.clip(rng.integers(0, 17, (3, rows, columns))), rng.random((rows, columns)) <= share
    sent = Container(latents, seen, MODEL, stride)
    data = sent.encode(FITTED)
    back = Container.decode(data, FITTED, MODEL, (rows, columns))
    np.testing.assert_array_equal(back.latents, np.where(seen, latents, FITTED.blanks[:, None, None]))
    np.testing.assert_array_equal(back.seen, seen)
    assert (back.stride, back.model) == (stride, MODEL)
    assert back.encode(FITTED) == data
    shape = (3, rows, columns)
    assert Container.peek(data) == Header(MODEL[:16], FITTED.digest[:16], shape, stride, not seen.all())
    assert len(data) <= FITTED.bits(latents, seen).sum() / 8 * 1.001 + 36 + 8 + (0 if seen.all() else 80)


def test_nothing_seen_takes_next_to_nothing() -> None:
    sent = Container(np.full((3, 500, 500), 9, np.int32), np.zeros((500, 500), bool), MODEL, 4)
    data = sent.encode(FITTED)
    assert len(data) < 120
    assert not Container.decode(data, FITTED, MODEL).seen.any()


@pytest.mark.parametrize("data", [GOLDEN, GOLDEN_PARTIAL])
def test_every_cut_and_every_flipped_bit_is_refused(data: bytes) -> None:
    for end in range(len(data)):
        with pytest.raises(RunError):
            Container.decode(data[:end], TABLES, MODEL)
    for bit in range(8 * len(data)):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(RunError):
            Container.decode(bytes(broken), TABLES, MODEL)


@pytest.mark.parametrize("data", [GOLDEN, GOLDEN_PARTIAL])
def test_flipped_bits_under_a_right_crc_end_in_an_error_or_in_symbols_of_the_tables(data: bytes) -> None:
    for bit in range(8 * (len(data) - 4)):
        body = bytearray(data[:-4])
        body[bit // 8] ^= 1 << bit % 8
        try:
            back = Container.decode(sealed(bytes(body)), TABLES, MODEL, (3, 4))
        except RunError:
            continue
        np.testing.assert_array_equal(TABLES.clip(back.latents), back.latents)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=120), st.integers(0, 3))
def test_any_bytes_end_in_an_error(noise: bytes, kind: int) -> None:
    mask = struct.pack("<I", len(noise) // 2)
    data = (noise, sealed(b"GMFC\1" + noise), sealed(head() + noise), sealed(head(flags=1) + mask + noise))[kind]
    try:
        back = Container.decode(data, TABLES, MODEL)
    except RunError:
        return
    assert kind > 1  # whatever follows a header may be latents
    np.testing.assert_array_equal(TABLES.clip(back.latents), back.latents)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "are no features"),
        (b"II*\0" + bytes(40), "are no features"),
        (sealed(head(version=2)), "version 2"),
        (GOLDEN + b"\0", "CRC-32 differs"),
        (sealed(head(flags=2)), "flags 0x02"),
        (sealed(head(model=bytes(8))), "load the decoder"),
        (sealed(head(tables=bytes(8))), "take the model's own"),
        (sealed(head(latents=0)), "each is 1 or more"),
        (sealed(head(rows=0)), "each is 1 or more"),
        (sealed(head(stride=0)), "each is 1 or more"),
        (sealed(head(latents=3)), "3 latents by tables of 2"),
        (sealed(head(latents=65535, rows=65535, columns=65535)), f"values are {MAX_VALUES} at most"),
        (sealed(head(columns=5)), "asked for"),
        (sealed(GOLDEN[:-4] + bytes(8)), "go on after the last"),
        (sealed(GOLDEN[:-4] + b"\1"), "words of 4"),
        (sealed(head(flags=1)), "end within their mask"),
        (masked(zlib.compress(b"\0\0"), 99), "end within their mask"),
        (masked(b"no zlib at all"), "mask of features is broken"),
        (masked(zlib.compress(b"\0")), "has not the 2 bytes"),
        (masked(zlib.compress(b"\0\0\0")), "has not the 2 bytes"),
        (masked(zlib.compress(b"\0\0")[:-1]), "has not the 2 bytes"),
        (masked(zlib.compress(b"\0\0") + b"more"), "has not the 2 bytes"),
        (masked(zlib.compress(b"\0\1")), "bits after its 12"),
    ],
)
def test_what_is_refused_says_why_in_one_line(data: bytes, said: str) -> None:
    with pytest.raises(RunError, match=said) as caught:
        Container.decode(data, TABLES, MODEL, (3, 4))
    assert "\n" not in str(caught.value)


def peak_of(data: bytes, shape: tuple[int, int] | None) -> int:
    tracemalloc.start()
    try:
        with pytest.raises(RunError):
            Container.decode(data, TABLES, MODEL, shape)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_hostile_headers_take_no_memory() -> None:
    bomb = zlib.compress(bytes(50_000_000), 9)
    assert peak_of(sealed(head(rows=8000, columns=8000)), (3, 4)) < 100_000
    assert peak_of(sealed(head(rows=65535, columns=65535)), None) < 100_000
    assert peak_of(masked(bomb), (3, 4)) < 300_000  # the packed bytes themselves are 50 KB


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"latents": LATENTS.astype(np.int64)}, "give int32"),
        ({"latents": LATENTS[0]}, "give int32"),
        ({"latents": LATENTS[:, :0]}, "give int32"),
        ({"latents": np.broadcast_to(np.int32(0), (1, 1, 1 << 16))}, "sides up to 65535"),
        ({"seen": SEEN.T}, "give bool"),
        ({"seen": SEEN.astype(int)}, "give bool"),
        ({"stride": 0}, "1 to 255"),
        ({"stride": 256}, "1 to 255"),
        ({"model": "the newest"}, "no hex"),
        ({"model": "00ff"}, "under 16 hex digits"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, object], said: str) -> None:
    parts = {"latents": LATENTS, "seen": SEEN, "model": MODEL, "stride": 16} | changes
    with pytest.raises(SelectionError, match=said):
        Container(**parts)  # type: ignore[arg-type]


def test_latents_that_no_table_has_are_refused() -> None:
    with pytest.raises(SelectionError, match="clip them first"):
        Container(LATENTS + 1, SEEN, MODEL, 16).encode(TABLES)

import os
import subprocess
import sys
from types import SimpleNamespace

import constriction
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geomask.bottleneck.codec import MAX_VALUES, decode, encode
from geomask.bottleneck.histograms import TOTAL
from geomask.bottleneck.tables import Tables
from geomask.errors import RunError, SelectionError

#: Most that a code may be longer than `Tables.bits`: the last words, and the coder's 24 bits.
SPARE_NBYTES = 9


def walk(seed: int, shape: tuple[int, ...], amplitude: float = 8.0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(2, *shape))
    walks = noise[0].cumsum(-2) + noise[1].cumsum(-1)
    return np.rint(amplitude * walks / max(walks.std(), 1)).astype(np.int32)


def fit(number: int = 3, contexts: int = 12) -> Tables:
    return Tables.fit(walk(0, (8, number, 32, 32)), contexts=contexts)


FULL, PLAIN, SINGLE = fit(), fit(contexts=1), fit(1)


@settings(max_examples=120, deadline=None)
@given(
    st.sampled_from([FULL, PLAIN, SINGLE]),
    st.sampled_from([(1, 1), (1, 7), (7, 1), (2, 5), (5, 2), (40, 1), (1, 40)]) | st.tuples(*[st.integers(1, 24)] * 2),
    st.integers(0, 1 << 20),
    st.booleans(),
    st.booleans(),
)
def test_latents_come_back(tables: Tables, side: tuple[int, int], seed: int, uniform: bool, partial: bool) -> None:
    shape, rng = (tables.latents, *side), np.random.default_rng(seed)
    latents = tables.clip(walk(seed, shape))
    if uniform:  # all symbols, those never seen too
        low, high = tables.lows[:, None, None], tables.highs[:, None, None]
        latents = rng.integers(low, high, shape, np.int32, endpoint=True)
    seen = rng.random(side) < rng.random() if partial else None
    data = encode(latents, tables, seen)
    blank = np.where(True if seen is None else seen, latents, tables.blanks[:, None, None])
    back = decode(data, shape, tables, seen)
    assert back.dtype == np.int32
    np.testing.assert_array_equal(back, blank)
    assert len(data) <= tables.bits(latents, seen).sum() / 8 * 1.001 + SPARE_NBYTES


@pytest.mark.parametrize("contexts", [1, 2])
@pytest.mark.parametrize("width", [1, 2])
def test_alphabets_of_one_symbol_take_no_room(contexts: int, width: int) -> None:
    counts = np.zeros((1, 1 + contexts, width), np.int32)
    counts[..., 0] = TOTAL
    tables = Tables(np.array([5], np.int32), counts, np.full((1, contexts - 1), 20, np.int32))
    latents = np.full((1, 30, 30), 5, np.int32)
    data = encode(latents, tables)
    assert len(data) <= 4
    np.testing.assert_array_equal(decode(data, (1, 30, 30), tables), latents)
    if width == 1:  # the coder has a second symbol, which no table has
        encoder = constriction.stream.queue.RangeEncoder()
        encoder.encode(1 + np.zeros(9, np.int32), constriction.stream.model.Categorical(np.eye(2)[0], perfect=False))
        with pytest.raises(RunError, match="no table has"):
            decode(encoder.get_compressed().astype("<u4").tobytes(), (1, 3, 3), tables)


def test_the_widest_tables() -> None:
    latents = np.random.default_rng(0).integers(-5000, 5000, (1, 60, 60), dtype=np.int32)
    tables = Tables.fit([latents])
    latents = tables.clip(latents)
    np.testing.assert_array_equal(decode(encode(latents, tables), latents.shape, tables), latents)


def test_many_latents_have_many_histograms() -> None:
    latents = walk(3, (40, 32, 32))  # 40 times 13: over 8 bits
    tables = Tables.fit([latents] * 4)
    assert tables.latents * (1 + tables.contexts) > 256
    np.testing.assert_array_equal(decode(encode(latents, tables), latents.shape, tables), latents)


def test_a_code_is_about_as_long_as_the_entropy() -> None:
    shares = np.array([0.5, 0.25, 0.125, 0.0625, 0.0625])
    train, test = np.random.default_rng(1).choice(5, (2, 1, 256, 256), p=shares).astype(np.int32)
    entropy = -(shares * np.log2(shares)).sum() * test.size / 8
    for contexts in (1, 12):
        size = len(encode(test, Tables.fit([train], contexts=contexts)))
        assert 0.98 * entropy < size < 1.02 * entropy


def test_what_was_not_seen_takes_no_bytes() -> None:
    latents, seen = FULL.clip(walk(1, (3, 50, 50))), np.zeros((50, 50), bool)
    assert encode(latents, FULL, seen) == b""
    np.testing.assert_array_equal(decode(b"", (3, 50, 50), FULL, seen), np.zeros((3, 50, 50)))
    seen[10:20, 5:9] = True
    beyond = np.where(seen, latents, 99_999).astype(np.int32)
    assert encode(beyond, FULL, seen) == encode(latents, FULL, seen)


def test_another_process_with_other_threads_has_the_same_bytes() -> None:
    script = (
        "import sys, hashlib, numpy as np\n"
        "from geomask.bottleneck.codec import decode, encode\n"
        "from geomask.bottleneck.tables import Tables\n"
        "train, test = np.random.default_rng(4).binomial(30, 0.5, (2, 3, 40, 50)).astype(np.int32)\n"
        "tables = Tables.fit([train])\n"
        "data = encode(tables.clip(test), tables)\n"
        "back = decode(data, test.shape, tables)\n"
        "print(tables.digest, hashlib.sha256(data).hexdigest(), hashlib.sha256(back.tobytes()).hexdigest())\n"
        "assert 'torch' not in sys.modules\n"
    )
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
    said = [
        subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | dict.fromkeys(names, threads) | {"PYTHONHASHSEED": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "7")
    ]
    assert said[0] == said[1]
    assert len(said[0].split()) == 3


@pytest.mark.parametrize("tables", [FULL, PLAIN])
def test_broken_data_end_in_an_error_or_in_other_symbols(tables: Tables) -> None:
    latents = tables.clip(walk(2, (3, 20, 20)))
    data = encode(latents, tables)
    refused = 0
    for end in range(0, len(data), 4):
        try:
            assert decode(data[:end], latents.shape, tables).shape == latents.shape
        except RunError:
            refused += 1
    assert refused


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400), st.integers(1, 12), st.integers(1, 12), st.sampled_from([FULL, PLAIN]))
def test_any_bytes_end_in_an_error_or_in_symbols_of_the_tables(
    data: bytes, rows: int, columns: int, tables: Tables
) -> None:
    try:
        latents = decode(data, (3, rows, columns), tables)
    except RunError:
        return
    np.testing.assert_array_equal(tables.clip(latents), latents)


def test_a_panic_of_the_coder_is_an_error_like_others_and_what_is_none_goes_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def raising(error: BaseException) -> object:
        def decode_nothing(*_: object) -> None:
            raise error

        return lambda _: SimpleNamespace(decode=decode_nothing)

    panic = type("PanicException", (BaseException,), {})("called `Option::unwrap()` on a `None` value")
    monkeypatch.setattr(constriction.stream.queue, "RangeDecoder", raising(panic))
    with pytest.raises(RunError, match="broken, or of other tables"):
        decode(b"", (3, 1, 1), FULL)
    monkeypatch.setattr(constriction.stream.queue, "RangeDecoder", raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        decode(b"", (3, 1, 1), FULL)


@pytest.mark.parametrize("more", [b"\0\0\0\0\0\0\0\0", b"\1\2\3\4\5\6\7\x08"])
def test_data_that_go_on_are_refused(more: bytes) -> None:
    latents = FULL.clip(walk(2, (3, 20, 20)))
    with pytest.raises(RunError, match="go on after the last"):
        decode(encode(latents, FULL) + more, latents.shape, FULL)


def test_parts_of_words_are_refused() -> None:
    with pytest.raises(RunError, match="words of 4"):
        decode(b"12345", (3, 1, 1), FULL)


@pytest.mark.parametrize("shape", [(3, 0, 1), (3, 1, -1), (2, 1, 1), (3, MAX_VALUES, 1), (3, 1)])
def test_shapes_that_cannot_be_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(RunError, match="coded latents"):
        decode(b"", shape, FULL)


def test_symbols_that_no_table_has_are_refused() -> None:
    latents = FULL.clip(walk(2, (3, 4, 4)))
    latents[1, 2, 3] = FULL.highs[1] + 1
    with pytest.raises(SelectionError, match=r"latent 1 has .* clip them first"):
        encode(latents, FULL)
    latents[1, 2, 3] = np.iinfo(np.int32).min
    with pytest.raises(SelectionError, match="latent 1"):
        encode(latents, FULL)


@pytest.mark.parametrize(
    "latents",
    [np.zeros((3, 2, 2)), np.zeros((2, 2, 2), np.int32), np.zeros((3, 4), np.int32), np.zeros((3, 0, 2), np.int32)],
)
def test_latents_of_other_forms_are_refused(latents: np.ndarray) -> None:
    with pytest.raises(SelectionError, match="give int32"):
        encode(latents, FULL)


@pytest.mark.parametrize("seen", [np.ones((2, 3), bool), np.ones((2, 2))])
def test_masks_of_other_forms_are_refused(seen: np.ndarray) -> None:
    latents = FULL.clip(np.zeros((3, 2, 2), np.int32))
    with pytest.raises(SelectionError, match="give bool"):
        encode(latents, FULL, seen)
    with pytest.raises(SelectionError, match="give bool"):
        decode(b"", (3, 2, 2), FULL, seen)


def test_too_many_values_are_refused_before_they_are_coded() -> None:
    tables = Tables(np.zeros(1, np.int32), np.full((1, 2, 1), TOTAL, np.int32), np.empty((1, 0), np.int32))
    latents = np.broadcast_to(np.int32(0), (1, MAX_VALUES // 64, 65))
    with pytest.raises(SelectionError, match="in parts"):
        encode(latents, tables)

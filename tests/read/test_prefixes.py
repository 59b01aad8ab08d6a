"""Prefixes of GeoTIFF tiles: fewer bytes, the same pixels, and never a wrong one."""

import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from cogs import Values, write_cog
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import manifest_of

from geomask.cog.index import index_headers
from geomask.cog.level import ByteRange
from geomask.cog.prefix import BULGE, MARGIN, WORTH_NBYTES, first_rows, shorter_tile
from geomask.errors import LayoutError
from geomask.grid import Window
from geomask.plan.manifest import Manifest
from geomask.plan.runs import LEADER_GAP
from geomask.read.decode import decode
from geomask.read.reader import read_manifest

SIZE = {"height": 700, "width": 600, "block": 256, "overviews": (2,)}


def noise(band: int, level: int | None, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Smooth with noise, as imagery is; compresses to about three fifths."""
    seed = np.random.default_rng([band, 0 if level is None else 1 + level])
    smooth = 900 * np.sin(rows / 40) + 700 * np.cos(columns / 55)
    return 4000 + 300 * band + smooth + seed.normal(0, 60, np.broadcast(rows, columns).shape)


def check(path: Path, manifest: Manifest, level: int | None = None) -> None:
    """The manifest reads as rasterio does."""
    cube, receipt = read_manifest(manifest)
    assert receipt.nbytes == receipt.planned_nbytes + receipt.refetched_nbytes
    with rasterio.open(path, **({} if level is None else {"overview_level": level})) as dataset:
        for chip, window in enumerate(manifest.chips):
            place = rasterio.windows.Window(window.col_off, window.row_off, window.width, window.height)
            wanted = dataset.read(list(range(1, len(manifest.channels) + 1)), window=place)
            np.testing.assert_array_equal(cube.image[chip], wanted)


KINDS: list[dict[str, Any]] = [
    {},
    {"predictor": 1},
    {"compress": "lzw"},
    {"compress": "lzw", "predictor": 1},
    {"compress": "none"},
    {"dtype": "float32", "predictor": 3},
    {"dtype": "float32", "compress": "lzw", "predictor": 3},
    {"dtype": "uint8", "nodata": None},
    {"bands": 3, "interleave": "pixel"},
    {"bands": 3, "interleave": "pixel", "compress": "lzw"},
    {"bands": 2, "interleave": "band", "compress": "none"},
    {"bands": 2, "interleave": "tile"},
    {"driver": "GTiff", "ENDIANNESS": "BIG"},
    {"driver": "GTiff", "ENDIANNESS": "BIG", "compress": "none"},
    {"driver": "GTiff", "ENDIANNESS": "BIG", "compress": "lzw", "bigtiff": True},
    {"driver": "GTiff", "NBITS": 12, "predictor": 1},
    {"driver": "GTiff", "NBITS": 12, "compress": "none", "bands": 3, "interleave": "pixel"},
    {"driver": "GTiff", "compress": "deflate", "ZLEVEL": 1},
]


# GTiff writes the headers of overviews behind the pixels: all of the file would be header.
LEVELS = [(kind, level) for kind in KINDS for level in (None, 0) if level is None or "driver" not in kind]


@pytest.mark.parametrize(
    ("kind", "level"),
    LEVELS,
    ids=lambda part: "-".join(map(str, part.values())) if isinstance(part, dict) else str(part),
)
def test_prefixes_read_as_rasterio_reads(kind: dict[str, Any], level: int | None, tmp_path: Path) -> None:
    def values(*place: Any) -> np.ndarray:
        drawn = noise(*place)
        return drawn / 30 if kind.get("dtype") == "uint8" else np.minimum(drawn, 4095 if "NBITS" in kind else 65_000)

    overviews = () if "driver" in kind else SIZE["overviews"]
    path = write_cog(tmp_path / "a.tif", **{**SIZE, "nodata": 0, "values": values, "overviews": overviews, **kind})
    shape = (700, 600) if level is None else (350, 300)
    chips = [Window(row, col, 60, 200) for row in (10, 100, 196, 197, 220, 290) for col in (0, 95)]
    chips += [Window(shape[0] - 60, 0, 60, 200)]  # the last row of tiles is padded
    manifest, _ = manifest_of(path, chips, level)
    for chip in range(len(chips)):
        alone = manifest.part([chip])
        assert alone.without_prefixes().pixel_nbytes >= alone.pixel_nbytes
        check(path, alone, level)
    check(path, manifest, level)
    first = manifest.part([0])
    assert first.prefix_nbytes > 0 == first.tile_nbytes
    assert first.pixel_nbytes < 0.4 * first.without_prefixes().pixel_nbytes  # 70 of 256 rows


@pytest.mark.parametrize("compress", ["zstd", "lerc", "jpeg", "webp", "lzma", "packbits"])
def test_other_compressions_are_planned_whole(compress: str, tmp_path: Path) -> None:
    kind: dict[str, Any] = {"driver": "GTiff", "overviews": False} if compress in ("lzma", "packbits") else {}
    kind |= {"interleave": "pixel", "bands": 3} if compress == "webp" else {}
    dtype = "uint16" if compress in ("zstd", "lerc", "lzma") else "uint8"
    path = write_cog(tmp_path / "a.tif", **{**SIZE, "compress": compress, "dtype": dtype, "nodata": None, **kind})
    manifest, _ = manifest_of(path, [Window(10, 10, 60, 200)])
    assert manifest.prefix_nbytes == 0 < manifest.tile_nbytes
    check(path, manifest)


def top_heavy(share: float) -> Values:
    """Noise in the first 64 rows, and of the others in so many columns."""

    def values(_band: int, _level: int | None, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        drawn = np.random.default_rng(0).integers(1, 65_000, (rows.size, columns.size))
        return np.where((rows < 64) | (columns % 256 < 256 * share), drawn, 7)

    return values


@pytest.mark.parametrize("compress", ["deflate", "lzw"])
@pytest.mark.parametrize(("share", "steps"), [(0.7, 1), (0.02, 2)])
def test_a_prefix_that_is_too_short_is_made_longer_and_each_byte_more_is_named(
    share: float, steps: int, compress: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.tif"
    write_cog(path, **{**SIZE, "overviews": False}, compress=compress, values=top_heavy(share))
    manifest, layout = manifest_of(path, [Window(0, 0, 60, 300)])
    cube, receipt = read_manifest(manifest)
    whole = layout.levels[0].lengths[0, 0, :2]
    planned = [piece.length for piece in manifest.requests[0].ranges]
    first = np.minimum(np.ceil(whole / 16), whole - planned).tolist()
    rests = (whole - planned - first).tolist()
    wanted = first if steps == 1 else [nbytes for pair in zip(first, rests, strict=True) for nbytes in pair]
    assert [trip.nbytes for trip in receipt.refetches] == wanted
    assert receipt.nbytes == receipt.planned_nbytes + sum(wanted)
    assert [row["offset"] for row in receipt.to_dict()["refetches"]] == [trip.offset for trip in receipt.refetches]
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(cube.image[0], dataset.read(window=((0, 60), (0, 300))))
    _, safe = read_manifest(manifest.without_prefixes())
    assert safe.refetches == ()
    assert safe.pixel_nbytes == whole.sum() + LEADER_GAP


def test_requests_that_share_a_tile_make_it_longer_once(tmp_path: Path) -> None:
    path = write_cog(tmp_path / "a.tif", **{**SIZE, "overviews": False}, values=top_heavy(0.02))
    chips = [Window(0, col, rows, 30) for col in range(0, 240, 30) for rows in (60,)]
    manifest, layout = manifest_of(path, chips)
    cube, receipt = read_manifest(manifest)
    assert receipt.nbytes == layout.header_end + layout.levels[0].lengths[0, 0, 0]
    with rasterio.open(path) as dataset:
        for chip, window in enumerate(chips):
            columns = (window.col_off, window.col_stop)
            np.testing.assert_array_equal(cube.image[chip], dataset.read(window=((0, 60), columns)))


@pytest.fixture(scope="module", params=["deflate", "lzw", "none"])
def stream(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Long runs of one value in noise: where a decoder that reads on past the end would go on plausibly."""

    def runs(_band: int, _level: int | None, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        drawn = np.random.default_rng(1).integers(1, 4, (rows.size, columns.size))
        return np.where((columns // 60 + rows // 9) % 3 == 0, drawn, 5)

    kind = {"compress": request.param, "predictor": 1, "dtype": "uint8", "overviews": False}
    return write_cog(tmp_path_factory.mktemp("stream") / "a.tif", **{**SIZE, **kind}, values=runs)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_prefix_of_any_length_decodes_right_or_not_at_all(stream: Path, data: st.DataObject) -> None:
    rows = data.draw(st.integers(1, 255))
    manifest, layout = manifest_of(stream, [Window(0, 0, rows, 256)])
    request, raw = manifest.requests[0], stream.read_bytes()
    (whole,) = request.wholes
    length = data.draw(st.integers(1, whole - 1))
    short = replace(request, ranges=(ByteRange(request.ranges[0].offset, length),))
    try:
        pixels, _ = decode(layout, short, lambda piece: raw[piece.offset : piece.stop])
    except LayoutError:
        return
    with rasterio.open(stream) as dataset:
        np.testing.assert_array_equal(pixels, dataset.read(window=((0, rows), (0, 256))))


def test_the_margin_is_what_the_documents_say() -> None:
    text = (Path(__file__).parents[2] / "docs" / "reading.md").read_text(encoding="utf-8")
    assert f"{MARGIN} + {BULGE} sqrt(s (1 - s)) of the tile" in text
    assert f"less than {WORTH_NBYTES // 1024} KB" in text


def test_a_shorter_tile_is_whole_again(tmp_path: Path) -> None:
    path = write_cog(tmp_path / "a.tif", **{**SIZE, "values": noise})
    level = index_headers([str(path)])[str(path)].levels[0]
    offset, length = int(level.offsets[0, 0, 0]), int(level.lengths[0, 0, 0])
    tile = path.read_bytes()[offset : offset + length]
    raw, short = zlib.decompress(tile), zlib.decompress(first_rows(level, tile[: length // 2], 100))
    assert level.row_nbytes == 512
    assert len(short) == shorter_tile(100) * 512 == 112 * 512
    assert short[: 100 * 512] == raw[: 100 * 512]
    with pytest.raises(LayoutError, match=r"holds .* of 102400 bytes"):
        first_rows(level, tile[: length // 4], 200)
    with pytest.raises(LayoutError, match="does not decode"):
        first_rows(level, b"\xff" * 99, 100)

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
from cogs import expected, write_cog
from hypothesis import given, settings
from hypothesis import strategies as st

from geomask.cog.index import HeaderIndex
from geomask.cog.layout import ByteRange
from geomask.grid import Window
from geomask.plan.compile import compile_manifest, index_selection
from geomask.plan.manifest import Manifest
from geomask.read.reader import read_manifest, read_window
from geomask.selection import Channel, Selection
from geomask.stac.profile import Band
from geomask.stac.slots import make_slots

SIZE = {"height": 176, "width": 144}
"""Whole multiples of the overviews' pixels, and no multiple of any tile."""
LOSSLESS: list[dict[str, Any]] = [
    *({"compress": compress} for compress in ("deflate", "lzw", "zstd", "none", "lerc")),
    *({"compress": compress, "predictor": 1} for compress in ("deflate", "lzw", "zstd")),
    {"compress": "lerc_deflate", "driver": "GTiff", "dtype": "float32"},
    {"compress": "lerc_zstd", "driver": "GTiff", "dtype": "int16"},
    {"compress": "lzma", "driver": "GTiff"},
    {"compress": "packbits", "driver": "GTiff", "dtype": "uint8"},
    *({"dtype": dtype} for dtype in ("uint8", "int16", "uint32", "int32", "uint64", "int64")),
    {"dtype": "int8", "nodata": None},
    *({"dtype": dtype, "predictor": 3, "nodata": -1} for dtype in ("float32", "float64")),
    {"dtype": "float32", "compress": "zstd", "nodata": float("nan"), "holes": True},
    *({"bands": 3, "interleave": interleave} for interleave in ("pixel", "band", "tile")),
    {"bands": 3, "interleave": "pixel", "compress": "zstd", "dtype": "float32", "predictor": 3},
    {"bands": 2, "interleave": "band", "compress": "lerc", "dtype": "float32"},
    {"bands": 2, "interleave": "tile", "compress": "none", "bigtiff": True},
    {"bigtiff": True, "bands": 3, "interleave": "pixel"},
    {"driver": "GTiff"},
    {"driver": "GTiff", "ENDIANNESS": "BIG", "bands": 2},
    {"driver": "GTiff", "ENDIANNESS": "BIG", "bands": 2, "interleave": "pixel", "compress": "none", "dtype": "float64"},
    {"driver": "GTiff", "ENDIANNESS": "BIG", "bigtiff": True, "dtype": "int32"},
    {"block": 64},
    {"block": 512},
    {"nodata": None},
    {"nodata": 7, "holes": True},
    {
        "nodata": 0,
        "holes": True,
        "dtype": "uint8",
        "compress": "webp",
        "WEBP_LOSSLESS": True,
        "bands": 3,
        "interleave": "pixel",
    },
]
LOSSY: list[dict[str, Any]] = [
    {"compress": "webp", "bands": 3, "interleave": "pixel"},
    {"compress": "jpeg", "bands": 3, "interleave": "pixel"},
    {"compress": "jpeg", "bands": 3, "interleave": "pixel", "driver": "GTiff", "PHOTOMETRIC": "YCBCR"},
    {"compress": "jpeg", "bands": 2, "interleave": "band", "driver": "GTiff"},
    {"compress": "jpeg"},
]
"""Their values are not those that were written, but GDAL decodes the same bytes to the same values."""


def name(options: dict[str, Any]) -> str:
    return "-".join(str(value) for value in options.values()) or "plain"


def item_of(path: Path, bands: int) -> tuple[pystac.Item, tuple[Band, ...]]:
    item = pystac.Item("tiny", None, None, datetime(2020, 1, 5, tzinfo=UTC), {})
    item.add_asset("file", pystac.Asset(str(path)))
    return item, tuple(Band(f"b{band}", "file", 10, index=band, nodata=None) for band in range(1, bands + 1))


def plan(path: Path, level: int | None, chips: list[Window]) -> tuple[Manifest, HeaderIndex]:
    """All bands of one level of a file, on that level's own grid."""
    with rasterio.open(path) as dataset:
        item, bands = item_of(path, dataset.count)
    channels = tuple(Channel(0, band, level) for band in range(len(bands)))
    selection = Selection(make_slots([item]), bands, channels)
    index = index_selection(selection, [item])
    return compile_manifest(selection, [item], index, index[str(path)].level_grid(level), chips), index


def oracle(path: Path, level: int | None, band: int, window: Window) -> np.ndarray:
    place = rasterio.windows.Window(window.col_off, window.row_off, window.width, window.height)
    with rasterio.open(path, **({} if level is None else {"overview_level": level})) as dataset:
        pixels: np.ndarray = dataset.read(band, window=place)
        return pixels


def strict_pieces(path: Path, ranges: tuple[ByteRange, ...]) -> Callable[[ByteRange], bytes]:
    data = path.read_bytes()

    def tile(piece: ByteRange) -> bytes:
        assert piece in ranges
        return data[piece.offset : piece.stop]

    return tile


def windows_of(height: int, width: int) -> list[Window]:
    """Nine places of one size: corners, edges, the middle; and across tiles of any size."""
    rows, cols = min(height, 21), min(width, 17)
    return [
        Window(row, col, rows, cols)
        for row in (0, (height - rows) // 2, height - rows)
        for col in (0, (width - cols) // 2, width - cols)
    ]


@pytest.mark.parametrize("level", [None, 0, 1])
@pytest.mark.parametrize("options", [*LOSSLESS, *LOSSY], ids=name)
def test_a_read_through_a_manifest_is_rasterios_bit_for_bit(
    options: dict[str, Any], level: int | None, tmp_path: Path
) -> None:
    lossy = {"dtype": "uint8", "nodata": None} if options in LOSSY else {}
    path = write_cog(tmp_path / "a.tif", **{**SIZE, **lossy, **options})
    with rasterio.open(path) as dataset:
        nodata = dataset.nodata
    chips = windows_of(*(side if level is None else side >> level + 1 for side in SIZE.values()))
    manifest, index = plan(path, level, chips)
    cube, _ = read_manifest(manifest, index)
    assert len(manifest.requests) == len(chips) * len(manifest.channels)
    for request in manifest.requests:
        wanted = oracle(path, level, request.index, request.window)
        pixels = read_window(index[str(path)], request, strict_pieces(path, request.ranges))
        assert pixels.dtype == wanted.dtype
        assert pixels.tobytes() == wanted.tobytes()
        valid = wanted == wanted if nodata is None else (wanted == wanted) & (wanted != nodata)
        np.testing.assert_array_equal(cube.valid[request.chip, request.channel], valid)
        np.testing.assert_array_equal(
            cube.image[request.chip, request.channel], np.where(valid, wanted, 0).astype("float32")
        )


@pytest.mark.parametrize("level", [None, 0, 1])
@pytest.mark.parametrize("options", LOSSLESS, ids=name)
def test_a_read_is_what_was_written(options: dict[str, Any], level: int | None, tmp_path: Path) -> None:
    path = write_cog(tmp_path / "a.tif", **{**SIZE, **options})
    manifest, index = plan(path, level, [Window(13, 7, 25, 24)])
    coding = {"dtype": options.get("dtype", "uint16"), "holes": options.get("holes", False)}
    coding["nodata"] = nodata if (nodata := options.get("nodata", 0)) is not None else 0
    for request in manifest.requests:
        pixels = read_window(index[str(path)], request, strict_pieces(path, request.ranges))
        wanted = expected(request.index, level, range(13, 38), range(7, 31), **coding)
        np.testing.assert_array_equal(pixels, wanted)


def patchy(_band: int, _level: int | None, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Nodata but for one quarter, so that most tiles need not be in the file."""
    return np.where((rows < rows.size // 2) & (columns < columns.size // 2), 1 + rows + columns, 9)


@pytest.mark.parametrize("level", [None, 0])
@pytest.mark.parametrize("bands", [1, 2])
def test_tiles_that_the_file_does_not_hold_read_as_nodata_and_cost_nothing(
    bands: int, level: int | None, tmp_path: Path
) -> None:
    path = write_cog(tmp_path / "a.tif", **SIZE, bands=bands, values=patchy, nodata=9, SPARSE_OK=True)
    shape = (176, 144) if level is None else (88, 72)
    manifest, index = plan(path, level, [Window(0, 0, *shape)])
    tiles = index[str(path)].level(level).lengths
    assert 0 < (tiles > 0).sum() < tiles.size
    cube, _ = read_manifest(manifest, index)
    for request in manifest.requests:
        assert len(request.ranges) == (tiles[request.index - 1] > 0).sum()
        wanted = oracle(path, level, request.index, request.window)
        np.testing.assert_array_equal(cube.image[0, request.channel], np.where(wanted == 9, 0, wanted))
        np.testing.assert_array_equal(cube.valid[0, request.channel], wanted != 9)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("mixed")
    kinds: list[dict[str, Any]] = [
        {"holes": True},
        {"bands": 3, "interleave": "pixel", "compress": "zstd"},
        {"bands": 3, "interleave": "band", "compress": "lzw", "holes": True},
    ]
    return [write_cog(folder / f"{number}.tif", **SIZE, **kind) for number, kind in enumerate(kinds)]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_windows_of_any_file_read_as_rasterio_reads_them(mixed: list[Path], data: st.DataObject) -> None:
    path, level = data.draw(st.sampled_from(mixed)), data.draw(st.sampled_from([None, 0, 1]))
    height, width = (side if level is None else side >> level + 1 for side in SIZE.values())
    rows, cols = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    places = st.tuples(st.integers(0, height - rows), st.integers(0, width - cols))
    chips = [Window(*place, rows, cols) for place in data.draw(st.lists(places, min_size=1, max_size=3))]
    manifest, index = plan(path, level, chips)
    cube, receipt = read_manifest(manifest, index)
    assert (receipt.nbytes, receipt.requests) == (manifest.planned_nbytes, manifest.planned_requests)
    for request in manifest.requests:
        wanted = oracle(path, level, request.index, request.window)
        np.testing.assert_array_equal(cube.image[request.chip, request.channel], wanted)
        np.testing.assert_array_equal(cube.valid[request.chip, request.channel], wanted != 0)

import struct
import time
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from cogs import write_cog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geomask.cog.layout import ByteRange, Layout, Level, parse_layout
from geomask.cog.partial import TruncatedHeaderError
from geomask.errors import GridError, LayoutError
from geomask.grid import Window

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no overviews": {"overviews": False},
    "big": {"bigtiff": True},
    "big-endian": {"driver": "GTiff", "ENDIANNESS": "BIG"},
    "pixel": {"bands": 3, "interleave": "pixel"},
    "band": {"bands": 3, "interleave": "band"},
    "tile": {"bands": 3, "interleave": "tile"},
    "overviews after the data": {"driver": "GTiff"},
    "jpeg": {"driver": "GTiff", "dtype": "uint8", "bands": 3, "interleave": "pixel", "compress": "jpeg"},
    "sparse": {"values": lambda *_: np.zeros((1, 1)), "SPARSE_OK": True},
    "float": {"dtype": "float32", "predictor": 3, "nodata": float("nan")},
    "no nodata": {"nodata": None, "dtype": "int16"},
}


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.replace(" ", "-"))
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cog(tmp_path_factory.mktemp("layouts") / "a.tif", **KINDS[request.param])


def parse(path: Path, stop: int | None = None) -> Layout:
    data = path.read_bytes()
    return parse_layout(str(path), data[:stop], len(data), "etag")


def facts(layout: Layout) -> list[Any]:
    levels = [(lv.height, lv.width, lv.tile_height, lv.tile_width, lv.tags) for lv in layout.levels]
    tables = [(lv.offsets.tolist(), lv.lengths.tolist()) for lv in layout.levels]
    return [levels, tables, layout.grid, layout.count, layout.dtype, str(layout.nodata), layout.byteorder, layout.size]


def test_a_layout_says_what_rasterio_says(file: Path) -> None:
    layout = parse(file)
    with rasterio.open(file) as dataset:
        assert (layout.count, layout.dtype) == (dataset.count, dataset.dtypes[0])
        assert str(layout.nodata) == str(dataset.nodata)
        assert layout.grid.transform == tuple(dataset.transform)[:6]
        assert rasterio.CRS.from_user_input(layout.grid.crs) == dataset.crs
        assert len(layout.levels) == 1 + len(dataset.overviews(1))
        assert layout.interleaved == (dataset.count > 1 and dataset.interleaving.name == "pixel")
    for version in (None, *range(len(layout.levels) - 1)):
        options = {} if version is None else {"overview_level": version}
        with rasterio.open(file, **options) as dataset:
            level = layout.level(version)
            assert (level.height, level.width) == dataset.shape
            assert (level.tile_height, level.tile_width) == dataset.block_shapes[0]
            assert layout.level_grid(version).transform == pytest.approx(tuple(dataset.transform)[:6])


def test_tiles_lie_where_gdal_says(file: Path) -> None:
    layout = parse(file)
    with rasterio.open(file) as dataset:
        for number, level in enumerate(layout.levels):
            for band in dataset.indexes:
                for (row, col), length in np.ndenumerate(level.lengths[min(band, len(level.lengths)) - 1]):
                    ovr = number - 1 if number else None
                    offset, nbytes = (
                        dataset.get_tag_item(f"BLOCK_{what}_{col}_{row}", "TIFF", bidx=band, ovr=ovr)
                        for what in ("OFFSET", "SIZE")
                    )
                    assert int(nbytes or 0) == length
                    plane = min(band, len(level.offsets)) - 1
                    assert not length or int(offset) == level.offsets[plane, row, col]


def missing(path: Path, stop: int) -> int | None:
    """Up to where a header of `stop` bytes should be fetched; None where it is whole."""
    try:
        parse(path, stop)
    except TruncatedHeaderError as error:
        return error.stop
    return None


def test_a_truncated_header_asks_for_more_until_it_is_whole(file: Path) -> None:
    size, needed = file.stat().st_size, 0
    while (stop := missing(file, needed)) is not None:
        assert needed < stop <= size
        needed = stop
    for short in {*range(0, needed, 1 + needed // 100), *range(needed - 40, needed)}:
        assert short < (missing(file, short) or 0) <= needed
    whole = facts(parse(file))
    for enough in {needed, min(needed + 1, size), (needed + size) // 2}:
        assert facts(parse(file, enough)) == whole


def test_a_file_cut_short_is_refused_whatever_is_left_of_it(file: Path) -> None:
    data = file.read_bytes()
    ends = (lv.offsets[lv.lengths > 0] + lv.lengths[lv.lengths > 0] for lv in parse(file).levels)
    last = max((int(end) for level in ends for end in level), default=300)
    for stop in {*range(0, last, 1 + last // 25), last - 1}:
        with pytest.raises(LayoutError) as caught:
            parse_layout("short.tif", data[:stop], stop)
        assert not isinstance(caught.value, TruncatedHeaderError)
        assert "short.tif" in str(caught.value)


@given(st.data())
@settings(deadline=None)
def test_the_ranges_of_a_window_are_those_of_the_tiles_it_touches(data: st.DataObject) -> None:
    height, width, count = 70, 50, 3
    offsets = np.arange(2 * 5 * 4).reshape(2, 5, 4) * 100
    lengths = np.where(np.arange(40).reshape(2, 5, 4) % 7, 90, 0)
    level = Level(height, width, 16, 16, offsets, lengths)
    row, col = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    window = Window(row, col, data.draw(st.integers(1, height - row)), data.draw(st.integers(1, width - col)))
    index = data.draw(st.integers(1, count))
    plane = min(index, 2) - 1
    tiles = [(r // 16, c // 16) for r in range(row, window.row_stop) for c in range(col, window.col_stop)]
    wanted = [ByteRange(int(offsets[plane, r, c]), 90) for r, c in dict.fromkeys(tiles) if lengths[plane, r, c]]
    assert list(level.ranges(index, window)) == sorted(wanted)


def test_a_window_over_the_edge_and_a_level_that_is_not_there_are_refused(tmp_path: Path) -> None:
    layout = parse(write_cog(tmp_path / "a.tif"))
    with pytest.raises(GridError, match="over the level of 100 x 90"):
        layout.level(None).tiles(Window(0, 60, 10, 31))
    for version in (-1, 2):
        with pytest.raises(LayoutError, match=f"2 overviews, no level {version}"):
            layout.level(version)


def write_plain(path: Path, **options: Any) -> Path:
    profile = {"driver": "GTiff", "height": 64, "width": 64, "count": 1, "dtype": "uint8", "crs": "EPSG:32633"}
    profile |= {"tiled": True, "blockxsize": 32, "blockysize": 32, "transform": rasterio.Affine(10, 0, 0, 0, -10, 0)}
    with warnings.catch_warnings(), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        warnings.simplefilter("ignore")  # some of them have no place on earth, on purpose
        with rasterio.open(path, "w", **{**profile, **options}) as dataset:
            dataset.write(np.ones((1, 64, 64), dataset.dtypes[0]))
            if options.get("nodata") == 255:
                dataset.write_mask(np.eye(64) > 0)
    return path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tiled": False, "blockxsize": None, "blockysize": 16}, "strips"),
        ({"nodata": 255}, "internal mask"),
        ({"crs": None}, "names no CRS"),
        ({"transform": None}, "no transform"),
        ({"transform": None, "crs": None}, "no transform"),
        ({"transform": rasterio.Affine(10, 2, 0, 2, -10, 0)}, "rotated"),
        ({"transform": rasterio.Affine(10, 0, 0, 0, 10, 0)}, "not north-up"),
        ({"dtype": "complex64"}, "complex"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write_plain(tmp_path / "odd.tif", **options)
    with pytest.raises(LayoutError, match=message) as caught:
        parse(path)
    assert "odd.tif" in str(caught.value)


def test_a_second_image_is_not_passed_off_as_an_overview(tmp_path: Path) -> None:
    data = bytearray(write_cog(tmp_path / "a.tif").read_bytes())
    kind = struct.pack("<HHII", 254, 4, 1, 1)  # NewSubfileType: a reduced image
    assert data.count(kind) == 2
    with pytest.raises(LayoutError, match="several images"):
        parse_layout("pages.tif", bytes(data.replace(kind, struct.pack("<HHII", 254, 4, 1, 0))), len(data))


@pytest.mark.parametrize("data", [b"", b"II", b"II*\0", b"<html>", b"\x89PNG\r\n\x1a\n" + bytes(100), bytes(5000)])
def test_what_is_no_tiff_is_refused(data: bytes) -> None:
    with pytest.raises(LayoutError, match=r"a\.tif"):
        parse_layout("a.tif", data, len(data))


@given(st.binary(max_size=400), st.sampled_from([b"", b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0"]), st.integers(0, 10**12))
@settings(max_examples=300, deadline=None)
def test_random_bytes_are_never_anything_but_a_layout_error(tail: bytes, magic: bytes, more: int) -> None:
    data = magic + tail
    with pytest.raises(LayoutError):
        parse_layout("a.tif", data, len(data) + more)


@pytest.fixture(scope="module")
def headers(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("headers")
    kinds: list[dict[str, Any]] = [{}, {"bigtiff": True, "bands": 3, "interleave": "pixel"}, {"dtype": "float32"}]
    return [write_cog(folder / f"{number}.tif", **kind).read_bytes() for number, kind in enumerate(kinds)]


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # rasterio logs broken names
@given(st.data())
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_header_with_wrong_bytes_is_parsed_or_a_layout_error(headers: list[bytes], data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(headers)))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, 1200))] = data.draw(st.integers(0, 255))
    try:
        layout = parse_layout("a.tif", bytes(content), len(content))
    except LayoutError:
        return
    assert all((lv.offsets + lv.lengths <= len(content)).all() for lv in layout.levels)


@pytest.mark.parametrize("size", [3000, 10**13])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("claimed", [2**20, 2**31, 2**32 - 1])
def test_a_header_that_claims_gigabytes_costs_neither_memory_nor_time(size: int, big: bool, claimed: int) -> None:
    entry, start = (
        ("<HHQQ", struct.pack("<HHHQQ", 43, 8, 0, 16, 8)) if big else ("<HHII", struct.pack("<HIH", 42, 8, 8))
    )
    values = {256: 2**31, 257: 2**31, 258: 8, 259: 1, 322: 16, 323: 16}
    tags = [struct.pack(entry, code, 4, 1, value) for code, value in values.items()]
    tags += [struct.pack(entry, code, 4, claimed, 200) for code in (324, 325)]
    data = (b"II" + start + b"".join(tags)).ljust(3000, b"\0")
    tracemalloc.start()
    begin = time.monotonic()
    try:
        with pytest.raises(LayoutError) as caught:
            parse_layout("hostile.tif", data, size)
        assert time.monotonic() - begin < 2
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()
    if size > 2**35:
        assert isinstance(caught.value, TruncatedHeaderError)
        assert caught.value.stop == 200 + 4 * claimed

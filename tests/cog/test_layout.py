import struct
import time
import tracemalloc
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import tifffile
from cogs import write_cog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geomask.cog.layout import Layout, parse_layout
from geomask.cog.pages import parse_pages
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
    "alpha": {"driver": "GTiff", "bands": 4, "nodata": None, "dtype": "uint8", "photometric": "RGB", "ALPHA": "YES"},
    "strips": {"driver": "GTiff", "tiled": False, "blockysize": 16},
    "ccitt": {"driver": "GTiff", "dtype": "uint8", "nodata": None, "compress": "ccittfax4", "NBITS": 1},
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
    file = [layout.size, layout.etag, layout.modified, layout.header_end, layout.byteorder, layout.why]
    meaning = [layout.grid, layout.count, layout.dtype, str(layout.nodata), layout.alpha, layout.scales, layout.offsets]
    return [levels, tables, file, meaning]


def test_a_layout_says_what_rasterio_says(file: Path) -> None:
    layout = parse(file)
    with rasterio.open(file) as dataset:
        assert (layout.count, layout.dtype) == (dataset.count, dataset.dtypes[0])
        assert str(layout.nodata) == str(dataset.nodata)
        assert layout.grid.transform == tuple(dataset.transform)[:6]
        assert rasterio.CRS.from_user_input(layout.grid.crs) == dataset.crs
        assert len(layout.levels) == 1 + len(dataset.overviews(1))
        planes = 1 if dataset.interleaving.name == "pixel" else dataset.count
        assert {len(level.offsets) for level in layout.levels} == {planes}
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


def test_a_header_up_to_its_end_parses_to_the_same_and_one_byte_less_does_not(file: Path) -> None:
    whole, size = parse(file), file.stat().st_size
    assert facts(parse(file, whole.header_end)) == facts(whole)
    with pytest.raises(TruncatedHeaderError):
        parse_layout("a.tif", file.read_bytes()[: whole.header_end - 1], size)


def test_a_file_cut_short_is_refused_whatever_is_left_of_it(file: Path) -> None:
    data = file.read_bytes()
    ends = (lv.offsets[lv.lengths > 0] + lv.lengths[lv.lengths > 0] for lv in parse(file).levels)
    last = max((int(end) for level in ends for end in level), default=300)
    for stop in {*range(0, last, 1 + last // 25), last - 1}:
        with pytest.raises(LayoutError) as caught:
            parse_layout("short.tif", data[:stop], stop)
        assert not isinstance(caught.value, TruncatedHeaderError)
        assert "short.tif" in str(caught.value)


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


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({}, None),
        ({"driver": "GTiff", "tiled": False, "blockysize": 16}, "it is stored in strips, not tiles"),
        (
            {"driver": "GTiff", "dtype": "uint8", "nodata": None, "compress": "ccittfax4", "NBITS": 1},
            "it is compressed with CCITT (TIFF compression 4)",
        ),
        *(({"compress": name, "predictor": 1}, None) for name in ("none", "lzw", "zstd", "lerc")),
        *(({"driver": "GTiff", "compress": name}, None) for name in ("packbits", "lzma")),
        ({"compress": "jpeg", "dtype": "uint8", "nodata": None}, None),
        ({"compress": "webp", "dtype": "uint8", "bands": 3, "nodata": None, "interleave": "pixel"}, None),
    ],
)
def test_a_layout_says_why_no_tiles_can_be_cut(options: dict[str, Any], why: str | None, tmp_path: Path) -> None:
    assert parse(write_cog(tmp_path / "a.tif", **options)).why == why


@pytest.mark.parametrize(
    ("number", "name"), [(34712, "JPEG 2000"), (50002, "JPEG XL"), (6, "old-style JPEG"), (777, "")]
)
def test_a_compression_that_is_not_cut_is_named(number: int, name: str, tmp_path: Path) -> None:
    data = write_cog(tmp_path / "a.tif").read_bytes()
    entry = struct.pack("<HHI", 259, 3, 1)
    assert data.count(entry + b"\x08\0") == 3
    data = data.replace(entry + b"\x08\0", entry + struct.pack("<H", number))
    pages = parse_pages("a.tif", data, len(data))
    assert pages.why == f"it is compressed with {name or 'an unknown method'} (TIFF compression {number})"
    assert [level.compression for level in pages.levels] == [number] * 3
    with pytest.raises(LayoutError, match=r"a\.tif is no GeoTIFF that GDAL opens: "):
        parse_layout("a.tif", data, len(data))


def test_a_second_image_is_not_passed_off_as_an_overview(tmp_path: Path) -> None:
    data = bytearray(write_cog(tmp_path / "a.tif").read_bytes())
    kind = struct.pack("<HHII", 254, 4, 1, 1)  # NewSubfileType: a reduced image
    assert data.count(kind) == 2
    layout = parse_layout("pages.tif", bytes(data.replace(kind, struct.pack("<HHII", 254, 4, 1, 0), 1)), len(data))
    assert [(level.height, level.width) for level in layout.levels] == [(100, 90), (25, 23)]
    assert layout.why == "it holds 2 images"


def write_masked(path: Path, driver: str = "COG") -> Path:
    """A file of 300 x 260 with an internal mask on every level, in tiles of 128."""
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        write_cog(path, driver="GTiff", height=300, width=260, block=128, nodata=None, overviews=False)
        with rasterio.open(path, "r+") as dataset:
            rows, columns = np.indices(dataset.shape)
            dataset.write_mask((rows * columns % 7 > 2) & (rows > 9))
            dataset.build_overviews([2, 4])
    if driver == "COG":
        rasterio.shutil.copy(path, path.with_suffix(".cog.tif"), driver="COG", compress="deflate", blocksize=128)
        return path.with_suffix(".cog.tif")
    return path


@pytest.mark.parametrize("driver", ["COG", "GTiff"])
def test_every_level_has_its_mask_and_no_mask_is_taken_for_an_overview(driver: str, tmp_path: Path) -> None:
    path = write_masked(tmp_path / "a.tif", driver)
    layout, data = parse(path), path.read_bytes()
    assert layout.why is None
    assert layout.alpha is None
    assert [(level.height, level.width) for level in layout.levels] == [(300, 260), (150, 130), (75, 65)]
    for number, level in enumerate(layout.levels):
        mask = level.mask
        assert mask is not None
        assert (mask.height, mask.width, mask.mask) == (level.height, level.width, None)
        assert mask.compression == 8
        options = {"overview_level": number - 1} if number else {}
        with rasterio.open(path, **options) as dataset:
            wanted = dataset.read_masks(1) > 0
        found = np.zeros((mask.offsets.shape[1] * mask.tile_height, mask.offsets.shape[2] * mask.tile_width), bool)
        for row, col in np.ndindex(mask.offsets.shape[1:]):
            start, length = int(mask.offsets[0, row, col]), int(mask.lengths[0, row, col])
            bits = np.unpackbits(np.frombuffer(zlib.decompress(data[start : start + length]), "uint8"))
            place = np.s_[row * mask.tile_height : (row + 1) * mask.tile_height]
            found[place, col * mask.tile_width : (col + 1) * mask.tile_width] = bits.reshape(mask.tile_height, -1)
        np.testing.assert_array_equal(found[: mask.height, : mask.width], wanted)


def test_a_header_with_masks_is_whole_only_with_theirs(tmp_path: Path) -> None:
    layout = parse(path := write_masked(tmp_path / "a.tif", "GTiff"))
    again = parse(path, layout.header_end)
    for one, other in zip(layout.levels, again.levels, strict=True):
        assert one.mask
        assert other.mask
        np.testing.assert_array_equal(one.mask.offsets, other.mask.offsets)
        assert one.mask.tags == other.mask.tags
    with pytest.raises(TruncatedHeaderError):
        parse(path, layout.header_end - 1)


@pytest.mark.parametrize(
    ("bands", "nodata", "alpha"),
    [(2, None, 2), (4, None, 4), (4, 0, None), (5, None, None)],  # of five, GDAL masks no band
)
def test_an_alpha_band_is_named_where_gdal_masks_by_it(
    bands: int, nodata: float | None, alpha: int | None, tmp_path: Path
) -> None:
    options = {"photometric": "RGB"} if bands == 4 else {}
    path = write_cog(
        tmp_path / "a.tif", driver="GTiff", bands=bands, nodata=nodata, dtype="uint8", ALPHA="YES", **options
    )
    layout = parse(path)
    with rasterio.open(path) as dataset:
        flags = {flag.name for of_band in dataset.mask_flag_enums for flag in of_band}
    assert ("alpha" in flags) == (alpha is not None)
    assert (layout.alpha, layout.why) == (alpha, None)


def test_scales_and_offsets_are_those_of_the_file(tmp_path: Path) -> None:
    path = write_cog(tmp_path / "a.tif", driver="GTiff", bands=2)
    assert (parse(path).scales, parse(path).offsets) == ((1.0, 1.0), (0.0, 0.0))
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = (0.5, 0.0001), (-3.0, 7.25)
    assert (parse(path).scales, parse(path).offsets) == ((0.5, 0.0001), (-3.0, 7.25))


def test_files_whose_tags_differ_in_one_byte_do_not_share_their_meaning(tmp_path: Path) -> None:
    data = write_cog(tmp_path / "a.tif", nodata=7).read_bytes()
    entry = struct.pack("<HHI", 42113, 2, 2)
    other = data.replace(entry + b"7", entry + b"9", 1)
    assert other != data
    found = [parse_layout("a.tif", content, len(content)).nodata for content in (data, other, data)]
    assert found == [7, 9, 7]


def test_overviews_in_sub_pages_are_found_as_gdal_finds_them(tmp_path: Path) -> None:
    pixels = np.arange(512 * 512, dtype="uint16").reshape(512, 512)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        place = [(33550, 12, 3, (10.0, 10.0, 0.0)), (33922, 12, 6, (0.0, 0.0, 0.0, 5e5, 5e6, 0.0))]
        crs = (34735, 3, 12, (1, 1, 0, 2, 1024, 0, 1, 1, 3072, 0, 1, 32633))
        options: dict[str, Any] = {"tile": (128, 128), "compression": "deflate"}
        file.write(pixels, subifds=1, extratags=[(*tag, True) for tag in (*place, crs)], **options)
        file.write(pixels[::2, ::2], subfiletype=1, **options)
    layout = parse(tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif", overview_level=0) as dataset:
        assert [(level.height, level.width) for level in layout.levels] == [(512, 512), dataset.shape]
    assert 330 not in {tag.code for tag in layout.levels[0].tags}


@given(st.floats(1, 2000), st.floats(0.5, 2))
@settings(deadline=None)
def test_a_version_is_the_coarsest_whose_real_pixels_are_no_larger(
    layout_100: Layout, res_y: float, ratio: float
) -> None:
    res_x = res_y * ratio
    grids = {version: layout_100.level_grid(version) for version in (None, 0, 1)}
    fits = [v for v, grid in grids.items() if grid.res_y <= 1.01 * res_y and grid.res_x <= 1.01 * res_x]
    assert layout_100.version_for(res_y, res_x) == max(fits, key=lambda v: grids[v].res_y, default=None)


@pytest.fixture(scope="module")
def layout_100(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """Of 100 x 90 pixels of 10 m; the coarsest overview is 25 x 23, pixels of 40 by 39.13 m."""
    return parse(write_cog(tmp_path_factory.mktemp("versions") / "a.tif"))


@pytest.mark.parametrize(
    ("res", "version"),
    [(5, None), (10, None), (19.7, None), (19.9, 0), (20, 0), (39.5, 0), (39.7, 1), (40, 1), (1e9, 1)],
)
def test_versions_go_by_the_files_own_sizes(layout_100: Layout, res: float, version: int | None) -> None:
    assert layout_100.version_for(res, res) == version


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

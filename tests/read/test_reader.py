import os
from collections.abc import Callable
from dataclasses import replace
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
from items import write_items

from geomask.cog.index import HeaderIndex, index_headers
from geomask.cog.level import ByteRange
from geomask.errors import FetchError, LayoutError, ManifestError
from geomask.grid import Window
from geomask.plan.compile import compile_manifest
from geomask.plan.manifest import Manifest
from geomask.plan.request import ReadRequest, Requests
from geomask.plan.sources import choose_grid, index_selection
from geomask.read.decode import decode, split
from geomask.read.reader import read_manifest
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
    *({"dtype": dtype} for dtype in ("uint8", "int16", "uint32", "int32")),
    # With a nodata value, GDAL 3.12 never ends building the overviews of 64-bit integers.
    *({"dtype": dtype, "nodata": None} for dtype in ("uint64", "int64")),
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
]
LOSSY: list[dict[str, Any]] = [
    {"dtype": "uint8", "nodata": None, **options}
    for options in (
        {"compress": "webp", "bands": 3, "interleave": "pixel"},
        {"compress": "webp", "bands": 4, "interleave": "pixel", "QUALITY": 100, "nodata": 0, "holes": True},
        {"compress": "jpeg", "bands": 3, "interleave": "pixel"},
        {"compress": "jpeg", "bands": 3, "interleave": "pixel", "driver": "GTiff", "PHOTOMETRIC": "YCBCR"},
        {"compress": "jpeg", "bands": 2, "interleave": "band", "driver": "GTiff"},
        {"compress": "jpeg"},
    )
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


def decoded(path: Path, index: HeaderIndex, request: ReadRequest) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and validity of a request, from its ranges alone."""
    layout = index[str(path)]
    parts = split(request, layout.level(request.source.level))
    found = [decode(layout, part, strict_pieces(path, request.ranges)) for part in parts]
    return np.concatenate([pixels for pixels, _ in found], 1), np.concatenate([seen for _, seen in found], 1)


def windows_of(height: int, width: int) -> list[Window]:
    """Nine places of one size: corners, edges, the middle; and across tiles of any size."""
    rows, cols = min(height, 21), min(width, 17)
    return [
        Window(row, col, rows, cols)
        for row in (0, (height - rows) // 2, height - rows)
        for col in (0, (width - cols) // 2, width - cols)
    ]


Encoded = tuple[Path, dict[str, Any]]


@pytest.fixture(scope="module")
def encoded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Encoded:
    return write_cog(tmp_path_factory.mktemp("encoded") / "a.tif", **SIZE, **request.param), request.param


@pytest.mark.parametrize("level", [None, 0, 1])
@pytest.mark.parametrize("encoded", [*LOSSLESS, *LOSSY], ids=name, indirect=True)
def test_a_read_through_a_manifest_is_rasterios_bit_for_bit(encoded: Encoded, level: int | None) -> None:
    path, options = encoded
    nodata = options.get("nodata", 0)
    chips = windows_of(*(side if level is None else side >> level + 1 for side in SIZE.values()))
    manifest, index = plan(path, level, chips)
    cube, _ = read_manifest(manifest, index)
    assert len(manifest.requests) == len(chips)  # all bands of a file in one
    for request in manifest.requests:
        assert request.source.indexes == tuple(range(1, len(manifest.channels) + 1))
        wanted = np.stack([oracle(path, level, band, request.window) for band in request.source.indexes])
        pixels, seen = decoded(path, index, request)
        assert pixels.dtype == wanted.dtype
        assert pixels.tobytes() == wanted.tobytes()
        valid = np.ones(wanted.shape, bool) if nodata is None else ~np.isin(wanted, nodata) & ~np.isnan(wanted)
        np.testing.assert_array_equal(seen, valid)
        np.testing.assert_array_equal(cube.valid[request.chip], valid)
        shown = np.where(valid, wanted, 0).astype("float32")
        np.testing.assert_array_equal(cube.image[request.chip], shown)


@pytest.mark.parametrize("level", [None, 0, 1])
@pytest.mark.parametrize("encoded", LOSSLESS, ids=name, indirect=True)
def test_a_read_is_what_was_written(encoded: Encoded, level: int | None) -> None:
    path, options = encoded
    manifest, index = plan(path, level, [Window(13, 7, 23, 24)])
    coding = {"dtype": options.get("dtype", "uint16"), "holes": options.get("holes", False)}
    coding["nodata"] = options.get("nodata", 0) or 0
    for request in manifest.requests:
        pixels, _ = decoded(path, index, request)
        wanted = [expected(band, level, range(13, 36), range(7, 31), **coding) for band in request.source.indexes]
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
    (request,) = manifest.requests
    assert len(request.ranges) == (tiles > 0).sum()
    for channel, band in enumerate(request.source.indexes):
        wanted = oracle(path, level, band, request.window)
        np.testing.assert_array_equal(cube.image[0, channel], np.where(wanted == 9, 0, wanted))
        np.testing.assert_array_equal(cube.valid[0, channel], wanted != 9)


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
    assert (receipt.nbytes, receipt.requests) == (receipt.planned_nbytes, receipt.planned_requests)
    assert receipt.planned_nbytes == manifest.pixel_nbytes
    for request in manifest.requests:
        for channel, band in enumerate(request.source.indexes):
            wanted = oracle(path, level, band, request.window)
            np.testing.assert_array_equal(cube.image[request.chip, channel], wanted)
            np.testing.assert_array_equal(cube.valid[request.chip, channel], wanted != 0)


CHIP = Window(30, 30, 40, 40)


@pytest.fixture
def items(tmp_path: Path) -> list[pystac.Item]:
    return write_items(tmp_path / "items", dates=1, bands=("B02", "B03"), height=300, width=300)


@pytest.fixture
def planned(items: list[pystac.Item]) -> tuple[Manifest, HeaderIndex]:
    selection = Selection.dense(make_slots(items), (Band("B02", "B02", 10), Band("B03", "B03", 10)))
    index = index_selection(selection, items)
    return compile_manifest(selection, items, index, choose_grid(selection, items, index), [CHIP]), index


def test_without_an_index_the_headers_are_fetched_first_and_the_pixels_are_the_same(
    planned: tuple[Manifest, HeaderIndex],
) -> None:
    manifest, index = planned
    done: list[None] = []
    cube, receipt = read_manifest(manifest, on_done=lambda: done.append(None))
    again, _ = read_manifest(manifest, index)
    np.testing.assert_array_equal(cube.image, again.image)
    assert cube.valid.all()
    assert len(done) == 2
    assert receipt.nbytes == receipt.planned_nbytes == manifest.planned_nbytes
    assert receipt.header_nbytes == manifest.header_nbytes
    assert receipt.pixel_nbytes == manifest.tile_nbytes + manifest.prefix_nbytes + manifest.gap_nbytes > 0
    assert (receipt.requests, receipt.planned_requests) == (manifest.planned_requests,) * 2
    assert receipt.seconds > 0


def test_a_manifest_that_names_no_request_reads_as_nothing_seen(planned: tuple[Manifest, HeaderIndex]) -> None:
    cube, receipt = read_manifest(replace(planned[0], requests=Requests.of(())))
    assert cube.image.shape == cube.valid.shape == (1, 2, 40, 40)
    assert not cube.valid.any()
    assert (receipt.nbytes, receipt.requests) == (0, 0)


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_pixels_do_not_depend_on_the_number_of_threads(
    threads: int, planned: tuple[Manifest, HeaderIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    cube, _ = read_manifest(*planned)
    monkeypatch.setattr(os, "cpu_count", lambda: threads)
    again, _ = read_manifest(*planned)
    np.testing.assert_array_equal(cube.image, again.image)


@pytest.mark.parametrize("chips", [(), (CHIP, Window(0, 0, 40, 41))])
def test_chips_that_cannot_be_stacked_are_refused(
    chips: tuple[Window, ...], planned: tuple[Manifest, HeaderIndex]
) -> None:
    with pytest.raises(ManifestError, match=f"chips of {len(chips)} sizes"):
        read_manifest(replace(planned[0], chips=chips, requests=Requests.of(())))


@pytest.mark.parametrize("with_index", [True, False])
def test_a_file_that_changed_since_it_was_planned_is_not_read(
    with_index: bool, planned: tuple[Manifest, HeaderIndex]
) -> None:
    manifest, index = planned
    href = manifest.requests[0].source.href
    os.utime(href, ns=(1, 1))
    with pytest.raises(FetchError, match=r"B02\.tif changed since it was planned .*ETag .*; compile the manifest anew"):
        read_manifest(manifest, index if with_index else None)


def test_a_file_that_changed_after_its_header_was_read_anew_is_not_read_either(
    planned: tuple[Manifest, HeaderIndex],
) -> None:
    manifest, _ = planned
    os.utime(manifest.requests[1].source.href, ns=(1, 1))
    with pytest.raises(FetchError, match=r"B03\.tif changed since it was planned"):
        read_manifest(manifest, index_headers(manifest.headers))


def test_only_headers_that_the_index_lacks_are_fetched(planned: tuple[Manifest, HeaderIndex]) -> None:
    manifest, index = planned
    one, two = manifest.headers
    _, receipt = read_manifest(manifest, HeaderIndex({one: index[one]}))
    assert [trip.href for trip in receipt.headers] == [two]
    _, receipt = read_manifest(manifest, index)
    assert receipt.headers == ()
    assert receipt.nbytes == receipt.planned_nbytes == manifest.pixel_nbytes
    assert receipt.after(index).nbytes == manifest.planned_nbytes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ranges": (), "wholes": ()}, r"B02\.tif: the tile at \d+ was not fetched"),
        ({"window": Window(0, 0, 40, 40)}, r"B02\.tif: the manifest's window does not fit"),
        ({"indexes": (2,)}, r"B02\.tif has 1 bands, no band 2"),
    ],
)
def test_a_manifest_that_does_not_fit_its_file_is_refused_by_name(
    change: dict[str, Any], message: str, planned: tuple[Manifest, HeaderIndex]
) -> None:
    manifest, index = planned
    with pytest.raises(FetchError, match=message):
        read_manifest(changed(manifest, **change), index)


def changed(manifest: Manifest, **change: Any) -> Manifest:
    """The manifest with its first request alone, and that one changed."""
    request = manifest.requests[0]
    of_source = {name: value for name, value in change.items() if name not in ("ranges", "wholes", "window")}
    of_request = {name: value for name, value in change.items() if name not in of_source}
    request = replace(request, source=replace(request.source, **of_source), **of_request)
    return replace(manifest, requests=Requests.of([request]))


def test_a_level_that_the_file_lacks_is_refused(planned: tuple[Manifest, HeaderIndex]) -> None:
    manifest, index = planned
    with pytest.raises(LayoutError, match="2 overviews, no level 5"):
        read_manifest(changed(manifest, level=5), index)


def test_a_tile_that_does_not_decode_is_an_error_that_names_the_file(planned: tuple[Manifest, HeaderIndex]) -> None:
    manifest, index = planned
    request = manifest.requests[0]
    path, piece = Path(request.source.href), request.ranges[-1]
    assert piece.offset > request.source.header_nbytes
    before, data = path.stat(), bytearray(path.read_bytes())
    data[piece.offset : piece.stop] = b"\xff" * piece.length
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(LayoutError, match=r"B02\.tif: a tile of .* does not decode"):
        read_manifest(manifest, index)


def test_values_that_the_cube_cannot_hold_are_not_valid(tmp_path: Path) -> None:
    def wild(_band: int, _level: int | None, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        values = np.array([1.5, np.nan, np.inf, -np.inf, 1e300, -9.0])
        return values[(rows + columns) % 6]

    path = write_cog(tmp_path / "a.tif", dtype="float64", predictor=3, nodata=-9, values=wild, overviews=False)
    manifest, index = plan(path, None, [Window(0, 0, 6, 6)])
    cube, _ = read_manifest(manifest, index)
    place = np.add.outer(range(6), range(6)) % 6
    np.testing.assert_array_equal(cube.valid[0, 0], (place == 0) | (place == 4))
    np.testing.assert_array_equal(cube.image[0, 0], np.select([place == 0, place == 4], [1.5, 1e300]))


@pytest.mark.parametrize(("dtype", "value"), [("uint32", 16_777_217), ("int32", -2_000_000_001), ("float64", 0.1)])
def test_numbers_that_float32_would_round_come_exact(tmp_path: Path, dtype: str, value: float) -> None:
    def flat(_band: int, _level: int | None, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return np.full(np.broadcast(rows, columns).shape, value)

    path = write_cog(tmp_path / "a.tif", dtype=dtype, predictor=1, nodata=None, values=flat, overviews=False)
    cube, _ = read_manifest(*plan(path, None, [Window(0, 0, 6, 6)]))
    assert cube.image.dtype == np.float64
    assert (cube.image == value).all()


def test_a_manifest_for_more_than_memory_holds_is_refused(tmp_path: Path) -> None:
    path = write_cog(tmp_path / "a.tif")
    manifest, index = plan(path, None, [Window(0, 0, 6, 6)])
    huge = replace(manifest, chips=(Window(0, 0, 10**7, 10**7),))
    with pytest.raises(ManifestError, match="do not fit memory"):
        read_manifest(huge, index)


@pytest.mark.parametrize("value", [-(2**53) - 1, 2**53 + 1, -(2**63)])
def test_integers_that_no_float_holds_are_refused(tmp_path: Path, value: int) -> None:
    def flat(_band: int, _level: int | None, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return np.full(np.broadcast(rows, columns).shape, value)

    path = write_cog(tmp_path / "a.tif", dtype="int64", predictor=1, nodata=None, values=flat, overviews=False)
    with pytest.raises(LayoutError, match=r"integers over 2\^53"):
        read_manifest(*plan(path, None, [Window(0, 0, 6, 6)]))


def test_a_manifest_of_another_type_than_the_files_is_refused(planned: tuple[Manifest, HeaderIndex]) -> None:
    manifest, index = planned
    with pytest.raises(FetchError, match=r"B02\.tif changed since it was planned .*type uint8 -> uint16"):
        read_manifest(changed(manifest, dtype="uint8"), index)


def test_a_manifest_that_leaves_out_a_tile_is_refused(tmp_path: Path) -> None:
    def noise(_band: int, _level: int | None, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return np.random.default_rng(0).integers(1, 60_000, np.broadcast(rows, columns).shape)

    path = write_cog(tmp_path / "a.tif", height=300, width=600, block=256, values=noise, overviews=False)
    manifest, index = plan(path, None, [Window(0, 200, 60, 100)])
    request = manifest.requests[0]
    assert len(request.rests) == 2
    with pytest.raises(FetchError, match=r"a\.tif: the tile at \d+ was not fetched"):
        read_manifest(changed(manifest, ranges=request.ranges[:1], wholes=request.wholes[:1]), index)


def test_a_kept_header_that_lacks_pixels_of_the_plan_is_fetched_again(
    planned: tuple[Manifest, HeaderIndex], tmp_path: Path
) -> None:
    manifest, index = planned
    index.save(tmp_path / "headers.parquet")
    kept = HeaderIndex.load(tmp_path / "headers.parquet")
    first = {request.source.href: request.ranges[0].offset for request in manifest.requests}
    cube, receipt = read_manifest(manifest, kept)
    assert {trip.href for trip in receipt.headers} == {
        href for href, nbytes in manifest.headers.items() if first[href] < nbytes
    }
    np.testing.assert_array_equal(cube.image, read_manifest(manifest, index)[0].image)

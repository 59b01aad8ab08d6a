import random
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pystac
import pytest
from cogs import write_cog
from items import START, write_items

from geomask.cog.index import HeaderIndex, index_headers
from geomask.errors import GridError, ItemError, LayoutError, ManifestError
from geomask.grid import Grid, Window
from geomask.plan.compile import compile_manifest, free_channels
from geomask.plan.request import Requests
from geomask.plan.sources import choose_grid, find_files, index_selection
from geomask.read.reader import read_manifest
from geomask.selection import Channel, Selection
from geomask.stac.profile import Band
from geomask.stac.slots import make_slots

BANDS = (Band("B02", "B02", 10), Band("B03", "B03", 10), Band("classes", "SCL", 20, dtype="uint8"))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[pystac.Item]:
    """Items of 5, 15 and 25 January and of 4 February."""
    return write_items(tmp_path_factory.mktemp("items"), dates=4, bands=("B02", "B03"), width=88, scl=True)


@pytest.fixture
def items(written: list[pystac.Item]) -> list[pystac.Item]:
    return [item.clone() for item in written]


@pytest.fixture
def dense(items: list[pystac.Item]) -> Selection:
    return Selection.dense(make_slots(items), BANDS)


@pytest.fixture
def index(written: list[pystac.Item]) -> HeaderIndex:
    return index_headers(asset.href for item in written for asset in item.assets.values())


def test_every_channel_has_the_file_of_the_least_cloudy_item_of_its_slot(
    items: list[pystac.Item], dense: Selection
) -> None:
    items[1].properties["eo:cloud_cover"] = 3
    sources = find_files(dense, items)
    assert [(source.channel, source.item.id) for source in sources] == [
        *((channel, "tiny_20200115") for channel in range(3)),
        *((channel, "tiny_20200204") for channel in range(3, 6)),
    ]
    assert [Path(source.href).name for source in sources[:3]] == ["B02.tif", "B03.tif", "SCL.tif"]


def test_only_the_headers_of_selected_files_are_read(items: list[pystac.Item], dense: Selection) -> None:
    done: list[None] = []
    index = index_selection(dense.keep([1, 5]), items, lambda: done.append(None))
    assert sorted(index) == [items[0].assets["B03"].href, items[3].assets["SCL"].href]
    assert len(done) == 2


def test_a_request_says_what_is_read_from_where(items: list[pystac.Item], dense: Selection, index: HeaderIndex) -> None:
    grid = index[items[0].assets["B02"].href].grid
    chips = (Window(0, 0, 32, 32), Window(40, 50, 32, 32))
    selection = Selection(dense.slots, dense.bands, (Channel(0, 1, None), Channel(1, 2, 0)))
    manifest = compile_manifest(selection, items, index, grid, chips)
    assert (manifest.grid, manifest.chips, manifest.selection) == (grid, chips, selection.digest)
    assert manifest.channels == (("2020-01", "B03"), ("2020-02", "classes"))
    assert [(r.source.channels, r.chip, r.source.item, r.source.asset, r.source.level) for r in manifest.requests] == [
        ((0,), 0, "tiny_20200105", "B03", None),
        ((0,), 1, "tiny_20200105", "B03", None),
        ((1,), 0, "tiny_20200204", "SCL", 0),
        ((1,), 1, "tiny_20200204", "SCL", 0),
    ]
    first, second, _, coarse = manifest.requests
    layout = index[first.source.href]
    assert (first.window, second.window, coarse.window) == (*chips, Window(10, 12, 8, 9))
    level, pieces = layout.level(None), list(zip(second.ranges, second.wholes, strict=True))
    tables = (table[0, 1:3, 1:3].ravel().tolist() for table in (level.offsets, level.lengths))
    assert [(piece.offset, whole) for piece, whole in pieces] == list(zip(*tables, strict=True))
    assert all(piece.length == whole for piece, whole in pieces)  # so small that no prefix is tried
    source = first.source
    assert (source.header_nbytes, source.size, source.etag) == (len(layout.header), layout.size, layout.etag)
    assert (first.source.dtype, coarse.source.dtype, first.source.slot) == ("uint16", "uint8", "2020-01")
    assert (first.source.bands, first.source.indexes) == (("B03",), (1,))


def test_without_chips_the_whole_grid_is_one(items: list[pystac.Item], dense: Selection, index: HeaderIndex) -> None:
    grid = choose_grid(dense, items, index)
    manifest = compile_manifest(dense, items, index, grid)
    assert manifest.chips == (Window(0, 0, 100, 88),)
    assert {request.window for request in manifest.requests} == {Window(0, 0, 100, 88), Window(0, 0, 50, 44)}


def test_the_grid_is_that_of_the_finest_selected_file(
    items: list[pystac.Item], dense: Selection, index: HeaderIndex
) -> None:
    assert choose_grid(dense, items, index) == index[items[0].assets["B02"].href].grid
    assert choose_grid(dense.keep([2]), items, index) == index[items[0].assets["SCL"].href].grid
    with pytest.raises(ItemError, match="empty selection has no grid"):
        choose_grid(dense.keep([]), items, index)


def test_a_plan_does_not_depend_on_the_order_of_the_items(
    items: list[pystac.Item], dense: Selection, index: HeaderIndex
) -> None:
    grid = choose_grid(dense, items, index)
    plan = compile_manifest(dense, items, index, grid)
    for seed in range(5):
        random.Random(seed).shuffle(items)
        assert choose_grid(dense, items, index) == grid
        assert list(compile_manifest(dense, items, index, grid).lines()) == list(plan.lines())


def test_a_slot_that_no_item_fills_and_a_band_that_its_item_lacks_are_channels_without_requests(
    items: list[pystac.Item], dense: Selection, index: HeaderIndex
) -> None:
    del items[0].assets["B02"]
    manifest = compile_manifest(dense, items, index, choose_grid(dense, items, index))
    assert len(manifest.channels) == 6
    sources = {source.channels[0]: source for source in manifest.requests.sources}
    assert sorted(sources) == [0, 1, 2, 3, 4, 5]
    assert (sources[0].item, sources[1].item) == (items[1].id, items[0].id)  # the next of the slot steps in
    manifest = compile_manifest(dense.keep([1, 4]), items[:1], index, choose_grid(dense.keep([1]), items, index))
    assert manifest.channels == (("2020-01", "B03"), ("2020-02", "B03"))
    assert [request.source.channels for request in manifest.requests] == [(0,)]


def test_a_band_that_no_item_has_is_refused(items: list[pystac.Item], dense: Selection) -> None:
    for item in items:
        del item.assets["B03"]
    with pytest.raises(ItemError, match="no item has the asset B03 of band B03; item tiny_20200105 has B02, SCL"):
        find_files(dense, items)
    assert len(find_files(dense.keep([0, 2]), items)) == 2


def test_a_selection_that_no_item_fills_is_refused(items: list[pystac.Item], dense: Selection) -> None:
    for item in items:
        item.datetime += timedelta(days=400)  # type: ignore[operator]
    with pytest.raises(ItemError, match=r"no item fills any slot of the selection \(2020-01 to 2020-02\)"):
        find_files(dense, items)
    assert find_files(dense.keep([]), items) == []


def test_a_chip_that_no_file_reaches_has_no_request(
    items: list[pystac.Item], dense: Selection, index: HeaderIndex
) -> None:
    grid = choose_grid(dense, items, index)
    chips = (Window(200, 0, 8, 8), Window(96, 84, 8, 8))
    manifest = compile_manifest(dense.keep([0]), items, index, grid, chips)
    assert [(request.chip, request.window) for request in manifest.requests] == [(1, Window(96, 84, 4, 4))]


def test_a_file_without_a_place_on_the_grid_is_refused_by_name(
    items: list[pystac.Item], dense: Selection, index: HeaderIndex
) -> None:
    grid = choose_grid(dense, items, index)
    fine = Grid(grid.crs, grid.left, grid.top, 1e-8, 1e-8, 50, 50)
    with pytest.raises(GridError, match=r"tiny_20200105.B02\.tif: the file covers \d+ x \d+ pixels of the grid"):
        compile_manifest(dense, items, index, fine)


def test_a_band_and_a_level_that_the_file_lacks_are_refused_by_name(
    items: list[pystac.Item], dense: Selection, index: HeaderIndex
) -> None:
    grid = choose_grid(dense, items, index)
    second = Selection.dense(dense.slots, (replace(BANDS[0], index=2),))
    with pytest.raises(ItemError, match=r"B02\.tif has 1 bands, no band 2 for B02"):
        compile_manifest(second, items, index, grid)
    coarse = Selection(dense.slots, dense.bands, (Channel(0, 0, 2),))
    with pytest.raises(LayoutError, match=r"B02\.tif has 2 overviews, no level 2"):
        compile_manifest(coarse, items, index, grid)


def test_a_file_that_is_not_indexed_is_refused(items: list[pystac.Item], dense: Selection, index: HeaderIndex) -> None:
    grid = choose_grid(dense, items, index)
    with pytest.raises(ItemError, match=r"B02\.tif is not in the header index"):
        compile_manifest(dense, items, HeaderIndex(), grid)


def test_the_file_knows_its_nodata_better_than_the_profile(tmp_path: Path) -> None:
    for nodata, band_nodata, wanted in ((7, 9, 7), (None, 9, 9), (None, None, None)):
        items = write_items(tmp_path / f"{nodata}{band_nodata}", dates=1, bands=("a",), nodata=nodata, overviews=False)
        selection = Selection.dense(make_slots(items), (Band("a", "a", 10, nodata=band_nodata, scale=2, offset=3),))
        index = index_selection(selection, items)
        manifest = compile_manifest(selection, items, index, choose_grid(selection, items, index))
        (request,) = manifest.requests
        assert (request.source.nodata, request.source.scales, request.source.offsets) == (wanted, (2,), (3,))


@pytest.mark.parametrize(("interleave", "free"), [("pixel", ["2020-01/b1", "2020-01/b3"]), ("band", [])])
def test_a_band_left_out_of_interleaved_pixels_saves_nothing_and_is_named(
    tmp_path: Path, interleave: str, free: list[str]
) -> None:
    path = write_cog(tmp_path / "rgb.tif", height=300, width=300, bands=3, interleave=interleave, block=64)
    item = pystac.Item("one", None, None, START, {}, assets={"rgb": pystac.Asset(str(path))})
    bands = [Band(f"b{number}", "rgb", 10, index=number) for number in (1, 2, 3)]
    selection = Selection.dense(make_slots([item]), bands).keep([1])
    index = index_selection(selection, [item])
    assert free_channels(selection, [item], index, choose_grid(selection, [item], index)) == free


def test_channels_in_files_of_their_own_are_never_free(items: list[pystac.Item], dense: Selection) -> None:
    selection = dense.keep([1, 5])
    index = index_selection(selection, items)
    assert free_channels(selection, items, index, choose_grid(selection, items, index)) == []


def test_values_are_brought_to_the_scaling_that_is_asked_for(tmp_path: Path) -> None:
    """A network learned Sentinel-2 before baseline 04.00, whose values are 1000 lower; these items are of after it."""
    size = {"height": 64, "width": 64, "nodata": 0}
    path = write_cog(tmp_path / "new.tif", values=lambda _b, _l, rows, columns: 2000 + rows + columns, **size)
    item = pystac.Item("new", None, None, START, {}, assets={"B02": pystac.Asset(str(path))})
    item.assets["B02"].extra_fields["raster:bands"] = [{"scale": 1e-4, "offset": -0.1}]
    selection = Selection.dense(make_slots([item]), BANDS[:1])
    index = index_selection(selection, [item])
    grid = choose_grid(selection, [item], index)
    own = compile_manifest(selection, [item], index, grid)
    learned = compile_manifest(selection, [item], index, grid, scaling=[[1e-4, 0.0]])  # type: ignore[list-item]
    assert (own.scaling, learned.scaling) == (((1e-4, -0.1),), ((1e-4, 0.0),))
    assert replace(learned, scaling=own.scaling) == own
    stored, asked = (read_manifest(manifest, index)[0].image for manifest in (own, learned))
    assert stored[0, 0, 3, 4] == 2007
    assert np.array_equal(asked, stored.astype(np.float64) - 1000)


@pytest.mark.parametrize(
    ("scaling", "words"),
    [([(1.0, 0.0)] * 5, "6 channels have 5 pairs"), ([(0.0, 1.0)] * 6, "scale 0.0"), ([(1.0, np.inf)] * 6, "finite")],
)
def test_a_scaling_that_no_manifest_can_have_is_refused(
    scaling: list[tuple[float, float]], words: str, items: list[pystac.Item], dense: Selection, index: HeaderIndex
) -> None:
    grid = choose_grid(dense, items, index)
    with pytest.raises(ManifestError, match=words):
        compile_manifest(dense, items, index, grid, scaling=scaling)


def test_requests_of_two_sets_of_channels_joined_are_the_bytes_of_all_channels_planned_at_once(tmp_path: Path) -> None:
    """Bands of one interleaved file share every GeoTIFF tile, files of their own none."""
    rgb = write_cog(tmp_path / "rgb.tif", height=300, width=300, bands=3, interleave="pixel", block=64)
    nir = write_cog(tmp_path / "nir.tif", height=300, width=300, block=64)
    assets = {path.stem: pystac.Asset(str(path)) for path in (rgb, nir)}
    item = pystac.Item("one", None, None, START, {}, assets=assets)
    bands = [Band("nir", "nir", 10), *(Band(f"b{number}", "rgb", 10, index=number) for number in (1, 2, 3))]
    dense = Selection.dense(make_slots([item]), bands)
    index = index_selection(dense, [item])
    grid, chips = choose_grid(dense, [item], index), (Window(0, 0, 90, 100), Window(30, 50, 90, 100))
    whole, parts = compile_manifest(dense, [item], index, grid, chips), []
    for channels in ((0, 2), (1, 3)):
        part = compile_manifest(dense.keep(channels), [item], index, grid, chips)
        sources = [
            replace(source, channels=tuple(channels[channel] for channel in source.channels))
            for source in part.requests.sources
        ]
        parts.append(replace(part.requests, sources=tuple(sources)))
    joined = replace(whole, requests=Requests.join(parts))
    assert len(joined.requests) == 6
    assert [request.chip for request in joined.requests] == [0, 1] * 3
    assert (joined.planned_nbytes, joined.planned_requests) == (whole.planned_nbytes, whole.planned_requests)
    assert sum(replace(whole, requests=part).planned_nbytes for part in parts) > whole.planned_nbytes
    want, found = (read_manifest(manifest, index)[0] for manifest in (whole, joined))
    assert np.array_equal(found.image, want.image)
    assert np.array_equal(found.valid, want.valid)
    assert want.valid.all()

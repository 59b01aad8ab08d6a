"""Slots that several items fill, files of other zones, and items that say otherwise than their files."""

import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
from cogs import write_cog
from hypothesis import given
from hypothesis import strategies as st
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_geom

from geomask.crs import transform_bounds
from geomask.errors import ItemError, ItemWarning
from geomask.grid import Grid, Window
from geomask.plan.compile import compile_manifest
from geomask.plan.cost import Cost
from geomask.plan.manifest import Manifest
from geomask.plan.sources import choose_grid, index_selection
from geomask.read.kept import Kept
from geomask.read.reader import read_manifest
from geomask.selection import Channel, Selection
from geomask.stac.band import Band, Scaling
from geomask.stac.slots import make_slots

UTM = "EPSG:32633"
ORIGIN = (500_000, 5_000_000)
BAND = Band("B02", "B02", 10)
GRID = Grid(UTM, *ORIGIN, 10, 10, 100, 160)
CHIPS = [Window(0, 0, 50, 40), Window(30, 60, 50, 40), Window(10, 110, 50, 40)]


def scene(path: Path, day: int, cloud: float, code: int, col: int = 0, width: int = 90, **options: Any) -> pystac.Item:
    """An item over a file that begins `col` columns to the right of the grid's corner."""
    origin = (ORIGIN[0] + 10 * col, ORIGIN[1])
    write_cog(path, **{"height": 100, "width": width, "first": code, "origin": origin, **options})
    return item_over(path, day, cloud)


def item_over(path: Path, day: int, cloud: float, band: Band = BAND) -> pystac.Item:
    with rasterio.open(path) as dataset:
        left, bottom, right, top = dataset.bounds
        ring = [[left, bottom], [right, bottom], [right, top], [left, top], [left, bottom]]
        polygon = {"type": "Polygon", "coordinates": [ring]}
        geometry = transform_geom(dataset.crs, "EPSG:4326", polygon)
    time = datetime(2020, 6, 1, 10, tzinfo=UTC) + timedelta(days=day)
    item = pystac.Item(path.stem, geometry, None, time, {"eo:cloud_cover": cloud})
    item.add_asset(band.asset, pystac.Asset(str(path)))
    return item


def plan(items: list[pystac.Item], grid: Grid = GRID, chips: list[Window] | None = None, **values: Any) -> Manifest:
    selection = Selection.dense(make_slots(items), (Band(**{"name": "B02", "asset": "B02", "gsd": 10, **values}),))
    return compile_manifest(selection, items, index_selection(selection, items), grid, chips)


def on_grid(item: pystac.Item, grid: Grid = GRID) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and validity of an item's file on the whole grid, by plain rasterio."""
    with rasterio.open(item.assets["B02"].href) as dataset:
        where = rasterio.windows.from_bounds(*grid.bounds, transform=dataset.transform).round_offsets()
        pixels = dataset.read(1, window=where.round_lengths(), boundless=True, fill_value=dataset.nodata or 0)
        return pixels, pixels != dataset.nodata


def mosaic(items: list[pystac.Item]) -> tuple[np.ndarray, np.ndarray]:
    """The first valid pixel of items, best first."""
    image, valid = np.zeros((GRID.height, GRID.width)), np.zeros((GRID.height, GRID.width), bool)
    for item in items:
        pixels, seen = on_grid(item)
        image = np.where(seen & ~valid, pixels, image)
        valid |= seen
    return image, valid


@pytest.fixture
def tiles(tmp_path: Path) -> list[pystac.Item]:
    """The less cloudy first: two tiles of one day, which overlap and have holes, and an earlier date under them."""
    return [
        scene(tmp_path / "west tile.tif", 3, 10, 1, 0, holes=True),
        scene(tmp_path / "east tile.tif", 3, 20, 2, 70, holes=True),
        scene(tmp_path / "earlier.tif", 1, 90, 3, 0, 160, block=64),
    ]


@pytest.mark.parametrize("shift", range(3))
def test_the_first_valid_pixel_is_shown_whatever_comes_first(tiles: list[pystac.Item], shift: int) -> None:
    image, valid = mosaic(tiles[:2])  # they cover it all, so the third is not read
    given = tiles[shift:] + tiles[:shift]
    manifest = plan(given, chips=CHIPS)
    assert [source.item for source in manifest.requests.sources] == ["west tile", "east tile"]
    cube, receipt = read_manifest(manifest)
    for number, chip in enumerate(CHIPS):
        place = np.s_[chip.row_off : chip.row_stop, chip.col_off : chip.col_stop]
        np.testing.assert_array_equal(cube.valid[number, 0], valid[place])
        np.testing.assert_array_equal(cube.image[number, 0], np.where(valid, image, 0)[place])
    assert receipt.nbytes == receipt.planned_nbytes == manifest.planned_nbytes
    assert receipt.requests == manifest.planned_requests


def test_a_mosaic_is_the_same_from_its_file_and_in_parts(tiles: list[pystac.Item], tmp_path: Path) -> None:
    manifest = plan(tiles, chips=CHIPS)
    wanted, _ = read_manifest(manifest)
    for name in ("a.geomask.jsonl", "a.geomask.parquet"):
        manifest.save(tmp_path / name)
        cube, _ = read_manifest(Manifest.load(tmp_path / name))
        np.testing.assert_array_equal(cube.image, wanted.image)
        np.testing.assert_array_equal(cube.valid, wanted.valid)
    for chip in range(len(CHIPS)):
        cube, _ = read_manifest(manifest.part([chip]))
        np.testing.assert_array_equal(cube.image[0], wanted.image[chip])


def test_the_price_of_a_mosaic_is_what_its_manifest_plans(tiles: list[pystac.Item]) -> None:
    selection = Selection.dense(make_slots(tiles), (BAND,))
    index = index_selection(selection, tiles)
    for chips in ([GRID.window], CHIPS, CHIPS[:1], CHIPS[1:2]):
        cost = Cost.of(selection, tiles, index, GRID, chips)
        manifest = compile_manifest(selection, tiles, index, GRID, chips)
        assert cost.total([0]) == manifest.planned_nbytes == manifest.dense_nbytes


def test_the_grid_of_two_tiles_holds_both(tiles: list[pystac.Item]) -> None:
    selection = Selection.dense(make_slots(tiles), (BAND,))
    index = index_selection(selection, tiles)
    assert choose_grid(selection, tiles, index) == GRID


def test_tiles_of_two_zones_make_one_mosaic(tmp_path: Path) -> None:
    west = scene(tmp_path / "west.tif", 0, 1, 1, crs="EPSG:32633", origin=(790_000, 5_000_000), width=150)
    left, _, _, top = transform_bounds("EPSG:32633", "EPSG:32634", (791_000, 4_998_700, 792_500, 5_000_300))
    origin = (left // 10 * 10, top // 10 * 10)
    east = scene(tmp_path / "east.tif", 0, 2, 2, crs="EPSG:32634", origin=origin, height=200, width=200)
    items = [west, east]
    selection = Selection.dense(make_slots(items), (BAND,))
    index = index_selection(selection, items)
    grid = choose_grid(selection, items, index)
    assert grid.crs == "EPSG:32633"
    assert grid.width > 200
    chips = [Window(0, 0, 60, 60), Window(20, 120, 60, 60), Window(40, 190, 60, 60)]
    manifest = compile_manifest(selection, items, index, grid, chips)
    cube, receipt = read_manifest(manifest, index)
    assert receipt.nbytes == receipt.planned_nbytes
    with rasterio.open(east.assets["B02"].href) as dataset:
        size = {"height": grid.height, "width": grid.width, "transform": rasterio.Affine(*grid.transform)}
        with WarpedVRT(dataset, crs=grid.crs, **size) as warped:
            other = warped.read(1)
    with rasterio.open(west.assets["B02"].href) as dataset:
        own = dataset.read(1)
    covered = np.zeros((grid.height, grid.width), np.uint16)
    top, left = round((grid.top - 5_000_000) / 10), round((790_000 - grid.left) / 10)
    covered[top : top + 100, left : left + 150] = own
    wanted = np.where(covered > 0, covered, other)
    for number, chip in enumerate(chips):
        place = np.s_[chip.row_off : chip.row_stop, chip.col_off : chip.col_stop]
        shown = cube.image[number, 0]
        np.testing.assert_array_equal(shown[covered[place] > 0], covered[place][covered[place] > 0])  # not resampled
        both = (shown > 0) & (wanted[place] > 0)
        assert both.mean() > 0.9 * (wanted[place] > 0).mean()
        assert (shown == wanted[place])[both].mean() > 0.85
        np.testing.assert_array_equal(cube.valid[number, 0], shown > 0)


@given(st.integers(-20, 60), st.integers(-20, 60), st.integers(1, 50), st.integers(1, 50))
def test_a_window_of_another_zone_is_that_part_of_the_whole(row: int, col: int, height: int, width: int) -> None:
    plan, index, whole = PLANNED
    part = compile_manifest(*plan, index, grid_34(), [Window(row, col, height, width)])
    cube, _ = read_manifest(part, index)
    np.testing.assert_array_equal(cube.image[0, 0], whole[row + 50 :, col + 50 :][:height, :width])


PLANNED: list[Any] = []
"""Selection and items, headers, and the pixels of the window from -50 to 150."""


def grid_34() -> Grid:
    bounds = transform_bounds("EPSG:32633", "EPSG:32634", (790_000, 4_999_000, 790_900, 5_000_000))
    return Grid.snap("EPSG:32634", (bounds[0], bounds[3] - 1000, bounds[0] + 1000, bounds[3]), 10)


@pytest.fixture(autouse=True, scope="module")
def _zone(tmp_path_factory: pytest.TempPathFactory) -> None:
    item = scene(tmp_path_factory.mktemp("zone") / "a.tif", 0, 1, 1, crs="EPSG:32633", origin=(790_000, 5_000_000))
    selection = Selection(make_slots([item]), (BAND,), (Channel(0, 0),))
    index = index_selection(selection, [item])
    grid = grid_34()
    cube, _ = read_manifest(compile_manifest(selection, [item], index, grid, [Window(-50, -50, 200, 200)]), index)
    PLANNED[:] = [(selection, [item]), index, cube.image[0, 0]]


def test_files_of_two_processing_baselines_are_one_scale(tmp_path: Path) -> None:
    """Sentinel-2's values grew by 1000 with baseline 04.00: the same reflectance, another offset."""
    old = scene(tmp_path / "old.tif", 0, 1, 1, 0, 80, values=lambda _b, _l, r, c: 2000 + r + c)
    new = scene(tmp_path / "new.tif", 1, 2, 1, 80, 80, values=lambda _b, _l, r, c: 3000 + r + c)
    for item, offset in ((old, 0.0), (new, -0.1)):
        item.assets["B02"].extra_fields["raster:bands"] = [{"scale": 0.0001, "offset": offset}]
    manifest = plan([old, new])
    assert manifest.scaling == ((0.0001, 0.0),)
    cube, _ = read_manifest(manifest)
    row, col = np.mgrid[:100, :80]
    np.testing.assert_array_equal(cube.image[0, 0], np.concatenate([2000 + row + col] * 2, 1))
    physical = cube.to_xarray(scaled=True)["image"].values[0, 0]
    np.testing.assert_allclose(physical, np.concatenate([0.2 + (row + col) / 1e4] * 2, 1), rtol=1e-6)


def test_a_header_wins_over_its_item_with_a_warning_that_names_both(tmp_path: Path) -> None:
    item = scene(tmp_path / "a.tif", 0, 1, 1)
    item.assets["B02"].extra_fields |= {"proj:shape": [1000, 900], "proj:epsg": 32634}
    item.properties["proj:transform"] = [10, 0, 500_010, 0, -10, 5_000_000]
    with pytest.warns(ItemWarning) as caught:
        manifest = plan([item])
    said = {str(warning.message) for warning in caught}
    assert any("proj:shape is [1000, 900] where the header of" in text and "[100, 90]" in text for text in said)
    assert any("proj:code is EPSG:32634" in text and "EPSG:32633" in text for text in said)
    assert any("proj:transform is [10, 0, 500010" in text for text in said)
    cube, _ = read_manifest(manifest)
    np.testing.assert_array_equal(cube.image[0, 0, :, :90], on_grid(item)[0][:, :90])


def test_an_item_that_says_nothing_or_the_truth_is_taken_without_a_word(tmp_path: Path) -> None:
    silent, true = scene(tmp_path / "a.tif", 0, 1, 1), scene(tmp_path / "b.tif", 1, 2, 1)
    true.assets["B02"].extra_fields |= {
        "proj:shape": [100, 90],
        "proj:code": UTM,
        "proj:transform": [10.0, 0, 500_000.00004, 0, -10.0, 5_000_000, 0, 0, 1],
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plan([silent, true])


def test_a_claim_is_no_address_to_be_fetched(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    item = scene(tmp_path / "a.tif", 0, 1, 1)
    item.assets["B02"].extra_fields |= {"proj:code": "http://127.0.0.1:9/crs", "proj:transform": {"a": 10**400}}
    with pytest.warns(ItemWarning) as caught:
        plan([item])
    assert [str(warning.message).split(" where ")[0].split(": ")[1].split(" is ")[0] for warning in caught] == [
        "proj:transform",
        "proj:code",
    ]
    assert "127.0.0.1" not in capfd.readouterr().err  # GDAL would say there that nobody answers


def test_bands_of_one_file_are_shown_in_one_order_where_an_item_lacks_one(tmp_path: Path) -> None:
    best = scene(tmp_path / "best.tif", 0, 1, 1, holes=True)
    other = scene(tmp_path / "other.tif", 0, 2, 20, -5, 95, bands=2)
    del best.assets["B02"]
    best.add_asset("B03", pystac.Asset(str(tmp_path / "best.tif")))
    other.add_asset("B03", pystac.Asset(str(tmp_path / "other.tif")))
    bands = Band("B02", "B02", 10), Band("B03", "B03", 10)
    chip = Window(10, -5, 20, 60)  # `best` does not cover it
    selection = Selection.dense(make_slots([best]), bands)
    index = index_selection(selection, [other, best])
    cube, _ = read_manifest(compile_manifest(selection, [other, best], index, GRID, [chip]), index)
    with rasterio.open(tmp_path / "best.tif") as dataset:
        first = dataset.read(1)[10:30, :55]
    with rasterio.open(tmp_path / "other.tif") as dataset:
        second = dataset.read(1)[10:30, :60]
    wanted = second.copy()
    wanted[:, 5:] = np.where(first > 0, first, second[:, 5:])
    np.testing.assert_array_equal(cube.image[0, 1], wanted)
    np.testing.assert_array_equal(cube.image[0, 0], second)


def test_the_scale_of_a_channel_is_one_for_all_chips(tmp_path: Path) -> None:
    """Chips that are planned apart, as for training, have the same numbers for the same reflectance."""
    items = [scene(tmp_path / f"{name}.tif", 0, 0, 1, 80 * at, 80) for at, name in enumerate("ab")]
    chips = [Window(10, 10, 20, 20), Window(10, 110, 20, 20)]
    for item, offset in zip(items, (0.0, -0.1), strict=True):
        item.assets["B02"].extra_fields["raster:bands"] = [{"scale": 0.0001, "offset": offset}]
    assert {plan(items, chips=[chip]).scaling for chip in chips} == {((0.0001, 0.0),)}
    rules = (Scaling("s2:processing_baseline", 0.0001, -0.1, at_least="04.00"),)
    assert {plan(items, chips=[chip], scalings=rules).scaling for chip in chips} == {((0.0001, -0.1),)}


@pytest.mark.parametrize("scale", [0, 1e-300, -1e300])
def test_a_scale_that_is_none_is_refused(tmp_path: Path, scale: float) -> None:
    item = scene(tmp_path / "a.tif", 0, 1, 1)
    item.assets["B02"].extra_fields["raster:bands"] = [{"scale": scale, "offset": 0}]
    with pytest.raises(ItemError, match=r"item a, asset B02: .* is no scale"):
        plan([item])


@pytest.mark.parametrize("without", [0, 1, 2])
def test_headers_of_the_whole_do_for_any_chip(tmp_path: Path, without: int) -> None:
    """Whether items say where they lie, or not: then all of them may be needed."""
    items = [scene(tmp_path / f"{name}.tif", 0, at, 1, 80 * at, 80) for at, name in enumerate("ab")]
    for item in items[:without]:
        item.geometry = None
    cube, _ = read_manifest(plan(items, chips=[Window(-5, 60, 50, 40)]))
    np.testing.assert_array_equal(cube.valid[0, 0], np.arange(-5, 45)[:, None] >= np.zeros(40))


def test_kept_bytes_are_not_fetched_again_and_show_the_same(tiles: list[pystac.Item]) -> None:
    selection = Selection.dense(make_slots(tiles), (BAND,))
    index, kept = index_selection(selection, tiles), Kept()
    order = [CHIPS[0], CHIPS[1], Window(32, 62, 40, 30), CHIPS[0], Window(0, 0, 100, 160)]
    seen, fetched = set(), 0
    for chip in order:
        manifest = compile_manifest(selection, tiles, index, GRID, [chip])
        wanted, alone = read_manifest(manifest, index)
        cube, receipt = read_manifest(manifest, index, kept=kept)
        np.testing.assert_array_equal(cube.image, wanted.image)
        np.testing.assert_array_equal(cube.valid, wanted.valid)
        assert receipt.nbytes == receipt.planned_nbytes <= alone.nbytes
        if chip in seen:
            assert receipt.nbytes == 0
        seen.add(chip)
        fetched += receipt.nbytes
    assert kept.nbytes == fetched


@pytest.mark.parametrize("limit", [0, 3000])
def test_what_is_kept_has_a_limit(tiles: list[pystac.Item], limit: int) -> None:
    selection = Selection.dense(make_slots(tiles), (BAND,))
    index, kept = index_selection(selection, tiles), Kept(limit)
    for chip in CHIPS * 2:
        manifest = compile_manifest(selection, tiles, index, GRID, [chip])
        cube, _ = read_manifest(manifest, index, kept=kept)
        assert kept.nbytes <= limit
        np.testing.assert_array_equal(cube.image, read_manifest(manifest, index)[0].image)

"""Which items fill which chips: nothing that could show is left out, nothing that adds nothing is read."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pystac
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from geomask.crs import transform
from geomask.errors import ItemError
from geomask.grid import Grid, Window
from geomask.plan.coverage import Coverage
from geomask.plan.tiles import window_array
from geomask.selection import Selection
from geomask.stac.footprint import footprints
from geomask.stac.profile import Band
from geomask.stac.slots import make_slots, parse_slots

START = datetime(2020, 6, 1, 12, tzinfo=UTC)
GRID = Grid("OGC:CRS84", 0, 10, 0.01, 0.01, 1000, 1000)
"""Longitude and latitude, so that footprints stay what they are."""
BANDS = (Band("red", "red", 10), Band("nir", "nir", 10))


def item(name: str, box: tuple[float, ...] | None, day: int = 0, cloud: float = 50, **fields: Any) -> pystac.Item:
    geometry = None if box is None else shapely.geometry.mapping(shapely.box(*box))
    properties = {"eo:cloud_cover": cloud}
    found = pystac.Item(name, geometry, None if box is None else list(box), START + timedelta(days=day), properties)
    for asset in fields.get("assets", ("red", "nir")):
        found.add_asset(asset, pystac.Asset(f"/{name}/{asset}.tif"))
    return found


def coverage(items: list[pystac.Item], grid: Grid | None = GRID) -> Coverage:
    return Coverage.of(Selection.dense(make_slots(items), BANDS), items, grid)


def filled(items: list[pystac.Item], *windows: Window, asset: str = "red") -> list[tuple[str, list[int]]]:
    fills = coverage(items).fill(asset, window_array(windows))
    return [(fill.item.id, fill.chips.tolist()) for fill in fills]


boxes = st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(1, 5), st.integers(1, 5)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
chips = st.builds(Window, st.integers(0, 900), st.integers(0, 900), st.integers(1, 400), st.integers(1, 400))

LEFT, RIGHT, BOTH = (0, 0, 5, 10), (5, 0, 10, 10), (0, 0, 10, 10)
CHIP = Window(400, 400, 200, 200)  # over the line between the two


def test_the_best_item_alone_is_taken_where_it_covers_a_chip() -> None:
    items = [item("cloudy", BOTH, 0, 80), item("clear", BOTH, 1, 5)]
    assert filled(items, CHIP, Window(0, 0, 9, 9)) == [("clear", [0, 1])]


def test_two_tiles_of_one_day_share_a_chip_between_them() -> None:
    items = [item("west", LEFT, 0, 10), item("east", RIGHT, 0, 20), item("other day", BOTH, 5, 90)]
    assert filled(items, CHIP, Window(400, 100, 50, 50)) == [("west", [0, 1]), ("east", [0])]


def test_an_item_that_adds_nothing_is_passed_over() -> None:
    items = [item("west", LEFT, 0, 10), item("west again", LEFT, 1, 20), item("all", BOTH, 2, 30)]
    assert filled(items, CHIP) == [("west", [0]), ("all", [0])]


def test_a_chip_over_the_edge_of_all_items_is_not_asked_of_each_of_them() -> None:
    items = [item(f"{day}", LEFT, day, day) for day in range(5)]
    assert filled(items, Window(400, -100, 200, 200)) == [("0", [0])]


def test_what_lies_within_the_margin_of_a_footprint_is_asked_for() -> None:
    items = [item("a", LEFT, 0, 1), item("b", LEFT, 1, 2)]
    assert filled(items, Window(400, 501, 2, 2)) == [("a", [0])]
    assert filled(items, Window(400, 520, 2, 2)) == []


def test_an_item_without_the_asset_gives_way_to_the_next() -> None:
    items = [item("clear", BOTH, 0, 1, assets=("red",)), item("cloudy", BOTH, 1, 90)]
    assert filled(items, CHIP, asset="red") == [("clear", [0])]
    assert filled(items, CHIP, asset="nir") == [("cloudy", [0])]


def test_items_that_do_not_say_where_they_lie_come_last_and_hide_nothing() -> None:
    items = [item("nowhere", None, 0, 1), item("nor this", None, 1, 2), item("west", LEFT, 2, 3)]
    assert filled(items, CHIP) == [("west", [0]), ("nowhere", [0]), ("nor this", [0])]
    assert filled(items, Window(400, 100, 50, 50)) == [("west", [0])]


@pytest.mark.parametrize("bbox", [[-180, -90, 180, 90], [-180, 0, 180, 10], [-170, -10, 100, 10], [-90, 0, 90, 10]])
def test_a_box_as_wide_as_the_world_is_no_strip_along_the_antimeridian(bbox: list[float]) -> None:
    items = [item("west", LEFT, 0, 1), item("world", None, 1, 2)]
    items[1].bbox = bbox
    assert filled(items, CHIP) == [("west", [0]), ("world", [0])]


def test_a_long_edge_bends_with_its_parallel() -> None:
    """40 degrees along the parallel of 50: the chord between the corners lies hundreds of kilometres beside it."""
    (shape,) = footprints([item("wide", (-5, 40, 35, 50))], "EPSG:32633")
    (x,), (y,) = transform("OGC:CRS84", "EPSG:32633", np.array([15.0]), np.array([49.9]))
    assert shape.contains(shapely.Point(x, y))
    (x,), (y,) = transform("OGC:CRS84", "EPSG:32633", np.array([15.0]), np.array([50.1]))
    assert not shape.contains(shapely.Point(x, y))


@given(st.lists(st.none() | boxes, min_size=1, max_size=6), st.lists(chips, min_size=1, max_size=4))
def test_what_any_chip_needs_is_needed_of_the_whole(
    places: list[tuple[int, int, int, int] | None], windows: list[Window]
) -> None:
    items = [item(f"{number}", box, number % 3, number) for number, box in enumerate(places)]
    of_chips = {fill.item.id for fill in coverage(items).fill("red", window_array(windows))}
    assert of_chips <= {fill.item.id for fill in coverage(items, None).fill("red")}


def test_a_coverage_of_other_slots_is_refused() -> None:
    items = [item("a", BOTH), item("b", BOTH, 40)]
    months, days = (Selection.dense(make_slots(items, rule), BANDS, rule) for rule in ("month", "clearest:2"))
    found = Coverage.of(months, items, GRID)
    assert Coverage.of(months.keep([0]), found, GRID) is found
    for other in (days, Selection.dense(months.slots, BANDS, parse_slots("month", "first"))):
        with pytest.raises(ItemError, match="other slots"):
            Coverage.of(other, found, GRID)


@pytest.mark.parametrize("code", ["EPSG:99999", 10**30, "EPSG:1 2", "http://127.0.0.1:9/crs", [1]])
def test_a_crs_that_no_one_knows_says_nothing(code: Any) -> None:
    found = item("a", BOTH)
    found.properties["proj:code"] = code
    assert shapely.bounds(coverage([found], None).shapes).tolist() == [[0, 0, 10, 10]]


def test_without_windows_all_that_adds_to_the_whole_is_taken() -> None:
    items = [item("west", LEFT, 0, 10), item("west again", LEFT, 1, 20), item("all", BOTH, 2, 30)]
    fills = coverage(items, None).fill("red")
    assert [(fill.item.id, fill.chips.tolist()) for fill in fills] == [("west", [0]), ("all", [0])]


def test_a_band_that_no_item_has_is_an_error() -> None:
    found = coverage([item("a", BOTH)])
    with pytest.raises(ItemError, match="no item has the asset swir of band swir; item a has nir, red"):
        found.check([Band("swir", "swir", 20)])


@given(st.lists(boxes, min_size=1, max_size=6), st.lists(chips, min_size=1, max_size=4))
def test_nothing_that_an_item_covers_is_lost_and_every_item_adds(
    places: list[tuple[int, int, int, int]], windows: list[Window]
) -> None:
    items = [item(f"{number}", box, number % 3, number) for number, box in enumerate(places)]
    shapes = {found.id: shapely.box(*found.bbox) for found in items}
    fills = coverage(items).fill("red", window_array(windows))
    ranks = [int(fill.item.id) for fill in fills]
    assert ranks == sorted(ranks)  # the less cloudy first
    for chip, window in enumerate(windows):
        left, bottom, right, top = GRID.bounds_of(window)
        box = shapely.box(left, bottom, right, top)
        taken = [shapes[fill.item.id] for fill in fills if chip in fill.chips]
        lost = shapely.union_all([*shapes.values()]) & box
        assert (lost - shapely.union_all(taken)).area < 1e-4 * box.area
        for number, shape in enumerate(taken):
            before = shapely.union_all(taken[:number])
            assert ((shapely.buffer(shape, 0.1) & box) - before).area > 0


def test_the_order_of_items_does_not_matter() -> None:
    items = [item("west", LEFT, 0, 10), item("east", RIGHT, 0, 20), item("all", BOTH, 5, 90)]
    assert filled(items, CHIP) == filled(items[::-1], CHIP)


def test_a_coverage_of_another_grid_is_made_anew() -> None:
    items = [item("west", LEFT, 0, 10), item("east", RIGHT, 0, 20)]
    selection = Selection.dense(make_slots(items), BANDS)
    first = Coverage.of(selection, items, GRID)
    assert Coverage.of(selection, first, GRID) is first
    moved = Coverage.of(selection, first, Grid("EPSG:3857", 0, 1e6, 100, 100, 100, 100))
    assert moved.items == first.items
    assert shapely.bounds(moved.shapes[0])[2] == pytest.approx(556_597, abs=1)


def ring(*corners: tuple[float, float]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": [[*map(list, corners), list(corners[0])]]}


AROUND = ring((179, 0), (-179, 0), (-179, 1), (179, 1))
"""Drawn across the world because its corners are on both sides of the antimeridian."""
PARTS = {
    "type": "MultiPolygon",
    "coordinates": [
        ring((179, 0), (180, 0), (180, 1), (179, 1))["coordinates"],
        ring((-180, 0), (-179, 0), (-179, 1), (-180, 1))["coordinates"],
    ],
}


@pytest.mark.parametrize("geometry", [AROUND, PARTS])
@pytest.mark.parametrize(("middle", "west"), [(180, 179), (-180, -181), (179, 179), (-179, -181)])
def test_a_footprint_across_the_antimeridian_is_one_piece_near_the_grid(
    geometry: dict[str, Any], middle: float, west: float
) -> None:
    found = pystac.Item("a", geometry, None, START, {})
    (shape,) = footprints([found], middle=middle)
    assert shapely.bounds(shape).tolist() == [west, 0, west + 2, 1]
    assert shape.area == pytest.approx(2)


def test_footprints_across_the_antimeridian_on_the_grid_of_either_zone() -> None:
    found = pystac.Item("a", AROUND, None, START, {})
    for crs, easting in (("EPSG:32660", 833_978), ("EPSG:32601", 166_021)):
        (shape,) = footprints([found], crs)
        assert (shape.bounds[0] + shape.bounds[2]) / 2 == pytest.approx(easting, abs=50)
        assert shape.area == pytest.approx(222_639 * 110_574, rel=0.01)


@pytest.mark.parametrize(
    ("geometry", "bbox", "bounds"),
    [
        (None, [1, 2, 3, 4], [1, 2, 3, 4]),
        (None, [1, 2, 0, 3, 4, 9], [1, 2, 3, 4]),
        ({"type": "Point", "coordinates": [5, 5]}, [1, 2, 3, 4], [1, 2, 3, 4]),
        (ring((0, 0), (2, 2), (2, 0), (0, 2)), None, [0, 0, 2, 2]),  # crosses itself
    ],
)
def test_a_footprint_is_the_geometry_or_else_the_bbox(
    geometry: dict[str, Any] | None, bbox: list[float] | None, bounds: list[float]
) -> None:
    (shape,) = footprints([pystac.Item("a", geometry, bbox, START, {})])
    assert shapely.bounds(shape).tolist() == bounds
    assert shape.is_valid


@pytest.mark.parametrize(
    "geometry",
    [
        None,
        [1, 2],
        {"type": "Polygon", "coordinates": []},
        {"type": "Polygon", "coordinates": [[[0, 0]]]},
        {"type": "Polygon", "coordinates": [[[0, 0]] * 4]},
        {"type": "Polygon", "coordinates": [[[10**400, 0], [1, 0], [1, 1], [10**400, 0]]]},
        {"type": "Polygon", "coordinates": [[[10**5000, 0], [1, 0], [1, 1], [10**5000, 0]]]},
        {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1e300], [0, 0]]]},
        {"type": "Polygon", "coordinates": [[["a", "b"], [1, 0], [1, 1], ["a", "b"]]]},
    ],
)
def test_an_item_that_says_nothing_has_an_empty_footprint(geometry: Any) -> None:
    for crs in ("OGC:CRS84", "EPSG:32633"):
        (shape,) = footprints([pystac.Item("a", geometry, None, START, {})], crs)
        assert shape.is_empty


def test_what_a_crs_does_not_reach_has_an_empty_footprint() -> None:
    found = pystac.Item("a", ring((-120, -80), (-119, -80), (-119, -79)), None, START, {})
    (shape,) = footprints([found], "+proj=gnom +lat_0=50 +lon_0=10")
    assert shape.is_empty


def test_several_assets_are_filled_as_each_alone() -> None:
    items = [item("clear", BOTH, 0, 1, assets=("red", "green")), item("cloudy", BOTH, 1, 90, assets=("red", "nir"))]
    found, windows = coverage(items), window_array([CHIP])
    together = found.fills(("red", "green", "nir", "red"), windows)
    assert {asset: [fill.item.id for fill in fills] for asset, fills in together.items()} == {
        "red": ["clear"],
        "green": ["clear"],
        "nir": ["cloudy"],
    }

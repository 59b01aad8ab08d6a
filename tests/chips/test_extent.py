from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from geomask.chips.extent import OutsideError, find_extent, make_index, meets, naive
from geomask.errors import GridError
from geomask.grid import Grid
from geomask.stac.slots import Slot

GRID = Grid("EPSG:32633", 500_000, 5_000_000, 10, 20, 50, 40)  # 800 m wide, 500 m high
JULY = Slot(datetime(2020, 7, 1, tzinfo=UTC), datetime(2020, 8, 1, tzinfo=UTC), "2020-07")
MAY = Slot(datetime(2020, 5, 1, tzinfo=UTC), datetime(2020, 6, 1, tzinfo=UTC), "2020-05")

EASTING, NORTHING = st.floats(499_000, 502_000), st.floats(4_999_000, 5_001_000)
BOXES = st.lists(st.tuples(EASTING, NORTHING, st.floats(1, 900), st.floats(1, 900)), min_size=1, max_size=70)


def boxes(corners: list[tuple[float, float, float, float]]) -> np.ndarray:
    return np.array([shapely.box(x, y, x + width, y + height) for x, y, width, height in corners])


@given(BOXES)
def test_the_extent_is_every_pixel_that_a_footprint_meets(corners: list[tuple[float, float, float, float]]) -> None:
    shapes = boxes(corners)
    pixels = shapely.box(*GRID.bounds)
    inside = shapely.intersection(shapely.union_all(shapes), pixels)
    deep = shapely.buffer(inside, -0.5)  # by less than a fiftieth of a pixel what is met may be left out
    try:
        extent = find_extent(shapes, GRID)
    except GridError:
        assert deep.is_empty
        return
    assert shapely.covers(pixels, extent)
    assert deep.is_empty or extent.buffer(1e-6).covers(deep)
    assert shapely.covers(shapely.buffer(inside, 20.001, join_style="mitre"), extent)
    corner_points = shapely.get_coordinates(extent)
    columns = (corner_points[:, 0] - GRID.left) / GRID.res_x
    rows = (GRID.top - corner_points[:, 1]) / GRID.res_y
    assert np.allclose(columns, columns.round(), atol=1e-6)
    assert np.allclose(rows, rows.round(), atol=1e-6)


def test_corners_that_a_catalog_rounded_do_not_add_a_pixel() -> None:
    shapes = np.array([shapely.box(500_099.99996, 4_999_800.0003, 500_300.00004, 4_999_900.0002)])
    assert find_extent(shapes, GRID).bounds == (500_100, 4_999_800, 500_300, 4_999_900)


def test_a_tilted_footprint_keeps_its_shape() -> None:
    swath = shapely.Polygon([(500_000, 4_999_500), (500_400, 4_999_500), (500_800, 5_000_000), (500_400, 5_000_000)])
    assert find_extent(np.array([swath]), GRID).area == pytest.approx(swath.area)


def test_an_item_that_does_not_say_where_it_is_may_be_anywhere() -> None:
    shapes = np.array([shapely.Polygon(), shapely.box(500_000, 4_999_990, 500_020, 5_000_000)])
    assert find_extent(shapes, GRID).bounds == GRID.bounds
    assert find_extent(np.array([], object), GRID).bounds == GRID.bounds


def test_items_beside_the_grid_are_an_error() -> None:
    with pytest.raises(GridError, match="no item meets the grid"):
        find_extent(np.array([shapely.box(0, 0, 10, 10)]), GRID)


def test_a_hundred_thousand_scenes_come_to_one_shape() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform((499_000, 4_998_900), (500_000, 4_999_500), (100_000, 2))
    shapes = np.asarray(shapely.box(*corners.T, corners[:, 0] + 1500, corners[:, 1] + 1500))
    assert find_extent(shapes, GRID).bounds == GRID.bounds


def test_the_index_has_one_row_of_naive_utc() -> None:
    index = make_index(np.array([], object), [JULY, MAY], GRID)
    (span,) = index.index
    assert (span.left, span.right) == (pd.Timestamp("2020-05-01"), pd.Timestamp("2020-07-31T23:59:59.999999"))
    assert span.closed == "both"
    assert index.crs == GRID.crs


def test_what_meets_the_index_meets_its_place_and_its_time() -> None:
    index = make_index(boxes([(500_000, 4_999_900, 100, 100)]), [MAY], GRID)
    inside, beside = (500_080, 4_999_980, 500_200, 5_000_000), (500_100, 4_999_900, 500_200, 5_000_000)
    may, june = slice(pd.Timestamp("2020-05-31"), pd.Timestamp("2020-07-01")), slice("2020-06-01", "2020-07-01")
    assert meets(index, inside, may)
    assert not meets(index, inside, june)
    assert not meets(index, beside, may)
    assert issubclass(OutsideError, IndexError)


def test_a_time_with_a_zone_is_counted_in_utc() -> None:
    assert naive(pd.Timestamp("2020-05-31T20:00", tz="America/New_York")) == pd.Timestamp("2020-06-01")
    assert naive("2020-06-01") == pd.Timestamp("2020-06-01")

"""Files off the grid: every pixel against the transformation of its centre, and against GDAL's warper."""

import math
from pathlib import Path

import numpy as np
import pytest
import rasterio
from cogs import write_cog
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Transformer
from rasterio.vrt import WarpedVRT

from geomask.grid import Grid, Window
from geomask.nearest import reach, scatter

UTM33, UTM34 = "EPSG:32633", "EPSG:32634"
SOURCE = Grid(UTM33, 790_000, 5_000_000, 10, 10, 120, 150)
LEVELS = ((120, 150), (60, 75), (7, 9))

targets = st.one_of(
    st.builds(
        lambda left, top, res: Grid(UTM33, 790_000 + left, 5_000_000 - top, res, res * 1.5, 60, 70),
        st.floats(-900, 1400),
        st.floats(-900, 1100),
        st.sampled_from([3.0, 10.0, 13.0, 40.0]),
    ),
    st.builds(
        lambda left, top: Grid(UTM34, 310_000 + left, 5_005_000 + top, 10, 10, 60, 70),
        st.floats(5000, 9000),
        st.floats(-9000, 0),
    ),
    st.builds(
        lambda left, top: Grid("EPSG:4326", left, top, 1e-4, 1.5e-4, 60, 70),
        st.floats(18.66, 18.72),
        st.floats(45.05, 45.11),
    ),
)
windows = st.builds(Window, st.integers(-9, 50), st.integers(-9, 60), st.integers(1, 30), st.integers(1, 30))


def by_hand(target: Grid, window: Window, size: tuple[int, int]) -> dict[tuple[int, int], tuple[int, int]]:
    """The pixel of the level under the centre of each pixel of the window that has one."""
    transformer = Transformer.from_crs(target.crs, SOURCE.crs, always_xy=True)
    found = {}
    for row in range(window.height):
        for col in range(window.width):
            x = target.left + (window.col_off + col + 0.5) * target.res_x
            y = target.top - (window.row_off + row + 0.5) * target.res_y
            x, y = transformer.transform(x, y)
            at = math.floor((SOURCE.top - y) / (1200 / size[0])), math.floor((x - SOURCE.left) / (1500 / size[1]))
            if 0 <= at[0] < size[0] and 0 <= at[1] < size[1]:
                found[row, col] = at
    return found


@given(targets, windows, st.sampled_from(LEVELS))
def test_each_pixel_takes_the_one_under_its_centre(target: Grid, window: Window, size: tuple[int, int]) -> None:
    wanted = by_hand(target, window, size)
    placement = scatter(target, window, SOURCE, size)
    if placement is None:
        assert not wanted
        return
    assert placement.source.within(*size)
    there = np.arange(size[0] * size[1]).reshape(size)
    part = there[
        placement.source.row_off : placement.source.row_stop, placement.source.col_off : placement.source.col_stop
    ]
    out = np.full((window.height, window.width), -1)
    placement.paste(part, out)
    assert {(row, col): divmod(value, size[1]) for (row, col), value in np.ndenumerate(out) if value >= 0} == wanted


@given(targets, st.lists(windows, max_size=4), st.sampled_from(LEVELS))
def test_what_is_planned_for_many_windows_is_what_one_reads(
    target: Grid, places: list[Window], size: tuple[int, int]
) -> None:
    array = np.array([(w.row_off, w.col_off, w.height, w.width) for w in places], np.int64).reshape(-1, 4)
    for window, part in zip(places, reach(target, array, SOURCE, size).tolist(), strict=True):
        placement = scatter(target, window, SOURCE, size)
        assert (placement is None) == (0 in part[2:])
        if placement is not None:
            assert placement.source == Window(*part)


@given(targets, windows, st.integers(0, 29), st.integers(1, 30))
def test_a_part_shows_what_its_rows_of_the_file_fill(target: Grid, window: Window, first: int, count: int) -> None:
    placement = scatter(target, window, SOURCE, LEVELS[0])
    if placement is None or first + count > placement.source.height:
        return
    pixels = np.arange(placement.source.height * placement.source.width).reshape(placement.source.height, -1)
    whole, part = (np.full((window.height, window.width), -1) for _ in range(2))
    placement.paste(pixels, whole)
    placement.narrow(first, count).paste(pixels[first : first + count], part)
    inside = (whole >= pixels[first, 0]) & (whole <= pixels[first + count - 1, -1])
    np.testing.assert_array_equal(part, np.where(inside, whole, -1))


def test_gdals_warper_agrees_but_for_what_it_interpolates(tmp_path: Path) -> None:
    path = write_cog(tmp_path / "a.tif", height=400, width=400, crs=UTM33, origin=(790_000, 5_000_000))
    with rasterio.open(path) as dataset:
        source = Grid(UTM33, 790_000, 5_000_000, 10, 10, 400, 400)
        target = Grid.snap(UTM34, source.bounds_on(Grid(UTM34, 0, 0, 1, 1, 1, 1)), 10)
        size = {"height": target.height, "width": target.width, "transform": rasterio.Affine(*target.transform)}
        with WarpedVRT(dataset, crs=UTM34, **size) as warped:
            wanted = warped.read(1)
        pixels = dataset.read(1)
    ours = np.zeros_like(wanted)
    placement = target.place(target.window, source)
    assert placement is not None
    place = placement.source
    placement.paste(pixels[place.row_off : place.row_stop, place.col_off : place.col_stop], ours)
    both = (ours > 0) & (wanted > 0)
    assert both.sum() > 0.98 * 400 * 400
    assert (ours == wanted)[both].mean() > 0.9  # GDAL is off by up to an eighth of a pixel


def test_a_zone_meets_the_other_across_the_antimeridian() -> None:
    west = Grid("EPSG:32660", 790_000, 1_000_000, 10, 10, 1000, 1000)
    east = Grid.snap("EPSG:32601", west.bounds_on(Grid("EPSG:32601", 0, 0, 1, 1, 1, 1)), 10)
    placement = east.place(east.window, west)
    assert placement is not None
    assert placement.source == west.window


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:3035"])
def test_the_size_of_a_pixel_where_the_grid_lies(crs: str) -> None:
    degrees = Grid("EPSG:4326", 15, 60, 1e-4, 1e-4, 10, 10)
    side, other = degrees.res_on(Grid(crs, 500_000, 6_600_000, 10, 10, 10, 10))
    assert side == other == pytest.approx(math.sqrt(11.14 * 5.58), rel=0.01)  # a degree at 60 N, metres / 10^4


def test_a_grid_snaps_outward_to_multiples_of_its_pixels() -> None:
    grid = Grid.snap(UTM33, (500_003, 4_999_991, 500_057, 5_000_000), 10)
    assert grid == Grid(UTM33, 500_000, 5_000_000, 10, 10, 1, 6)
    assert Grid.snap(UTM33, grid.bounds, 10) == grid
    assert Grid.snap(UTM33, grid.bounds, (5, 20)) == Grid(UTM33, 500_000, 5_000_000, 5, 20, 2, 3)


@given(st.lists(st.tuples(*[st.floats(-500, 500)] * 2), max_size=4))
def test_a_grid_grows_by_whole_pixels_around_what_it_shall_hold(corners: list[tuple[float, float]]) -> None:
    boxes = [(x, y, x + 40, y + 30) for x, y in corners]
    grid = Grid(UTM33, 0, 0, 10, 10, 5, 5)
    around = grid.around(boxes)
    assert around.lines_up(grid)
    for left, bottom, right, top in [grid.bounds, *boxes]:
        assert around.bounds[0] <= left + 0.1
        assert around.bounds[1] <= bottom + 0.1
        assert around.bounds[2] >= right - 0.1
        assert around.bounds[3] >= top - 0.1
    if not boxes:
        assert around == grid

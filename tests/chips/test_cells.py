from itertools import pairwise

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from geomask.chips.cells import cells_roi, cut_cells, in_squares, overlap, tile_grid
from geomask.errors import GridError
from geomask.grid import Grid, Window

SIDES = st.integers(1, 40)


def grid(height: int, width: int) -> Grid:
    return Grid("EPSG:32633", 500_000, 5_000_000, 10, 20, height, width)


def painted(windows: list[Window] | tuple[Window, ...], height: int, width: int) -> np.ndarray:
    """How many of the windows hold each pixel."""
    count = np.zeros((height, width), int)
    for window in windows:
        count[window.row_off : window.row_stop, window.col_off : window.col_stop] += 1
    return count


@given(SIDES, SIDES, st.integers(1, 15), st.integers(1, 15))
def test_chips_side_by_side_hold_every_pixel_once(height: int, width: int, rows: int, cols: int) -> None:
    windows = tile_grid(grid(height, width), (rows, cols), (rows, cols))
    assert (painted(windows, height, width) == 1).all()
    assert not overlap(np.array([(w.row_off, w.col_off, w.height, w.width) for w in windows]))


@given(SIDES, SIDES, st.integers(2, 15), st.integers(1, 14))
def test_chips_that_overlap_hold_every_pixel_and_are_no_more_than_it_takes(
    height: int, width: int, side: int, stride: int
) -> None:
    stride = min(stride, side)
    windows = tile_grid(grid(height, width), (side, side), (stride, stride))
    assert (painted(windows, height, width) >= 1).all()
    assert all(window.row_off < height and window.col_off < width for window in windows)
    last = max(window.row_off for window in windows)
    assert last == 0 or last - stride + side < height
    places = np.array([(w.row_off, w.col_off, w.height, w.width) for w in windows])
    assert overlap(places) == (stride < side and len(windows) > 1)


@given(st.integers(10, 80), st.integers(10, 80), st.integers(8, 30), st.integers(0, 3))
def test_cells_hold_all_but_the_guard_between_them(height: int, width: int, size: int, guard: int) -> None:
    cells = cut_cells(grid(height, width), size, guard)
    count = painted(cells, height, width)
    assert count.max() == 1
    assert count[0, 0] == count[-1, -1] == count[0, -1] == count[-1, 0] == 1  # borders of the grid are seen
    if not guard:
        assert (count == 1).all()
    rows = sorted({(cell.row_off, cell.row_stop) for cell in cells})
    cols = sorted({(cell.col_off, cell.col_stop) for cell in cells})
    for axis in (rows, cols):
        assert all(later - before == 2 * guard for (_, before), (later, _) in pairwise(axis))
    assert len(cells) == len(rows) * len(cols)


def test_cells_are_about_as_large_as_asked_for() -> None:
    cells = cut_cells(grid(100, 95), 30)
    assert {cell.height for cell in cells} <= {33, 34}
    assert {cell.width for cell in cells} <= {31, 32}


def test_cells_where_nothing_is_are_left_out() -> None:
    frame = grid(40, 40)
    corner = shapely.box(*frame.bounds_of(Window(0, 0, 20, 20)))  # touches the cells beside it
    assert cut_cells(frame, 20, extent=corner) == (Window(0, 0, 20, 20),)


def test_a_guard_that_leaves_nothing_is_an_error() -> None:
    with pytest.raises(GridError, match="guard of 10 have no middle"):
        cut_cells(grid(60, 40), 20, 10)
    with pytest.raises(GridError, match="guard of -1"):
        cut_cells(grid(40, 40), 20, -1)


def test_the_region_of_cells_is_theirs() -> None:
    frame = grid(40, 40)
    roi = cells_roi(frame, cut_cells(frame, 20, 1))
    assert roi.area == pytest.approx(4 * 19 * 19 * 200)


@given(st.integers(1, 6), st.integers(0, 1000))
def test_in_squares_each_power_of_four_chips_is_a_square(exponent: int, seed: int) -> None:
    side = 2 ** min(exponent, 4)
    windows = [(7 * row, 7 * col, 7, 7) for row in range(side) for col in range(side)]
    shuffled = np.random.default_rng(seed).permutation(windows)
    ordered = shuffled[in_squares(shuffled, 7)]
    assert sorted(map(tuple, ordered.tolist())) == windows
    for first in range(0, len(ordered), 4):
        four = ordered[first : first + 4]
        assert np.ptp(four[:, 0]) == np.ptp(four[:, 1]) == (7 if side > 1 else 0)

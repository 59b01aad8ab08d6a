from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geomask.errors import GridError
from geomask.grid import Grid, Window
from geomask.infer.tiling import Cut, Tile, Tiling

GRID = Grid("EPSG:32633", 500_000, 5_000_000, 10, 10, 70, 90)


@st.composite
def tilings(draw: st.DrawFn, overlapping: bool | None = None) -> Tiling:
    """Any that may be, over grids of sizes that are multiples of nothing."""
    stride = draw(st.sampled_from([1, 1, 2, 3, 8]))
    grid = replace(GRID, height=draw(st.integers(1, 70)), width=draw(st.integers(1, 90)))
    side, chip = (stride * draw(st.integers(1, 40 // stride)) for _ in range(2))
    blends = draw(st.booleans()) if overlapping is None else overlapping
    if blends and chip > stride:
        return Tiling(grid, side, chip, 0, stride, overlap=stride * draw(st.integers(1, chip // stride - 1)))
    return Tiling(grid, side, chip, stride * draw(st.integers(0, 3)), stride)


def seen(tile: Tile, cut: Cut) -> Window:
    """Of the grid."""
    row, col = tile.window.row_off + cut.seen.row_off, tile.window.col_off + cut.seen.col_off
    return Window(row, col, cut.seen.height, cut.seen.width)


def kept(tile: Tile, cut: Cut) -> Window:
    """Of the grid."""
    whole = seen(tile, cut)
    return Window(whole.row_off + cut.kept.row_off, whole.col_off + cut.kept.col_off, cut.kept.height, cut.kept.width)


def count(shape: tuple[int, int], windows: list[Window]) -> np.ndarray:
    """How many of some windows each pixel of the grid lies in; all have to lie on it."""
    found = np.zeros(shape, int)
    for window in windows:
        assert window.within(*shape)
        found[window.row_off : window.row_stop, window.col_off : window.col_stop] += 1
    return found


@given(tilings())
def test_the_cores_of_tiles_are_the_grid_and_each_lies_in_what_is_read_for_it(tiling: Tiling) -> None:
    tiles, shape = list(tiling), (tiling.grid.height, tiling.grid.width)
    assert (count(shape, [tile.core for tile in tiles]) == 1).all()
    assert len({tile.name for tile in tiles}) == len(tiling) == tiling.shape[0] * tiling.shape[1]
    assert [tile.number for tile in tiles] == list(range(len(tiling)))
    assert sorted(tile.name for tile in tiles) == [tile.name for tile in tiles]
    for tile in tiles:
        assert tile == tiling.tile(tile.number)
        assert (count(shape, [tile.core]) <= count(shape, [tile.window])).all()


@given(tilings(overlapping=False))
def test_what_is_kept_of_cuts_is_the_core_and_each_sees_its_halo_or_the_grids_edge(tiling: Tiling) -> None:
    shape = tiling.grid.height, tiling.grid.width
    for tile in tiling:
        cuts = tiling.cuts(tile)
        assert (count(shape, [kept(tile, cut) for cut in cuts]) == count(shape, [tile.core])).all()
        for cut in cuts:
            assert cut.seen.within(tile.window.height, tile.window.width)
            assert max(cut.kept.height, cut.kept.width) <= tiling.chip
            inner, outer = kept(tile, cut), seen(tile, cut)
            assert outer.row_off == max(0, inner.row_off - tiling.halo)
            assert outer.col_off == max(0, inner.col_off - tiling.halo)
            assert outer.row_stop == min(shape[0], inner.row_stop + tiling.halo)
            assert outer.col_stop == min(shape[1], inner.col_stop + tiling.halo)
            assert outer.row_off % tiling.stride == outer.col_off % tiling.stride == 0
            # what ends before the grid does needs no padding, which a pass over all of it does not have there
            assert outer.row_stop == shape[0] or outer.row_stop % tiling.stride == 0
            assert outer.col_stop == shape[1] or outer.col_stop % tiling.stride == 0


@given(tilings(overlapping=True))
def test_overlapping_cuts_are_those_of_the_whole_grid_that_meet_a_core(tiling: Tiling) -> None:
    """So neighbouring tiles blend the same answers at the edge that they share."""
    if not tiling.overlap:
        return
    shape = tiling.grid.height, tiling.grid.width
    whole = replace(tiling, side=-(-max(shape) // tiling.stride) * tiling.stride)
    every = [seen(whole.tile(0), cut) for cut in whole.cuts(whole.tile(0))]
    assert (count(shape, every) >= 1).all()
    for tile in tiling:
        core, cuts = count(shape, [tile.core]), tiling.cuts(tile)
        assert all(cut.seen.within(tile.window.height, tile.window.width) for cut in cuts)
        assert all(cut.kept == Window(0, 0, cut.seen.height, cut.seen.width) for cut in cuts)
        assert [seen(tile, cut) for cut in cuts] == [one for one in every if (count(shape, [one]) & core).any()]
        assert (count(shape, [seen(tile, cut) for cut in cuts])[core == 1] == count(shape, every)[core == 1]).all()


@given(tilings(overlapping=True))
def test_overlapping_cuts_share_as_much_as_asked_for_or_more_at_the_far_end(tiling: Tiling) -> None:
    if not tiling.overlap:
        return
    whole = replace(tiling, side=720)
    rows = sorted({(cut.seen.row_off, cut.seen.row_stop) for cut in whole.cuts(whole.tile(0))})
    assert rows[0][0] == 0
    assert rows[-1][1] == tiling.grid.height
    steps = [after - before for (before, _), (after, _) in pairwise(rows)]
    assert all(step == tiling.chip - tiling.overlap for step in steps[:-1])
    assert all(0 < step <= tiling.chip - tiling.overlap for step in steps)
    assert all(start % tiling.stride == 0 for start, _ in rows)


def test_a_tile_by_hand() -> None:
    tiling = Tiling(GRID, side=40, chip=20, halo=4, stride=4)
    assert tiling.shape == (2, 3)
    assert tiling.tile(4) == Tile(4, "r00001_c00001", Window(40, 40, 30, 40), Window(36, 36, 34, 48))
    assert tiling.cuts(tiling.tile(4)) == [
        Cut(Window(0, 0, 28, 28), Window(4, 4, 20, 20)),
        Cut(Window(0, 20, 28, 28), Window(4, 4, 20, 20)),
        Cut(Window(20, 0, 14, 28), Window(4, 4, 10, 20)),
        Cut(Window(20, 20, 14, 28), Window(4, 4, 10, 20)),
    ]


def test_overlapping_cuts_by_hand() -> None:
    tiling = Tiling(replace(GRID, height=32), side=40, chip=32, halo=0, overlap=8)
    assert tiling.tile(1).window == Window(0, 24, 32, 66)
    assert [cut.seen for cut in tiling.cuts(tiling.tile(1))] == [
        Window(0, 0, 32, 32),
        Window(0, 24, 32, 32),
        Window(0, 34, 32, 32),
    ]


@pytest.mark.parametrize("number", [-1, 6])
def test_a_tile_that_is_not_there_is_refused(number: int) -> None:
    with pytest.raises(GridError, match=rf"no tile {number}; .* has 6, from 0"):
        Tiling(GRID, 40, 20, 4).tile(number)


@pytest.mark.parametrize(
    ("side", "chip", "halo", "stride", "overlap"),
    [(0, 1, 0, 1, 0), (1, 0, 0, 1, 0), (1, 1, -1, 1, 0), (1, 1, 0, 0, 0), (8, 8, 0, 1, 8), (8, 8, 0, 1, -1)],
)
def test_sizes_of_nothing_are_refused(side: int, chip: int, halo: int, stride: int, overlap: int) -> None:
    with pytest.raises(GridError, match="make no tiles and chips"):
        Tiling(GRID, side, chip, halo, stride, overlap)


@pytest.mark.parametrize("sizes", [(33, 32, 8, 0), (32, 33, 8, 0), (32, 32, 9, 0), (32, 32, 0, 9)])
def test_sizes_that_would_leave_seams_are_refused(sizes: tuple[int, int, int, int]) -> None:
    side, chip, halo, overlap = sizes
    with pytest.raises(GridError, match="choose multiples of 8"):
        Tiling(GRID, side, chip, halo, stride=8, overlap=overlap)


def test_a_grid_of_very_many_tiles_is_not_laid_out_to_find_one() -> None:
    wide = replace(GRID, height=1 << 30, width=1 << 30)
    tiling = Tiling(wide, side=1024, chip=512, halo=32, stride=32)
    last = tiling.tile(len(tiling) - 1)
    assert last.core == Window((1 << 30) - 1024, (1 << 30) - 1024, 1024, 1024)
    assert len(tiling.cuts(last)) == 4

from collections import Counter
from datetime import UTC, datetime

import numpy as np
import pytest
import shapely
from torchgeo.samplers import RandomTimestampSampler, SequentialTimestampSampler

from geomask.chips.cells import cells_roi, cut_cells
from geomask.chips.dataset import StacDataset
from geomask.chips.sampler import RandomChipSampler
from geomask.chips.split import make_splits
from geomask.errors import GridError
from geomask.grid import Grid, Window
from geomask.selection import Selection
from geomask.stac.profile import Band
from geomask.stac.slots import Slot

MAY = Slot(datetime(2020, 5, 1, tzinfo=UTC), datetime(2020, 6, 1, tzinfo=UTC), "2020-05")
SELECTION = Selection.dense([MAY], [Band("B02", "B02", 10)])


def dataset(height: int, width: int) -> StacDataset:
    """Without an item: the whole grid is drawn from."""
    return StacDataset([], SELECTION, Grid("EPSG:32633", 500_000.5, 5_000_000.25, 10, 20, height, width))


def places(chips: StacDataset, sampler: RandomChipSampler) -> list[tuple[int, int]]:
    windows = [chips.window_of(index) for index in sampler]
    assert all(window.within(chips.grid.height, chips.grid.width) for window in windows)
    return [(window.row_off, window.col_off) for window in windows]


def test_every_place_is_drawn_edges_included_and_as_often() -> None:
    chips = dataset(9, 7)
    drawn = Counter(places(chips, RandomChipSampler(chips, size=(4, 5), length=6000, generator=0)))
    assert set(drawn) == {(row, col) for row in range(6) for col in range(3)}
    expected = 6000 / 18
    chi_squared = sum((count - expected) ** 2 / expected for count in drawn.values())
    assert chi_squared < 40.8  # 17 degrees of freedom, 0.1 %


def test_a_chip_as_large_as_the_grid_has_one_place_and_a_larger_one_none() -> None:
    chips = dataset(9, 9)
    assert places(chips, RandomChipSampler(chips, size=9, length=2)) == [(0, 0), (0, 0)]
    with pytest.raises(GridError, match=r"no chip of \(10, 10\)"):
        RandomChipSampler(chips, size=10)


def test_an_epoch_has_as_many_chips_as_fit_and_the_next_one_draws_anew() -> None:
    chips = dataset(64, 48)
    sampler = RandomChipSampler(chips, size=16, generator=3)
    assert len(sampler) == 12
    first, second = list(sampler), list(sampler)
    assert len(first) == len(second) == 12
    assert first != second
    assert list(RandomChipSampler(chips, size=16, generator=3)) == first


def test_chips_of_a_part_stay_in_its_cells_and_reach_their_edges() -> None:
    chips = dataset(60, 60)
    cells = cut_cells(chips.grid, 20, guard=2)
    split = make_splits(len(cells))[0]
    seen = {}
    for name, part in (("train", split.train), ("test", split.test)):
        sampler = RandomChipSampler(
            chips, size=8, length=3000, roi=cells_roi(chips.grid, [cells[cell] for cell in part]), generator=1
        )
        seen[name] = np.zeros((60, 60), bool)
        for row, col in places(chips, sampler):
            seen[name][row : row + 8, col : col + 8] = True
        for number, cell in enumerate(cells):
            window = seen[name][cell.row_off : cell.row_stop, cell.col_off : cell.col_stop]
            assert window.all() == window.any() == (number in part)
    apart = np.argwhere(seen["train"])[:, None] - np.argwhere(seen["test"])[None]
    assert np.abs(apart).max(-1).min() > 4  # twice the guard lies between them


def test_a_part_inside_of_anothers_box_is_not_drawn_more_often() -> None:
    """A frame three pixels wide, and an island in its middle: each has a box that holds the island."""
    chips = dataset(21, 21)
    frame = [Window(0, 0, 21, 3), Window(0, 18, 21, 3), Window(0, 3, 3, 15), Window(18, 3, 3, 15)]
    roi = cells_roi(chips.grid, [*frame, Window(9, 9, 3, 3)])
    drawn = Counter(places(chips, RandomChipSampler(chips, size=3, length=2920, roi=roi, generator=0)))
    assert len(drawn) == 73
    assert 15 < drawn[9, 9] < 65  # of 40, which a box drawn twice would double


def test_a_region_beside_the_chips_is_an_error() -> None:
    for roi in (shapely.box(0, 0, 1, 1), shapely.Polygon()):
        with pytest.raises(GridError, match="no chip of"):
            RandomChipSampler(dataset(9, 9), size=3, roi=roi)


def test_in_a_region_that_is_no_rectangle_chips_lie_within() -> None:
    chips = dataset(50, 50)
    left, bottom, right, top = chips.grid.bounds
    triangle = shapely.Polygon([(left, bottom), (right, bottom), (left, top)])
    drawn = places(chips, RandomChipSampler(chips, size=10, length=500, roi=triangle, generator=0))
    assert all(row >= col + 10 for row, col in drawn)
    assert (40, 0) in {(row // 8 * 8, col // 8 * 8) for row, col in drawn}


def test_it_combines_with_temporal_samplers() -> None:
    chips = dataset(20, 20)
    for temporal in (RandomTimestampSampler(chips), SequentialTimestampSampler(chips)):
        spatial = RandomChipSampler(chips, size=4, length=5)
        if isinstance(temporal, SequentialTimestampSampler):
            with pytest.warns(UserWarning, match="different number of samples"):  # torchgeo's
                sampler = spatial @ temporal
        else:
            sampler = spatial @ temporal
        assert len(list(sampler)) == 5
        assert all(chips.window_of(index).height == 4 for index in sampler)


def test_it_draws_from_combined_datasets_on_the_chips_grid() -> None:
    one, other = dataset(20, 20), dataset(20, 20)
    both = one | other
    sampler = RandomChipSampler(both, size=6, length=20)
    assert {window.row_off % 1 for window in map(one.window_of, sampler)} == {0}
    assert Window(0, 0, 20, 20) == one.window_of(next(iter(RandomChipSampler(both, size=20, length=1))))


def test_a_dataset_without_a_grid_is_an_error() -> None:
    chips = dataset(20, 20)
    del chips.grid
    with pytest.raises(GridError, match="StacDataset has no grid"):
        RandomChipSampler(chips, size=2)

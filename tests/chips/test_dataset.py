import subprocess
import sys
from pathlib import Path

import cogs
import items as stac
import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader
from torchgeo.datasets import stack_samples
from torchgeo.samplers import (
    GriddedPatchSampler,
    RandomPatchSampler,
    RandomTimestampSampler,
    SequentialTimestampSampler,
)

from geomask.chips.dataset import StacDataset
from geomask.chips.store import read_chips
from geomask.errors import GridError, SelectionError
from geomask.grid import Grid, Window
from geomask.plan.sources import choose_grid, index_selection
from geomask.selection import Selection
from geomask.stac.profile import Band
from geomask.stac.slots import make_slots

BANDS = (Band("B02", "B02", 10), Band("B03", "B03", 10))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> StacDataset:
    """Four dates ten days apart: two months, of which the earlier item fills the slot."""
    found = stac.write_items(tmp_path_factory.mktemp("a b"), dates=4, bands=("B02", "B03"), holes=True)
    selection = Selection.dense(make_slots(found), BANDS)
    grid = choose_grid(selection, found, index_selection(selection, found))
    labels = np.arange(grid.height * grid.width).reshape(grid.height, grid.width) % 5 - 1
    return StacDataset(found, selection, grid, labels)


def pixels(date: int, band: int, window: Window) -> np.ndarray:
    rows, cols = range(window.row_off, window.row_stop), range(window.col_off, window.col_stop)
    return cogs.expected(stac.code(date, band, 2), None, rows, cols, holes=True).astype("float32")


def test_a_sample_is_what_the_files_hold(dataset: StacDataset) -> None:
    window = Window(30, 7, 40, 50)
    left, bottom, right, top = dataset.grid.bounds_of(window)
    sample = dataset[left:right, bottom:top]
    want = np.stack([pixels(date, band, window) for date in (0, 3) for band in (0, 1)])
    assert sample["image"].numpy().tolist() == want.tolist()
    assert torch.equal(sample["valid"], sample["image"] != 0)
    assert not sample["valid"].all()
    assert torch.equal(sample["mask"], torch.from_numpy(dataset.labels[30:70, 7:57]))
    assert sample["chip"].tolist() == [30 * 90 + 7]
    assert sample["bounds"].tolist() == [left, bottom, right, top]
    months = pd.to_datetime(sample["time"].numpy(), unit="s")
    assert [str(month)[:7] for month in months] == ["2020-01", "2020-01", "2020-02", "2020-02"]
    assert {key: value.dtype for key, value in sample.items()} == {
        "image": torch.float32,
        "valid": torch.bool,
        "time": torch.int64,
        "mask": torch.int64,
        "chip": torch.int64,
        "bounds": torch.float64,
    }


def test_slots_outside_the_interval_are_not_valid(dataset: StacDataset) -> None:
    sample = dataset[:, :, pd.Timestamp("2020-02-01") : pd.Timestamp("2020-02-10")]
    assert not sample["valid"][:2].any()
    assert not sample["image"][:2].any()
    assert sample["valid"][2:].any()


def test_torchgeos_samplers_draw_whole_chips_on_the_grid(dataset: StacDataset) -> None:
    gridded = GriddedPatchSampler(dataset, size=30) @ SequentialTimestampSampler(dataset)
    random = RandomPatchSampler(dataset, size=16, length=7, generator=1) @ RandomTimestampSampler(dataset, generator=1)
    for sampler, size, length in ((gridded, 30, 12), (random, 16, 7)):
        batches = list(DataLoader(dataset, batch_size=4, sampler=sampler, collate_fn=stack_samples))
        assert sum(len(batch["image"]) for batch in batches) == length
        assert all(batch["image"].shape[1:] == (4, size, size) for batch in batches)


def test_it_combines_with_another_dataset(dataset: StacDataset) -> None:
    both = dataset & StacDataset(dataset.items, dataset.selection, dataset.grid)
    sampler = RandomPatchSampler(both, size=16, length=1, generator=0) @ RandomTimestampSampler(both, generator=0)
    sample = both[next(iter(sampler))]
    assert sample["image"].shape == (8, 16, 16)


def test_no_file_is_opened_before_the_first_sample(dataset: StacDataset) -> None:
    gone = [item.clone() for item in dataset.items]
    for item in gone:
        for asset in item.assets.values():
            asset.href = "/nowhere/" + Path(asset.href).name
    empty = StacDataset(gone, dataset.selection, dataset.grid)
    assert len(list(GriddedPatchSampler(empty, size=30) @ SequentialTimestampSampler(empty))) == 12
    with pytest.raises(OSError, match="no such file"):
        empty[:, :]


def test_a_slice_over_the_edge_is_not_valid_outside_and_has_no_label_there(dataset: StacDataset) -> None:
    left, _, _, top = dataset.grid.bounds
    sample = dataset[left - 20 : left + 30, top - 40 : top + 10]
    assert sample["valid"][:, 1:, 2:].any()
    assert not sample["valid"][:, 0].any()
    assert not sample["valid"][:, :, :2].any()
    assert torch.equal(sample["mask"][1:, 2:], torch.from_numpy(dataset.labels[:4, :3]))
    assert sample["mask"][0].tolist() == [-1] * 5
    assert sample["mask"][:, 0].tolist() == [-1] * 5


def test_a_slice_beside_the_grid_is_an_error(dataset: StacDataset) -> None:
    left, bottom, _, top = dataset.grid.bounds
    with pytest.raises(GridError, match="does not meet the grid"):
        dataset[left - 50 : left - 10, bottom:top]


def test_labels_of_another_size_are_an_error(dataset: StacDataset) -> None:
    with pytest.raises(GridError, match="labels of"):
        StacDataset(dataset.items, dataset.selection, dataset.grid, np.zeros((3, 3), np.int64))


def test_chips_are_read_once_as_the_samples_are(dataset: StacDataset) -> None:
    sampler = list(GriddedPatchSampler(dataset, size=30) @ SequentialTimestampSampler(dataset))
    chips, receipt = read_chips(dataset, sampler)
    assert receipt.nbytes == receipt.planned_nbytes
    assert list(chips.windows) == sorted(chips.windows, key=lambda w: (w.row_off, w.col_off))
    for index in sampler:
        sample = dataset[index]
        at = chips.windows.index(dataset.window_of(index))
        assert torch.equal(torch.from_numpy(chips.image[at]), sample["image"])
        assert torch.equal(torch.from_numpy(chips.valid[at]), sample["valid"])
        assert torch.equal(torch.from_numpy(chips.labels[at]), sample["mask"])
    assert chips.take([2, 0]).windows == (chips.windows[2], chips.windows[0])


def test_a_sampler_that_draws_nothing_and_missing_labels_are_errors(dataset: StacDataset) -> None:
    with pytest.raises(GridError, match="draws no chip"):
        read_chips(dataset, [])
    with pytest.raises(SelectionError, match="need labels"):
        read_chips(StacDataset(dataset.items, dataset.selection, dataset.grid), [dataset.bounds])


def test_labels_of_one_class_are_an_error(dataset: StacDataset) -> None:
    flat = np.where(dataset.labels < 0, -1, 3)
    with pytest.raises(SelectionError, match="show 1 class"):
        read_chips(StacDataset(dataset.items, dataset.selection, dataset.grid, flat), [dataset.bounds])


def test_the_interval_does_not_depend_on_the_time_zone(dataset: StacDataset) -> None:
    code = """
import sys
from datetime import datetime, UTC
from geomask.chips.dataset import StacDataset
from geomask.grid import Grid
from geomask.selection import Selection
from geomask.stac.profile import Band
from geomask.stac.slots import Slot
slot = Slot(datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 2, 1, tzinfo=UTC), "2020-01")
dataset = StacDataset([], Selection.dense([slot], [Band("B02", "B02", 10)]), Grid("EPSG:32633", 0, 0, 10, 10, 4, 4))
print(dataset.bounds[2])
"""
    zones = ("UTC", "America/New_York")
    out = {
        subprocess.run(
            [sys.executable, "-c", code], env={"TZ": zone, "PATH": "/usr/bin"}, check=True, capture_output=True
        ).stdout
        for zone in zones
    }
    assert len(out) == 1
    assert b"2020-01-31 23:59:59.999999" in out.pop()


def test_workers_that_are_spawned_read_the_same(dataset: StacDataset) -> None:
    sampler = GriddedPatchSampler(dataset, size=45) @ SequentialTimestampSampler(dataset)
    options = {"batch_size": 2, "sampler": list(sampler), "collate_fn": stack_samples}
    alone = torch.cat([batch["image"] for batch in DataLoader(dataset, **options)])
    crowd = DataLoader(dataset, num_workers=1, multiprocessing_context="spawn", **options)
    assert torch.equal(alone, torch.cat([batch["image"] for batch in crowd]))


def test_the_grid_need_not_be_the_files(dataset: StacDataset) -> None:
    """A grid that reaches over the files: what lies outside is not valid."""
    grid = dataset.grid
    wider = Grid(grid.crs, grid.left - 50, grid.top + 30, 10, 10, grid.height + 3, grid.width + 5)
    sample = StacDataset(dataset.items, dataset.selection, wider)[:, :]
    assert not sample["valid"][:, :3].any()
    assert not sample["valid"][:, :, :5].any()
    inner = Window(0, 0, grid.height, grid.width)
    assert sample["image"][0, 3:, 5:].numpy().tolist() == pixels(0, 0, inner).tolist()

import pickle
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import cogs
import items as stac
import numpy as np
import pandas as pd
import pytest
import rasterio
import torch
from pyproj import CRS
from torch.utils.data import DataLoader
from torchgeo.datasets import stack_samples
from torchgeo.samplers import (
    GriddedPatchSampler,
    RandomPatchSampler,
    RandomTimestampSampler,
    SequentialTimestampSampler,
)

from geomask.chips.dataset import StacDataset
from geomask.chips.memory import read_chips
from geomask.chips.sampler import RandomChipSampler
from geomask.errors import FetchError, GridError, ItemError, SelectionError
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


def test_the_grid_need_not_be_the_files(dataset: StacDataset) -> None:
    """A grid that reaches over the files: what lies outside is not valid."""
    grid = dataset.grid
    wider = Grid(grid.crs, grid.left - 50, grid.top + 30, 10, 10, grid.height + 3, grid.width + 5)
    left, bottom, right, top = wider.bounds
    sample = StacDataset(dataset.items, dataset.selection, wider)[left:right, bottom:top]
    assert not sample["valid"][:, :3].any()
    assert not sample["valid"][:, :, :5].any()
    inner = Window(0, 0, grid.height, grid.width)
    assert sample["image"][0, 3:, 5:].numpy().tolist() == pixels(0, 0, inner).tolist()


def test_samplers_draw_where_items_are(dataset: StacDataset) -> None:
    grid = dataset.grid
    wider = StacDataset(
        dataset.items,
        dataset.selection,
        Grid(grid.crs, grid.left - 5000, grid.top + 3000, 10, 10, grid.height + 700, grid.width + 900),
    )
    assert wider.index.geometry.iloc[0].bounds == pytest.approx(grid.bounds, abs=10)
    windows = [wider.window_of(index) for index in RandomChipSampler(wider, size=20, length=50)]
    assert {window.row_off for window in windows} <= set(range(299, 382))
    with pytest.raises(IndexError, match="no item meets"):
        wider[grid.left - 500 : grid.left - 400, grid.top - 100 : grid.top]


def test_as_a_series_slots_come_before_bands(dataset: StacDataset) -> None:
    ragged = dataset.selection.keep([0, 1, 3])
    series = StacDataset(dataset.items, ragged, dataset.grid, series=True)[:, :]
    flat = StacDataset(dataset.items, ragged, dataset.grid)[:, :]
    assert series["image"].shape == series["valid"].shape == (2, 2, *flat["image"].shape[1:])
    for channel, (slot, band) in enumerate([(0, 0), (0, 1), (1, 1)]):
        assert torch.equal(series["image"][slot, band], flat["image"][channel])
        assert torch.equal(series["valid"][slot, band], flat["valid"][channel])
    assert not series["valid"][1, 0].any()
    assert not series["image"][1, 0].any()
    assert series["time"].tolist() == flat["time"][[0, 2]].tolist()


def test_a_batch_is_one_plan_and_equals_its_samples(dataset: StacDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    indices = list(RandomChipSampler(dataset, size=20, length=5, generator=0))
    left, bottom, right, top = dataset.grid.bounds
    indices.insert(2, (slice(left, right), slice(bottom, top), slice(pd.Timestamp("2020-02-01"), None)))
    plans = []
    plan = StacDataset.plan
    monkeypatch.setattr(StacDataset, "plan", lambda self, windows: plans.append(len(windows)) or plan(self, windows))
    batch = dataset.__getitems__(indices)
    assert sorted(plans) == [1, 5]
    for index, sample in zip(indices, batch, strict=True):
        alone = dataset[index]
        assert alone.keys() == sample.keys()
        assert all(torch.equal(alone[name], sample[name]) for name in alone)
    plans.clear()
    loader = DataLoader(dataset, batch_size=3, sampler=indices[:2] + indices[3:], collate_fn=stack_samples)
    assert [len(loaded["image"]) for loaded in loader] == plans == [3, 2]


def test_only_headers_of_files_that_a_chip_needs_are_fetched(tmp_path: Path) -> None:
    """Two places on one grid: a chip of the one opens nothing of the other."""
    found = []
    for number, east in enumerate((500_000, 503_000)):
        place = stac.write_items(tmp_path / str(number), dates=1, bands=("B02",), origin=(east, 5_000_000))
        found += [item.clone() for item in place]
        found[-1].id = f"place {number}"
    selection = Selection.dense(make_slots(found), BANDS[:1])
    chips = StacDataset(found, selection, Grid("EPSG:32633", 500_000, 5_000_000, 10, 10, 100, 390))
    assert not chips.headers
    for number, east in enumerate((500_000, 503_000)):
        sample = chips[east : east + 300, 4_999_500:4_999_800]
        assert sample["valid"].all()
        assert len(chips.headers) == number + 1
    assert len(chips.headers.trips) == 2


def test_an_index_of_many_items_is_made_from_metadata_alone(dataset: StacDataset) -> None:
    many = []
    for number in range(2000):
        item = dataset.items[0].clone()
        item.id = f"item {number}"
        item.datetime += timedelta(seconds=2 * number)
        for asset in item.assets.values():
            asset.href = f"/nowhere/{number}.tif"
        many.append(item)
    chips = StacDataset(many, dataset.selection, dataset.grid)
    assert len(chips.coverage.items) == 2000
    assert chips.index.geometry.iloc[0].equals(dataset.index.geometry.iloc[0])
    assert len(chips.index) == 1


@pytest.mark.parametrize("kind", ["spawn", "forkserver"])
def test_workers_read_the_same(dataset: StacDataset, kind: str) -> None:
    indices = list(GriddedPatchSampler(dataset, size=45) @ SequentialTimestampSampler(dataset))
    options = {"batch_size": 2, "sampler": indices, "collate_fn": stack_samples}
    alone = list(DataLoader(dataset, **options))
    crowd = list(DataLoader(dataset, num_workers=1, multiprocessing_context=kind, **options))
    assert len(alone) == len(crowd) == 3
    for one, other in zip(alone, crowd, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # Python says so of fork
def test_a_forked_worker_says_at_once_how_to_start_it(dataset: StacDataset) -> None:
    dataset[:, :]  # this process has fetched
    loader = DataLoader(
        dataset, num_workers=1, multiprocessing_context="fork", sampler=[(slice(None), slice(None))], timeout=60
    )
    with pytest.raises(FetchError, match="start workers with multiprocessing_context='forkserver' or 'spawn'"):
        next(iter(loader))


def test_pixels_of_another_size_and_another_place_are_refused(dataset: StacDataset) -> None:
    left, bottom, right, top = dataset.grid.bounds
    with pytest.raises(GridError, match="pixels of 20 x 20"):
        dataset[left:right:20, bottom:top:20]
    with pytest.raises(GridError, match="chips stay in EPSG:32633"):
        dataset.crs = CRS.from_epsg(32634)
    with pytest.raises(GridError, match="chips keep pixels"):
        dataset.res = 20
    dataset.crs, dataset.res = CRS.from_epsg(32633), 10.0
    assert dataset.res == (10, 10)


def test_a_slice_off_the_grid_keeps_its_size(dataset: StacDataset) -> None:
    left, _, _, top = dataset.grid.bounds
    for shift in (0.0, 2.5, 4.999, 5.0, 5.001, 7.5):
        window = dataset.window_of((slice(left + shift, left + shift + 160), slice(top - shift - 170, top - shift)))
        assert (window.height, window.width) == (17, 16)
        assert abs(window.col_off * 10 - shift) <= 5
        x, y, _ = dataset.snap((slice(left + shift, left + shift + 160), slice(top - shift - 170, top - shift)))
        assert dataset.window_of((x, y)) == window
        assert (x.start - left) % 10 == (top - y.stop) % 10 == 0


def test_files_that_differ_in_scale_need_a_profile_that_says_which(tmp_path: Path) -> None:
    places = {500_000: 1e-4, 503_000: 2e-4}
    found = []
    for east, scale in places.items():
        place = tmp_path / str(east)
        (item,) = stac.write_items(place, dates=1, bands=("B02",), origin=(east, 5_000_000), driver="GTiff")
        item.id = f"at {east}"
        fields = item.assets["B02"].extra_fields
        for name in ("bands", "raster:scale", "raster:offset"):
            del fields[name]
        with rasterio.open(item.assets["B02"].href, "r+") as file:
            file.scales = (scale,)
        found.append(item)
    slots, grid = make_slots(found), Grid("EPSG:32633", 500_000, 5_000_000, 10, 10, 100, 390)
    chips = StacDataset(found, Selection.dense(slots, BANDS[:1]), grid)
    assert chips[500_000:500_100, 4_999_500:4_999_600]["valid"].all()
    with pytest.raises(ItemError, match="2020-01/B02 differ in scale and offset"):
        chips[503_000:503_100, 4_999_500:4_999_600]
    told = StacDataset(found, Selection.dense(slots, [Band("B02", "B02", 10, scale=1e-4)]), grid)
    for east in places:
        assert told[east : east + 100, 4_999_500:4_999_600]["valid"].all()
    assert told.scaling == ((1e-4, 0.0),)


def test_every_sampler_of_torchgeo_draws_and_slots_stay_in_another_time_zone(
    dataset: StacDataset, tmp_path: Path
) -> None:
    path = tmp_path / "chips.pickle"
    path.write_bytes(pickle.dumps(dataset))
    program = f"""
import pickle, warnings
import pandas as pd
from torchgeo.samplers import *
from geomask.chips.sampler import RandomChipSampler
dataset = pickle.load(open({str(path)!r}, "rb"))
month = pd.Timedelta(days=10)
temporal = [
    RandomTimestampSampler(dataset, generator=0), SequentialTimestampSampler(dataset),
    RandomTimedeltaSampler(dataset, delta=month, generator=0), SequentialTimedeltaSampler(dataset, delta=month),
    RandomPeriodSampler(dataset, freq="M", length=3, generator=0), SequentialPeriodSampler(dataset, freq="M"),
]
warnings.simplefilter("ignore")
for spatial in (GriddedPatchSampler(dataset, size=50), RandomChipSampler(dataset, size=50, length=2, generator=0)):
    for sampler in temporal:
        samples = [dataset[index] for index in list(spatial @ sampler)[:3]]
        assert samples and all(sample["valid"].any() for sample in samples), sampler
        if not sampler.__class__.__name__.startswith("Random"):
            print(sampler.__class__.__name__, [sample["valid"].sum((1, 2)).tolist() for sample in samples])
sample = dataset[:, :]
print(sample["time"].tolist(), sample["valid"].sum().item(), dataset.bounds[2])
"""
    out = subprocess.run(
        [sys.executable, "-c", program], env={"TZ": "America/New_York"}, capture_output=True, text=True, check=False
    )
    assert out.returncode == 0, out.stderr
    here = dataset[:, :]
    assert out.stdout.splitlines()[-1] == f"{here['time'].tolist()} {here['valid'].sum().item()} {dataset.bounds[2]}"
    assert out.stdout.splitlines()[-1].endswith("Timestamp('2020-02-29 23:59:59.999999'), 1)")
    assert "SequentialPeriodSampler" in out.stdout

from pathlib import Path

import geopandas
import items as stac
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
import torch
from torch.utils.data import DataLoader
from torchgeo.datasets import IntersectionDataset, RasterDataset, VectorDataset, stack_samples
from torchgeo.samplers import (
    GriddedPatchSampler,
    RandomPatchSampler,
    RandomTimestampSampler,
    SequentialTimestampSampler,
)

from geomask.chips.dataset import StacDataset
from geomask.chips.joined import JoinedDataset, join_samples, unite_samples
from geomask.chips.sampler import RandomChipSampler
from geomask.errors import GridError
from geomask.grid import Grid, Window
from geomask.plan.sources import choose_grid, index_selection
from geomask.selection import Selection
from geomask.stac.profile import Band
from geomask.stac.slots import make_slots

BANDS = (Band("B02", "B02", 10), Band("B03", "B03", 10))


class Classes(RasterDataset):
    """torchgeo's own kind of labels: a raster with the day in its name."""

    is_image = False
    filename_regex = r".*_(?P<date>\d{8})"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("a b")


@pytest.fixture(scope="module")
def chips(folder: Path) -> StacDataset:
    found = stac.write_items(folder / "items", dates=4, bands=("B02", "B03"), holes=True)
    selection = Selection.dense(make_slots(found), BANDS)
    return StacDataset(found, selection, choose_grid(selection, found, index_selection(selection, found)))


@pytest.fixture(scope="module")
def truth(chips: StacDataset) -> np.ndarray:
    """A class for every pixel of a grid that is a hundred pixels wider and higher than the chips'."""
    return np.random.default_rng(0).integers(0, 200, (chips.grid.height + 100, chips.grid.width + 100)).astype("uint8")


@pytest.fixture(scope="module")
def raster(folder: Path, chips: StacDataset, truth: np.ndarray) -> Classes:
    grid = chips.grid
    transform = rasterio.Affine(10, 0, grid.left - 500, 0, -10, grid.top + 500)
    profile = {"count": 1, "dtype": "uint8", "crs": grid.crs, "transform": transform, "tiled": True}
    (folder / "labels").mkdir()
    height, width = truth.shape
    with rasterio.open(
        folder / "labels" / "classes_20200210.tif", "w", "GTiff", height=height, width=width, **profile
    ) as file:
        file.write(truth, 1)
    return Classes(folder / "labels")


def at(truth: np.ndarray, window: Window) -> np.ndarray:
    return truth[50 + window.row_off : 50 + window.row_stop, 50 + window.col_off : 50 + window.col_stop]


def test_labels_of_a_raster_dataset_lie_on_the_chips(chips: StacDataset, raster: Classes, truth: np.ndarray) -> None:
    both = JoinedDataset(chips, raster, spatial_only=True)
    sampler = RandomChipSampler(both, size=17, length=8, generator=0)
    loader = DataLoader(both, batch_size=4, sampler=sampler, collate_fn=stack_samples)
    for batch in loader:
        for number, chip in enumerate(batch["chip"][:, 0].tolist()):
            window = Window(*divmod(chip, chips.grid.width), 17, 17)
            assert batch["mask"][number].tolist() == at(truth, window).tolist()
            assert tuple(batch["bounds"][number].tolist()) == chips.grid.bounds_of(window)
        assert batch["bounds"].dtype == torch.float64
        assert batch["image"].shape == (4, 4, 17, 17)
        assert batch["valid"].any()


def test_a_label_of_a_day_leaves_the_slot_of_that_day(chips: StacDataset, raster: Classes) -> None:
    both = chips & raster
    assert isinstance(both, JoinedDataset)
    assert both.grid == chips.grid
    index = next(iter(GriddedPatchSampler(both, size=40) @ SequentialTimestampSampler(both)))
    sample = both[index]
    assert not sample["valid"][:2].any()
    assert sample["valid"][2:].any()
    assert sample["mask"].shape == (40, 40)


def test_a_slice_off_the_grid_is_snapped_for_both(chips: StacDataset, raster: Classes, truth: np.ndarray) -> None:
    both = JoinedDataset(chips, raster, spatial_only=True)
    left, _, _, top = chips.grid.bounds
    sample = both[left + 103 : left + 203, top - 297 : top - 97]
    assert sample["mask"].tolist() == at(truth, Window(10, 10, 20, 10)).tolist()
    assert sample["chip"].tolist() == [10 * chips.grid.width + 10]


def test_float64_bounds_come_first_in_torchgeos_own_intersection(chips: StacDataset, raster: Classes) -> None:
    both = IntersectionDataset(chips, raster, spatial_only=True)
    sampler = RandomPatchSampler(both, size=16, length=2, generator=0) @ RandomTimestampSampler(both, generator=0)
    for index in sampler:
        sample = both[index]
        window = chips.window_of(index)
        assert sample["bounds"].dtype == torch.float64
        assert tuple(sample["bounds"][:4].tolist()) == chips.grid.bounds_of(window)
        assert sample["chip"].shape == (1,)
        assert sample["mask"].shape == (16, 16)


def test_labels_of_a_vector_dataset(chips: StacDataset, folder: Path) -> None:
    left, _, _, top = chips.grid.bounds
    areas = [
        shapely.box(left - 100, top - 2000, left + 200, top + 100),
        shapely.box(left + 200, top - 2000, left + 9000, top),
    ]
    frame = geopandas.GeoDataFrame({"kind": [3, 7]}, geometry=areas, crs=chips.grid.crs)
    frame.to_file(folder / "areas.gpkg")
    both = chips & VectorDataset(folder / "areas.gpkg", label_name="kind", res=10)
    sample = both[left + 100 : left + 300, top - 200 : top]
    assert sample["mask"].tolist() == [[3] * 10 + [7] * 10] * 20
    assert sample["bounds"].tolist() == [left + 100, top - 200, left + 300, top]


def test_two_stac_datasets_are_stacked_and_keep_one_place(chips: StacDataset) -> None:
    both = chips & StacDataset(chips.items, chips.selection.keep([1]), chips.grid)
    sampler = RandomPatchSampler(both, size=16, length=1, generator=0) @ RandomTimestampSampler(both, generator=0)
    sample = both[next(iter(sampler))]
    assert sample["image"].shape == sample["valid"].shape == (5, 16, 16)
    assert torch.equal(sample["image"][4], sample["image"][1])
    assert (sample["time"].shape, sample["chip"].shape, sample["bounds"].shape) == ((5,), (1,), (4,))


def test_a_union_shows_what_either_has_and_passes_over_what_lies_outside(tmp_path: Path) -> None:
    grid = Grid("EPSG:32633", 500_000, 5_000_000, 10, 10, 100, 390)
    parts = []
    for number, east in enumerate((500_000, 503_000)):
        found = stac.write_items(tmp_path / str(number), dates=1, bands=("B02",), origin=(east, 5_000_000))
        parts.append(StacDataset(found, Selection.dense(make_slots(found), BANDS[:1]), grid))
    union = parts[0] | parts[1]
    for part, east in zip(parts, (500_000, 503_000), strict=True):
        index = slice(east, east + 200), slice(4_999_700, 5_000_000)
        sample, alone = union[index], part[index]
        assert all(torch.equal(sample[name], alone[name]) for name in alone)
    with pytest.raises(IndexError, match="not found"):
        union[501_500:501_600, 4_999_500:4_999_600]
    sampler = RandomChipSampler(union, size=20, length=40, generator=0)
    corners = {union[index]["chip"].item() % 390 for index in sampler}
    assert corners <= {*range(71), *range(300, 371)}
    assert min(corners) < 80
    assert max(corners) > 299


def test_a_union_takes_what_is_not_valid_from_the_other_and_its_labels(
    chips: StacDataset, raster: Classes, truth: np.ndarray
) -> None:
    left, _, _, top = chips.grid.bounds
    index = (
        slice(left, left + 300),
        slice(top - 300, top),
        slice(pd.Timestamp("2020-01-01"), pd.Timestamp("2020-03-01")),
    )
    both = (chips | raster)[index]
    alone = chips[index]
    assert both["mask"].tolist() == at(truth, Window(0, 0, 30, 30)).tolist()
    assert all(torch.equal(both[name], alone[name]) for name in alone)
    january, february = (StacDataset(chips.items[at : at + 2], chips.selection, chips.grid) for at in (0, 2))
    assert not january[index]["valid"][2:].any()
    halves = (january | february)[index]
    assert all(torch.equal(halves[name], alone[name]) for name in alone)


def test_below_zero_a_valid_pixel_is_not_lost_in_a_union() -> None:
    one = {"image": torch.tensor([-5.0, 0.0, 0.0]), "valid": torch.tensor([True, False, False])}
    other = {"image": torch.tensor([0.0, -7.0, 0.0]), "valid": torch.tensor([False, True, False])}
    united = unite_samples([{**one, "mask": torch.tensor([2, -1])}, {**other, "mask": torch.tensor([4, 0])}])
    assert united["image"].tolist() == [-5, -7, 0]
    assert united["valid"].tolist() == [True, True, False]
    assert united["mask"].tolist() == [2, 0]
    assert unite_samples([other]) is other


def test_labels_on_the_left_must_lie_on_the_chips_grid(chips: StacDataset, raster: Classes, truth: np.ndarray) -> None:
    both = raster & chips
    left, _, _, top = chips.grid.bounds
    sample = both[left + 100 : left + 200, top - 200 : top, pd.Timestamp("2020-02-10") :]
    assert sample["mask"].tolist() == at(truth, Window(0, 10, 20, 10)).tolist()
    assert tuple(sample["bounds"][-4:].tolist()) == (left + 100, top - 200, left + 200, top)
    coarse = Classes(raster.paths, res=20)
    with pytest.raises(GridError, match="put them left of &"):
        coarse & chips


def test_what_both_samples_have_is_concatenated_but_for_the_place() -> None:
    one = {"image": torch.zeros(2, 3, 3), "bounds": torch.tensor([1.1, 2, 3, 4], dtype=torch.float64)}
    other = {"image": torch.ones(1, 3, 3), "bounds": torch.ones(9), "mask": torch.ones(3, 3)}
    joined = join_samples([one, other])
    assert joined["image"].shape == (3, 3, 3)
    assert joined["bounds"] is one["bounds"]
    assert joined["mask"] is other["mask"]


def test_transforms_are_applied(chips: StacDataset, raster: Classes) -> None:
    both = JoinedDataset(chips, raster, spatial_only=True, transforms=lambda sample: {"mask": sample["mask"] + 1})
    plain = JoinedDataset(chips, raster, spatial_only=True)
    index = next(iter(RandomChipSampler(both, size=9, length=1)))
    assert both[index]["mask"].tolist() == (plain[index]["mask"] + 1).tolist()

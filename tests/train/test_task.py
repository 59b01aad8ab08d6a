"""What a task knows of the numbers its chips are in: of items, of versions, of a chip store."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
import torch
from cogs import write_cog

from geomask.chips.dataset import StacDataset
from geomask.chips.store_plan import find_chips, plan_store
from geomask.chips.writer import write_store
from geomask.masks.grain import Grain
from geomask.masks.hard import HardGate, HardMask
from geomask.plan.compile import compile_manifest
from geomask.plan.sources import index_selection
from geomask.stac.band import Band
from geomask.train.run import Run, load_run
from geomask.train.settings import Settings
from geomask.train.step import Training
from geomask.train.task import Task, prepare, prepare_store

SIDE, BANDS = 120, (Band("red", "red", 10), Band("nir", "nir", 10))
SETTINGS = Settings(steps=2, width=4)
RED, NIR, SMALL = [1e-4, -0.1], [0.5, 3.0], [0.004, 0.0]
"""(scale, offset): as items say, as the file says of which items say nothing, and of another asset."""


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[pystac.Item]:
    """Two months of red and nir, and red in a smaller file of 8 bits."""
    folder, found = tmp_path_factory.mktemp("task"), []
    for month in (1, 2):
        item = pystac.Item(f"month {month}", None, None, datetime(2020, month, 5, tzinfo=UTC), {})
        for name, side, dtype in (("red", SIDE, "uint16"), ("nir", SIDE, "uint16"), ("small", SIDE // 2, "uint8")):
            path = folder / f"{name} {month}.tif"
            write_cog(path, height=side, width=side, gsd=10 * SIDE / side, dtype=dtype, first=month)
            item.add_asset(name, pystac.Asset(str(path)))
        with rasterio.open(folder / f"nir {month}.tif", "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
            file.scales, file.offsets = NIR[:1], NIR[1:]
        for name, (scale, offset) in (("red", RED), ("small", SMALL)):
            item.assets[name].extra_fields["raster:bands"] = [{"scale": scale, "offset": offset}]
        found.append(item)
    return found


@pytest.fixture(scope="module")
def labels(items: list[pystac.Item], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labels") / "labels.tif"
    with rasterio.open(items[0].assets["red"].href) as like:
        profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "crs": like.crs, "transform": like.transform}
    with rasterio.open(path, "w", height=SIDE, width=SIDE, **profile) as file:
        file.write((np.add.outer(np.arange(SIDE), np.arange(SIDE)) // 15 % 2).astype("uint8"), 1)
    return path


def save(task: Task, gate: HardGate | HardMask, folder: Path) -> Run:
    trained = Training(task.chips, task.splits[0], gate, SETTINGS, 0).finish()
    task.save(folder, trained, "learned", 0, 0, "50%", SETTINGS)
    return load_run(folder)


def planned_scaling(run: Run, items: list[pystac.Item], task: Task) -> list[list[float]]:
    """What the same items are read in without being told, in the order of the run's selection."""
    index = index_selection(run.selection, items)
    return [list(pair) for pair in compile_manifest(run.selection, items, index, task.grid).scaling]


def test_a_run_of_items_or_of_a_store_has_the_scaling_that_its_chips_were_read_in(
    items: list[pystac.Item], labels: Path, tmp_path: Path
) -> None:
    task = prepare(items, BANDS, labels, cell=30, guard=1)
    run = save(task, HardGate([3, 0]), tmp_path / "run")
    assert run.selection.names == ["2020-01/red", "2020-02/nir"]
    assert run.record.scaling == [RED, NIR] == planned_scaling(run, items, task)
    assert run.record.size == [30, 30]

    with rasterio.open(labels) as file:
        dataset = StacDataset(items, task.selection, task.grid, file.read(1).astype(np.int64))
    write_store(tmp_path / "store", dataset, plan_store(dataset, find_chips(dataset, (24, 40), (24, 40))))
    stored = save(prepare_store(tmp_path / "store", guard=1), HardGate([1, 2]), tmp_path / "stored")
    assert stored.selection.names == ["2020-01/nir", "2020-02/red"]
    assert stored.record.scaling == [NIR, RED] == planned_scaling(stored, items, task)
    assert stored.record.size == [24, 40]


def test_a_run_of_versions_has_the_scaling_of_the_version_that_is_read_of_each_channel(
    items: list[pystac.Item], labels: Path, tmp_path: Path
) -> None:
    task = prepare(items, BANDS, labels, cell=30, guard=1, levels=(0,), alternatives={"red": ["small"]})
    assert task.scalings is not None
    assert [list(map(list, of)) for of in task.scalings] == [
        [RED, NIR, RED, NIR],
        [RED, NIR, RED, NIR],
        [SMALL, [1.0, 0.0], SMALL, [1.0, 0.0]],  # there is no small nir
    ]
    for planes, wanted in (
        ([(2, 0), (1, 2), (0, 3)], [SMALL, RED, NIR]),
        ([(1, 1), (2, 2)], [NIR, SMALL]),
    ):
        choice = torch.zeros(3, 4, 1, 1)
        for plane in planes:
            choice[plane] = 1
        run = save(task, HardMask(Grain((0, 1, 2, 3)), choice), tmp_path / "run")
        assert run.record.scaling == wanted == planned_scaling(run, items, task)

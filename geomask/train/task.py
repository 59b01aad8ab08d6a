"""What is learned from: items, labels and a grid made into chips, prices and spatial splits, ready to train on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..chips.labels import IGNORE, load_labels, name_classes
from ..chips.split import Split, make_splits
from ..chips.store import Chips, read_chips
from ..errors import GridError
from ..grid import Grid, Window
from ..plan.cost import Cost
from ..plan.sources import choose_grid, index_selection
from ..selection import Selection
from ..stac.slots import make_slots
from .baselines import Method, majority_score, train_method
from .run import Record, Run, save_run
from .step import Settings, score

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pystac import Item
    from torchgeo.datasets.utils import GeoSlice

    from ..chips.dataset import StacDataset
    from ..read.receipt import Receipt
    from ..stac.profile import Band
    from ..stac.slots import Period


@dataclass(frozen=True)
class Task:
    """Chips of all channels, with what each channel costs and which cells are for what."""

    selection: Selection
    """All channels at full resolution."""
    grid: Grid
    chips: Chips
    cost: Cost
    """Of each channel over the whole grid."""
    splits: tuple[Split, ...]
    class_names: tuple[str, ...]
    receipt: Receipt
    """What reading the chips cost."""

    def train(
        self,
        method: Method,
        fold: int,
        seed: int,
        budget: str,
        settings: Settings,
        folder: Path,
        on_step: Callable[[], object] | None = None,
    ) -> Run:
        """Train by a method on one split and write the run. Raises what `train_method` and `save_run` raise."""
        split, nbytes = self.splits[fold], self.cost.budget(budget)
        trained = train_method(method, self.chips, split, self.cost, nbytes, settings, seed, on_step)
        record = Record(
            method=method,
            seed=seed,
            fold=fold,
            folds=len(self.splits),
            budget="100%" if method == "dense" else budget,
            planned_nbytes=self.cost.total(trained.channels),
            dense_nbytes=self.cost.dense,
            class_names=list(self.class_names),
            gsd=self.grid.res_y,
            scores={
                "validation": score(trained.model, self.chips, split.validation),
                "test": score(trained.model, self.chips, split.test),
                "majority": majority_score(self.chips, split),
            },
            curve=[[step, value] for step, value in trained.curve],
            settings=asdict(settings),
        )
        return save_run(folder, trained, self.selection, record)


def prepare(
    items: Sequence[Item],
    bands: Sequence[Band],
    labels: str | Path,
    cuts: Sequence[float] = (),
    period: Period = "month",
    cell: int = 20,
    guard: int = 2,
    folds: int = 3,
    on_done: Callable[[], object] | None = None,
) -> Task:
    """Read the chips of all (slot, band) channels once, over all items.

    Chips are cells of `cell` x `cell` pixels of the finest file's grid. Labels within `guard` pixels of a cell's edge
    are left out, so that those of two cells are twice the guard apart, and a network that looks no further than the
    guard scores the same on a chip as on the whole scene. Cells without a label are dropped. `cuts` turn labels into
    classes. Raises GridError where the grid is too small for cells, and what searching, planning and reading raise.
    """
    from ..chips.dataset import StacDataset  # torchgeo takes several seconds

    selection = Selection.dense(make_slots(items, period), bands)
    index = index_selection(selection, items, on_done)
    grid = choose_grid(selection, items, index)
    classes = load_labels(labels, grid, cuts)
    dataset = StacDataset(items, selection, grid, _guarded(classes, cell, guard), index)
    count = len(cuts) + 1 if len(cuts) else None
    chips, receipt = read_chips(dataset, _cells(dataset, cell), count, on_done)
    chips = chips.take([number for number, known in enumerate(chips.labels != IGNORE) if known.any()])
    cost = Cost.of(selection, items, index, grid)
    names = name_classes(cuts, chips.classes)
    return Task(selection, grid, chips, cost, make_splits(len(chips), folds), names, receipt.after(index))


def _guarded(labels: np.ndarray, cell: int, guard: int) -> np.ndarray:
    """The labels (rows, columns) without those within `guard` pixels of the edge of their cell."""
    if guard < 0 or cell <= 2 * guard or min(labels.shape) < cell:
        raise GridError(
            f"cells of {cell} pixels with a guard of {guard} do not fit {labels.shape[0]} x {labels.shape[1]} pixels; "
            "choose a cell of more than twice the guard that the grid holds"
        )
    inner = [(np.arange(size) % cell >= guard) & (np.arange(size) % cell < cell - guard) for size in labels.shape]
    return np.where(np.logical_and.outer(*inner), labels, IGNORE)


def _cells(dataset: StacDataset, cell: int) -> list[GeoSlice]:
    """Every whole cell of the grid, from its top left corner, drawn by torchgeo's gridded sampler."""
    import shapely
    from torchgeo.samplers import GriddedPatchSampler, SequentialTimestampSampler

    # What is left of the last whole cell to the right and below is not used: the sampler would shift the cells.
    rows, cols = dataset.grid.height // cell * cell, dataset.grid.width // cell * cell
    roi = shapely.box(*dataset.grid.bounds_of(Window(0, 0, rows, cols)))
    return list(GriddedPatchSampler(dataset, size=cell, roi=roi) @ SequentialTimestampSampler(dataset))

"""What is learned from: items, labels and a grid made into chips, prices and spatial splits, ready to train on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from ..chips.labels import load_labels, name_classes
from ..chips.split import Split, make_splits
from ..chips.store import Chips, read_chips
from ..errors import GridError
from ..grid import Grid, Window
from ..plan.compile import choose_grid, compile_manifest, index_selection
from ..plan.cost import Cost
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
    from ..read.reader import Receipt
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

    Chips are cells of `cell` x `cell` pixels of the finest file's grid, less `guard` pixels on every side, so that
    cells of different parts are twice the guard apart. `cuts` turn labels into classes. Raises GridError where the grid
    is too small for cells, and what searching, planning and reading raise.
    """
    from ..chips.dataset import StacDataset  # torchgeo takes several seconds

    selection = Selection.dense(make_slots(items, period), bands)
    index = index_selection(selection, items, on_done)
    grid = choose_grid(selection, items, index)
    dataset = StacDataset(items, selection, grid, load_labels(labels, grid, cuts), index)
    chips, receipt = read_chips(dataset, _cells(dataset, cell, guard), len(cuts) + 1 if len(cuts) else None, on_done)
    cost = Cost.of(compile_manifest(selection, items, index, grid))
    names = name_classes(cuts, chips.classes)
    return Task(selection, grid, chips, cost, make_splits(len(chips), folds), names, receipt)


def _cells(dataset: StacDataset, cell: int, guard: int) -> list[GeoSlice]:
    """A chip in the middle of each whole cell of the grid, drawn by torchgeo's gridded sampler."""
    import shapely
    from torchgeo.samplers import GriddedPatchSampler, SequentialTimestampSampler

    grid, size = dataset.grid, cell - 2 * guard
    if guard < 0 or size < 1 or min(grid.height, grid.width) < cell:
        raise GridError(
            f"cells of {cell} pixels with a guard of {guard} do not fit {grid.height} x {grid.width} pixels; "
            "choose a cell of more than twice the guard that the grid holds"
        )
    # What is left of the last whole cell to the right and below is not used: the sampler would shift the cells.
    rows, cols = grid.height // cell, grid.width // cell
    inner = Window(guard, guard, rows * cell - 2 * guard, cols * cell - 2 * guard)
    roi = shapely.box(*grid.bounds_of(inner))
    sampler = GriddedPatchSampler(dataset, size=size, stride=cell, roi=roi) @ SequentialTimestampSampler(dataset)
    return list(sampler)

"""What is learned from: items, labels and a grid made into chips, prices and spatial splits, ready to train on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..chips.cells import as_windows, overlap, tile_grid
from ..chips.labels import name_classes, open_labels
from ..chips.memory import Chips, keep_inner, read_chips
from ..chips.split import Split, make_splits
from ..errors import GridError, SelectionError
from ..grid import Grid, Window
from ..plan.cost import Cost
from ..plan.survey import survey
from ..read.receipt import Receipt
from ..selection import Selection
from ..stac.slots import make_slots
from .baselines import Method, majority_score, train_method
from .run import Record, Run, save_run
from .step import Settings, score

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pystac import Item

    from ..stac.profile import Band
    from ..stac.slot_rule import SlotRule


@dataclass(frozen=True)
class Task:
    """Chips of all channels, with what each channel costs and which cells are for what."""

    selection: Selection
    """All channels at full resolution."""
    grid: Grid
    chips: Chips
    cost: Cost
    """Of each channel over the whole grid, or over the chips of a store."""
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
        budget = "100%" if method == "dense" else budget
        split, nbytes = self.splits[fold], self.cost.budget(budget)
        trained = train_method(method, self.chips, split, self.cost, nbytes, settings, seed, on_step)
        record = Record(
            method=method,
            seed=seed,
            fold=fold,
            folds=len(self.splits),
            budget=budget,
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
    rule: SlotRule | str = "month",
    cell: int = 20,
    guard: int = 2,
    folds: int = 3,
    on_done: Callable[[], object] | None = None,
    profile: str | None = None,
    column: str | None = None,
) -> Task:
    """Read the chips of all (slot, band) channels once, over all items, in the slots of a rule.

    Chips are cells of `cell` x `cell` pixels of the finest file's grid. Labels within `guard` pixels of a cell's edge
    are left out, so that those of two cells are twice the guard apart, and a network that looks no further than the
    guard scores the same on a chip as on the whole scene. Cells without a label are dropped. `cuts` turn labels into
    classes; a vector file has them in `column`. Raises GridError where the grid is too small for cells, and what
    searching, planning and reading raise.
    """
    from ..chips.dataset import StacDataset  # torchgeo takes several seconds

    selection = Selection.dense(make_slots(items, rule), bands, rule, profile)
    place = survey(selection, items, on_done)
    classes = open_labels(labels, place.grid, cuts, column)
    dataset = StacDataset(place.coverage, selection, place.grid, classes, place.index)
    chips, receipt = read_chips(dataset, _cells(place.grid, cell, guard), guard, on_done)
    names = dataset.class_names or name_classes((), chips.classes)
    cost, splits = Cost.of(selection, place.coverage, place.index, place.grid), make_splits(len(chips), folds)
    return Task(selection, place.grid, chips, cost, splits, names, receipt.after(dataset.headers))


def prepare_store(folder: str | Path, guard: int = 2, folds: int = 3) -> Task:
    """The chips of a chip store, each of them a cell, by row, then column, as `prepare` has them. Nothing is fetched.

    Labels within `guard` pixels of a chip's edge are left out, and then chips without a label. Raises RunError where
    there is no such store, SelectionError where its chips overlap or show a single class, and GridError where the
    guard leaves nothing of a chip.
    """
    from ..chips.store import ChipStore

    store = ChipStore(folder)
    if overlap(store.windows):
        raise SelectionError(f"chips of {folder} overlap: a split would train on what it tests; make some side by side")
    order = np.lexsort((store.windows[:, 1], store.windows[:, 0])).tolist()
    chips = keep_inner(store.load(order), guard)
    names = store.record.classes or name_classes((), chips.classes)
    cost = Cost.of(store.selection, store.items, store.headers, store.grid, as_windows(store.windows))
    nothing = Receipt(0, 0, headers=(), runs=(), refetches=(), fallbacks=(), seconds=0.0)
    return Task(store.selection, store.grid, chips, cost, make_splits(len(chips), folds), names, nothing)


def _cells(grid: Grid, cell: int, guard: int) -> list[Window]:
    """Every whole cell of the grid, from its top left corner."""
    if guard < 0 or cell <= 2 * guard or min(grid.height, grid.width) < cell:
        raise GridError(
            f"cells of {cell} pixels with a guard of {guard} do not fit {grid.height} x {grid.width} pixels; "
            "choose a cell of more than twice the guard that the grid holds"
        )
    # What is left of the last whole cell to the right and below is not used: other cells would be smaller.
    cells = tile_grid(grid, (cell, cell), (cell, cell))
    return [window for window in cells if window.within(grid.height, grid.width)]

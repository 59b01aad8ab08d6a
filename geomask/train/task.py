"""What is learned from: items, labels and a grid made into chips, prices and spatial splits, ready to train on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..chips.cells import as_windows, overlap, tile_grid
from ..chips.labels import name_classes, open_labels
from ..chips.memory import Chips, keep_inner, leave_out, read_chips
from ..chips.split import Split, make_splits
from ..errors import GridError, SelectionError
from ..grid import Grid, Window
from ..plan.cost import Cost
from ..plan.survey import survey
from ..read.receipt import Receipt
from ..selection import Selection
from ..stac.slots import make_slots
from .baselines import Method, full_resolution, train_method
from .record import Record
from .run import Run, save_run
from .step import Settings, score
from .versions import Versions, read_versions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from pystac import Item

    from ..plan.cost import Bill
    from ..stac.profile import Band
    from ..stac.slot_rule import SlotRule
    from .step import Trained
    from .versions import Scaling


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
    versions: Versions | None = None
    """What each channel can be filled with, along the chips' axis of versions; None where they have none."""
    scalings: tuple[Scaling, ...] | None = None
    """In which the values of `chips` are, one for each version; None: not known."""
    chips_area: int | None = None
    """Pixels that `cost` is over, where it is over the chips of a store; None: all of the grid."""

    @property
    def area(self) -> int:
        """Pixels of the grid that `cost` is over."""
        return self.grid.height * self.grid.width if self.chips_area is None else self.chips_area

    def budget(self, text: str, bandwidth: float | None = None) -> int:
        """Bytes of a budget, see `Cost.budget`; it may be as low as the cheapest version of a channel."""
        if self.versions is None:
            return self.cost.budget(text, bandwidth)
        prices = self.versions.prices(self.cost)
        return self.cost.budget(text, bandwidth, prices[prices > 0].min())

    def bill(self, trained: Trained) -> Bill:
        """What reading the channels of a network takes over the grid, to the byte."""
        if self.versions is None:
            return self.cost.bill(self.cost.selection.keep(trained.channels))
        return self.cost.bill(self.versions.choose(trained.planes))

    def train(
        self,
        method: Method,
        fold: int,
        seed: int,
        budget: str,
        settings: Settings,
        folder: Path,
        on_step: Callable[[], object] | None = None,
        bandwidth: float | None = None,
        grain: str = "channel",
    ) -> Run:
        """Train by a method on one split and write the run; `bandwidth`, bit/s, is for a budget in seconds.

        `grain` as in `train_method`. Raises what `train_method` and `save_run` raise.
        """
        budget = "100%" if method == "dense" else budget
        split, nbytes = self.splits[fold], self.budget(budget, bandwidth)
        trained = train_method(
            method, self.chips, split, self.cost, nbytes, settings, seed, on_step, versions=self.versions, grain=grain
        )
        return self.save(folder, trained, method, fold, seed, budget, settings)

    def save(
        self, folder: Path, trained: Trained, method: Method, fold: int, seed: int, budget: str, settings: Settings
    ) -> Run:
        """Score a network on its split, and write its run. Raises what `save_run` raises."""
        record = self.record(trained, method, fold, seed, budget, settings)
        return save_run(folder, trained, self.selection, record, self.versions)

    def record(self, trained: Trained, method: Method, fold: int, seed: int, budget: str, settings: Settings) -> Record:
        """What a run of a network says of itself: here it is scored, on validation and on test."""
        split, model = self.splits[fold], trained.model
        chips = full_resolution(self.chips) if model.mean.ndim == 1 else self.chips
        train, test = (chips.labels[list(cells)] for cells in (split.train, split.test))
        joint = {} if trained.joint is None else {"joint_validation": trained.joint}
        return Record(
            method=method,
            seed=seed,
            fold=fold,
            folds=len(self.splits),
            budget=budget,
            planned_nbytes=self.bill(trained).nbytes,
            dense_nbytes=self.cost.dense,
            class_names=list(self.class_names),
            gsd=self.grid.res_y,
            scores={
                "validation": score(model, chips, split.validation, settings.batch),
                "test": score(model, chips, split.test, settings.batch),
                "majority": model.objective.naive_score(train, test),
                **joint,
            },
            curve=[[step, value] for step, value in trained.curve],
            candidates=[one.to_dict(trained.won) for one in trained.candidates],
            settings=asdict(settings),
            scaling=self._scaling(trained),
            size=list(self.chips.image.shape[-2:]),
        )

    def _scaling(self, trained: Trained) -> list[list[float]] | None:
        """[scale, offset] of every channel, at the version that a network takes of it, else at full resolution."""
        if self.scalings is None:
            return None
        taken = {channel: version for version, channel in trained.planes}
        count = len(self.selection.channels)
        return [list(self.scalings[taken.get(channel, 0)][channel]) for channel in range(count)]


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
    levels: Sequence[int] = (),
    alternatives: Mapping[str, Sequence[str]] | None = None,
    *,
    values: bool = False,
    ignore: int | None = None,
) -> Task:
    """Read the chips of all (slot, band) channels once, over all items, in the slots of a rule.

    Chips are cells of `cell` x `cell` pixels of the finest file's grid. Labels within `guard` pixels of a cell's edge
    are left out, so that those of two cells are twice the guard apart, and a network that looks no further than the
    guard scores the same on a chip as on the whole scene. Cells without a label are dropped. `cuts` turn labels into
    classes; a vector file has them in `column`. With `values` labels are values to regress; `ignore` is a class that is
    left out.

    `levels` are overviews (0 is the first) and `alternatives` other assets, by the name of a band, that a channel may
    be read from instead of full resolution. Each is read as well, and all are in memory: so many times the bytes.

    Raises GridError where the grid is too small for cells, and what searching, planning and reading raise.
    """
    from ..chips.dataset import StacDataset  # torchgeo takes several seconds

    selection = Selection.dense(make_slots(items, rule), bands, rule, profile)
    place = survey(selection, items, on_done)
    classes = open_labels(labels, place.grid, cuts, column, values=values)
    dataset = StacDataset(place.coverage, selection, place.grid, classes, place.index)
    chips, receipt = read_chips(dataset, _cells(place.grid, cell, guard), guard, on_done)
    chips = chips if ignore is None else leave_out(chips, ignore)
    names = (dataset.class_names or name_classes((), chips.classes))[: chips.classes]
    splits = make_splits(len(chips), folds)
    if not (levels or alternatives):
        cost = Cost.of(selection, place.coverage, place.index, place.grid)
        taken = receipt.after(dataset.headers)
        return Task(selection, place.grid, chips, cost, splits, names, taken, scalings=(dataset.scaling,))
    versions = Versions.of(selection, levels, alternatives)
    index = versions.index(place)
    cost = versions.cost(place, index)
    versions = versions.that_cost(cost)
    chips, receipt, others = read_versions(chips, receipt, versions, place.coverage, place.grid, index, on_done)
    taken, said = receipt.after(index), (dataset.scaling, *others)
    return Task(versions.selection, place.grid, chips, cost, splits, names, taken, versions, said)


def prepare_store(folder: str | Path, guard: int = 2, folds: int = 3, *, ignore: int | None = None) -> Task:
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
    chips = chips if ignore is None else leave_out(chips, ignore)
    names = (store.record.classes or name_classes((), chips.classes))[: chips.classes]
    cost = Cost.of(store.selection, store.items, store.headers, store.grid, as_windows(store.windows))
    nothing = Receipt(0, 0, headers=(), runs=(), refetches=(), fallbacks=(), seconds=0.0)
    splits, said = make_splits(len(chips), folds), (store.record.scaling,)
    area = sum(window.height * window.width for window in as_windows(store.windows))
    return Task(store.selection, store.grid, chips, cost, splits, names, nothing, scalings=said, chips_area=area)


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

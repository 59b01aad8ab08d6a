"""A whole curve in one run: budgets from the largest down, each starting from what the one before has learned."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import RunError, SelectionError
from ..plan.budget import Budget
from .baselines import make_priced_gate
from .pareto import Pareto, Point
from .run import check_folder
from .score import score
from .step import Training

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from ..masks.gate import Gate
    from ..masks.priced import PricedGate
    from ..plan.cost import Bill
    from .journal import Journal
    from .networks import Factory
    from .settings import Settings
    from .step import Trained
    from .task import Task

#: The table's file, in the folder of the curve.
TABLE = "pareto.parquet"
#: What else may lie in that folder: what a `Journal` keeps.
BESIDE = frozenset({TABLE, "metrics.csv", "checkpoints", "tensorboard"})
#: Share of the steps that every budget after the first has: it starts from a network that is trained.
LATER = 0.5


def train_curve(
    task: Task,
    budgets: Sequence[str],
    fold: int,
    seed: int,
    settings: Settings,
    folder: str | Path,
    bandwidth: float | None = None,
    on_step: Callable[[], object] | Journal | None = None,
    network: Factory | None = None,
    grain: str = "channel",
) -> Pareto:
    """Train the priced gate for each budget on one split, and write a run into `folder`/BUDGET for each, and the table.

    ::

        FOLDER/pareto.parquet   score, bytes and requests of each budget (`Pareto`)
        FOLDER/5%/              the run of a budget

    The largest budget has the steps of the settings, coming down from all bytes. Each that follows has `LATER` of
    them, and starts from scores and network of the one before, at that one's budget. A network is tuned after its gate
    was frozen, and one is trained anew on the same channels; the run keeps the one that does better on validation.
    `bandwidth` is in bit/s, `grain` as in `make_priced_gate`. Raises SelectionError for budgets that are no such or the
    same, RunError where the folder holds something else than a curve, and what training and saving raise.
    """
    folder = check_curve(folder, budgets)
    sizes = {budget: task.budget(budget, bandwidth) for budget in budgets}
    if len(set(sizes.values())) < len(budgets):
        raise SelectionError(f"budgets are each another number of bytes, not {', '.join(budgets)}")
    way = _Way(task, fold, seed, settings, on_step, network, grain)
    points, leg = list[Point](), None
    for budget, nbytes in sorted(sizes.items(), key=lambda size: -size[1]):
        leg = way.go(nbytes, leg)
        bill = task.bill(leg.tuned)
        seconds = None if bandwidth is None else bill.nbytes * 8 / bandwidth
        points.append(leg.point(budget, bill, seconds))
        task.save(folder / budget, leg.kept, "priced", fold, seed, budget, settings)
    pareto = Pareto(tuple(points))
    pareto.save(folder / TABLE)
    return pareto


def check_curve(folder: str | Path, budgets: Sequence[str]) -> Path:
    """The folder, if a curve can be written to it: it is not there, empty, or holds a curve, or runs and no else.

    Raises RunError where it holds something else, and SelectionError for budgets that cannot be folders.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; name a folder for the runs")
    for path in sorted(folder.iterdir()) if folder.exists() else ():
        if path.name not in BESIDE and not path.name.startswith("."):
            try:
                check_folder(path)
            except RunError as error:
                raise RunError(f"{folder} holds {path.name}, which is no run; name another folder") from error
    for budget in budgets:
        Budget.parse(budget)
        check_folder(folder / budget)
    return folder


@dataclass(frozen=True)
class _Leg:
    """One budget of a curve. Scores are on validation and test."""

    gate: PricedGate
    budget: int
    tuned: Trained
    tuned_scores: tuple[float, float]
    retrained: Trained
    retrained_scores: tuple[float, float]

    @property
    def is_retrained(self) -> bool:
        """Whether the network that was trained anew does better on validation."""
        return self.retrained_scores[0] > self.tuned_scores[0]

    @property
    def kept(self) -> Trained:
        """The network of the run."""
        return self.retrained if self.is_retrained else self.tuned

    def point(self, budget: str, bill: Bill, seconds: float | None) -> Point:
        """Its row of the table."""
        return Point(
            budget,
            self.budget,
            len(self.tuned.channels),
            *bill,
            seconds,
            self.tuned_scores[0] if self.tuned.joint is None else self.tuned.joint,
            *self.tuned_scores,
            *self.retrained_scores,
            "retrained" if self.is_retrained else "tuned",
        )


@dataclass(frozen=True)
class _Way:
    """What all budgets of a curve are trained by."""

    task: Task
    fold: int
    seed: int
    settings: Settings
    on_step: Callable[[], object] | Journal | None
    network: Factory | None
    grain: str

    def go(self, budget: int, before: _Leg | None) -> _Leg:
        """Train for a budget, from where the one before has come to."""
        task, settings = self.task, self.settings
        if before is None:
            gate = make_priced_gate(task.cost, budget, task.versions, grain=self.grain)
            tuned = self.train(gate, settings)
        else:
            gate = make_priced_gate(task.cost, budget, task.versions, before.gate.scores, before.budget, self.grain)
            fewer = replace(settings, steps=max(1, round(LATER * settings.steps)))
            tuned = self.train(gate, fewer, before.tuned.model.network.state_dict())
        # A network that stays as it is has nothing to be trained anew.
        retrained = tuned if settings.freeze_network else self.train(copy.deepcopy(tuned.model.gate), settings)
        return _Leg(gate, budget, tuned, self.scores(tuned), retrained, self.scores(retrained))

    def train(self, gate: Gate, settings: Settings, start: Mapping[str, Tensor] | None = None) -> Trained:
        """A network behind a gate, from `start` or from nothing."""
        chips, split = self.task.chips, self.task.splits[self.fold]
        return Training(
            chips, split, gate, settings, self.seed, self.on_step, network=self.network, start=start
        ).finish()

    def scores(self, trained: Trained) -> tuple[float, float]:
        """On validation and test."""
        split = self.task.splits[self.fold]
        cells = split.validation, split.test
        validation, test = (score(trained.model, self.task.chips, part, self.settings.batch) for part in cells)
        return validation, test

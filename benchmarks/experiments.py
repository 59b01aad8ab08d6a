"""What of the paper is measured again: jobs, each a contender on one group of cases with one seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pixels
import tradeoffs
from mnist import Digits, NoData
from ours import Found
from patches import Patches
from ships import open_ground
from tradeoffs import TRADEOFFS, Pace

from geomask.errors import GeomaskError

#: Contenders of MNIST; of all other cases those two that are `published` and `default`.
CONTENDERS = (*pixels.CONTENDERS, "oehmcke2022", "default")
BOTH = ("oehmcke2022", "default")
GROUPS = ("mnist", "nrt/curve", *(tradeoff.name for tradeoff in TRADEOFFS))
#: Of the curve on nrt, percent of all bytes; 100 is all channels.
PERCENTS = (50.0, 20.0, 10.0, 5.0)


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is trained."""

    seeds: int
    folds: int
    """Spatial splits of nrt."""
    digits: pixels.Effort
    pace: Pace
    images: int = 55_000
    """Of MNIST, to train on."""


FULL = Effort(5, 5, pixels.FULL, tradeoffs.FULL)
QUICK = Effort(1, 2, pixels.QUICK, tradeoffs.QUICK)


@dataclass(frozen=True, slots=True)
class Result:
    """What a contender came to in a case."""

    group: str
    contender: str
    case: str
    values: dict[str, float] = field(default_factory=dict)
    """By metric: score, share (both 0..1), bytes, epochs."""
    note: str | None = None
    """Why there are none."""


@dataclass(frozen=True, slots=True)
class Job:
    """A contender on a group of cases, with one seed; on nrt the seed is the number of the split."""

    group: str
    contender: str
    seed: int
    effort: Effort
    cache: Path
    data: Path

    @property
    def cases(self) -> list[str]:
        """Those that it has a result for."""
        if self.group == "mnist":
            return [f"mnist/{budget:.3g}%" for budget in (100 * budget for budget in pixels.BUDGETS)]
        if self.group == "nrt/curve":
            return [f"nrt/curve/{percent:g}%" for percent in PERCENTS]
        return [f"{self.group}/{100 * budget:.3g}%" for budget in self._tradeoff.budgets]

    @property
    def weight(self) -> int:
        """What it takes, roughly: the longest are to start first."""
        return {"mnist": 10 + 10 * self.contender.endswith("dynamic"), "nrt/curve": 5}.get(self.group, 1)

    def run(self, tell: Callable[[str], object]) -> list[Result]:
        """Its results; a failure is one too. `tell` gets a line now and then."""
        try:
            if self.group == "nrt/curve":
                return self._nrt()
            found, nbytes, epochs = self._digits(tell) if self.group == "mnist" else self._pieces(tell)
        except (NoData, GeomaskError, OSError, RuntimeError) as error:  # of hours, one failure costs its own rows
            return [self._result(case, note=str(error)) for case in self.cases]
        results = []
        for case, one in zip(self.cases, found.values(), strict=True):
            if one is None:
                results.append(self._result(case, note="never came within the budget"))
                continue
            values = {"score": one.score, "share": one.share, "bytes": one.share * nbytes, "epochs": epochs}
            results.append(self._result(case, values))
        return results

    def _digits(self, tell: Callable[[str], object]) -> tuple[dict[float, Found | None], float, float]:
        """A pixel is a byte."""
        digits = Digits.load(self.cache / "mnist", self.effort.images)
        study = pixels.Study(digits, self.effort.digits, self.seed, tell)
        found = study.run(self.contender)
        dynamic = self.contender.endswith("dynamic")
        ours = self.effort.digits.ours_dynamic if dynamic else self.effort.digits.ours
        return found, pixels.PIXELS.units, study.epochs.get(self.contender, ours.epochs)

    def _pieces(self, tell: Callable[[str], object]) -> tuple[dict[float, Found | None], float, float]:
        pace, tradeoff = self.effort.pace, self._tradeoff
        patches = Patches.make(open_ground(self.data), pace.counts, centred=tradeoff.centred, encoded=tradeoff.encoded)
        if self.contender == "default":
            found = tradeoffs.run_ours(tradeoff, patches, pace, self.seed)
            return found, float(patches.nbytes[0]), pace.ours.epochs
        found = tradeoffs.run_published(tradeoff, patches, pace, self.seed, tell)
        return found, float(patches.nbytes[0]), pace.passes

    def _nrt(self) -> list[Result]:
        from maskdata import MaskSet, load_sets
        from maskmethods import Bout

        of = load_sets(["nrt"], self.data, self.cache)["nrt"]
        if not isinstance(of, MaskSet):
            return [self._result(case, note=str(of)) for case in self.cases]
        bout, results = Bout(of, self.seed), []
        for outcome in bout.dense() if self.contender == BOTH[0] else ():
            values = {"score": outcome.score or 0.0, "share": 1.0, "bytes": of.dense}
            results.append(Result(self.group, "dense", "nrt/curve/100%", values))
        for percent, case in zip(PERCENTS, self.cases, strict=True):
            outcome = next(iter(bout.measure(self.contender, percent, PERCENTS)))  # as trained, not trained anew
            if outcome.score is None:
                results.append(self._result(case, note=outcome.note))
                continue
            values = {"score": outcome.score, "share": outcome.price / of.dense, "bytes": outcome.price}
            results.append(self._result(case, values))
        return results

    @property
    def _tradeoff(self) -> tradeoffs.Tradeoff:
        return next(tradeoff for tradeoff in TRADEOFFS if tradeoff.name == self.group)

    def _result(self, case: str, values: dict[str, float] | None = None, note: str | None = None) -> Result:
        return Result(self.group, self.contender, case, values or {}, note)


def make_jobs(effort: Effort, groups: Sequence[str], contenders: Sequence[str], cache: Path, data: Path) -> list[Job]:
    """All that is asked for."""
    return [
        Job(group, contender, seed, effort, cache, data)
        for group in groups
        for contender in contenders
        if contender in (pixels.CONTENDERS if group == "mnist" else BOTH)
        for seed in range(effort.folds if group == "nrt/curve" else effort.seeds)
    ]

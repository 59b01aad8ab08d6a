"""Static and dynamic block masks where the answer lies in few places: score for bytes.

    python benchmarks/places.py [--quick] [--only dense,dynamic,ships/12x12] [--json FILE] [--write] [--data DIR]

COGs are made on first use and kept in build/benchmarks/. What the cases are stands in docs/benchmarks/places.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from names import names_of
from placing import Fold, Outcome, Plan
from scipy import stats
from ships import CHIP, NAMES, Acquisition, make_acquisitions, open_ground
from table import Column, Figures, Row, table, write_figures

from geomask.masks.grain import Grain
from geomask.progress import progress

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "build" / "benchmarks" / "places"
PAGE = ROOT / "docs" / "benchmarks" / "places.md"

#: Shares of the dense bytes, in the order in which one mask starts from the one before.
SHARES = (0.5, 0.25, 0.1)
KINDS = ("static", "dynamic")
CONTENDERS = ("dense", *KINDS)
#: Grains; quick: the first.
CASES = {"ships/12x12": "block:12x12", "ships/48x48": "block:48x48", "ships/12x12/bands": "subblock:12x12"}
#: Of the ground.
ACQUISITIONS = 24
#: Splits by place; quick: the first three.
FOLDS = range(5)
UNITS = {
    "score": "fraction",
    "bytes": "byte",
    "share": "fraction",
    "seconds": "second",
    "gain": "fraction",
    "ratio": "1",
}

COLUMNS = (
    Column("score", "score", lambda row: f"{row.value:.3f} ({row.low:.3f}-{row.high:.3f})"),
    Column("gain", "score gained", lambda row: f"{row.value:+.3f} ({row.low:+.3f}..{row.high:+.3f})"),
    Column("bytes", "kB a chip", lambda row: f"{(row.value or 0) / 1e3:.1f}"),
    Column("share", "of dense", lambda row: f"{row.value:.1%} ({row.low:.1%}-{row.high:.1%})"),
    Column("ratio", "bytes, ratio", lambda row: f"{row.value:.2f} ({row.low:.2f}-{row.high:.2f})"),
    Column("seconds", "seconds", lambda row: f"{row.value:.0f}"),
)


def main(arguments: Sequence[str] | None = None, cache: Path = CACHE, **sizes: int) -> None:
    """Measure, print the table, and write what was asked for. `sizes` are those of `Run`."""
    given = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    run = Run(given.only, given.quick, **sizes)
    run.measure(given.data, cache)
    measured = run.figures()
    print(table(measured, COLUMNS))
    if given.json:
        measured.save(given.json)
    if given.write:
        _write_page(measured)


class Run:
    """One run of the benchmark: outcomes by case, contender and fold."""

    def __init__(
        self,
        only: Sequence[str],
        quick: bool,
        acquisitions: int = ACQUISITIONS,
        folds: int | None = None,
        plan: Plan | None = None,
    ) -> None:
        kinds = [name for name in CONTENDERS if name in only] or list(CONTENDERS)
        self._kinds = [kind for kind in KINDS if kind in kinds]
        self._cases = [name for name in CASES if name in only] or list(CASES)[: 1 if quick else None]
        self._folds = FOLDS[: folds or (3 if quick else None)]
        self._acquisitions, self._plan = acquisitions, plan or Plan()
        self._outcomes: dict[tuple[str, str], list[Outcome]] = {}
        self._missing = ""

    def measure(self, data: Path, cache: Path) -> None:
        """All folds. What there is no data for is noted."""
        try:
            ground = open_ground(data)
        except FileNotFoundError as error:
            self._missing = str(error)
            return
        acquisitions = []
        with progress("reading chips", "acquisition", self._acquisitions) as advance:
            for acquisition in make_acquisitions(ground, self._acquisitions, cache):
                acquisitions.append(acquisition)
                advance()
        with progress("training", "mask", len(self._folds) * self._trainings) as advance:
            for number in self._folds:
                self._measure_fold(acquisitions, number, advance)

    @property
    def _trainings(self) -> int:
        return 1 + len(self._cases) * len(self._kinds) * len(SHARES)

    def _measure_fold(self, acquisitions: Sequence[Acquisition], number: int, advance: Callable[[], object]) -> None:
        fold = Fold(acquisitions, number, self._plan)
        network, outcome = fold.dense()
        advance()
        for case in self._cases:
            grain = Grain.of(CASES[case], 1, len(NAMES), (CHIP, CHIP))
            self._outcomes.setdefault((case, "dense"), []).append(outcome)
            for kind in self._kinds:
                for share, found in zip(SHARES, fold.curve(network, kind, grain, SHARES), strict=True):
                    self._outcomes.setdefault((case, f"{kind}/{share:.0%}"), []).append(found)
                    advance()

    def figures(self) -> Figures:
        """All rows, case by case."""
        versions = {name: version(name) for name in ("geomask", "torch", "rasterio")}
        names = ["dense", *(f"{kind}/{share:.0%}" for kind in self._kinds for share in SHARES)]
        if self._missing:
            rows = [
                Row(name, case, "score", None, "fraction", note=self._missing) for case in self._cases for name in names
            ]
            return Figures.now(versions, rows)
        rows = []
        for case in self._cases:
            found = {name: self._outcomes[case, name] for name in names}
            rows += [row for name in names for row in measured(name, case, found[name])]
            if len(self._kinds) == len(KINDS):
                rows += [row for share in SHARES for row in compared(case, found, f"static/{share:.0%}")]
        return Figures.now(versions, rows)


def measured(name: str, case: str, outcomes: Sequence[Outcome]) -> list[Row]:
    """Score, bytes and seconds of a contender over all folds; ``validation`` is the score on validation chips."""
    samples = {
        "score": [outcome.test for outcome in outcomes],
        "validation": [outcome.validation for outcome in outcomes],
        "bytes": [outcome.nbytes for outcome in outcomes],
        "share": [outcome.nbytes / outcome.dense_nbytes for outcome in outcomes],
        "seconds": [outcome.seconds for outcome in outcomes],
    }
    return [summed(name, case, metric, values) for metric, values in samples.items()]


def compared(case: str, found: dict[str, list[Outcome]], static: str) -> list[Row]:
    """The dynamic mask of fewest bytes that does what a static one does, both by validation; figures are of the test.

    ``gain`` is the score that it has more, ``ratio`` its bytes over those of the static one, fold by fold.
    """
    name = f"dynamic for {static}"
    wanted = np.mean([outcome.validation for outcome in found[static]])
    able = {
        contender: np.mean([outcome.validation_nbytes for outcome in outcomes])
        for contender, outcomes in found.items()
        if contender.startswith("dynamic/") and np.mean([outcome.validation for outcome in outcomes]) >= wanted
    }
    if not able:
        return [Row(name, case, "gain", None, "fraction", note="no dynamic mask does that on validation chips")]
    best = found[min(able, key=lambda contender: able[contender])]
    pairs = list(zip(best, found[static], strict=True))
    return [
        summed(name, case, "gain", [ours.test - theirs.test for ours, theirs in pairs]),
        summed(name, case, "ratio", [ours.nbytes / theirs.nbytes for ours, theirs in pairs]),
    ]


def summed(name: str, case: str, metric: str, values: Sequence[float]) -> Row:
    """Mean over folds and its 95 % interval (Student's t), cut where the metric ends; of one fold the value alone."""
    mean, count = float(np.mean(values)), len(values)
    half = float(stats.t.ppf(0.975, count - 1) * stats.sem(values)) if count > 1 else 0.0
    least, most = (-1.0 if metric == "gain" else 0.0), (1.0 if metric != "ratio" and metric not in UNITS else np.inf)
    low, high = max(least, mean - half), min(most, mean + half)
    return Row(name, case, metric, mean, UNITS.get(metric, "fraction"), count, low, high)


def _parser() -> argparse.ArgumentParser:
    about = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python benchmarks/places.py", description=about)
    parser.add_argument("--quick", action="store_true", help="the first case, three of the five splits: eight minutes")
    parser.add_argument(
        "--only", type=names_of((*CONTENDERS, *CASES)), default=(), metavar="NAMES", help="such as dynamic,ships/12x12"
    )
    parser.add_argument(
        "--data", type=Path, default=ROOT.parent / "shared" / "data", metavar="DIR", help="of the scene"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, tidy")
    parser.add_argument("--write", action="store_true", help=f"refresh the figures in {PAGE.relative_to(ROOT)}")
    return parser


def _write_page(figures: Figures) -> None:
    """Refresh the figures of the page."""
    shown = f"{figures.source()}\n\n{table(figures, COLUMNS, markdown=True)}\n"
    write_figures(PAGE, shown)


if __name__ == "__main__":
    main()

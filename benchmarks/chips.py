"""Chips to learn from, side by side: over a link, from disk, from a store, and what a data set takes to start.

    python benchmarks/chips.py [--quick] [--only geomask,http] [--json FILE] [--write]

Files, and the environments of the other data sets, are made on first use and kept in build/benchmarks/. What the cases
are stands in docs/benchmarks/chips.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from catalogue import Catalogue
from chipcases import make_chip_cases
from contenders import chips, start, store
from environments import SetupError, environment
from measure import ContenderError, Worker
from names import names_of
from scene import Scene
from table import Column, Figures, Row, table, write_figures
from trials import ChipTrial, Samples, StartTrial, StoreTrial, Trial

from geomask.demo.server import Server

if TYPE_CHECKING:
    from contenders import Contender

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "build" / "benchmarks"
PAGE = ROOT / "docs" / "benchmarks" / "chips.md"

#: The link: seconds added to a request, bit/s of all connections together.
LATENCY, BANDWIDTH = 0.05, 100e6

#: Seconds that a data set may take to start, in full and with `--quick`.
PATIENCE, QUICK_PATIENCE = 900.0, 90.0

CASES = ("http", "http-grid", "files", "store", "start/1e3", "start/1e5")
#: Contenders and cases.
NAMES = (*(one.name for group in (chips.SERVED, store.CONTENDERS, start.CONTENDERS) for one in group), *CASES)

UNITS = {
    "chips_per_second": "1/s",
    "chips_per_second_open": "1/s",
    "bytes": "B",
    "memory": "B",
    "seconds": "s",
    "exact": "fraction",
}


def _rate(row: Row) -> str:
    digits = 0 if (row.value or 0) >= 100 else 1
    spread = f" ({row.low:.{digits}f}-{row.high:.{digits}f})" if row.n > 1 else ""
    return f"{row.value:.{digits}f}{spread}"


def _megabytes(row: Row) -> str:
    return f"{(row.value or 0) / 1e6:.0f}"


COLUMNS = (
    Column("chips_per_second", "chips/s", _rate),
    Column("chips_per_second_open", "once open", _rate),
    Column("bytes", "MB", _megabytes),
    Column("memory", "memory, MB", _megabytes),
    Column("seconds", "start, s", lambda row: f"{row.value:.2f}"),
    Column("exact", "exact", lambda row: "yes" if row.value == 1 else f"no ({row.value:.0%})"),
)


def main(
    arguments: Sequence[str] | None = None,
    scene: Scene | None = None,
    catalogue: Catalogue | None = None,
    cache: Path = CACHE,
) -> None:
    """Measure, print the table, and write what was asked for."""
    given = _parser().parse_args(arguments)
    run = Run(cache / "environments")
    with ExitStack() as stack:
        for trial in _trials(stack, scene or Scene(), catalogue or Catalogue(), cache, given.quick):
            if chosen := _chosen(trial, set(given.only)):
                trial.prepare()
            for contender in chosen:
                run.measure(contender, trial)
    measured = run.figures()
    print(table(measured, COLUMNS))
    if given.json:
        measured.save(given.json)
    if given.write:
        _write_page(measured, given.quick)


class Run:
    """One run of the benchmark: it gathers rows, case by case."""

    def __init__(self, environments: Path) -> None:
        self._environments = environments
        self._rows: list[Row] = []
        self._versions = {"geomask": version("geomask"), "rasterio": version("rasterio"), "torch": version("torch")}

    def measure(self, contender: Contender, trial: Trial) -> None:
        """One case of a contender, in a process of its own; where it fails, rows that say why."""
        print(f"{trial.name}: {contender.name}", end="", file=sys.stderr, flush=True)
        try:
            home = contender.home or contender.module
            samples = self._samples(contender, trial, environment(self._environments, home, contender.requirements))
            rows = _rows(contender, trial, samples)
            print(file=sys.stderr)
        except (SetupError, ContenderError) as error:
            print(f" {error}", file=sys.stderr)
            rows = [
                Row(contender.name, trial.name, metric, None, UNITS[metric], note=str(error))
                for metric in trial.metrics
            ]
        self._rows += rows

    def figures(self) -> Figures:
        """All rows."""
        return Figures.now(self._versions, self._rows)

    def _samples(self, contender: Contender, trial: Trial, python: Path) -> Samples:
        if trial.ours_only and contender.package != "geomask":
            raise ContenderError("left out of a quick run: it takes minutes")
        worker = Worker(contender, python, trial.patience)
        try:
            self._versions[contender.package] = worker.version
            return trial.measure(worker)
        finally:
            worker.close()


def _rows(contender: Contender, trial: Trial, samples: Samples) -> list[Row]:
    """Medians, of exactness the mean; low and high are the extremes. No row for what this machine does not tell."""
    rows = []
    for metric, values in samples.items():
        if all(map(isfinite, values)):
            value = fmean(values) if metric == "exact" else median(values)
            bounds = (len(values), min(values), max(values))
            rows.append(Row(contender.name, trial.name, metric, value, UNITS[metric], *bounds))
    return rows


def _trials(stack: ExitStack, scene: Scene, catalogue: Catalogue, cache: Path, quick: bool) -> list[Trial]:
    """All cases, in order, over two servers."""
    files, items = cache / "read" / scene.folder_name, cache / "start" / catalogue.folder_name
    for folder in (files, items):
        folder.mkdir(parents=True, exist_ok=True)
    served = stack.enter_context(TemporaryDirectory(prefix="served-", dir=files.parent))  # beside, for hard links
    stores = stack.enter_context(TemporaryDirectory(prefix="stores-", dir=cache))
    server, other = (
        stack.enter_context(Server(folder, latency=LATENCY, bandwidth=BANDWIDTH)) for folder in (served, items)
    )
    patience = QUICK_PATIENCE if quick else PATIENCE
    return [
        *(ChipTrial(case, scene, files, server) for case in make_chip_cases(scene, quick)),
        StoreTrial(scene, files, Path(stores), 16 if quick else 32),
        StartTrial("start/1e3", catalogue.count // 100, catalogue, items, other, patience),
        StartTrial("start/1e5", catalogue.count, catalogue, items, other, patience, ours_only=quick),
    ]


def _chosen(trial: Trial, only: set[str]) -> list[Contender]:
    """The contenders of a case that ``--only`` names, all where it names none; none where it names other cases."""
    cases, names = only & set(CASES), only - set(CASES)
    if cases and trial.name not in cases:
        return []
    return [contender for contender in trial.contenders if not names or contender.name in names]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python benchmarks/chips.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer chips, once each: under ten minutes")
    about = "contenders, cases or both: geomask,torchgeo,http"
    parser.add_argument("--only", type=names_of(NAMES), default=(), metavar="NAMES", help=about)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, tidy")
    parser.add_argument("--write", action="store_true", help=f"refresh the figures in {PAGE.relative_to(ROOT)}")
    return parser


def _write_page(measured: Figures, quick: bool) -> None:
    """Refresh the figures of the page."""
    source = f"{measured.source()} A quick run." if quick else measured.source()
    shown = f"{source}\n\n{table(measured, COLUMNS, markdown=True)}\n"
    write_figures(PAGE, shown)


if __name__ == "__main__":
    main()

"""Readers of COGs side by side: requests, bytes, seconds and exactness of the same windows.

    python benchmarks/read.py [--quick] [--only geomask,rasterio] [--json FILE] [--write]

Files, and the environments of the other readers, are made on first use and kept in build/benchmarks/. What the cases
are stands in docs/benchmarks/read.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from contenders import CONTENDERS, Contender
from environments import SetupError, environment
from jobs import Case, make_cases
from measure import Bench, ContenderError, Worker, figures, missing
from names import names_of
from scene import Scene
from table import Column, Figures, Row, table, write_figures

from geomask.demo.server import Server
from geomask.progress import progress

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "build" / "benchmarks"
PAGE = ROOT / "docs" / "benchmarks" / "read.md"

#: The link: seconds added to a request, bit/s of all connections together.
LATENCY, BANDWIDTH = 0.05, 50e6

#: Of contenders.
KNOWN = tuple(contender.name for contender in CONTENDERS)
STATES = ("cold", "kept")

COLUMNS = (
    Column("requests", "requests", lambda row: f"{row.value:.4g}"),
    Column("bytes", "MB", lambda row: f"{(row.value or 0) / 1e6:.2f}"),
    Column("seconds", "seconds", lambda row: f"{row.value:.2f} ({row.low:.2f}-{row.high:.2f})"),
    Column("exact", "exact", lambda row: "yes" if row.value == 1 else f"no ({row.value:.0%})"),
    Column("ratio", "ratio", lambda row: f"{row.value:.3f}"),
)


def main(arguments: Sequence[str] | None = None, scene: Scene | None = None, cache: Path = CACHE) -> None:
    """Measure, print the table, and write what was asked for."""
    scene = scene or Scene()
    given = _parser().parse_args(arguments)
    files = cache / "read" / scene.folder_name
    with progress("making COGs", "file", scene.bands * scene.dates) as advance:
        for _ in scene.publish(files):
            advance()
    with (
        TemporaryDirectory(prefix="served-", dir=files.parent) as served,  # beside the files, for hard links
        Server(served, latency=LATENCY, bandwidth=BANDWIDTH) as server,
    ):
        run = Run(make_cases(scene, given.quick), Bench(scene, files, server), cache / "environments")
        for contender in CONTENDERS:
            if contender.name in given.only:
                run.measure(contender)
    measured = run.figures()
    print(table(measured, COLUMNS))
    if given.json:
        measured.save(given.json)
    if given.write:
        _write_page(measured)


class Run:
    """One run of the benchmark: it gathers rows, contender by contender."""

    def __init__(self, cases: Sequence[Case], bench: Bench, environments: Path) -> None:
        self._steps = [(case, state) for case in cases for state in STATES]
        self._names = [f"{case.name}/{state}" for case, state in self._steps]
        self._warm_up = Case("warm-up", 1, 1, None, cases[0].places[:1])
        self._bench, self._environments = bench, environments
        self._rows: list[Row] = []
        self._versions = {"geomask": version("geomask"), "rasterio": version("rasterio")}

    def measure(self, contender: Contender) -> None:
        """All cases of a contender; one that fails costs it no other."""
        _note(f"{contender.name}:", end="")
        try:
            python = environment(self._environments, contender.module, contender.requirements)
            worker = self._start(contender, python)
            for case, state in self._steps:
                _note(f" {case.name}/{state}", end="")
                if worker.ended:
                    worker.close()
                    worker = self._start(contender, python)
                self._rows += self._measure(contender, worker, case, state)
            worker.close()
            _note("")
        except (SetupError, ContenderError) as error:
            _note(f" {error}")
            measured = {row.case for row in self._rows if row.contender == contender.name}
            for name in [name for name in self._names if name not in measured]:
                self._rows += missing(contender.name, name, f"does not start: {error}")

    def figures(self) -> Figures:
        """All rows, case by case."""
        return Figures.now(self._versions, sorted(self._rows, key=lambda row: self._names.index(row.case)))

    def _start(self, contender: Contender, python: Path) -> Worker:
        """A process that has read once: what a reader does only the first time is not timed."""
        worker = Worker(contender, python)
        self._versions[contender.package] = worker.version
        try:
            self._bench.measure(worker, self._warm_up, kept=False)
        except ContenderError:
            worker.close()
            raise
        return worker

    def _measure(self, contender: Contender, worker: Worker, case: Case, state: str) -> list[Row]:
        name = f"{case.name}/{state}"
        if state == "kept" and not worker.keeps_headers:
            return missing(contender.name, name, "keeps no headers")
        try:
            return figures(contender.name, name, self._bench.measure(worker, case, state == "kept"))
        except ContenderError as error:
            return missing(contender.name, name, str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python benchmarks/read.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the same cases, one place each: under five minutes")
    parser.add_argument(
        "--only", type=names_of(KNOWN, "contender"), default=KNOWN, metavar="NAMES", help="such as geomask,rasterio"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, tidy")
    parser.add_argument("--write", action="store_true", help=f"refresh the figures in {PAGE.relative_to(ROOT)}")
    return parser


def _write_page(measured: Figures) -> None:
    """Refresh the figures of the page."""
    shown = f"{measured.source()}\n\n{table(measured, COLUMNS, markdown=True)}\n"
    write_figures(PAGE, shown)


def _note(text: str, end: str = "\n") -> None:
    print(text, end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

"""The published results again: pixel masks on MNIST, and the paper's other figures in kind on real imagery.

    python benchmarks/published.py [--quick] [--only given,default/static] [--cases mnist] [--json FILE] [--write]

What is measured, and how, stands in docs/benchmarks/published.md.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.metadata import version
from pathlib import Path

import torch
from experiments import CONTENDERS, FULL, GROUPS, QUICK, Effort, Job, Result, make_jobs
from names import names_of
from table import Column, Figures, Row, table, write_figures

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "build" / "benchmarks"
PAGE = ROOT / "docs" / "benchmarks" / "published.md"
#: Processes, of one thread each.
PROCESSES = 2

UNITS = {"score": "fraction", "share": "fraction", "bytes": "B", "epochs": "epochs"}


def _show_score(row: Row) -> str:
    """With the least and the greatest where there are several seeds."""
    return f"{row.value:.3f}" + (f" ({row.low:.3f}-{row.high:.3f})" if row.n > 1 else "")


COLUMNS = (
    Column("score", "score", _show_score),
    Column("share", "share of bytes", lambda row: f"{row.value:.1%}"),
    Column("bytes", "bytes", lambda row: f"{row.value:,.0f}"),
    Column("epochs", "epochs", lambda row: f"{row.value:.3g}"),
)


def main(arguments: Sequence[str] | None = None, effort: Effort | None = None, cache: Path = CACHE) -> None:
    """Measure, print the table, and write what was asked for."""
    given = _parser().parse_args(arguments)
    effort = effort or (QUICK if given.quick else FULL)
    jobs = make_jobs(effort, given.cases, given.only, cache, given.data)
    results = measure(jobs)
    packages = ("geomask", "torch", "scikit-learn")
    figures = Figures.now({name: version(name) for name in packages}, make_rows(results))
    print(table(figures, COLUMNS))
    if given.json:
        figures.save(given.json)
    if given.write:
        _write_page(figures)


def measure(jobs: Sequence[Job], workers: int = PROCESSES) -> list[Result]:
    """What all jobs came to, in their order, in processes of one thread; `workers` = 0: in this one."""
    if not workers:
        return [result for job in jobs for result in job.run(_note)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context) as pool:
        futures = {number: pool.submit(_run, jobs[number]) for number in _longest_first(jobs)}
        try:
            for done, future in enumerate(as_completed(futures.values()), 1):
                for result in future.result():
                    _note(f"{done} of {len(jobs)}: {result}")
        finally:
            pool.shutdown(cancel_futures=True)
    return [result for number in range(len(jobs)) for result in futures[number].result()]


def _longest_first(jobs: Sequence[Job]) -> list[int]:
    return sorted(range(len(jobs)), key=lambda number: -jobs[number].weight)


def make_rows(results: Iterable[Result]) -> list[Row]:
    """Means over seeds, case by case, with the least and the greatest; a note where one of them has no score."""
    found: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        found.setdefault((result.case, result.contender), []).append(result)
    cases = list(dict.fromkeys(case for case, _ in found))
    return [
        row
        for case in cases
        for (of, contender), several in found.items()
        if of == case
        for row in _rows(contender, case, several)
    ]


def _rows(contender: str, case: str, several: Sequence[Result]) -> list[Row]:
    failed = [result.note for result in several if result.note]
    if failed:
        note = failed[0] if len(several) == 1 else f"{len(failed)} of {len(several)} seeds: {failed[0]}"
        return [Row(contender, case, "score", None, UNITS["score"], note=note)]
    rows = []
    for metric, unit in UNITS.items():
        values = [result.values[metric] for result in several if metric in result.values]
        if values:
            mean = sum(values) / len(values)
            rows.append(Row(contender, case, metric, mean, unit, len(values), min(values), max(values)))
    return rows


def _run(job: Job) -> list[Result]:
    torch.set_num_threads(1)
    return job.run(_note)


def _parser() -> argparse.ArgumentParser:
    description = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python benchmarks/published.py", description=description)
    parser.add_argument("--quick", action="store_true", help="one seed and fewer epochs: 45 minutes on two cores")
    parser.add_argument(
        "--only", type=names_of(CONTENDERS, "contender"), default=CONTENDERS, metavar="NAMES", help="of contenders"
    )
    parser.add_argument(
        "--cases", type=names_of(GROUPS, "case"), default=GROUPS, metavar="NAMES", help=f"of {', '.join(GROUPS)}"
    )
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", metavar="DIR", help="local files")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, tidy")
    parser.add_argument("--write", action="store_true", help=f"refresh the figures in {PAGE.relative_to(ROOT)}")
    return parser


def _write_page(measured: Figures) -> None:
    """Refresh the figures of the page."""
    shown = f"{measured.source()}\n\n{table(measured, COLUMNS, markdown=True)}\n"
    write_figures(PAGE, shown)


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

"""Ways to choose channels side by side: the same splits, networks and budgets for all, as trained and retrained.

    python benchmarks/masks.py [--quick] [--only default,uniform] [--sets modis] [--json FILE] [--write] [--data DIR]

What is measured on, and how, stands in docs/benchmarks/masks.md.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch
from environments import SetupError, environment
from lassorank import REQUIREMENTS, LassoNet
from maskdata import SETS, MaskSet, load_sets
from maskfigures import COLUMNS, make_rows, summarise
from maskmethods import CONTENDERS, Bout, Outcome
from names import names_of
from table import Figures, table, write_figures

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "build" / "benchmarks"
PAGE = ROOT / "docs" / "benchmarks" / "masks.md"

#: Percent of all bytes.
PERCENTS, QUICK = (2.0, 5.0, 10.0, 20.0), (5.0, 10.0)
#: Share of the steps that a quick run trains for.
QUICK_STEPS = 0.4
#: Processes, of one thread each.
PROCESSES = 2


def main(arguments: Sequence[str] | None = None, cache: Path = CACHE, sets: Sequence[MaskSet] | None = None) -> None:
    """Measure, print the table and what it comes to, and write what was asked for."""
    given = _parser().parse_args(arguments)
    percents = given.budgets or (QUICK if given.quick else PERCENTS)
    found = {one.name: one for one in sets} if sets else load_sets(given.sets, given.data, cache)
    python = _lassonet(cache) if "lassonet" in given.only else None
    there = [one for one in found.values() if isinstance(one, MaskSet)]
    outcomes = measure([_hurry(one) for one in there] if given.quick else there, given.only, percents, python)
    missing = {name: str(why) for name, why in found.items() if not isinstance(why, MaskSet)}
    rows = make_rows(outcomes, [f"{name}/{percent:g}%" for name in found for percent in percents], missing)
    packages = ("geomask", "torch", "scikit-learn")
    figures = Figures.now({name: version(name) for name in packages}, rows)
    print(table(figures, COLUMNS))
    print("\n" + summarise(outcomes))
    if given.json:
        figures.save(given.json)
    if given.write:
        _write_page(figures, summarise(outcomes))


def measure(
    sets: Sequence[MaskSet],
    names: Sequence[str],
    percents: Sequence[float],
    python: Path | None,
    workers: int = PROCESSES,
) -> list[Outcome]:
    """Every contender on every split of every set, in processes of one thread; by set, split, budget, contender."""
    jobs = [(one, fold) for fold in range(max((len(one.splits) for one in sets), default=0)) for one in sets]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context) as pool:
        futures: list[Future[list[Outcome]]] = [
            pool.submit(measure_split, one, fold, names, percents, python) for one, fold in jobs
        ]
        try:
            for done, future in enumerate(as_completed(futures), 1):
                future.result()
                _note(f"{done} of {len(jobs)} splits")
        finally:
            pool.shutdown(cancel_futures=True)
    return [outcome for future in futures for outcome in future.result()]


def measure_split(
    of: MaskSet, fold: int, names: Sequence[str], percents: Sequence[float], python: Path | None
) -> list[Outcome]:
    """All contenders on one split."""
    torch.set_num_threads(1)
    bout = Bout(of, fold, None if python is None else LassoNet(python))
    outcomes = list(bout.dense())
    for percent in percents:
        for name in names:
            if name != "dense":
                outcomes += bout.measure(name, percent, percents)
    return outcomes


def _hurry(of: MaskSet) -> MaskSet:
    return replace(of, settings=replace(of.settings, steps=round(QUICK_STEPS * of.settings.steps)))


def _lassonet(cache: Path) -> Path | None:
    try:
        return environment(cache / "environments", "lassonet", REQUIREMENTS)
    except SetupError as error:
        _note(f"lassonet: {error}")
        return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python benchmarks/masks.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="5 %% and 10 %% alone, and two fifths of the steps")
    parser.add_argument(
        "--only", type=names_of(CONTENDERS, "contender"), default=CONTENDERS, metavar="NAMES", help="of contenders"
    )
    parser.add_argument(
        "--sets", type=names_of(SETS, "set"), default=SETS, metavar="NAMES", help=f"of {', '.join(SETS)}"
    )
    parser.add_argument("--budgets", type=_percents, metavar="PERCENTS", help="such as 5 or 2,20, of all bytes")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", metavar="DIR", help="local files")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, tidy")
    parser.add_argument("--write", action="store_true", help=f"refresh the figures in {PAGE.relative_to(ROOT)}")
    return parser


def _percents(text: str) -> list[float]:
    percents = [float(part) for part in text.split(",")]
    if not all(0 < percent < 100 for percent in percents):
        raise argparse.ArgumentTypeError(f"percentages of all bytes lie between 0 and 100, not {text}")
    return percents


def _write_page(measured: Figures, summary: str) -> None:
    """Refresh the figures of the page."""
    shown = f"{measured.source()}\n\n{summary}\n\n{table(measured, COLUMNS, markdown=True)}\n"
    write_figures(PAGE, shown)


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

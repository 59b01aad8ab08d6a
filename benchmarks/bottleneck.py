"""Ways to send imagery to a network side by side: bits a pixel against score, and seconds over a slow link.

    python benchmarks/bottleneck.py [--quick] [--only bottleneck,indian_pines] [--json FILE] [--write] [--data DIR]

What is measured, and how, stands in docs/benchmarks/bottleneck.md.
"""

from __future__ import annotations

if __name__ == "bottleneck":
    # pandas and xarray use a package of this name where they find one, and a script's folder comes first on the path.
    raise ImportError("this is a benchmark, no package")

import argparse
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch
from featurebouts import CONTENDERS, Bout, Plan, Point
from featuredata import SETS, FeatureSet, load_feature_sets
from featurefigures import COLUMNS, make_rows, summarise
from featurelink import LINK, measure_link
from names import names_of
from table import Figures, Row, table, write_figures

from geomask.bottleneck.distil import Lesson

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "build" / "benchmarks"
PAGE = ROOT / "docs" / "benchmarks" / "bottleneck.md"

FULL = Plan((5, 20), (5,), (0.003, 0.01, 0.03, 0.1), Lesson(steps=1000, settling=300, tuning=300, batch=128), 2)
QUICK = Plan((5,), (5,), (0.003, 0.01, 0.1), Lesson(steps=500, settling=150, tuning=150, batch=128), 3)
#: Share of a network's steps in a quick run.
QUICK_STEPS = 0.4
#: Of each set; there are five.
SPLITS, QUICK_SPLITS = 5, 3
#: Processes, of one thread each.
PROCESSES = 2


def main(
    arguments: Sequence[str] | None = None,
    cache: Path = CACHE,
    sets: Sequence[FeatureSet] | None = None,
    plan: Plan | None = None,
) -> None:
    """Measure, print the table and what it comes to, and write what was asked for."""
    given = _parser().parse_args(arguments)
    contenders = [name for name in CONTENDERS if name in given.only] or list(CONTENDERS)
    cases = [name for name in (*SETS, LINK) if name in given.only] or [*SETS, LINK]
    plan = plan or (QUICK if given.quick else FULL)
    names = [name for name in SETS if name in cases]
    found = {one.name: one for one in sets} if sets else load_feature_sets(names, given.data, cache)
    there = [one for one in found.values() if isinstance(one, FeatureSet)]
    there = [_first_splits(one, given.splits or (QUICK_SPLITS if given.quick else SPLITS)) for one in there]
    points = measure([_hurry(one) for one in there] if given.quick else there, contenders, plan)
    rows: list[Row] = []
    for name, one in found.items():
        if isinstance(one, FeatureSet):
            rows += make_rows(name, points[name], contenders)
        else:
            rows.append(Row("all", f"{name}/equal_score", "score", None, "fraction", note=str(one)))
    if LINK in cases:
        rows += measure_link(cache, contenders, quick=given.quick)
    packages = ("geomask", "torch", "constriction", "imagecodecs")
    figures = Figures.now({name: version(name) for name in packages}, rows)
    print(table(figures, COLUMNS))
    print("\n" + summarise(rows))
    if given.json:
        figures.save(given.json)
    if given.write:
        _write_page(figures, quick=given.quick)


def measure(sets: Sequence[FeatureSet], names: Sequence[str], plan: Plan) -> dict[str, list[Point]]:
    """Every contender on every split of every set, in processes of one thread; points by set."""
    jobs = [(one, fold) for fold in range(max((len(one.of.splits) for one in sets), default=0)) for one in sets]
    points: dict[str, list[Point]] = {one.name: [] for one in sets}
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as pool:
        futures: dict[Future[list[Point]], str] = {
            pool.submit(measure_split, one, fold, names, plan): one.name for one, fold in jobs
        }
        try:
            for done, future in enumerate(as_completed(futures), 1):
                points[futures[future]] += future.result()
                _note(f"{done} of {len(jobs)} splits")
        finally:
            pool.shutdown(cancel_futures=True)
    return {name: sorted(found, key=lambda point: point.fold) for name, found in points.items()}


def measure_split(of: FeatureSet, fold: int, names: Sequence[str], plan: Plan) -> list[Point]:
    """All contenders on one split."""
    torch.set_num_threads(1)
    bout = Bout(of, fold, plan)
    return [point for name in names for point in bout.measure(name)]


def _hurry(one: FeatureSet) -> FeatureSet:
    of = one.of
    settings = replace(of.settings, steps=round(QUICK_STEPS * of.settings.steps))
    return replace(one, of=replace(of, settings=settings))


def _first_splits(one: FeatureSet, count: int) -> FeatureSet:
    return replace(one, of=replace(one.of, splits=one.of.splits[:count]))


def _parser() -> argparse.ArgumentParser:
    about = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python benchmarks/bottleneck.py", description=about)
    parser.add_argument("--quick", action="store_true", help="three splits, fewer steps and settings: a quarter hour")
    parser.add_argument("--splits", type=int, choices=range(2, SPLITS + 1), metavar="N", help="so many, up to five")
    parser.add_argument(
        "--only",
        type=names_of((*CONTENDERS, *SETS, LINK)),
        default=(),
        metavar="NAMES",
        help="contenders, cases or both: bottleneck,selection,nrt",
    )
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", metavar="DIR", help="local files")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, tidy")
    parser.add_argument("--write", action="store_true", help=f"refresh the figures in {PAGE.relative_to(ROOT)}")
    return parser


def _write_page(measured: Figures, *, quick: bool) -> None:
    """Refresh the figures of the page."""
    splits = max(row.n for row in measured.rows if row.metric == "score")
    source = f"{measured.source()} {splits} splits{', a quick run' if quick else ''}."
    shown = f"{source}\n\n{summarise(measured.rows)}\n\n{table(measured, COLUMNS, markdown=True)}\n"
    write_figures(PAGE, shown)


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

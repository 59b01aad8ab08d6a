"""The main job from end to end on real Sentinel-2: publish, search, learn, plan, read, infer, report.

What it leaves in its folder::

    catalog/      COGs, STAC catalog and labels, as published
    items.json    what the search found
    runs/         a run folder for each contender, split and seed, with the receipt of its inference
    manifests/    of all channels, and of the first learned selection
    maps/         classes: the truth, and maps by all channels and by the learned ones
    summary.json  every figure of the table
    report.html   the figures to look at
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from ..atomic import atomic_path
from ..plan.compile import compile_manifest
from ..plan.sources import index_selection
from ..progress import progress
from ..report.page import write_page
from ..report.summary import summarise, table, write_summary
from ..stac.profile import load_profile
from ..stac.search import save_items, search
from .publish import publish
from .server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pystac import Item

    from ..infer.status import Status
    from ..report.summary import Summary
    from ..train.baselines import Method
    from ..train.crowd import Job
    from ..train.run import Run
    from ..train.task import Task

#: Tree cover density in percent at which one class ends and the next begins.
CUTS = (30.0, 70.0, 85.0)
BUDGET = "10%"
SEARCH: dict[str, Any] = {"datetime": "2015-08-01/2021-01-31", "query": ["eo:cloud_cover<20"]}
#: The run whose plan and map are shown: the first, so that nothing is picked by its score.
SHOWN = (0, 0)


@dataclass(frozen=True, slots=True)
class Scale:
    """How much the demo does."""

    steps: int
    """Updates of each training."""
    seeds: int = 3
    folds: int = 3


FULL, FAST = Scale(steps=500), Scale(steps=300, seeds=2)


def run_demo(
    out: Path, scale: Scale = FULL, latency: float = 0.05, bandwidth: float = 50e6, say: Callable[[str], object] = print
) -> Path:
    """Run the whole job into `out` and return the path of its summary.

    `latency` is in seconds a request and `bandwidth` in bit/s, both the server's; `say` prints results. Raises RunError
    where `out` holds something else than a demo, or where the extra `demo` is not installed.
    """
    catalog = out / "catalog"
    with progress("publish COGs", "item") as advance:
        publish(catalog, progress=advance)
    with Server(catalog, latency=latency, bandwidth=bandwidth) as server:
        items = search(server.href("catalog.json"), **SEARCH)
        # Saved by the paths of the files: the server's address ends with the demo.
        save_items(search(str(catalog / "catalog.json"), **SEARCH), out / "items.json")
        task = _prepare(items, catalog / "labels.tif", scale)
        say(f"{len(items)} items fill {len(task.selection.slots)} seasons x {len(task.selection.bands)} bands")
        runs = _train(task, scale, out / "runs")
        say(_plateau_line(runs))
        _show_plans(items, task, runs, out / "manifests", say)
        _infer(items, task, runs, server, out, say)
    summary = summarise(out)
    path = write_summary(summary, out)
    say(table(summary))
    say(_gains_line(runs, scale))
    say(_goals_line(summary))
    say(f"report: {write_page(out, summary)}")
    return path


def _prepare(items: Sequence[Item], labels: Path, scale: Scale) -> Task:
    from ..train.task import prepare

    bands = load_profile("local").select()
    with progress("read chips", "file") as advance:
        return prepare(items, bands, labels, CUTS, rule="season", profile="local", folds=scale.folds, on_done=advance)


def _train(task: Task, scale: Scale, folder: Path) -> dict[Job, Run]:
    from ..train.baselines import CONTENDERS
    from ..train.crowd import Job, train_all
    from ..train.step import Settings

    splits = [(fold, seed) for fold in range(scale.folds) for seed in range(scale.seeds)]
    jobs = [Job(method, fold, seed) for fold, seed in splits for method in CONTENDERS]
    with progress("train", "network", len(jobs)) as advance:
        return train_all(task, jobs, BUDGET, Settings(steps=scale.steps), folder, advance)


def _plateau_line(runs: dict[Job, Run]) -> str:
    """Whether the dense networks had finished learning: their validation scores by quarters of the steps."""
    curves = [[value for _, value in run.record.curve] for job, run in runs.items() if job.method == "dense"]
    quarter = len(curves[0]) // 4
    last, before = (
        fmean(value for curve in curves for value in curve[len(curve) - start : len(curve) - start + quarter])
        for start in (quarter, 2 * quarter)
    )
    return f"dense networks on validation: {last:.1%} in the last quarter of the steps, {before:.1%} in the one before"


def _gains_line(runs: dict[Job, Run], scale: Scale) -> str:
    """The learned runs against two others, split by split: seeds of one split are not independent."""
    scores = {job: run.record.scores["test"] for job, run in runs.items()}

    def gains(other: Method) -> str:
        means = (
            fmean(scores[job] - scores[job._replace(method=other)] for job in runs if job[:2] == ("learned", fold))
            for fold in range(scale.folds)
        )
        return ", ".join(f"{100 * mean:+.1f}" for mean in means)

    return f"learned by split, points: against dense {gains('dense')}; against uniform {gains('uniform')}"


def _goals_line(summary: Summary) -> str:
    """What the demo sets out to show, beside what it showed."""
    value = {(row.contender, row.metric): row.value for row in summary.rows}
    share = value["learned", "bytes"] / value["dense", "bytes"]
    gain, ahead = value["learned", "gain_over_dense"], value["learned", "score"] - value["uniform", "score"]
    marks = [
        f"{share:.1%} of the bytes (10.0% at most: {_yes(share <= 0.1)})",
        f"{100 * gain:+.1f} points against dense (-2.0 at least: {_yes(gain >= -0.02)})",
        f"{100 * ahead:+.1f} against uniform (0.0 at least: {_yes(ahead >= 0)})",
    ]
    return "learned: " + ", ".join(marks)


def _yes(met: bool) -> str:
    return "yes" if met else "no"


def _show_plans(
    items: Sequence[Item], task: Task, runs: dict[Job, Run], folder: Path, say: Callable[[str], object]
) -> None:
    """Compile and print what will be read, before it is."""
    for method in ("dense", "learned"):
        selection = next(run.selection for job, run in runs.items() if job == (method, *SHOWN))
        manifest = compile_manifest(selection, items, index_selection(selection, items), task.grid)
        manifest.save(folder / f"{method}.geomask.jsonl")
        say(f"plan {method:8} {manifest.summary()}")
        if method == "learned":
            say(f"     reads    {', '.join(selection.names)}")


def _infer(
    items: Sequence[Item], task: Task, runs: dict[Job, Run], server: Server, out: Path, say: Callable[[str], object]
) -> None:
    """Map the scene with every run, each over a cold start, and set the server's count beside the plan."""
    from ..chips.labels import IGNORE, load_labels
    from ..infer.draft import Wish
    from ..infer.geotiff import NODATA, encode_cog
    from ..infer.run import infer, save_receipt

    with progress("infer", "map", len(runs)) as advance, TemporaryDirectory() as scratch:
        for job in runs:
            shown = job[1:] == SHOWN and job.method in ("dense", "learned")
            place = out / "maps" / job.method if shown else Path(scratch) / job.name
            shutil.rmtree(place, ignore_errors=True)  # of an earlier demo
            server.reset()
            status = infer(out / "runs" / job.name, items, place, Wish(grid=task.grid))
            counted = _counted(server)
            save_receipt(status, out / "runs" / job.name, counted)
            if shown:
                say(_wire_line(job.method, status, counted))
            advance()
    labels = load_labels(out / "catalog" / "labels.tif", task.grid, CUTS)
    truth = encode_cog(np.where(labels == IGNORE, NODATA, labels), task.grid, len(CUTS) + 1)
    with atomic_path(out / "maps" / "truth.tif") as draft:
        draft.write_bytes(truth)


def _counted(server: Server) -> dict[str, int]:
    """What the server saw: a request from byte 0 is for a header, any other for pixels."""
    log = server.log()
    headers = sum(entry.length for entry in log.entries if entry.start == 0)
    counts = {"header_bytes": headers, "pixel_bytes": log.nbytes - headers}
    return {"requests": log.requests, "bytes": log.nbytes, **counts}


def _wire_line(method: str, status: Status, counted: dict[str, int]) -> str:
    return (
        f"wire {method:8} {counted['requests']} requests, {counted['bytes']:,} bytes "
        f"(headers {counted['header_bytes']:,}, pixels {counted['pixel_bytes']:,}); "
        f"planned {status.planned_requests} requests, {status.planned_nbytes:,} bytes; {status.seconds:.2f} s"
    )

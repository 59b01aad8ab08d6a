"""From items to a map, side by side: seconds, bytes, memory and score, over links of three speeds and from files.

    python benchmarks/infer.py [--quick] [--only geomask,20Mbit] [--json FILE] [--write]

The scenes, the networks and the environments of others are made on first use and kept in build/benchmarks/. What the
cases are stands in docs/benchmarks/infer.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory

from environments import SetupError
from infermap import Truth, write_items
from inferpeers import CONTENDERS, DENSE, Contender
from inferpeers.process import ContenderError, timed
from inferruns import told, train
from inferscene import TEST, TRAIN, Scene, bytes_per_pixel
from names import names_of
from scipy import stats
from table import Column, Figures, Row, table, write_figures

from geomask.demo.server import Server
from geomask.infer.run import infer
from geomask.progress import progress
from geomask.stac.search import load_items

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "build" / "benchmarks"
PAGE = ROOT / "docs" / "benchmarks" / "infer.md"

#: Seconds added to a request.
LATENCY = 0.05
#: bit/s of all connections together; None: from files.
CASES = {"20Mbit": 20e6, "100Mbit": 100e6, "1000Mbit": 1000e6, "files": None}
#: Of each contender; what waits for a link differs little from run to run. Quick: one.
REPEATS = {"20Mbit": 1, "100Mbit": 1, "1000Mbit": 1, "files": 3}
#: Networks of each kind that are compared by their score, all but the first of another seed.
SEEDS = 5
#: Seconds that one map may take.
PATIENCE = 1800.0

#: The last is what seeds are compared on: every label of the part to map is in it, at least 75 times.
SCENE, QUICK, SMALL = Scene(TEST, 5120), Scene(TEST, 2048), Scene(TEST, 600)
LEARNING = Scene(TRAIN, block=128, overviews=1)

KNOWN = (*(contender.name for contender in CONTENDERS), *CASES)

UNITS = {
    "seconds": "s",
    "network_seconds": "s",
    "bytes": "B",
    "memory": "B",
    "score": "fraction",
    "speed": "1",
    "gain": "fraction",
    "validation": "fraction",
    "share": "fraction",
    "channels": "count",
    "pixel_bytes": "B",
}


def _spread(row: Row) -> str:
    return f"{row.value:.1f} ({row.low:.1f}-{row.high:.1f})" if row.n > 1 else f"{row.value:.1f}"


def _between(row: Row, form: str) -> str:
    """With its interval, where it is the mean of several networks."""
    shown = format(row.value, form)
    return f"{shown} ({row.low:{form}}..{row.high:{form}})" if row.case == "networks" else shown


COLUMNS = (
    Column("pixel_bytes", "bytes a pixel", lambda row: f"{row.value:.2f}"),
    Column("channels", "channels", lambda row: f"{row.value:.0f}"),
    Column("share", "of all bytes", lambda row: f"{row.value:.1%}"),
    Column("validation", "validation", lambda row: f"{row.value:.3f}"),
    Column("seconds", "seconds", _spread),
    Column("network_seconds", "in the network", _spread),
    Column("speed", "times as fast", lambda row: f"{row.value:.1f}"),
    Column("bytes", "MB", lambda row: f"{(row.value or 0) / 1e6:.1f}"),
    Column("memory", "memory, MB", lambda row: f"{(row.value or 0) / 1e6:.0f}"),
    Column("score", "score", lambda row: _between(row, ".3f")),
    Column("gain", "gained", lambda row: _between(row, "+.3f")),
)


def main(
    arguments: Sequence[str] | None = None,
    scene: Scene | None = None,
    contenders: Sequence[Contender] = CONTENDERS,
    cache: Path = CACHE,
    steps: int | None = None,
) -> None:
    """Measure, print the table, and write what was asked for. `steps` are those of the networks' training."""
    given = _parser().parse_args(arguments)
    scene = scene or (QUICK if given.quick else SCENE)
    home = cache / "infer"
    with progress("making COGs", "file", len(scene.files) + len(LEARNING.files)) as advance:
        learning, files = LEARNING.publish(home, advance), scene.publish(home, advance)
    runs = train(LEARNING, learning, home, steps)
    run = Run(Bench(scene, files, runs, home), cache / "environments")
    names = [case for case in CASES if case in given.only] or list(CASES)
    chosen = [one for one in contenders if one.name in given.only] or contenders
    for contender in chosen:
        run.warm_up(contender, Bench(LEARNING, learning, runs, home))
    for case in names:
        with run.bench.opened(CASES[case]):
            for contender in chosen:
                run.measure(contender, case, 1 if given.quick else REPEATS[case])
    run.describe(runs)
    if not given.quick:
        run.compare([train(LEARNING, learning, home, steps, seed) for seed in range(SEEDS)], home)
    measured = run.figures()
    print(table(measured, COLUMNS))
    if given.json:
        measured.save(given.json)
    if given.write:
        _write_page(measured, given.quick)


@dataclass
class Bench:
    """A scene, where it is served or lies, and what maps it."""

    scene: Scene
    files: Path
    runs: Mapping[str, Path]
    home: Path
    """For what is written while a contender runs."""
    _server: Server | None = None

    @contextmanager
    def opened(self, bandwidth: float | None) -> Iterator[None]:
        """Served at so many bit/s; from files where that is None."""
        for path in self.files.rglob("*.tif"):
            path.read_bytes()  # for no contender the disk is cold
        if bandwidth is None:
            yield
            return
        with Server(self.files, latency=LATENCY, bandwidth=bandwidth) as self._server:
            yield
        self._server = None

    def measure(self, contender: Contender, environments: Path) -> dict[str, float]:
        """One map, by metric; `network_seconds` where the contender tells. Raises ContenderError and SetupError."""
        with TemporaryDirectory(prefix="map-", dir=self.home) as folder:
            items, out = Path(folder) / "items.json", Path(folder) / "out"
            out.mkdir()
            write_items(items, self.scene, self._href)
            command = contender.command(environments, self.runs, items, out)
            if self._server:
                self._server.reset()
            figures, said = timed(command, PATIENCE)
            if self._server:
                figures["bytes"] = float(self._server.log().nbytes)
            figures["score"] = self._truth.score(out)
        if (seconds := said.get("network_seconds")) is not None:
            figures["network_seconds"] = float(seconds)
        return figures

    @cached_property
    def _truth(self) -> Truth:
        return Truth(self.scene)

    def _href(self, name: str) -> str:
        return self._server.href(name) if self._server else str(self.files / name)


class Run:
    """One run of the benchmark: it gathers rows, case by case."""

    def __init__(self, bench: Bench, environments: Path) -> None:
        self.bench = bench
        self._environments = environments
        self._rows: list[Row] = []
        self._failed: dict[str, str] = {}
        self._versions = {name: version(name) for name in ("geomask", "torch", "rasterio")}

    def warm_up(self, contender: Contender, bench: Bench) -> None:
        """Map a little scene: imports are read from the disk, and one that cannot do it at all is found out."""
        _note(f"warm-up: {contender.name}")
        try:
            bench.measure(contender, self._environments)
            self._versions |= contender.versions(self._environments)
        except (SetupError, ContenderError) as error:
            _note(f"  {error}")
            self._failed[contender.name] = str(error)

    def measure(self, contender: Contender, case: str, repeats: int) -> None:
        """All repeats of a contender; where it fails, rows that say why."""
        _note(f"{case}: {contender.name}", end="")
        try:
            if contender.name in self._failed:
                raise ContenderError(self._failed[contender.name])
            samples = [self.bench.measure(contender, self._environments) for _ in range(repeats)]
            self._rows += summed(contender.name, case, samples)
            _note(f" {samples[-1]['seconds']:.1f} s")
        except (SetupError, ContenderError) as error:
            _note(f" {error}")
            self._rows += missing(contender.name, case, str(error))

    def describe(self, runs: Mapping[str, Path]) -> None:
        """What the networks are like, and the pixels."""
        for name, figures in told(runs).items():
            self._rows += [Row(name, "networks", metric, value, UNITS[metric], 1) for metric, value in figures.items()]
        sizes = zip(("nrt", "scene"), bytes_per_pixel(self.bench.scene, self.bench.files), strict=True)
        self._rows += [Row(name, "pixels", "pixel_bytes", size, "B", 1) for name, size in sizes]

    def compare(self, seeds: Sequence[Mapping[str, Path]], home: Path) -> None:
        """What the networks of all seeds score on a small scene of the same part, and what the learned ones gain."""
        files, truth = SMALL.publish(home, lambda: None), Truth(SMALL)
        scores: dict[str, list[float]] = {}
        with TemporaryDirectory(prefix="seeds-", dir=home) as folder:
            items = Path(folder) / "items.json"
            write_items(items, SMALL, lambda name: str(files / name))
            found = load_items(items)
            for seed, runs in enumerate(seeds):
                for name, run in runs.items():
                    place = Path(folder) / f"{name}-{seed}"
                    infer(run, found, place)
                    scores.setdefault(name, []).append(truth.score(place))
        gains = [one - other for one, other in zip(scores["learned"], scores["dense"], strict=True)]
        for name, values in scores.items():
            self._rows.append(interval(name, "networks", "score", values))
        self._rows.append(interval("learned", "networks", "gain", gains))

    def figures(self) -> Figures:
        """All rows, with each contender beside the dense pipeline."""
        rows = []
        for case in dict.fromkeys(row.case for row in self._rows):
            of_case = [row for row in self._rows if row.case == case]
            rows += of_case + compared(case, of_case)
        return Figures.now(self._versions, rows)


def summed(contender: str, case: str, samples: Sequence[Mapping[str, float]]) -> list[Row]:
    """Medians over the repeats; low and high are the extremes."""
    rows = []
    for metric in samples[0]:
        values = [sample[metric] for sample in samples]
        bounds = (len(values), min(values), max(values))
        rows.append(Row(contender, case, metric, median(values), UNITS[metric], *bounds))
    return rows


def interval(contender: str, case: str, metric: str, values: Sequence[float]) -> Row:
    """The mean and its 95 % interval (Student's t)."""
    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return Row(
        contender, case, metric, fmean(values), UNITS[metric], len(values), fmean(values) - half, fmean(values) + half
    )


def missing(contender: str, case: str, note: str) -> list[Row]:
    """The rows of a contender that has no figures for a case."""
    metrics = ["seconds", "network_seconds", *(["bytes"] if CASES[case] else []), "memory", "score"]
    return [Row(contender, case, metric, None, UNITS[metric], note=note) for metric in metrics]


def compared(case: str, rows: Sequence[Row]) -> list[Row]:
    """How many times as fast as the dense pipeline each is, and what it scores more."""
    value = {(row.contender, row.metric): row.value for row in rows if row.value is not None}
    found = []
    for name in dict.fromkeys(row.contender for row in rows):
        if (name, "seconds") in value and (DENSE, "seconds") in value:
            speed = value[DENSE, "seconds"] / value[name, "seconds"]
            gain = value[name, "score"] - value[DENSE, "score"]
            found += [Row(name, case, "speed", speed, "1", 1), Row(name, case, "gain", gain, "fraction", 1)]
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python benchmarks/infer.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a part of the scene, once each: under twelve minutes")
    about = "contenders, cases or both: geomask,odc-stac dense,20Mbit"
    parser.add_argument("--only", type=names_of(KNOWN), default=(), metavar="NAMES", help=about)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, tidy")
    parser.add_argument("--write", action="store_true", help=f"refresh the figures in {PAGE.relative_to(ROOT)}")
    return parser


def _write_page(measured: Figures, quick: bool) -> None:
    """Refresh the figures of the page."""
    source = f"{measured.source()} A quick run." if quick else measured.source()
    write_figures(PAGE, f"{source}\n\n{table(measured, COLUMNS, markdown=True)}\n")


def _note(text: str, end: str = "\n") -> None:
    print(text, end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

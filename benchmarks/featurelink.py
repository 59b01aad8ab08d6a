"""A map over a slow link: by all channels, by those that a run selected, and by features made at the other end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from infermap import Truth, write_items
from inferpeers.process import ContenderError, timed
from inferruns import train
from inferscene import TEST, TRAIN, Scene
from table import Row

from geomask.demo.server import Server

LINK = "link"
#: Seconds added to a request, and bit/s of all connections together, with who maps over such a link: reading all
#: channels over the slower one takes eight minutes and says nothing new.
LATENCY = 0.05
LINKS = {10e6: ("dense", "selection", "bottleneck"), 2e6: ("selection", "bottleneck")}
#: Seconds that one map may take, and that the service may take to start.
PATIENCE = 1800.0
#: By contender, the run that maps.
RUNS = {"dense": "dense", "selection": "learned", "bottleneck": "features"}
#: A second map of the same features: the service has kept its answers, so nothing is encoded.
KEPT = "bottleneck, kept"
SCENE, LEARNING = Scene(TEST, 2048), Scene(TRAIN, block=128, overviews=1)
UNITS = {"seconds": "s", "bytes": "B", "score": "fraction", "times_as_fast": "1"}
#: Maps of each contender; quick: one.
REPEATS = 3
GEOMASK = str(Path(sys.executable).with_name("geomask"))


def measure_link(
    cache: Path, names: Sequence[str], *, quick: bool, steps: int | None = None, scene: Scene = SCENE
) -> list[Row]:
    """Rows of the contenders of `RUNS` that are named: medians of maps, each from the start of a process to its end.

    COGs come from a server behind the link, features from `geomask serve-features` behind one that is no faster, which
    reads the same files from its disk and encodes while it is asked. Bytes are those that cross, but for the list of
    items; `steps` are those of the networks' training.
    """
    home = cache / "infer"
    learning, files = (one.publish(home, lambda: None) for one in (LEARNING, scene))
    runs = train(LEARNING, learning, home, steps, names=tuple(RUNS.values()))
    rows = list[Row]()
    for path in files.rglob("*.tif"):
        path.read_bytes()  # for nobody the disk is cold
    for bandwidth, contenders in LINKS.items():
        case = f"{LINK}/{bandwidth / 1e6:g}Mbit"
        measured = list[Row]()
        for name in contenders:
            if name in names:
                print(f"{case}: {name}", file=sys.stderr, flush=True)
                place = Place(runs[RUNS[name]], scene, files, home, bandwidth)
                measured += _rows_of(name, case, place, 1 if quick else REPEATS)
        rows += measured + _compared(case, measured)
    return rows


@dataclass(frozen=True)
class Place:
    """What is mapped, with what, and over which link."""

    run: Path
    scene: Scene
    files: Path
    home: Path
    bandwidth: float
    """bit/s"""


def _rows_of(name: str, case: str, place: Place, repeats: int) -> list[Row]:
    """Of a contender, and of what came with it; rows that say why where it fails."""
    try:
        measured = [_measure(name, place) for _ in range(repeats)]
    except ContenderError as error:
        return [Row(name, case, metric, None, UNITS[metric], note=str(error)) for metric in ("seconds", "score")]
    return [row for one in measured[0] for row in _rows(one, case, [figures[one] for figures in measured])]


def _measure(name: str, place: Place) -> dict[str, dict[str, float]]:
    """One map by a contender, and of features a second one. Raises ContenderError."""
    run, scene, files = place.run, place.scene, place.files
    with TemporaryDirectory(prefix="link-", dir=place.home) as folder:
        items = Path(folder) / "items.json"
        if name == "bottleneck":
            write_items(items, scene, lambda file: str(files / file))
            with _service(items, place, Path(folder)) as address:
                made = {one: Path(folder) / one for one in (name, KEPT)}
                return {one: _map(run, ["--from-features", address], out, scene) for one, out in made.items()}
        with Server(files, latency=LATENCY, bandwidth=place.bandwidth) as server:
            write_items(items, scene, server.href)
            return {name: _map(run, [str(items)], Path(folder) / "map", scene)}


def _map(run: Path, source: list[str], out: Path, scene: Scene) -> dict[str, float]:
    figures, said = timed([GEOMASK, "infer", str(run), *source, "--out", str(out)], PATIENCE)
    # As the ledger has it: the tests hold that against what servers count.
    return {**figures, "bytes": float(said["nbytes"]), "score": Truth(scene).score(out)}


@contextmanager
def _service(items: Path, place: Place, folder: Path) -> Iterator[str]:
    """The address of `geomask serve-features`, while it runs. Raises ContenderError where it does not start."""
    options = ["--latency", f"{1e3 * LATENCY:g}ms", "--bandwidth", f"{place.bandwidth / 1e6:g}Mbit"]
    with (folder / "service.log").open("w+") as errors:
        process = subprocess.Popen(
            [GEOMASK, "serve-features", str(items), "--run", str(place.run), *options],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        with process:
            try:
                address = process.stdout.readline().strip() if process.stdout else ""
                if not address:
                    errors.seek(0)
                    raise ContenderError(f"no service: {errors.read().strip()[-300:]}")
                yield address
            finally:
                process.terminate()


def _rows(name: str, case: str, measured: list[dict[str, float]]) -> list[Row]:
    rows = []
    for metric in ("seconds", "bytes", "score"):
        values = [figures[metric] for figures in measured]
        rows.append(Row(name, case, metric, median(values), UNITS[metric], len(values), min(values), max(values)))
    return rows


def _compared(case: str, rows: list[Row]) -> list[Row]:
    """How many times as fast as the dense map each is."""
    seconds: Mapping[str, float] = {row.contender: row.value for row in rows if row.metric == "seconds" and row.value}
    dense = seconds.get("dense")
    return (
        []
        if dense is None
        else [Row(one, case, "times_as_fast", dense / value, "1", 1) for one, value in seconds.items()]
    )

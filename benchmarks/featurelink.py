"""A map over a slow link: by all channels, by those that a run selected, and by features made at the other end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
#: Seconds added to a request, and bit/s of all connections together.
LATENCY, BANDWIDTH = 0.05, 10e6
#: Seconds that one map may take, and that the service may take to start.
PATIENCE = 1800.0
#: By contender, the run that maps.
RUNS = {"dense": "dense", "selection": "learned", "bottleneck": "features"}
SCENE, LEARNING = Scene(TEST, 2048), Scene(TRAIN, block=128, overviews=1)
UNITS = {"seconds": "s", "bytes": "B", "score": "fraction", "times_as_fast": "1"}
#: Maps of each contender; quick: one.
REPEATS = 3
GEOMASK = str(Path(sys.executable).with_name("geomask"))


def measure_link(cache: Path, *, quick: bool, steps: int | None = None, scene: Scene = SCENE) -> list[Row]:
    """Rows of every contender: medians of seconds from the start of `geomask infer` to its end, the map on disk.

    COGs come from a server behind the link, features from `geomask serve-features` behind one that is no faster, which
    reads the same files from its disk and encodes while it is asked. Bytes are those that cross; `steps` are those of
    the networks' training.
    """
    home = cache / "infer"
    learning, files = (one.publish(home, lambda: None) for one in (LEARNING, scene))
    runs = train(LEARNING, learning, home, steps, names=tuple(RUNS.values()))
    case, rows = f"{LINK}/{BANDWIDTH / 1e6:g}Mbit", list[Row]()
    for path in files.rglob("*.tif"):
        path.read_bytes()  # for nobody the disk is cold
    for name, run in RUNS.items():
        print(f"{case}: {name}", file=sys.stderr, flush=True)
        try:
            measured = [_measure(name, runs[run], scene, files, home) for _ in range(1 if quick else REPEATS)]
        except ContenderError as error:
            rows += [Row(name, case, metric, None, UNITS[metric], note=str(error)) for metric in ("seconds", "score")]
            continue
        rows += _rows(name, case, measured)
    return rows + _compared(case, rows)


def _measure(name: str, run: Path, scene: Scene, files: Path, home: Path) -> dict[str, float]:
    """One map. Raises ContenderError."""
    with TemporaryDirectory(prefix="link-", dir=home) as folder:
        items, out = Path(folder) / "items.json", Path(folder) / "map"
        if name == "bottleneck":
            write_items(items, scene, lambda file: str(files / file))
            with _service(items, run, Path(folder)) as address:
                command = [GEOMASK, "infer", str(run), "--from-features", address, "--out", str(out)]
                figures, said = timed(command, PATIENCE)
        else:
            with Server(files, latency=LATENCY, bandwidth=BANDWIDTH) as server:
                write_items(items, scene, server.href)
                figures, said = timed([GEOMASK, "infer", str(run), str(items), "--out", str(out)], PATIENCE)
        # As the ledger has it: the tests hold that against what servers count.
        figures["bytes"] = float(said["nbytes"])
        figures["score"] = Truth(scene).score(out)
    return figures


@contextmanager
def _service(items: Path, run: Path, folder: Path) -> Iterator[str]:
    """The address of `geomask serve-features`, while it runs. Raises ContenderError where it does not start."""
    options = ["--latency", f"{LATENCY}s", "--bandwidth", f"{BANDWIDTH:g}bit"]
    with (folder / "service.log").open("w+") as errors:
        process = subprocess.Popen(
            [GEOMASK, "serve-features", str(items), "--run", str(run), *options],
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

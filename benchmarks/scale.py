"""Maps of a continent: what finding, planning and scheduling a million chips takes, against making one.

    python benchmarks/scale.py [--quick] [--only errands,workers] [--json FILE] [--write]

What the cases are, and what follows for a year of Sentinel-2, stands in docs/benchmarks/scale.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any, Self

import numpy as np
import pystac
import rasterio
import torch
from memory import Peak
from names import names_of
from plan import made_up_layout
from rasterio.transform import from_origin
from table import Column, Figures, Row, table, write_figures

from geomask.atomic import atomic_path
from geomask.cog.index import HeaderIndex
from geomask.crs import transform
from geomask.demo.server import Server
from geomask.grid import Grid
from geomask.infer import cluster
from geomask.infer.agenda import Agenda
from geomask.infer.draft import Wish
from geomask.infer.ground import Ground
from geomask.infer.job import Job
from geomask.infer.outbox import Outbox
from geomask.infer.run import infer
from geomask.infer.site import Made
from geomask.infer.tiling import Tiling
from geomask.masks.hard import HardGate
from geomask.selection import Channel, Selection
from geomask.stac.band import Band
from geomask.stac.slots import make_slots
from geomask.train.crowd import one_thread
from geomask.train.network import MaskedNetwork
from geomask.train.networks import make_network
from geomask.train.record import Record
from geomask.train.run import save_run
from geomask.train.settings import Settings
from geomask.train.step import Trained

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "build" / "benchmarks" / "scale"
PAGE = ROOT / "docs" / "benchmarks" / "scale.md"

#: Equal areas all over the Earth; scenes are squares of `SCENE` pixels of 10 m, side by side.
CRS, SCENE, GSD = "EPSG:6933", 10_980, 10.0
#: Rows and columns of chips and tiles, pixels; of the case `workers` the last, so that there are enough of them.
CHIP, SIDE, TILE = 256, 1024, 512
BANDS = tuple(Band(f"B{number:02}", f"B{number:02}", GSD) for number in range(1, 11))
#: Channels that are read: two bands in four of the year's months.
CHANNELS = tuple(Channel(month, band) for month in (3, 5, 7, 9) for band in (3, 7))
#: Tiles of a task: each takes some 50 requests.
PER_TASK = 2
#: Tiles that are planned one by one.
PLANNED = 200
#: Side of the scene that is really read and mapped, pixels.
REAL = 4096
#: What is reckoned: square metres of Europe, all channels of twelve months, cores, and bit/s of a link.
EUROPE, ALL, CORES, LINK = 10.2e12, 12 * 10, 64, 10e9
#: Features of the network where that is the limit: four times the work of the default one.
LARGE = 128
#: bit/s of the link that fetching has to fill, and seconds added to each request.
BANDWIDTH, LATENCY = 100e6, 0.05
CASES = ("errands", "planning", "scheduling", "tile", "workers", "link")

COLUMNS = (
    Column("chips", "chips", lambda row: f"{row.value:,.0f}"),
    Column("milliseconds", "ms a chip", lambda row: f"{row.value:.3f}"),
    Column("reading", "of it reading, ms", lambda row: f"{row.value:.2f}"),
    Column("network", "of it the network, ms", lambda row: f"{row.value:.2f}"),
    Column("memory", "memory, MB", lambda row: f"{(row.value or 0) / 1e6:.0f}"),
    Column("bytes", "kB a chip", lambda row: f"{(row.value or 0) / 1e3:.1f}"),
    Column("requests", "requests a chip", lambda row: f"{row.value:.2f}"),
    Column("speedup", "chips, ratio to one", lambda row: f"{row.value:.2f}"),
    Column("share", "share of the link", lambda row: f"{row.value:.1%}"),
    Column("hours", "hours", lambda row: f"{row.value:.2f}"),
)
UNITS = {
    "chips": "chip",
    "milliseconds": "ms",
    "reading": "ms",
    "network": "ms",
    "memory": "byte",
    "bytes": "byte",
    "hours": "hour",
}


def main(arguments: Sequence[str] | None = None, cache: Path = CACHE, **sizes: int) -> None:
    """Measure, print the table, and write what was asked for. `sizes` are those of `Run`."""
    given = _parser().parse_args(arguments)
    default = {"items": 10_000, "chips": 100_000} if given.quick else {"items": 100_000, "chips": 1_000_000}
    run = Run(cache, **{**default, **sizes})
    found = list[Row]()
    for case in [name for name in CASES if name in given.only]:
        print(f"{case} ...", file=sys.stderr, flush=True)
        found += getattr(run, case)()
    found += reckoned(found)
    versions = {name: version(name) for name in ("geomask", "distributed", "torch", "numpy")}
    measured = Figures.now(versions, found)
    print(table(measured, COLUMNS))
    if given.json:
        measured.save(given.json)
    if given.write:
        write_figures(PAGE, f"{measured.source()}\n\n{table(measured, COLUMNS, markdown=True)}\n")


class Run:
    """One run of the benchmark: a method a case."""

    def __init__(self, cache: Path, items: int, chips: int, real: int = REAL) -> None:
        self._cache, self._chips, self._real = cache, chips, real
        self._items = items
        self._world: tuple[Job, list[pystac.Item], int] | None = None

    def errands(self) -> Iterator[Row]:
        """Which items each tile is made from: what the client does for every chip, and what it holds."""
        job, items, held = self.world()
        start = time.perf_counter()
        agenda = Agenda(job, items)
        found = sum(len(errand.items) > 0 for errand in agenda.errands(set()))
        seconds = time.perf_counter() - start
        chips = found * (SIDE // CHIP) ** 2
        yield from rows("client", "errands", chips=chips, milliseconds=1e3 * seconds / chips, memory=resident())
        yield from rows("items alone", "errands", memory=held)

    def planning(self) -> Iterator[Row]:
        """What a worker does before it fetches: the manifest of a tile, whose headers it holds."""
        job, items, _ = self.world()
        agenda = Agenda(job, items)
        errands = [errand for errand, _ in zip(agenda.errands(set()), range(PLANNED), strict=False)]
        ground = Ground(job.selection, job.tiling.grid, job.scaling, index=made_up_headers(errands))
        nbytes, requests, start = 0, 0, time.perf_counter()
        for errand in errands:
            manifest, _ = ground.plan(errand.items, [job.tiling.tile(errand.tile).window])
            nbytes, requests = nbytes + manifest.pixel_nbytes, requests + len(manifest.runs)
        seconds, chips = time.perf_counter() - start, len(errands) * (SIDE // CHIP) ** 2
        figures = {"milliseconds": 1e3 * seconds / chips, "bytes": nbytes / chips, "requests": requests / chips}
        yield from rows("worker", "planning", chips=chips, **figures)

    def scheduling(self) -> Iterator[Row]:
        """All errands through a scheduler to a worker that does nothing with them."""
        job, items, _ = self.world()
        agenda, made = Agenda(job, items), list[Made]()
        make_batch, cluster.make_batch = cluster.make_batch, do_nothing
        try:
            with scheduler() as (address, pid), cluster.open_cluster(address, 0) as client, Peak(pid) as peak:
                start, errands = time.perf_counter(), agenda.errands(set())
                cluster.make_tiles_on(client, job, Outbox("."), errands, PER_TASK, None, made.append)
                seconds = time.perf_counter() - start
        finally:
            cluster.make_batch = make_batch
        chips = len(made) * (SIDE // CHIP) ** 2
        yield from rows("scheduler", "scheduling", chips=chips, milliseconds=1e3 * seconds / chips, memory=peak.nbytes)
        yield from rows("client", "scheduling", memory=resident())

    def tile(self) -> Iterator[Row]:
        """Tiles that are really read, from local files, and mapped, by one process and one thread."""
        run, items = self.real()
        with one_thread(), TemporaryDirectory(dir=self._cache) as folder:
            status = infer(run, items, Path(folder) / "map", Wish(tile=SIDE))
        chips = status.tiles * (SIDE // CHIP) ** 2
        network, reading = 1e3 * status.network_seconds / chips, 1e3 * status.seconds / chips
        yield from rows(
            "one process",
            "tile",
            chips=chips,
            milliseconds=network + reading,
            reading=reading,
            network=network,
            bytes=status.nbytes / chips,
            requests=status.requests / chips,
        )

    def workers(self) -> Iterator[Row]:
        """Two processes against one, each of one thread, where the network is the limit."""
        run, items = self.real(width=LARGE)
        with one_thread(), TemporaryDirectory(dir=self._cache) as folder:
            alone, both = (pace(run, items, Path(folder) / f"{workers}", workers) for workers in (0, 2))
        yield from rows("one process", "workers", milliseconds=1e3 / alone, speedup=1.0)
        yield from rows("two processes", "workers", milliseconds=1e3 / both, speedup=both / alone)

    def link(self) -> Iterator[Row]:
        """How much of a link is filled, where that is the limit."""
        run, items = self.real(width=1)
        with Server(self._cache, latency=LATENCY, bandwidth=BANDWIDTH) as server:
            online = [item.clone() for item in items]
            for item in online:
                for asset in item.assets.values():
                    asset.href = server.href(Path(asset.href))
            for workers, name in ((0, "one process"), (2, "two processes")):
                server.reset()
                with TemporaryDirectory(dir=self._cache) as folder, Meter(server) as meter:
                    infer(run, online, Path(folder) / "map", Wish(tile=SIDE), workers=workers)
                yield from rows(name, "link", share=8 * meter.rate / BANDWIDTH)

    def world(self) -> tuple[Job, list[pystac.Item], int]:
        """A job of so many chips, its items, and the bytes that these take."""
        if self._world is None:
            before = resident()
            side = int(np.sqrt(self._chips)) * CHIP // SIDE * SIDE
            items = make_items(self._items, -(-side // SCENE))
            slots = make_slots(items, "month")
            selection = Selection(slots, BANDS, CHANNELS)
            grid = Grid(CRS, 0.0, side * GSD, GSD, GSD, side, side)
            scaling = ((1e-4, 0.0),) * len(CHANNELS)
            tiling = Tiling(grid, SIDE, CHIP, 2)
            self._world = Job("world", selection, scaling, tiling, "eager", "", ""), items, resident() - before
        return self._world

    def real(self, width: int = 64) -> tuple[Path, list[pystac.Item]]:
        """A run of eight channels with a small network of so many features, and items whose files are there."""
        items = publish(self._cache / f"files-{self._real}", self._real)
        selection = Selection.dense(make_slots(items, "month"), BANDS[:2])
        count = len(selection.channels)
        settings = Settings(width=width)
        network = make_network("small", count, 4, width, settings.dropout)
        gate = HardGate(list(range(count)))
        model = MaskedNetwork(torch.full((count,), 3e3), torch.full((count,), 1e3), gate, network).eval()
        record = Record("dense", 0, 0, 3, "100%", 0, 0, list("abcd"), GSD, {}, [], settings=asdict(settings))
        record = replace(record, scaling=[[1e-4, 0.0]] * count)
        folder = self._cache / f"run-{width}"
        shutil.rmtree(folder, ignore_errors=True)
        save_run(folder, Trained(model, ()), selection, record)
        return folder, items


def rows(contender: str, case: str, **figures: float | None) -> list[Row]:
    """One for each figure."""
    return [Row(contender, case, metric, value, UNITS.get(metric, "1"), 1) for metric, value in figures.items()]


def resident() -> int:
    """Bytes of memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def make_items(count: int, across: int) -> list[pystac.Item]:
    """Items of a year, on squares of scenes, `across` of them each way."""
    squares, begin = across**2, datetime(2025, 1, 1, 10, tzinfo=UTC)
    dates, items = -(-count // squares), list[pystac.Item]()
    size, clouds = SCENE * GSD, np.random.default_rng(0)
    for number in range(count):
        date, square = divmod(number, squares)
        row, col = divmod(square, across)
        left, top = col * size, (across - row) * size
        x, y = (
            np.array([left, left + size, left + size, left, left]),
            np.array([top - size, top - size, top, top, top - size]),
        )
        lon, lat = transform(CRS, "EPSG:4326", x, y)
        name = f"S2_{row:02}_{col:02}_{date:03}"
        item = pystac.Item(
            id=name,
            geometry={"type": "Polygon", "coordinates": [np.stack([lon, lat], 1).tolist()]},
            bbox=[lon.min(), lat.min(), lon.max(), lat.max()],
            datetime=begin + timedelta(days=365 * date / dates),
            properties={"eo:cloud_cover": round(float(clouds.random() * 100), 1), "proj:code": CRS},
            collection="sentinel-2-l2a",
        )
        for band in BANDS:
            item.add_asset(band.asset, pystac.Asset(f"https://archive.example/{name}/{band.asset}.tif"))
        items.append(item)
    return items


def made_up_headers(errands: Sequence[Any]) -> HeaderIndex:
    """Headers of all files that these errands may read."""
    known, layout = {}, made_up_layout("", 0)
    for item in {item.id: item for errand in errands for item in errand.items}.values():
        corners = np.array(item.geometry["coordinates"][0] if item.geometry else ())
        x, y = transform("EPSG:4326", CRS, corners[:, 0], corners[:, 1])
        grid = Grid(CRS, round(float(x.min()), -1), round(float(y.max()), -1), GSD, GSD, SCENE, SCENE)
        for asset in item.assets.values():
            known[asset.href] = replace(layout, href=asset.href, grid=grid)
    return HeaderIndex(known)


def publish(folder: Path, side: int) -> list[pystac.Item]:
    """COGs of two bands in four months, of noise on a slope, and their items."""
    items = []
    for month in range(1, 5):
        item = pystac.Item(
            id=f"real_{month}",
            geometry=None,
            bbox=None,
            datetime=datetime(2025, month, 9, tzinfo=UTC),
            properties={"eo:cloud_cover": 0.0},
        )
        for number, band in enumerate(BANDS[:2]):
            path = folder / f"{month}" / f"{band.asset}.tif"
            if not path.is_file():
                write_cog(path, side, 10 * month + number)
            item.add_asset(band.asset, pystac.Asset(str(path)))
        items.append(item)
    return items


def write_cog(path: Path, side: int, seed: int) -> None:
    """One band of uint16, of as many bytes a pixel as a real one: a slope and noise of some bits."""
    draw, slope = np.random.default_rng(seed), np.add.outer(np.arange(side), np.arange(side)) // 8
    pixels = (1000 + slope + draw.normal(0, 40, (side, side))).astype("uint16")
    profile = {"driver": "COG", "count": 1, "dtype": "uint16", "height": side, "width": side, "crs": CRS}
    options = {"compress": "DEFLATE", "predictor": "YES", "blocksize": 512, "num_threads": 2}
    with (
        atomic_path(path) as draft,
        rasterio.open(draft, "w", **profile, transform=from_origin(0, side * GSD, GSD, GSD), **options) as file,
    ):
        file.write(pixels, 1)


def reckoned(measured: Sequence[Row]) -> list[Row]:
    """Hours of each part of a map of Europe for a year, from what was measured; none where a case was left out."""
    value = {(row.contender, row.case, row.metric): row.value or 0.0 for row in measured}
    try:
        network, reading, nbytes = (value["one process", "tile", metric] for metric in ("network", "reading", "bytes"))
        seconds = {
            f"network, {CORES} cores": network / 1e3 / CORES,
            f"reading and decoding, {CORES} cores": reading / 1e3 / CORES,
            f"planning, {CORES} cores": value["worker", "planning", "milliseconds"] / 1e3 / CORES,
            f"link, {LINK / 1e9:g} Gbit/s": 8 * nbytes / LINK,
            f"link, {LINK / 1e9:g} Gbit/s, all channels": 8 * nbytes * ALL / len(CHANNELS) / LINK,
            "scheduler": value["scheduler", "scheduling", "milliseconds"] / 1e3,
            "client": value["client", "errands", "milliseconds"] / 1e3,
        }
    except KeyError:
        return []
    chips = EUROPE / (CHIP * GSD) ** 2
    return [row for name, each in seconds.items() for row in rows(name, "Europe, a year", hours=chips * each / 3600)]


class Meter:
    """Reads how many bytes a server has sent, while the block runs."""

    def __init__(self, server: Server) -> None:
        self._server, self._done = server, Event()
        self._marks: list[tuple[float, int]] = []
        self._thread = Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def rate(self) -> float:
        """Bytes a second, while the middle half of all came."""
        times, counts = np.array(self._marks).T
        first, last = np.searchsorted(counts, (counts[-1] / 4, 3 * counts[-1] / 4))
        return float((counts[last] - counts[first]) / (times[last] - times[first]))

    def _watch(self) -> None:
        while not self._done.wait(0.1):
            self._marks.append((time.perf_counter(), self._server.log().nbytes))


def pace(run: Path, items: Sequence[pystac.Item], place: Path, workers: int) -> float:
    """Chips a second, while the middle half of all tiles was made."""
    marks = list[float]()
    wish = Wish(tile=TILE)
    infer(run, items, place, wish, workers=workers, on_done=lambda *_: marks.append(time.perf_counter()))
    first, last = len(marks) // 4, 3 * len(marks) // 4
    return (last - first) * (TILE // CHIP) ** 2 / (marks[last] - marks[first])


def do_nothing(place: str, digest: str, batch: list[tuple[int, list[dict[str, Any]]]], sign: object) -> list[Any]:
    """In place of `make_batch`."""
    return [(tile, 0) for tile, _ in batch]


@contextmanager
def scheduler() -> Iterator[tuple[str, int]]:
    """A scheduler and a worker, processes of their own; its address and process id."""
    with TemporaryDirectory() as folder:
        said = Path(folder) / "scheduler.json"
        options = ["--scheduler-file", str(said), "--no-dashboard", "--host", "127.0.0.1"]
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
        tool = [sys.executable, "-m", "distributed.cli"]
        first = subprocess.Popen([*tool[:2], "distributed.cli.dask_scheduler", *options, "--port", "0"], **quiet)
        worker = [*tool[:2], "distributed.cli.dask_worker", "--scheduler-file", str(said), "--nthreads", "2"]
        second = subprocess.Popen([*worker, "--no-nanny", "--no-dashboard", "--host", "127.0.0.1"], **quiet)
        try:
            while not said.is_file():
                time.sleep(0.1)
            time.sleep(3)  # the worker
            yield json.loads(said.read_text())["address"], first.pid
        finally:
            for process in (second, first):
                process.terminate()
                process.wait()


def _parser() -> argparse.ArgumentParser:
    about = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python benchmarks/scale.py", description=about)
    parser.add_argument("--quick", action="store_true", help="a tenth of items and chips: five minutes")
    parser.add_argument("--only", type=names_of(CASES), default=CASES, metavar="NAMES", help="such as errands,workers")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, tidy")
    parser.add_argument("--write", action="store_true", help=f"refresh the figures in {PAGE.relative_to(ROOT)}")
    return parser


if __name__ == "__main__":
    main()

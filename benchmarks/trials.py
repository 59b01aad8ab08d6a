"""What is measured of a contender: chips over a link or from disk, chips from a store, and the start of a data set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from chipcases import SIZE, chip_files, gridded_places, make_chip_job, true_chips, true_digests
from contenders import chips, start, store
from contenders.job import digest
from contenders.store.job import StoreJob
from measure import addresses
from memory import Peak
from scene import EPSG, GSD, LEFT, TOP

from geomask.progress import progress

if TYPE_CHECKING:
    from catalogue import Catalogue
    from chipcases import ChipCase, Place
    from contenders import Contender
    from measure import Worker
    from scene import Scene

    from geomask.demo.server import Server

#: Of a store's chips, and how often all of them are read.
CHANNELS, EPOCHS = 32, 5

#: Seconds that a contender may take to bring items into its own form, which is not timed.
PREPARING = 600.0

Samples = dict[str, list[float]]
"""By metric, one figure a repetition."""


class Trial(Protocol):
    """One case. `measure` raises ContenderError where a contender fails."""

    metrics: tuple[str, ...]
    patience: float
    """Seconds that a contender may take for one answer."""
    ours_only: bool
    """Peers are left out: they would take too long."""

    @property
    def name(self) -> str:
        """As tables and ``--only`` call it."""

    @property
    def contenders(self) -> tuple[Contender, ...]:
        """Those that have figures here."""

    def prepare(self) -> None:
        """Make the files that are not there yet."""

    def measure(self, worker: Worker) -> Samples:
        """All repetitions of a contender that has just started."""


@dataclass
class ChipTrial:
    """Chips of the scene: the whole way from items to pixels, every repetition at addresses of its own."""

    case: ChipCase
    scene: Scene
    files: Path
    """Where the scene lies."""
    server: Server
    patience: float = 600.0
    metrics: tuple[str, ...] = ("chips_per_second", "chips_per_second_open", "bytes", "memory", "seconds", "exact")
    ours_only: bool = False
    _numbers: Iterator[int] = field(default_factory=count)
    _true: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The case's."""
        return self.case.name

    @property
    def contenders(self) -> tuple[Contender, ...]:
        """One more where bytes can be kept."""
        return chips.SERVED if self.case.served else chips.CONTENDERS

    def prepare(self) -> None:
        """The scene, and what its chips are."""
        _publish(self.scene, self.files)
        self._true = self._true or true_digests(self.scene, self.case.places, self.files)

    def measure(self, worker: Worker) -> Samples:
        """Two chips first: what a data set does only once in a process is not timed."""
        self._read(worker, self.case.places[:2])
        repeats = [self._read(worker, self.case.places) for _ in range(self.case.repeats)]
        return {metric: [figures[metric] for figures in repeats] for metric in self.metrics}

    def _read(self, worker: Worker, places: tuple[Place, ...]) -> dict[str, float]:
        with self._hrefs(worker) as hrefs:
            worker.ask(job=asdict(make_chip_job(self.scene, places, hrefs)), kept=False)
            self.server.reset()
            with Peak(worker.pid) as peak:
                answer = worker.ask()
            log = self.server.log()
        seconds, opened = answer["seconds"], answer["opened"]
        return {
            "chips_per_second": len(places) / seconds,
            "chips_per_second_open": len(places) / (seconds - opened),
            "bytes": float(log.nbytes),
            "memory": float(peak.nbytes or np.nan),
            "seconds": opened,
            "exact": _share(answer["digests"], self._true[: len(places)]),
        }

    @contextmanager
    def _hrefs(self, worker: Worker) -> Iterator[list[str]]:
        """Of the files: addresses, or paths on this machine."""
        folder = f"{self.name}-{worker.pid}-{next(self._numbers)}"
        with addresses(self.server, folder, chip_files(self.scene, self.files)) as urls:
            here = [str(self.server.directory / folder / name) for name in chip_files(self.scene, self.files)]
            yield urls if self.case.served else here


@dataclass
class StoreTrial:
    """Chips of 32 channels that were read before."""

    scene: Scene
    files: Path
    folder: Path
    """In which stores are made."""
    side: int
    """Chips in a row, and rows of chips."""
    patience: float = 600.0
    name: str = "store"
    contenders: tuple[Contender, ...] = store.CONTENDERS
    metrics: tuple[str, ...] = ("chips_per_second", "memory", "seconds", "exact")
    ours_only: bool = False
    _true: list[str] = field(default_factory=list)

    @property
    def _pixels(self) -> Path:
        return self.folder / "true.npy"

    @property
    def _channels(self) -> list[tuple[int, str]]:
        return [(date, asset) for date in range(self.scene.dates) for asset in self.scene.assets][:CHANNELS]

    def prepare(self) -> None:
        """The scene, and what its chips are."""
        _publish(self.scene, self.files)
        paths = [self.files / self.scene.names[date] / f"{asset}.tif" for date, asset in self._channels]
        pixels = true_chips(gridded_places(self.scene, self.side), paths)
        np.save(self._pixels, pixels)
        self._true = [digest(chip) for chip in pixels]

    def measure(self, worker: Worker) -> Samples:
        """Some epochs over one store; `seconds` is its making."""
        with TemporaryDirectory(dir=self.folder) as folder:
            worker.ask(job=asdict(self._job(folder)), kept=False)
            with Peak(worker.pid) as peak:
                answer = worker.ask()
        return {
            "chips_per_second": [len(self._true) / seconds for seconds in answer["epochs"]],
            "memory": [float(peak.nbytes or np.nan)],
            "seconds": [answer["opened"]],
            "exact": [_share(answer["digests"], self._true)],
        }

    def _job(self, folder: str) -> StoreJob:
        scene = self.scene
        hrefs = [str(self.files / name / f"{asset}.tif") for name in scene.names for asset in scene.assets]
        return StoreJob(
            scene.items(scene.assets, hrefs),
            self._channels,
            (f"EPSG:{EPSG}", LEFT, TOP, GSD, scene.side),
            [(row, col, SIZE, SIZE) for row, col in gridded_places(scene, self.side)],
            str(self._pixels),
            folder,
            EPOCHS,
        )


@dataclass
class StartTrial:
    """From items to a data set that is ready for its first chip."""

    name: str
    items: int
    catalogue: Catalogue
    files: Path
    server: Server
    """Over `files`."""
    patience: float = 600.0
    contenders: tuple[Contender, ...] = start.CONTENDERS
    metrics: tuple[str, ...] = ("seconds", "memory")
    ours_only: bool = False

    def prepare(self) -> None:
        """The catalogue."""
        with progress("making a catalogue", "place", len(self.catalogue.places)) as advance:
            for _ in self.catalogue.publish(self.files):
                advance()

    def measure(self, worker: Worker) -> Samples:
        """Once."""
        worker.patience = PREPARING
        worker.ask(job=asdict(self.catalogue.job(self.items, self.server.url, self.files)), kept=False)
        worker.patience = self.patience
        with Peak(worker.pid) as peak:
            answer: dict[str, Any] = worker.ask()
        return {"seconds": [answer["seconds"]], "memory": [float(peak.nbytes or np.nan)]}


def _share(digests: list[str], true: list[str]) -> float:
    """Of chips that are what they should be."""
    return sum(one == other for one, other in zip(digests, true, strict=True)) / len(true)


def _publish(scene: Scene, folder: Path) -> None:
    with progress("making COGs", "file", scene.bands * scene.dates) as advance:
        for _ in scene.publish(folder):
            advance()

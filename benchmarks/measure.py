"""One contender on one case: the reader in a process of its own, the server counting."""

from __future__ import annotations

import atexit
import json
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from jobs import Case, Place, make_job, paths, true_digest, whole_bytes
from table import Row

if TYPE_CHECKING:
    from contenders import Contender
    from scene import Scene

    from geomask.demo.server import Server

SCRIPT = Path(__file__).with_name("worker.py")

#: A reader that takes longer for one answer is stopped; the slowest that works takes a sixth of it.
PATIENCE = 60.0

UNITS = {"bytes": "B", "requests": "count", "seconds": "s", "exact": "fraction", "ratio": "fraction"}


class ContenderError(Exception):
    """A reader that failed, hung or died; the message is the row's note."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One repetition."""

    nbytes: int
    """Of bodies, as the server counted them."""
    requests: int
    seconds: float
    exact: bool
    """Whether every pixel is what plain rasterio reads from the file on disk."""
    whole: int
    """Bytes of all GeoTIFF tiles that the window meets."""


class Bench:
    """Files, the server over them, and fresh addresses for every read."""

    def __init__(self, scene: Scene, files: Path, server: Server) -> None:
        self._scene, self._files, self._server = scene, files, server
        self._numbers = count()

    def measure(self, worker: Worker, case: Case, kept: bool) -> list[Sample]:
        """A sample at each place of the case. Raises ContenderError."""
        return [self.sample(worker, case, place, kept) for place in case.places]

    def sample(self, worker: Worker, case: Case, place: Place, kept: bool) -> Sample:
        """Read the case once. Raises ContenderError."""
        with self._fresh(case) as hrefs:
            job = asdict(make_job(case, self._scene, place, hrefs))
            worker.ask(job=job, kept=kept)
            self._server.reset()
            answer = worker.ask()
            log = self._server.log()
        exact = answer["digest"] == true_digest(case, self._scene, place, self._files)
        whole = whole_bytes(case, self._scene, place, self._files)
        return Sample(log.nbytes, log.requests, answer["seconds"], exact, whole)

    def _fresh(self, case: Case) -> AbstractContextManager[list[str]]:
        files = {path: self._files / path for path in paths(case, self._scene)}
        return addresses(self._server, f"{next(self._numbers)}", files)


@contextmanager
def addresses(server: Server, folder: str, files: Mapping[str, Path]) -> Iterator[list[str]]:
    """Addresses of files that nobody has asked for before, so that no cache knows them: `folder` is a new name.

    `files` are those on disk, by their paths below the folder.
    """
    place = server.directory / folder
    try:
        for path, file in files.items():
            link = place / path
            link.parent.mkdir(parents=True, exist_ok=True)
            os.link(file, link)
        yield [server.href(f"{folder}/{path}") for path in files]
    finally:
        shutil.rmtree(place, ignore_errors=True)


class Worker:
    """A contender's process. Raises ContenderError where it does not start; close it when done."""

    version: str
    """Of the contender's package."""
    keeps_headers: bool
    patience: float
    """Seconds that an answer may take."""

    def __init__(self, contender: Contender, python: Path, patience: float | None = None) -> None:
        """`patience` is PATIENCE where it is not given."""
        self.patience = PATIENCE if patience is None else patience
        # -P: the script's folder does not come first on the path. Readers' warnings about their own dependencies are
        # not ours to mend.
        command = [str(python), "-P", "-W", "ignore", str(SCRIPT), contender.module, contender.package]
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed by `close`
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True, process_group=0
        )
        atexit.register(self._kill)  # Ctrl-C in a terminal does not reach another group
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        try:
            hello = self._answer()
        except ContenderError:
            self.close()
            raise
        self.version, self.keeps_headers = hello["version"], hello["keeps_headers"]

    @property
    def ended(self) -> bool:
        """Whether the process has died, or was stopped."""
        return self._process.poll() is not None

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def close(self) -> None:
        """End the process, and those that it started."""
        self._kill()
        atexit.unregister(self._kill)
        with suppress(BrokenPipeError), self._process:  # closes its pipes and waits
            pass
        self._errors.close()

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and wait for the answer. Raises ContenderError where it is an error, or does not come."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):  # it has died; `_answer` finds out of what
                self._process.stdin.write(json.dumps(request) + "\n")
                self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=self.patience)
        except queue.Empty:
            self._kill()
            self._process.wait()
            raise ContenderError(f"no answer within {self.patience:.0f} s") from None
        if not line:
            self._process.wait()
            raise ContenderError(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ContenderError(answer["error"])
        return answer

    def _kill(self) -> None:
        """The whole group: readers have workers of their own."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _listen(self) -> None:
        for line in self._process.stdout or ():
            self._lines.put(line)
        self._lines.put("")

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        return f"ended with code {self._process.returncode}: {lines[-1] if lines else 'no word'}"[:300]


def figures(contender: str, case: str, samples: Sequence[Sample]) -> list[Row]:
    """Of one contender and case: medians of seconds, means of all else; low and high are the extremes.

    The ratio is of sums: all bytes over all whole-tile bytes.
    """
    each = {
        "bytes": [float(sample.nbytes) for sample in samples],
        "requests": [float(sample.requests) for sample in samples],
        "seconds": [sample.seconds for sample in samples],
        "exact": [float(sample.exact) for sample in samples],
        "ratio": [sample.nbytes / sample.whole for sample in samples],
    }
    values = {metric: fmean(values) for metric, values in each.items()}
    values["seconds"] = median(each["seconds"])
    values["ratio"] = sum(sample.nbytes for sample in samples) / sum(sample.whole for sample in samples)
    return [
        Row(contender, case, metric, value, UNITS[metric], len(samples), min(each[metric]), max(each[metric]))
        for metric, value in values.items()
    ]


def missing(contender: str, case: str, note: str) -> list[Row]:
    """The rows of a contender that has no figures for a case."""
    return [Row(contender, case, metric, None, unit, note=note) for metric, unit in UNITS.items()]

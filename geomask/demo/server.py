"""A counting HTTP server with byte ranges over one folder: for the demo, the tests and the benchmarks.

It runs as a process of its own, because a server thread beside rasterio can deadlock: GDAL may hold the interpreter's
lock while it waits for an answer. ``python -m geomask.demo.server DIR --latency 50ms --bandwidth 50Mbit`` prints its
address; :class:`Server` does the same from Python and reads the counts.

Files are served by GET and HEAD with one byte range, strong ETags, If-Match, If-None-Match and If-Range; several
ranges at once are answered with the whole file, as most object stores do. Paths under ``/-/`` are the server's own,
neither delayed nor counted: GET and DELETE ``/-/log``, POST and DELETE ``/-/faults``. Standard library only.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from http.client import HTTPConnection
from pathlib import Path, PurePath
from typing import IO, Any, Self, get_args
from urllib.parse import quote, urlsplit

from geomask.errors import RunError
from geomask.link import Link
from geomask.quantity import parse_duration, parse_rate

from .service import Fault, FaultKind, Service, State


@dataclass(frozen=True, slots=True)
class Entry:
    """One request, as the server answered it."""

    method: str
    """``GET`` or ``HEAD``."""
    path: str
    """Relative to the served folder, decoded."""
    start: int
    """First byte of the file in the body; 0 where there is none."""
    length: int
    """Bytes of body handed to the network; fewer than announced when the client went away."""
    status: int
    """HTTP status; 0 where the connection was dropped on purpose."""


@dataclass(frozen=True, slots=True)
class Log:
    """What a server has sent since it started or was last reset."""

    requests: int
    nbytes: int
    """Bytes of all bodies, without headers."""
    entries: tuple[Entry, ...]
    """In the order in which the answers began."""


class Server:
    """A server process over ``directory``, as a context manager; it ends with the block, or with its parent.

    ``latency`` is added to every request, in seconds. ``bandwidth`` caps the bodies of all connections together, in
    bit/s; None is no cap. Entering raises :class:`~geomask.errors.RunError`, with what the process wrote on stderr,
    when it does not come up within ``timeout`` seconds. Whatever asks the server something while it does not run
    raises RunError too.
    """

    url: str = ""
    """``http://127.0.0.1:PORT/`` while it runs."""

    def __init__(
        self, directory: Path | str, *, latency: float = 0.0, bandwidth: float | None = None, timeout: float = 30.0
    ) -> None:
        self.directory = Path(directory).resolve()
        self._options = ["--latency", f"{latency:.6f}s"]
        self._options += [] if bandwidth is None else ["--bandwidth", f"{bandwidth:.3f}bit"]
        self._timeout = timeout
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        if not self.directory.is_dir():
            raise RunError(f"cannot serve {self.directory}: it is not a folder")
        command = [sys.executable, "-m", "geomask.demo.server", str(self.directory), "--with-parent", *self._options]
        with tempfile.TemporaryFile("w+") as errors:  # a file: nobody empties a pipe, and a full one blocks the server
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )
            self.url = _first_line(self._process.stdout, self._timeout)
            if not self.url:
                self.__exit__()
                errors.seek(0)
                said = errors.read().strip() or f"no address within {self._timeout} s"
                raise RunError(f"the server over {self.directory} did not start: {said}")
        return self

    def __exit__(self, *_: object) -> None:
        process, self._process, self.url = self._process, None, ""
        if process is None:
            return
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
        with process:  # closes its pipes and waits
            pass

    def href(self, path: PurePath | str) -> str:
        """URL of a file: ``path`` is relative to the directory, or absolute and inside it (else ValueError)."""
        return self.url + quote(self._relative(path))

    def log(self) -> Log:
        """Every request since the start or the last :meth:`reset`. An answer read to its end is counted in full."""
        raw = self._call("GET", "/-/log")
        return Log(raw["requests"], raw["bytes"], tuple(Entry(*row) for row in raw["entries"]))

    def reset(self) -> None:
        """Forget the requests counted so far; faults stay."""
        self._call("DELETE", "/-/log")

    def fail(
        self,
        path: PurePath | str,
        kind: FaultKind = "status",
        *,
        status: int = 503,
        keep: int = 0,
        times: int | None = 1,
    ) -> None:
        """Let the next ``times`` requests of ``path`` go wrong (None: all of them; path ``*``: of any file).

        ``status`` belongs to the kind of that name; ``keep`` is how many bytes of the body ``truncate`` leaves.
        Raises ValueError on another kind.
        """
        if kind not in get_args(FaultKind):
            raise ValueError(f"{kind!r} is no fault; there are {', '.join(get_args(FaultKind))}")
        self._call("POST", "/-/faults", asdict(Fault(self._relative(path), kind, status, keep, times)))

    def heal(self) -> None:
        """Forget every fault."""
        self._call("DELETE", "/-/faults")

    def _relative(self, path: PurePath | str) -> str:
        path = PurePath(path)
        return (path.relative_to(self.directory) if path.is_absolute() else path).as_posix()

    def _call(self, method: str, target: str, value: Any = None) -> Any:
        if self._process is None:
            raise RunError("the server is not running: use it as `with Server(directory) as server:`")
        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        try:
            connection.request(method, target, json.dumps(value))
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()


def _first_line(stream: IO[str] | None, timeout: float) -> str:
    """The first line of a pipe; empty when it ends or stays silent. A thread, as a pipe has no timeout of its own."""
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.append(stream.readline() if stream else ""), daemon=True)
    reader.start()
    reader.join(timeout)
    return lines[0].strip() if lines else ""


def _option(parse: Callable[[str], float]) -> Callable[[str], float]:
    """``parse`` for argparse, which hides the message of a ValueError."""

    def convert(text: str) -> float:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return convert


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM, Ctrl-C or, with ``--with-parent``, the end of stdin; print the address on one line."""
    parser = argparse.ArgumentParser(prog="python -m geomask.demo.server", description="Serve a folder, and count.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--latency", type=_option(parse_duration), default=0.0, help="of each request, such as 50ms")
    parser.add_argument("--bandwidth", type=_option(parse_rate), help="of all connections together, such as 50Mbit")
    parser.add_argument("--with-parent", action="store_true", help="end when stdin does")
    given = parser.parse_args(arguments)
    if not given.directory.is_dir():
        parser.error(f"{given.directory} is not a folder")
    try:
        service = Service(given.port, State(given.directory.resolve(), given.latency, Link(given.bandwidth)))
    except OSError as error:
        parser.error(f"cannot listen on port {given.port}: {error.strerror}")
    service.run(given.with_parent)


if __name__ == "__main__":
    main()

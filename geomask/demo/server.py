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
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass, field
from email.utils import formatdate
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from mimetypes import guess_type
from pathlib import Path, PurePath
from typing import IO, Any, Literal, Self, get_args
from urllib.parse import quote, unquote, urlsplit

from geomask.errors import RunError

FaultKind = Literal["status", "truncate", "ignore-range", "drop"]
"""An error status; a body cut short; 200 with the whole file; the connection closed without an answer."""


def parse_duration(text: str) -> float:
    """Seconds from ``50ms``, ``0.05s``, ``200us`` or ``0``. Raises ValueError, with an example, on anything else."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?)\s*(us|ms|s)", "0s" if text.strip() == "0" else text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no duration: give a number and us, ms or s, such as 50ms")
    return float(match[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[match[2]]


def parse_rate(text: str) -> float:
    """Bits per second from ``50Mbit``, ``800kbit/s`` or ``1Gbit``. Raises ValueError, with an example, otherwise."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?)\s*([kmg]?)bit(?:/s)?", text.strip().lower())
    rate = float(match[1]) * {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}[match[2]] if match else 0.0
    if rate <= 0:
        raise ValueError(f"{text!r} is no bandwidth above 0: give a number and bit, kbit, Mbit or Gbit, such as 50Mbit")
    return rate


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
        self._call("POST", "/-/faults", asdict(_Fault(self._relative(path), kind, status, keep, times)))

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


# ---- from here on: what runs in the server's process ----


@dataclass(slots=True)
class _Fault:
    path: str
    kind: FaultKind
    status: int
    keep: int
    times: int | None


@dataclass(slots=True)
class _Row:
    """An :class:`Entry` that is still growing."""

    method: str
    path: str
    start: int
    length: int
    status: int


@dataclass(slots=True)
class _Link:
    """The one wire of all connections: each chunk takes the next free time on it."""

    bandwidth: float | None
    free: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def chunk(self) -> int:
        """Bytes sent in one piece: 5 ms of the wire, so that connections take turns."""
        return 1 << 16 if self.bandwidth is None else int(min(max(self.bandwidth / 8 * 0.005, 256), 1 << 16))

    def carry(self, ready: float, nbytes: int) -> float:
        """Wait until ``nbytes`` that were ready at a time have crossed; return when that was by the wire's clock.

        The next chunk is ready at that time, not when this thread woke up: sleeping a little too long then costs no
        bandwidth. But what a slow client left unused for 50 ms is gone, as on a real wire.
        """
        if self.bandwidth is None:
            return ready
        with self.lock:
            self.free = max(ready, self.free, time.monotonic() - 0.05) + 8 * nbytes / self.bandwidth
            end = self.free
        time.sleep(max(0.0, end - time.monotonic()))
        return end


@dataclass(slots=True)
class _State:
    """What the server's threads share."""

    root: Path
    latency: float
    link: _Link
    rows: list[_Row] = field(default_factory=list)
    faults: list[_Fault] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def find(self, path: str) -> Path | None:
        """The regular file at a decoded path, or None; neither a link nor ``..`` leads out of the root."""
        try:
            found = (self.root / path).resolve()
            inside = found.is_relative_to(self.root) and not path.endswith("/")
            return found if inside and found.is_file() else None
        except (ValueError, OSError, RuntimeError):  # a NUL, a name too long, links in a circle
            return None

    def fault(self, path: str) -> _Fault | None:
        """The fault that this request of ``path`` meets, if any; one of its times is used up."""
        with self.lock:
            for fault in self.faults:
                if fault.path in (path, "*") and fault.times != 0:
                    fault.times = fault.times and fault.times - 1
                    return fault
        return None

    def control(self, method: str, path: str, body: bytes) -> Any:
        """Do what a request under ``/-/`` says, and return the JSON value of the answer; KeyError: no such thing."""
        with self.lock:
            match method, path:
                case "GET", "-/log":
                    nbytes = sum(row.length for row in self.rows)
                    return {"requests": len(self.rows), "bytes": nbytes, "entries": [astuple(row) for row in self.rows]}
                case "DELETE", "-/log":
                    self.rows = []
                case "POST", "-/faults":
                    self.faults.append(_Fault(**json.loads(body)))
                case "DELETE", "-/faults":
                    self.faults = []
                case _:
                    raise KeyError(f"{method} /{path}")
        return {}


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    start: int = 0
    length: int = 0


def _decide(headers: Mapping[str, str], etag: str, modified: str, size: int) -> _Answer:
    """The answer of RFC 9110 to a GET of a file of ``size`` bytes, from its conditions and its Range."""
    if "If-Match" in headers and not {"*", etag} & _tags(headers["If-Match"]):
        return _Answer(412)
    if "If-None-Match" in headers and {"*", etag} & {tag.removeprefix("W/") for tag in _tags(headers["If-None-Match"])}:
        return _Answer(304)
    match = re.fullmatch(r"bytes=([0-9]{0,18})-([0-9]{0,18})", headers.get("Range", "").replace(" ", ""))
    if match is None or headers.get("If-Range", etag) not in (etag, modified):
        return _Answer(200, 0, size)
    match match[1], match[2]:
        case "", last if last:
            start, stop = max(0, size - int(last)), size
        case first, "" if first:
            start, stop = int(first), size
        case first, last if first and int(first) <= int(last):
            start, stop = int(first), min(size, int(last) + 1)
        case _:  # `-`, or backwards: that is no range
            return _Answer(200, 0, size)
    return _Answer(206, start, stop - start) if start < stop else _Answer(416)


def _tags(header: str) -> set[str]:
    return {tag.strip() for tag in header.split(",")}


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else the body of a small answer waits until its headers are acknowledged
    server: "_Service"

    def do_GET(self) -> None:
        path = unquote(self.path.partition("?")[0]).lstrip("/")
        if path.startswith("-/") or self.command not in ("GET", "HEAD"):
            self._control(path)
            return
        time.sleep(self.server.state.latency)
        fault = self.server.state.fault(path)
        found = self.server.state.find(path)
        if fault and fault.kind == "drop":
            self._count(path, _Answer(0))
            self.close_connection = True
        elif fault and fault.kind == "status":
            self._head(self._count(path, _Answer(fault.status)), 0, {})
        elif found is None:
            self._head(self._count(path, _Answer(404)), 0, {})
        else:
            with found.open("rb") as file:
                self._file(path, file, fault)

    do_HEAD = do_POST = do_DELETE = do_GET

    def _file(self, path: str, file: IO[bytes], fault: _Fault | None) -> None:
        """Answer with the file, or with what the conditions and the fault leave of it."""
        stat = os.fstat(file.fileno())
        etag, modified = f'"{stat.st_size:x}-{stat.st_mtime_ns:x}"', formatdate(stat.st_mtime, usegmt=True)
        kind = fault.kind if fault else None
        headers = {key.title(): value for key, value in self.headers.items()}
        if self.command == "HEAD" or kind == "ignore-range":
            headers.pop("Range", None)  # a Range has a meaning with GET only
        answer = _decide(headers, etag, modified, stat.st_size)
        extra = {"ETag": etag, "Last-Modified": modified, "Accept-Ranges": "bytes"}
        extra["Content-Type"] = guess_type(path)[0] or "application/octet-stream"
        if answer.status == 206:
            extra["Content-Range"] = f"bytes {answer.start}-{answer.start + answer.length - 1}/{stat.st_size}"
        elif answer.status == 416:
            extra["Content-Range"] = f"bytes */{stat.st_size}"
        row = self._count(path, answer)
        self._head(row, answer.length, extra)
        length = answer.length if self.command == "GET" else 0
        if fault and kind == "truncate":
            length, self.close_connection = min(fault.keep, length), True
        self._body(file, answer.start, length, row)

    def _count(self, path: str, answer: _Answer) -> _Row:
        row = _Row(self.command, path, answer.start, 0, answer.status)
        with self.server.state.lock:
            self.server.state.rows.append(row)
        return row

    def _head(self, row: _Row, length: int, extra: Mapping[str, str]) -> None:
        self.send_response(row.status)
        for key, value in extra.items():
            self.send_header(key, value)
        if row.status != 304:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _body(self, file: IO[bytes], start: int, length: int, row: _Row) -> None:
        """Send and count. Counted first: a client that has read the body and asks for the log must find it there."""
        link, ready = self.server.state.link, time.monotonic()
        file.seek(start)
        while length and (chunk := memoryview(file.read(min(length, link.chunk)))):
            ready = link.carry(ready, len(chunk))
            length -= len(chunk)
            row.length += len(chunk)
            try:
                while chunk:
                    chunk = chunk[self.connection.send(chunk) :]
            except OSError:
                row.length -= len(chunk)
                raise
        if length:  # the file has shrunk: the client has to see a body cut short
            self.close_connection = True

    def _control(self, path: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            status, value = 200, self.server.state.control(self.command, path, body)
        except (KeyError, TypeError, ValueError) as error:
            status, value = 400, {"error": str(error)}
        text = b"" if self.command == "HEAD" else json.dumps(value).encode()
        self._head(_Row(self.command, path, 0, 0, status), len(text), {"Content-Type": "application/json"})
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Say nothing: the log is asked for."""


class _Service(ThreadingHTTPServer):
    request_queue_size = 1024  # readers open dozens of connections at once; a full queue costs each of them a second

    def __init__(self, port: int, state: _State) -> None:
        self.state = state
        super().__init__(("127.0.0.1", port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing when a client has gone; report anything else on stderr."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _end_with_parent(service: _Service) -> None:
    """Stop the service when stdin, a pipe that the parent holds, ends."""
    while os.read(0, 1024):  # not sys.stdin: a thread that waits in it breaks the interpreter's exit
        pass
    service.shutdown()


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
        service = _Service(given.port, _State(given.directory.resolve(), given.latency, _Link(given.bandwidth)))
    except OSError as error:
        parser.error(f"cannot listen on port {given.port}: {error.strerror}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if given.with_parent:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which may still want to read
        threading.Thread(target=_end_with_parent, args=(service,), daemon=True).start()
    print(f"http://127.0.0.1:{service.server_port}/", flush=True)
    with service, suppress(KeyboardInterrupt):
        service.serve_forever()


if __name__ == "__main__":
    main()

"""What runs in the server's process: files over HTTP with latency, a shared wire, faults, and every byte counted."""

import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import astuple, dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from mimetypes import guess_type
from pathlib import Path
from typing import IO, Any, Literal
from urllib.parse import unquote

from geomask.link import Link

FaultKind = Literal["status", "truncate", "ignore-range", "drop"]
"""An error status; a body cut short; 200 with the whole file; the connection closed without an answer."""


@dataclass(slots=True)
class Fault:
    """What shall go wrong with the next requests of a path."""

    path: str
    kind: FaultKind
    status: int
    keep: int
    times: int | None


@dataclass(slots=True)
class _Row:
    """An :class:`~geomask.demo.server.Entry` that is still growing."""

    method: str
    path: str
    start: int
    length: int
    status: int


@dataclass(slots=True)
class State:
    """What the server's threads share."""

    root: Path
    latency: float
    link: Link
    rows: list[_Row] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def find(self, path: str) -> Path | None:
        """The regular file at a decoded path, or None; neither a link nor ``..`` leads out of the root."""
        try:
            found = (self.root / path).resolve()
            inside = found.is_relative_to(self.root) and not path.endswith("/")
            return found if inside and found.is_file() else None
        except (ValueError, OSError, RuntimeError):  # a NUL, a name too long, links in a circle
            return None

    def fault(self, path: str) -> Fault | None:
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
                    self.faults.append(Fault(**json.loads(body)))
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
    server: "Service"

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

    def _file(self, path: str, file: IO[bytes], fault: Fault | None) -> None:
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


class Service(ThreadingHTTPServer):
    """The listening socket, on 127.0.0.1 alone. Raises OSError where the port is taken."""

    request_queue_size = 1024  # readers open dozens of connections at once; a full queue costs each of them a second

    def __init__(self, port: int, state: State) -> None:
        self.state = state
        super().__init__(("127.0.0.1", port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing when a client has gone; report anything else on stderr."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def run(self, with_parent: bool) -> None:
        """Print the address, then serve until SIGTERM, Ctrl-C or, with a parent, the end of stdin."""
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        if with_parent:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which may still want to read
            threading.Thread(target=_end_with_parent, args=(self,), daemon=True).start()
        with self, suppress(KeyboardInterrupt):
            print(f"http://127.0.0.1:{self.server_port}/", flush=True)  # whoever reads it may interrupt at once
            self.serve_forever()


def _end_with_parent(service: Service) -> None:
    """Stop the service when stdin, a pipe that the parent holds, ends."""
    while os.read(0, 1024):  # not sys.stdin: a thread that waits in it breaks the interpreter's exit
        pass
    service.shutdown()

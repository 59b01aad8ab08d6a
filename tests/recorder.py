"""A server in this process that notes what it is asked, with every header, and misbehaves as told."""

from __future__ import annotations

import os
import re
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

DATA = bytes(range(251)) * 200


@dataclass(frozen=True)
class Asked:
    method: str
    target: str
    """Path and query as they came."""
    headers: dict[str, str]
    """Names in lower case."""


@dataclass
class Answer:
    """What is sent for a range of `DATA`: right as it is, wrong where a test says so."""

    status: int = 206
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    end: Callable[[socket.socket], Any] = lambda _: None
    """Called with the connection after the body."""


def reset(connection: socket.socket) -> None:
    """Break the connection, as a machine does that loses power."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(connection.detach())  # close() waits for whoever still holds it


class Recorder(ThreadingHTTPServer):
    """As a context manager. The next requests get `answers` of the right one, in turn; then all are answered right."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[Asked] = []
        self.answers: deque[Callable[[Answer], Answer]] = deque()
        self.host = f"127.0.0.1:{self.server_port}"
        self.url = f"http://{self.host}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: what goes wrong here was asked for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Recorder

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append(Asked(self.command, self.path, headers))
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", headers.get("range", "bytes=0-0"))
        assert match is not None
        start, stop = int(match[1]), min(int(match[2]) + 1, len(DATA))
        right = {
            "Content-Range": f"bytes {start}-{stop - 1}/{len(DATA)}",
            "Content-Length": str(stop - start),
            "ETag": '"one"',
            "Last-Modified": "Fri, 02 Jan 2026 03:04:05 GMT",
        }
        answer = Answer(206, right, DATA[start:stop])
        if self.server.answers:
            answer = self.server.answers.popleft()(answer)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(answer.body)
            self.wfile.flush()
            answer.end(self.connection)

    do_PUT = do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing: the requests are in `asked`."""

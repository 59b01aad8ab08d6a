"""One connection of a service of features: who asks may be anybody, slow, broken or hostile."""

from __future__ import annotations

import io
import json
import re
import socket
import sys
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Buffer

    from .service import Service

#: Bytes of a request's body at most, and those that have to come each second at least, beside the patience.
LARGEST, SLOWEST = 16_000_000, 10_000
#: Seconds that a client is given to read why it was refused.
LINGER = 1.0
#: The method of each path.
ROUTES = {"/features.json": "GET", "/items.json": "GET", "/features": "POST"}


class Answer(NamedTuple):
    """What is sent."""

    status: int
    body: bytes
    kind: str = "application/json"


class Refusal(Exception):
    """A request that is not answered."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class _Wire(io.RawIOBase):
    """What comes from a client, until a deadline."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection, self.deadline = connection, 0.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request took too long to come")
        self.connection.settimeout(left)
        return self.connection.recv_into(buffer)


class Handler(BaseHTTPRequestHandler):
    """One connection, whose server is a `Service`."""

    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"  # of a first line that says none: errors have headers
    disable_nagle_algorithm = True
    server_version, sys_version = "geomask", ""
    server: Service

    def setup(self) -> None:
        """Read with a deadline."""
        super().setup()
        self.rfile.close()
        self._wire = _Wire(self.connection)
        self.rfile = io.BufferedReader(self._wire)

    def handle_one_request(self) -> None:
        """Give the first line and the headers so long."""
        self._began = time.monotonic()
        self._wire.deadline = self._began + self.server.patience
        super().handle_one_request()

    def do_GET(self) -> None:
        """Answer, whatever happens."""
        self._began = time.monotonic()
        answer = _error(500, "something went wrong here; the service's own log says what")
        try:
            answer = self._answer()
        except Refusal as refusal:
            answer = _error(refusal.status, str(refusal))
        finally:
            self._send(answer)

    do_POST = do_GET

    def _answer(self) -> Answer:
        path = self.path.partition("?")[0]
        if path not in ROUTES:
            raise Refusal(404, f"there are {', '.join(f'{method} {path}' for path, method in ROUTES.items())}")
        if self.command != ROUTES[path]:
            raise Refusal(405, f"{path} takes {ROUTES[path]}, not {self.command}")
        if path == "/features":
            return self.server.answer(self._body(self._length()))
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            raise Refusal(400, f"{path} takes no body")
        return Answer(200, self.server.described if path == "/features.json" else self.server.items)

    def _length(self) -> int:
        """Bytes of the body. Raises Refusal where that is not said in plain words, or too many."""
        said = self.headers.get_all("Content-Length", [])
        if "Transfer-Encoding" in self.headers:
            raise Refusal(501, "a body in chunks is not read; say its Content-Length")
        if not said:
            raise Refusal(411, "a manifest comes with its Content-Length")
        if len(said) > 1 or not re.fullmatch("[0-9]{1,18}", said[0]):
            raise Refusal(400, "Content-Length is one whole number")
        if int(said[0]) > LARGEST:
            raise Refusal(413, f"a body of {int(said[0])} bytes; {LARGEST} at most: ask for fewer windows at once")
        return int(said[0])

    def _body(self, length: int) -> bytes:
        body, link = bytearray(), self.server.link
        self._wire.deadline = time.monotonic() + self.server.patience + length / SLOWEST
        while len(body) < length:
            try:
                chunk = self.rfile.read1(min(length - len(body), link.chunk))
            except TimeoutError as error:
                raise Refusal(408, f"the body came too slowly: {len(body)} of {length} bytes") from error
            if not chunk:
                raise Refusal(400, f"the body ended after {len(body)} of {length} bytes")
            body += chunk
            came = time.monotonic()
            link.carry(came, len(chunk))
            self._wire.deadline += time.monotonic() - came
        return bytes(body)

    def _send(self, answer: Answer) -> None:
        """Send and log. What was refused may be followed by anything: nothing more is read of it."""
        sent, refused = 0, answer.status >= 400
        try:
            time.sleep(self.server.latency)
            self.connection.settimeout(self.server.patience)  # of each chunk
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.kind)
            self.send_header("Content-Length", str(len(answer.body)))
            if refused:
                self.send_header("Connection", "close")
            if answer.status == 405:
                self.send_header("Allow", ROUTES[self.path.partition("?")[0]])
            self.end_headers()
            link, ready = self.server.link, time.monotonic()
            for start in range(0, len(answer.body), link.chunk):
                chunk = answer.body[start : start + link.chunk]
                ready = link.carry(ready, len(chunk))
                self.wfile.write(chunk)
                sent += len(chunk)
            if refused:
                self._linger()
        finally:
            spent = round(1000 * (time.monotonic() - self._began))
            self.log_message("%s %s %s %s bytes %s ms", self.command, self.path, answer.status, sent, spent)

    def _linger(self) -> None:
        """Take what is still coming for a moment: a connection that is cut at once may lose the answer."""
        until = time.monotonic() + LINGER
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            while (left := until - time.monotonic()) > 0:
                self.connection.settimeout(left)
                if not self.connection.recv(1 << 16):
                    return

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the standard library refuses: broken first lines and headers, methods that are none of ours."""
        self.command, self.path = self.command or "-", getattr(self, "path", "-")
        self.close_connection = True
        self._send(_error(code, message or explain or "refused"))

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing yet."""

    def log_message(self, format: str, *args: Any) -> None:
        """One line on stderr, whatever a stranger wrote."""
        said = "".join(sign if sign.isascii() and sign.isprintable() else "?" for sign in format % args)
        sys.stderr.write(f"{said[:200]}\n")


def _error(status: int, reason: str) -> Answer:
    return Answer(status, json.dumps({"error": " ".join(reason.split())[:500]}).encode())

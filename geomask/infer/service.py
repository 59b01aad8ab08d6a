"""A service of features over HTTP, beside the data.

::

    GET /features.json   what is made here: one JSON object (`Desk.describe`)
    GET /items.json      what it is made of: an item collection, hrefs unsigned
    POST /features       a manifest as JSON Lines; for each of its windows its container, before it how many bytes that
                         has, in four, little-endian

What goes wrong is JSON, ``{"error": "..."}``, in words that say nothing of this machine, and ends the connection. There
is no encryption, and nobody is asked who they are: it listens on 127.0.0.1, for a tunnel or a proxy that does both.
"""

from __future__ import annotations

import io
import json
import signal
import socket
import struct
import sys
import threading
from contextlib import suppress
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from ..errors import GeomaskError, ManifestError, RunError
from ..link import Link
from ..plan.manifest import Manifest
from .desk import ForeignError, TooMuchError, bare_items
from .handler import Answer, Handler, Refusal

if TYPE_CHECKING:
    from .desk import Desk

#: Connections at once; requests that are computed at once: while one is read for, the network is shown another.
CONNECTIONS, AT_ONCE = 64, 2
#: Seconds that requests under way are given to be answered at the end.
GRACE = 5.0
LENGTH = struct.Struct("<I")


class Service(ThreadingHTTPServer):
    """The listening socket. Raises RunError where it cannot listen."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        desk: Desk,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        latency: float = 0.0,
        bandwidth: float | None = None,
        patience: float = 60.0,
    ) -> None:
        """Port 0 takes a free one. `latency`, seconds, is added to each request; `bandwidth`, bit/s, caps all bodies.

        `patience` is how long a silent client is waited for, in seconds.
        """
        self.desk, self.link, self.latency, self.patience = desk, Link(bandwidth), latency, patience
        self.described, self.items = json.dumps(desk.describe()).encode(), json.dumps(bare_items(desk.items)).encode()
        self._turns, self._places = threading.Semaphore(AT_ONCE), threading.Semaphore(CONNECTIONS)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), Handler)
        except OSError as error:
            raise RunError(f"cannot listen on port {port} of {host}: {error.strerror or error}") from error

    @property
    def url(self) -> str:
        """Its address."""
        host = str(self.server_address[0])
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server_port}/"

    def answer(self, body: bytes) -> Answer:
        """Features of a manifest. Raises Refusal."""
        with self._turns:
            try:
                manifest = Manifest.parse(io.TextIOWrapper(io.BytesIO(body), "utf-8", newline="\n"))
                self.desk.check(manifest)
            except ManifestError as error:
                status = 403 if isinstance(error, ForeignError) else 413 if isinstance(error, TooMuchError) else 400
                raise Refusal(status, str(error)) from error
            try:
                parts = self.desk.make(manifest.chips)
            except GeomaskError as error:
                sys.stderr.write(f"{type(error).__name__}: {' '.join(str(error).split())}\n")
                raise Refusal(502, "the files could not be read; the service's own log says why") from error
        return Answer(200, b"".join(LENGTH.pack(len(part)) + part for part in parts), "application/octet-stream")

    def process_request(self, request: Any, client_address: Any) -> None:
        """Refuse a connection beyond the last place."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread can be started
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection, then free its place."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing when a client has gone; report anything else on stderr."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    def run(self) -> None:
        """Print the address on one line, then serve until SIGTERM or Ctrl-C."""
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        with self, suppress(KeyboardInterrupt):
            try:
                print(self.url, flush=True)  # whoever reads it may interrupt at once
                self.serve_forever()
            finally:
                for _ in range(AT_ONCE):  # threads that compute would meet an interpreter that is gone
                    self._turns.acquire(timeout=GRACE)

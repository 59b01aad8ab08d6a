"""Features of a service (`geomask serve-features`): for each window one request, with a manifest of no files.

::

    GET  URL/features.json  what it makes
    GET  URL/items.json     from which items
    POST URL/features       a manifest as JSON Lines; the body has a container for each of its chips, each preceded by
                            its length, u32 little-endian

What comes is a stranger's: an answer takes no more memory than its window's latents could, redirects are not followed,
and a container is decoded as one of any file.
"""

from __future__ import annotations

import http.client
import json
import ssl
import struct
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..bottleneck.container import Container
from ..errors import FetchError, RunError
from ..fault import PassingError, describe
from ..fetch import ATTEMPTS, FIRST_WAIT, Trip
from ..grid import Window
from ..plan.manifest import Manifest
from ..plan.request import Requests
from ..signing import unsigned
from .latents import Cells, cells_of, make_receipt, spread

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pystac import Item

    from ..bottleneck.tables import Tables
    from ..plan.coverage import Coverage
    from ..signing import Sign
    from .ground import Reading
    from .ledger import Stage
    from .origin import Origin

#: Seconds in which a service has to answer, and each further byte has to come: it reads and computes meanwhile.
PATIENCE = 120.0
#: Bytes of any answer at most.
MOST = 1 << 26
#: Bytes of a container at most, beside 4 for each latent and a bit for each place: no symbol takes more than 20 bits.
SPARE = 4096
#: The length that precedes a container.
LENGTH = struct.Struct("<I")
#: What a service answers that is busy.
BUSY = (408, 425, 429)
#: What may help, by the answer.
HINTS = {
    401: "; sign its address (--sign)",
    404: "; name the address of a service",
    413: "; choose smaller tiles (--tile)",
}
#: Bytes of an error that are read, and letters of it that are shown.
ERROR, SHOWN = 4096, 200


def is_service(place: str) -> bool:
    """Whether a place is the address of a service, and no folder or bucket."""
    return place.lower().startswith(("http://", "https://"))


class Service:
    """A service by its address. Threads may share it: each request has a connection of its own."""

    def __init__(self, url: str, sign: Sign | None = None) -> None:
        """`sign` signs addresses, right before each request. Raises FetchError for what is no address of a server."""
        self.url, self._sign = unsigned(url.rstrip("/")), sign
        try:
            parts = urlsplit(self.url)
            host, _ = parts.hostname, parts.port  # checked when it is asked for
        except ValueError as error:
            raise FetchError(f"{unsigned(url)!r} is no address of a service: {error}") from None
        if not host or parts.query or parts.fragment:
            raise FetchError(f"{unsigned(url)!r} is no address of a service; it has a host and a path at most")

    def get(self, name: str) -> bytes:
        """What a file of it holds. Raises FetchError where it does not come."""
        return self._ask("GET", name, None, MOST)[0]

    def post(self, name: str, body: bytes, most: int) -> tuple[bytes, Trip]:
        """What it answers to a body, and what that took. Raises FetchError where it does not come.

        `most`: bytes that an answer has at most.
        """
        return self._ask("POST", name, body, min(most, MOST))

    def _ask(self, method: str, name: str, body: bytes | None, most: int) -> tuple[bytes, Trip]:
        href, start, wasted, attempt = f"{self.url}/{name}", time.perf_counter(), 0, 0
        while True:
            came, attempt = bytearray(), attempt + 1
            try:
                self._try(method, href, body, most, came)
            except PassingError as error:
                if attempt == ATTEMPTS:
                    raise FetchError(f"{href}: {error}") from error
                wasted += len(came)
                time.sleep(FIRST_WAIT * 2 ** (attempt - 1))
            else:
                return bytes(came), Trip(href, 0, len(came), attempt, wasted, time.perf_counter() - start)

    def _try(self, method: str, href: str, body: bytes | None, most: int, came: bytearray) -> None:
        """One request; what comes of the answer is added to `came`."""
        fault: FetchError
        try:
            connection, path = self._connect(href)
            try:
                headers = {"Content-Type": "application/jsonl"} if body is not None else {}
                connection.request(method, path, body, headers)
                _take(href, connection.getresponse(), most, came)
            finally:
                connection.close()
        except TimeoutError:
            fault = PassingError(f"no answer came for {PATIENCE:g} s")
        except ssl.SSLError as error:
            fault = FetchError(f"{href}: {error.reason or 'TLS failed'}")
        except (http.client.HTTPException, ConnectionError, OSError) as error:
            if isinstance(error, FetchError):
                raise
            fault = PassingError(error.strerror if isinstance(error, OSError) and error.strerror else describe(error))
        else:
            return
        raise fault  # out here, or an error that may quote the signed address would be shown as its context

    def _connect(self, href: str) -> tuple[http.client.HTTPConnection, str]:
        """A connection that is not open yet, and what is asked for on it."""
        try:
            address = href if self._sign is None else self._sign(href)
        except Exception as error:  # somebody else's function
            raise FetchError(f"{href} cannot be signed: {describe(error)}") from error
        parts = urlsplit(address)
        if parts.hostname != urlsplit(href).hostname:
            raise FetchError(f"{href} is signed as an address of another host; name a function that signs it")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        return kind(parts.hostname or "", parts.port, timeout=PATIENCE), path


class ServedLatents:
    """Reads windows of the features that a service makes. Threads may share it."""

    def __init__(self, origin: Origin, tables: Tables, sign: Sign | None = None) -> None:
        """`tables` are the run's own. `sign` signs the service's addresses."""
        self.origin, self.planes = origin, origin.latents
        self._tables, self._service = tables, Service(origin.place, sign)

    def manifests(self, items: Iterable[Item] | Coverage, windows: Sequence[Window]) -> dict[Stage, Manifest]:
        """Nothing: how many bytes an answer has is known when it comes."""
        return {}

    def read(self, items: Iterable[Item], window: Window) -> Reading:
        """All latents of one window, spread over their pixels.

        Raises FetchError where they do not come, or come in another form, RunError where they are broken or of another
        model.
        """
        start, cells = time.perf_counter(), cells_of(window, self.origin.stride)
        asked = self._whole(cells)
        body = "".join(f"{line}\n" for line in self._manifest(asked).lines()).encode()
        most = LENGTH.size + SPARE + cells.height * cells.width * (4 * self.planes + 1)
        data, trip = self._service.post("features", body, most)
        made = self._decode(data, cells, trip.href)
        receipt = make_receipt([trip], time.perf_counter() - start)
        return spread(made, window, self.origin.stride, None, receipt)

    def _decode(self, data: bytes, cells: Window, where: str) -> Cells:
        if len(data) < LENGTH.size or LENGTH.unpack_from(data)[0] != len(data) - LENGTH.size:
            raise FetchError(f"{where} answered {len(data)} bytes, which are not the one container asked for")
        try:
            made = Container.decode(data[LENGTH.size :], self._tables, self.origin.model, (cells.height, cells.width))
        except RunError as error:
            raise RunError(f"{where}: {error}") from error
        if made.stride != self.origin.stride:
            raise RunError(f"{where}: features of stride {made.stride}, not {self.origin.stride}; the sender is broken")
        return Cells(made.latents, made.seen)

    def _whole(self, cells: Window) -> Window:
        """The pixels of whole cells, as far as they lie on the grid."""
        grid, stride = self.origin.grid, self.origin.stride
        row, col = cells.row_off * stride, cells.col_off * stride
        stop, col_stop = min(cells.row_stop * stride, grid.height), min(cells.col_stop * stride, grid.width)
        return Window(row, col, stop - row, col_stop - col)

    def _manifest(self, window: Window) -> Manifest:
        return Manifest(
            grid=self.origin.grid,
            chips=(window,),
            channels=(),
            scaling=(),
            requests=Requests.of(()),
            selection=self.origin.selection,
        )


def _take(href: str, answer: http.client.HTTPResponse, most: int, came: bytearray) -> None:
    """Add the body of an answer to `came`. Raises PassingError where another try may do better, else FetchError."""
    if answer.status != 200:
        if answer.status >= 500 or answer.status in BUSY:
            raise PassingError(_say(answer))
        raise FetchError(f"{href}: {_say(answer)}{HINTS.get(answer.status, '')}")
    said = answer.getheader("Content-Length")
    wanted = int(said) if said is not None and said.isdecimal() and len(said) < 20 else None
    if wanted is not None and wanted > most:
        raise FetchError(f"{href}: an answer of {wanted} bytes, where {most} are the most that it can have")
    while len(came) <= most and (part := answer.read1(1 << 16)):
        came += part
    if len(came) > most:
        raise FetchError(f"{href}: an answer of over {most} bytes, which are the most that it can have")
    if wanted not in (None, len(came)):
        raise PassingError(f"{len(came)} bytes came of {wanted}")


def _say(answer: http.client.HTTPResponse) -> str:
    """What an answer that is none says, in one line: its status, and the reason where it is JSON that has one."""
    status = f"its server says {answer.status}"
    try:
        reason = json.loads(answer.read(ERROR))["error"]
    except (ValueError, KeyError, TypeError, RecursionError, OSError, http.client.HTTPException):
        return status
    return f"{status}: {' '.join(reason.split())[:SHOWN]}" if isinstance(reason, str) else status

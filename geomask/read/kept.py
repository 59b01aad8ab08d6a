"""Bytes that stay in memory after a read, so that chips which share a GeoTIFF tile fetch it once."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..plan.request import Source

#: Bytes that are kept unless told otherwise: two thousand GeoTIFF tiles of a quarter of a megabyte.
LIMIT = 1 << 29


class Kept:
    """What was fetched beyond headers, compressed as it came; over `limit` bytes the oldest go.

    Threads may share it. A copy in another process begins empty.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self.nbytes = 0
        """Bytes that are held."""
        self._files: dict[tuple[object, ...], dict[int, bytes]] = {}
        self._order: OrderedDict[tuple[tuple[object, ...], int], None] = OrderedDict()
        self._lock = Lock()

    def __reduce__(self) -> tuple[type[Kept], tuple[int]]:
        return Kept, (self.limit,)

    def pieces(self, source: Source) -> dict[int, bytes]:
        """What is held of a file, by first byte; nothing of another version of it."""
        with self._lock:
            return dict(self._files.get(_version(source), {}))

    def add(self, source: Source, offset: int, data: bytes) -> None:
        """Keep what was fetched of a file from byte `offset` on."""
        version = _version(source)
        with self._lock:
            before = self._files.setdefault(version, {}).get(offset, b"")
            if len(data) <= len(before):
                return
            self._files[version][offset] = data
            self._order[version, offset] = None
            self.nbytes += len(data) - len(before)
            while self.nbytes > self.limit:
                (oldest, start), _ = self._order.popitem(last=False)
                self.nbytes -= len(self._files[oldest].pop(start))


def _version(source: Source) -> tuple[object, ...]:
    return source.href, source.size, source.etag

"""A header index on disk that grows: what came is kept whatever happens, and never fetched again."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

from ..signing import unsigned
from .gather import Head, as_given, gather, header_layout
from .headers import HeaderRow, load_rows, save_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ..errors import GeomaskError
    from ..signing import Sign

#: New rows before the index is written for the first time; then at twice as many, and so on, so that writing costs no
#: more than twice the last time, however many there are.
FIRST_SAVE = 256


@dataclass(frozen=True, slots=True)
class Built:
    """What it took to build an index."""

    new: int
    """Files whose headers came."""
    kept: int
    """Files that were in the index before."""
    failed: Mapping[str, GeomaskError]
    """Files that could not be indexed, by href, and why."""
    nbytes: int
    """Bytes of bodies that came for the new ones."""
    requests: int
    """Requests for the new ones, retries included; GDAL's own are not counted."""
    seconds: float

    def summary(self) -> str:
        """One line."""
        files = self.new + self.kept + len(self.failed)
        return (
            f"{files:,} files: {self.new:,} new, {self.kept:,} kept, {len(self.failed):,} failed; "
            f"{self.nbytes:,} bytes in {self.requests:,} requests, {self.seconds:.1f} s"
        )


def build_index(
    hrefs: Iterable[str],
    path: str | os.PathLike[str],
    sign: Sign | None = None,
    on_done: Callable[[], object] | None = None,
) -> Built:
    """Fetch the headers of `hrefs` that are not in the index at `path` yet, and write them there.

    Rows that are there stay. Without `sign`, hrefs are fetched as they are given. Whatever came is in the file when
    this ends, also by Ctrl-C. `on_done` is called for each file that was not there. Raises LayoutError where `path` is
    something else, and RunError where it cannot be written.
    """
    start = time.perf_counter()
    given = {unsigned(href): href for href in hrefs}
    sign, wanted = sign or as_given(given), sorted(given)
    growing = _Growing(path, sign, on_done)
    new = [href for href in wanted if href not in growing.rows]
    try:
        gather(new, growing.add, sign, growing.fail)
    finally:
        growing.close()
    return Built(
        new=growing.new,
        kept=len(wanted) - len(new),
        failed=growing.failed,
        nbytes=growing.nbytes,
        requests=growing.requests,
        seconds=time.perf_counter() - start,
    )


class _Growing:
    """The rows of an index and its file. Threads add to it."""

    def __init__(self, path: str | os.PathLike[str], sign: Sign | None, on_done: Callable[[], object] | None) -> None:
        self.rows: dict[str, HeaderRow] = load_rows(path) if os.path.exists(path) else {}
        self.failed: dict[str, GeomaskError] = {}
        self.new = self.nbytes = self.requests = 0
        self._path, self._sign, self._on_done = path, sign, on_done
        self._saved, self._due, self._open, self._lock = 0, FIRST_SAVE, True, Lock()
        if not os.path.exists(path):
            self._save()  # what cannot be written shall fail before anything is fetched

    def add(self, head: Head) -> None:
        """Keep a header. Raises as `header_layout` does."""
        row = HeaderRow.of(header_layout(head, self._sign))
        with self._lock:
            if not self._open:
                return
            self.rows[row.href] = row
            self.new += 1
            self.nbytes += sum(trip.nbytes + trip.wasted for trip in head.trips)
            self.requests += sum(trip.requests for trip in head.trips)
            if self.new >= self._due:
                self._save()
                self._due *= 2
            self._tell()

    def fail(self, href: str, error: GeomaskError) -> None:
        """Remember why a file has no row."""
        with self._lock:
            self.failed[href] = error
            self._tell()

    def close(self) -> None:
        """Write what is not written yet; what comes later is dropped."""
        with self._lock:
            self._open = False
            if self.new > self._saved:
                self._save()

    def _save(self) -> None:
        save_rows((self.rows[href] for href in sorted(self.rows)), self._path)
        self._saved = self.new

    def _tell(self) -> None:
        if self._on_done:
            self._on_done()

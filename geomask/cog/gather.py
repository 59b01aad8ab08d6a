"""Fetching headers: all files side by side, each growing until its parser is content."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import GeomaskError, RunError
from ..fetch import CONCURRENCY, Got, Trip, Want, fetch
from ..signing import SignedAs
from .gdal import describe
from .layout import MAX_HEADER, Layout, parse_layout
from .partial import TruncatedHeaderError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ..signing import Sign

#: Bytes of the first read of a file. Most headers fit; a small file comes whole, and is not fetched again.
FIRST_READ = 16 << 10

#: What the file formats that GDAL reads whole begin with: JPEG 2000 in a box, and bare.
_JPEG_2000 = (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")


@dataclass(frozen=True, slots=True)
class Head:
    """The first bytes of a file, as far as they were fetched."""

    href: str
    data: bytes
    size: int
    """Bytes of the whole file."""
    etag: str | None
    modified: str | None
    trips: tuple[Trip, ...]
    """What it took to get them."""

    def grown(self, got: Got) -> Head:
        """With what came after it."""
        return Head(self.href, self.data + got.data, got.size, got.etag, got.modified, (*self.trips, got.trip))


def gather(
    hrefs: Iterable[str],
    use: Callable[[Head], object],
    sign: Sign | None = None,
    on_error: Callable[[str, GeomaskError], object] | None = None,
) -> None:
    """Fetch the headers of `hrefs` and call `use` with each, in threads, as it comes.

    Where it raises TruncatedHeaderError, more is fetched and it is called again. `on_error` is called with the href of
    a file that cannot be fetched or used, and the others go on; without it the first such error is raised.
    """
    if on_error is None:
        _gather_all(hrefs, use, sign)
        return

    def one(href: str) -> None:
        try:
            want: Want | None = Want(href, 0, FIRST_READ)
            head = None
            while want:
                head = _head(head, fetch([want], sign=sign)[0])
                want = _used(head, use)
        except RunError:  # of what `use` writes, no fault of the file
            raise
        except GeomaskError as error:
            on_error(href, error)

    threads = ThreadPoolExecutor(CONCURRENCY)
    try:
        for done in [threads.submit(one, href) for href in hrefs]:
            done.result()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)  # after Ctrl-C, nothing new; what is under way may take long


def _gather_all(hrefs: Iterable[str], use: Callable[[Head], object], sign: Sign | None) -> None:
    """In rounds, each one fetch over all files: half the work for the processor of a fetch for each."""
    heads: dict[str, Head] = {}
    wants = [Want(href, 0, FIRST_READ) for href in hrefs]
    with ThreadPoolExecutor() as threads:
        while wants:
            started: list[Future[Want | None]] = []

            def on_done(want: Want, got: Got, started: list[Future[Want | None]] = started) -> None:
                heads[want.href] = head = _head(heads.get(want.href), got)
                started.append(threads.submit(_used, head, use))

            fetch(wants, on_done, sign)
            wants = [more for used in started if (more := used.result())]


def _head(head: Head | None, got: Got) -> Head:
    if head:
        return head.grown(got)
    return Head(got.trip.href, got.data, got.size, got.etag, got.modified, (got.trip,))


def _used(head: Head, use: Callable[[Head], object]) -> Want | None:
    """None where `use` was content; else what to fetch before it is called again."""
    try:
        use(head)
    except TruncatedHeaderError:
        have = len(head.data)
        return Want(head.href, have, min(have, head.size - have), head.size, head.etag)
    return None


def header_layout(head: Head, sign: Sign | None) -> Layout:
    """The layout of a file, from its header or, where that does not tell, from GDAL.

    Raises TruncatedHeaderError where more of it is needed.
    """
    try:
        if not head.data.startswith(_JPEG_2000):
            return parse_layout(head.href, head.data, head.size, head.etag, head.modified)
        why = "it is JPEG 2000, not TIFF"
    except TruncatedHeaderError as error:
        if error.stop <= MAX_HEADER:
            raise
        why = f"its header reaches to byte {error.stop}, which is over {MAX_HEADER}"
    return describe(head.href, why, sign, size=head.size, etag=head.etag, modified=head.modified)


def as_given(hrefs: Mapping[str, str]) -> Sign | None:
    """Signs with what came with the hrefs, by unsigned href; None where that is nothing."""
    signed = {bare: href for bare, href in hrefs.items() if bare != href}
    return SignedAs(signed) if signed else None

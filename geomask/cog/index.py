"""The headers of many files, fetched at once: what a plan is made from."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import ItemError, LayoutError
from ..fetch import Got, Want, fetch
from .layout import MAX_HEADER, Layout, parse_layout
from .partial import TruncatedHeaderError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

#: Bytes of the first read of a file. Most headers fit; a small file comes whole, and is not fetched again.
FIRST_READ = 16 << 10


@dataclass(frozen=True, slots=True)
class HeaderIndex:
    """Layouts by href, and what it took to get them."""

    layouts: Mapping[str, Layout]
    requests: Mapping[str, int]
    """Requests made for each header, retries included."""
    wasted: Mapping[str, int]
    """Bytes of bodies that came wrong and were fetched again, for each header."""
    seconds: float
    """From the first request to the last header parsed."""

    def __getitem__(self, href: str) -> Layout:
        """The layout of one file. Raises ItemError where it is not in the index."""
        try:
            return self.layouts[href]
        except KeyError:
            raise ItemError(f"{href} is not in the header index; index the items that the selection names") from None

    def __len__(self) -> int:
        return len(self.layouts)


def index_headers(hrefs: Iterable[str], on_done: Callable[[], object] | None = None) -> HeaderIndex:
    """Fetch and parse the headers of `hrefs`, all files side by side, growing where one reaches further.

    Raises FetchError where a file cannot be read and LayoutError where it is no COG.
    """
    start = time.perf_counter()
    hrefs = sorted(set(hrefs))
    heads: dict[str, Got] = {}
    layouts: dict[str, Layout] = {}
    wants = [Want(href, 0, FIRST_READ) for href in hrefs]
    while wants:
        for want, got in zip(wants, fetch(wants), strict=True):
            heads[want.href] = _grown(heads.get(want.href), got)
        with ThreadPoolExecutor() as threads:
            parsed = list(threads.map(_parse, [want.href for want in wants], [heads[want.href] for want in wants]))
        wants = [result for result in parsed if isinstance(result, Want)]
        for layout in parsed:
            if isinstance(layout, Layout):
                layouts[layout.href] = layout
                if on_done:
                    on_done()
    requests = {href: head.requests for href, head in heads.items()}
    wasted = {href: head.wasted for href, head in heads.items()}
    return HeaderIndex(layouts, requests, wasted, time.perf_counter() - start)


def header_requests(nbytes: int) -> int:
    """Requests that a header of `nbytes` takes: one, and one for each doubling beyond the first read."""
    return 1 + max(0, (max(nbytes, 1) - 1) // FIRST_READ).bit_length()


def _grown(head: Got | None, more: Got) -> Got:
    if head is None:
        return more
    requests, wasted = head.requests + more.requests, head.wasted + more.wasted
    return Got(head.data + more.data, more.size, more.etag, requests, wasted)


def _parse(href: str, head: Got) -> Layout | Want:
    """The layout, or what to fetch before it can be parsed."""
    try:
        return parse_layout(href, head.data, head.size, head.etag)
    except TruncatedHeaderError as error:
        if error.stop > MAX_HEADER:
            raise LayoutError(
                f"{href}: its header reaches to byte {error.stop}; over {MAX_HEADER} bytes a file is not "
                "cloud-optimized: rewrite it with GDAL's COG driver"
            ) from error
        have = len(head.data)
        return Want(href, have, min(have, head.size - have), head.size, head.etag)

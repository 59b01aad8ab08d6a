"""The headers of many files, fetched at once: what a plan is made from."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING, Any, Self

from ..errors import ItemError, LayoutError
from ..fault import DeniedError
from ..fetch import Trip
from ..signing import unsigned
from .gather import Head, as_given, gather, header_layout
from .gdal import describe
from .headers import HeaderRow, load_rows, save_rows
from .layout import Layout
from .sidecar import sidecar_href, with_sidecar

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection, Iterable

    from ..errors import GeomaskError
    from ..signing import Sign


class HeaderIndex(Mapping[str, Layout]):
    """Layouts by href, in order of href. Signed hrefs find what the unsigned ones do."""

    def __init__(
        self,
        entries: Mapping[str, Layout | HeaderRow] | None = None,
        *,
        trips: Iterable[Trip] = (),
        seconds: float = 0.0,
        sign: Sign | None = None,
    ) -> None:
        self._entries = dict(sorted((entries or {}).items()))
        self.trips = tuple(trips)
        """What fetching took in the call that made the index; () for headers that were loaded or kept."""
        self.seconds = seconds
        """From the first request of that call to the last header parsed."""
        self.sign = sign
        """How the hrefs are signed; never saved."""

    def __getitem__(self, href: str) -> Layout:
        """The layout of one file, parsed when first asked for.

        Raises ItemError where it is not in the index, or where GDAL alone knows it and was not asked since the index
        was loaded, and LayoutError where its header is broken.
        """
        href = self._key(href)
        entry = self._entries.get(href)
        if entry is None:
            raise ItemError(f"{href} is not in the header index; index the items that the selection names")
        if isinstance(entry, Layout):
            return entry
        if not entry.header:
            raise ItemError(f"GDAL reads {href}, since {entry.why}: no header tells about it; index it again")
        layout = self._entries[href] = entry.layout()
        return layout

    def __contains__(self, href: object) -> bool:
        return isinstance(href, str) and self._key(href) in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, href: str, default: Any = None) -> Any:
        """The layout of one file, or `default` where it is not in the index."""
        return self[href] if href in self else default  # noqa: SIM401  # this is the method that ruff asks for

    __eq__ = object.__eq__  # that of a mapping would parse every header
    __hash__ = object.__hash__

    def _key(self, href: str) -> str:
        return href if href in self._entries else unsigned(href)

    def entries(self, hrefs: Iterable[str]) -> dict[str, Layout | HeaderRow]:
        """What is there of `hrefs` (unsigned), parsed or not."""
        return {href: self._entries[href] for href in hrefs if href in self._entries}

    def join(self, other: HeaderIndex) -> HeaderIndex:
        """The files of both, with what fetching them took; `other` goes before where both have a file."""
        trips, seconds = self.trips + other.trips, self.seconds + other.seconds
        return HeaderIndex(
            {**self._entries, **other._entries}, trips=trips, seconds=seconds, sign=other.sign or self.sign
        )

    def rows(self) -> Iterator[HeaderRow]:
        """What is kept of each file, its header trimmed."""
        for entry in self._entries.values():
            yield HeaderRow.of(entry) if isinstance(entry, Layout) else entry

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a Parquet file, whole or not at all. Raises RunError where its folder cannot be written to."""
        save_rows(self.rows(), path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote; no header is parsed yet. Raises as `load_rows` does."""
        return cls(load_rows(path))


def index_headers(
    hrefs: Iterable[str],
    on_done: Callable[[], object] | None = None,
    *,
    kept: HeaderIndex | None = None,
    sign: Sign | None = None,
    overviews: Collection[str] = (),
    on_error: Callable[[str, GeomaskError], object] | None = None,
) -> HeaderIndex:
    """Fetch and parse the headers of `hrefs`, all files side by side, growing where one reaches further.

    Headers in `kept` are taken over without a request. GDAL is asked about files that no header tells (`Layout.why`);
    its own requests are in no trip. `overviews` are those of `hrefs` of which a level is asked for: where a file has
    none inside, its ``.ovr`` is looked for. `on_done` is called for every file that was not kept. `on_error` is called
    with the href of a file that cannot be indexed, which is then left out; without it the first such error is raised:
    FetchError where a file cannot be read, LayoutError where it is nothing that can be placed on a grid.
    """
    start = time.perf_counter()
    given = {unsigned(href): href for href in hrefs}
    sign = sign or (kept.sign if kept else None) or as_given(given)
    indexing = _Indexing(kept.entries(given) if kept else {}, sign, on_done, on_error)
    indexing.describe_again()
    indexing.fetch(sorted(given.keys() - indexing.entries.keys()))
    indexing.add_sidecars({unsigned(href) for href in overviews})
    return HeaderIndex(indexing.entries, trips=indexing.trips, seconds=time.perf_counter() - start, sign=sign)


class _Indexing:
    """An index under way: threads add to it."""

    def __init__(
        self,
        kept: dict[str, Layout | HeaderRow],
        sign: Sign | None,
        on_done: Callable[[], object] | None,
        on_error: Callable[[str, GeomaskError], object] | None,
    ) -> None:
        self.entries, self.trips = kept, list[Trip]()
        self._sign, self._on_done, self._on_error, self._lock = sign, on_done, on_error, Lock()

    def fetch(self, hrefs: Iterable[str]) -> None:
        """Add the files of these hrefs."""
        gather(hrefs, lambda head: self._add(header_layout(head, self._sign), head.trips), self._sign, self._on_error)

    def describe_again(self) -> None:
        """Ask GDAL about the kept files that no header tells."""

        def one(row: HeaderRow) -> None:
            try:
                layout = describe(
                    row.href, str(row.why), self._sign, size=row.size, etag=row.etag, modified=row.last_modified
                )
                self._add(layout if row.sidecar is None else with_sidecar(layout, row.sidecar), ())
            except LayoutError as error:
                if self._on_error is None:
                    raise
                del self.entries[row.href]
                self._on_error(row.href, error)

        rows = [entry for entry in self.entries.values() if isinstance(entry, HeaderRow) and not entry.header]
        with ThreadPoolExecutor() as threads:
            list(threads.map(one, rows))

    def add_sidecars(self, hrefs: Iterable[str]) -> None:
        """Look for the overviews of those that have none."""
        alone: dict[str, Layout] = {}
        for href in hrefs:
            entry = self.entries.get(href)
            layout = entry.layout() if isinstance(entry, HeaderRow) else entry
            if layout and len(layout.levels) == 1:
                alone[sidecar_href(href)] = layout

        def use(head: Head) -> None:
            layout = with_sidecar(alone[head.href], head.data, head.size)
            with self._lock:
                self.entries[layout.href] = layout
                self.trips.extend(head.trips)

        errors: list[tuple[str, GeomaskError]] = []
        gather(sorted(alone), use, self._sign, lambda href, error: errors.append((href, error)))
        for href, error in errors:
            if _is_absent(href, error):
                continue
            if self._on_error is None:
                raise error
            self._on_error(alone[href].href, error)

    def _add(self, layout: Layout, trips: Iterable[Trip]) -> None:
        with self._lock:
            self.entries[layout.href] = layout
            self.trips.extend(trips)
            if self._on_done:
                self._on_done()


def _is_absent(href: str, error: GeomaskError) -> bool:
    """Whether there is no such file, as far as one can tell: a bucket that may not be listed denies access to it."""
    return isinstance(error, DeniedError) or str(error) == f"{href}: no such file"

"""What is read: windows of files, one by one for people, and in columns for plans of millions."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from heapq import heappop, heappush
from typing import Self, overload

import numpy as np

from ..cog.level import ByteRange
from ..errors import ManifestError
from ..grid import Window
from .tiles import Tiles


@dataclass(frozen=True, slots=True)
class Source:
    """One level of one file, and the channels that it fills: what all requests to it have in common."""

    item: str
    """The item's id."""
    collection: str | None
    asset: str
    href: str
    """Address of the file, without what signs it."""
    slot: str
    """Name of the channels' slot."""
    bands: tuple[str, ...]
    """Names of the channels' bands."""
    channels: tuple[int, ...]
    """Positions in the manifest's channels, 0-based, one for each band."""
    indexes: tuple[int, ...]
    """The bands' numbers in the file, 1-based."""
    level: int | None
    """Version: None is full resolution, 0 the first overview."""
    header_nbytes: int
    """First bytes of the file, which are fetched before its pixels; what lies in them is not fetched again."""
    size: int
    """Bytes of the whole file."""
    etag: str | None
    dtype: str
    """numpy's name of what is stored; ``latent`` of a container of features, which is no GeoTIFF and read whole."""
    nodata: float | None
    scales: tuple[float, ...]
    """Of each band: physical value = stored value * scale + offset."""
    offsets: tuple[float, ...]
    """See `scales`."""
    why: str | None = None
    """Why GDAL has to read the file; None where its byte ranges are known."""

    def __post_init__(self) -> None:
        """Let one NaN stand for all: two of them are never equal, but one equals itself inside a tuple."""
        if self.nodata is not None and math.isnan(self.nodata):
            object.__setattr__(self, "nodata", math.nan)

    def narrow(self, channels: Collection[int]) -> Source:
        """The same level of the same file, for those of its channels that are in `channels`."""
        kept = [place for place, channel in enumerate(self.channels) if channel in channels]

        def pick[T](values: tuple[T, ...]) -> tuple[T, ...]:
            return tuple(values[place] for place in kept)

        return replace(
            self,
            bands=pick(self.bands),
            channels=pick(self.channels),
            indexes=pick(self.indexes),
            scales=pick(self.scales),
            offsets=pick(self.offsets),
        )


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """One window of some bands of a file, for one chip."""

    source: Source
    chip: int
    """Position in the manifest's chips, 0-based."""
    window: Window
    """Of the level's pixels; of a container its latents."""
    ranges: tuple[ByteRange, ...]
    """Bytes of the GeoTIFF tiles of the window, in order of plane, tile row, tile column; those of a mask come last."""
    wholes: tuple[int, ...]
    """Bytes of the whole tile for each range; the range is shorter where a prefix holds the window's rows."""

    @property
    def nbytes(self) -> int:
        """Bytes of the ranges, alone."""
        return sum(piece.length for piece in self.ranges)

    @property
    def rests(self) -> list[ByteRange]:
        """What is missing of each tile of which a prefix is planned, to make it whole."""
        pairs = zip(self.ranges, self.wholes, strict=True)
        return [ByteRange(piece.stop, whole - piece.length) for piece, whole in pairs if piece.length < whole]


@dataclass(frozen=True, slots=True, eq=False)
class Requests(Sequence[ReadRequest]):
    """Many requests in columns: a million take some 100 MB. Each one is made when it is asked for."""

    sources: tuple[Source, ...]
    source: np.ndarray
    """Position in `sources`, int64 (requests,)."""
    chip: np.ndarray
    """Position in the manifest's chips, int64."""
    windows: np.ndarray
    """int64 (requests, 4), each row as `Window` has it."""
    tiles: Tiles
    """Byte ranges of each request."""

    @classmethod
    def of(cls, requests: Iterable[ReadRequest]) -> Self:
        """In columns, in the order in which they come."""
        requests = list(requests)
        places = {source: place for place, source in enumerate(dict.fromkeys(request.source for request in requests))}
        counts = [len(request.ranges) for request in requests]
        ranges = [
            (piece.offset, piece.length, whole)
            for request in requests
            for piece, whole in zip(request.ranges, request.wholes, strict=True)
        ]
        columns = np.array(ranges, np.int64).reshape(-1, 3).T
        windows = [(w.row_off, w.col_off, w.height, w.width) for w in (request.window for request in requests)]
        return cls(
            tuple(places),
            np.array([places[request.source] for request in requests], np.int64),
            np.array([request.chip for request in requests], np.int64),
            np.array(windows, np.int64).reshape(-1, 4),
            Tiles(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), *columns),
        )

    @classmethod
    def join(cls, parts: Sequence[Requests]) -> Self:
        """The requests of all parts, which are over the same chips and channels, by source, then chip.

        A source of several parts is there once. Of two sources of a channel the one that is shown first in a part stays
        so. Raises ManifestError where two parts do not agree on that.
        """
        sources = _merge([part.sources for part in parts])
        places = {source: place for place, source in enumerate(sources)}
        none = np.zeros(0, np.int64)
        moved = [np.array([places[one] for one in part.sources], np.int64)[part.source] for part in parts]
        source = np.concatenate([none, *moved])
        chip = np.concatenate([none, *(part.chip for part in parts)])
        windows = np.concatenate([none.reshape(0, 4), *(part.windows for part in parts)])
        order = np.lexsort((chip, source))
        tiles = Tiles.join([part.tiles for part in parts]).take(order)
        return cls(sources, source[order], chip[order], windows[order], tiles)

    def __len__(self) -> int:
        return len(self.source)

    @overload
    def __getitem__(self, at: int) -> ReadRequest: ...
    @overload
    def __getitem__(self, at: slice) -> Requests: ...
    def __getitem__(self, at: int | slice) -> ReadRequest | Requests:
        if isinstance(at, slice):
            return self.take(np.arange(len(self))[at])
        at = range(len(self))[at]
        pieces = slice(*self.tiles.starts[at : at + 2].tolist())
        offsets, lengths = self.tiles.offsets[pieces].tolist(), self.tiles.lengths[pieces].tolist()
        return ReadRequest(
            source=self.sources[self.source[at]],
            chip=int(self.chip[at]),
            window=Window(*self.windows[at].tolist()),
            ranges=tuple(map(ByteRange, offsets, lengths)),
            wholes=tuple(self.tiles.wholes[pieces].tolist()),
        )

    def __iter__(self) -> Iterator[ReadRequest]:
        return (self[at] for at in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(ReadRequest.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]  # arrays have none

    def take(self, at: np.ndarray) -> Requests:
        """Some of the requests, by position, with the sources that they need."""
        kept, source = np.unique(self.source[at], return_inverse=True)
        sources = tuple(self.sources[number] for number in kept)
        return Requests(sources, source, self.chip[at], self.windows[at], self.tiles.take(at))


def _merge(parts: Iterable[Sequence[Source]]) -> tuple[Source, ...]:
    """The sources of all parts, each once, as they come first, but those of a channel in the order of every part."""
    places: dict[Source, int] = {}
    sorter = TopologicalSorter[int]()
    for part in parts:
        last: dict[int, int] = {}
        for source in part:
            place = places.setdefault(source, len(places))
            sorter.add(place, *({last[channel] for channel in source.channels if channel in last} - {place}))
            last |= dict.fromkeys(source.channels, place)
    sources = list(places)
    try:
        sorter.prepare()
    except CycleError as error:
        first, second = (sources[place].href for place in error.args[1][:2])
        raise ManifestError(f"parts differ in which of {first} and {second} is shown first; plan them alike") from error
    found, ready = list[Source](), list[int]()
    while sorter.is_active():
        for place in sorter.get_ready():
            heappush(ready, place)
        found.append(sources[ready[0]])
        sorter.done(heappop(ready))
    return tuple(found)

"""The plan of a read: requests with byte ranges, and totals that hold to the byte."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..cog.level import ByteRange
from ..errors import ManifestError
from ..grid import Grid
from .jsonl import manifest_lines, parse_lines
from .manifest_file import load_manifest, save_manifest
from .request import Requests
from .runs import LEADER_GAP, Runs, join_runs

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Sequence

    from ..grid import Window
    from .request import Source


@dataclass(frozen=True)
class Manifest:
    """What is read for some chips, and where on the grid it lands."""

    grid: Grid
    """The target grid."""
    chips: tuple[Window, ...]
    """Windows of the target grid."""
    channels: tuple[tuple[str, str], ...]
    """(slot, band) of each channel of the output, also of those that no item fills."""
    scaling: tuple[tuple[float, float], ...]
    """(scale, offset) of each channel's values: physical value = value * scale + offset. A file whose own are others is
    brought to them."""
    requests: Requests
    selection: str
    """Digest of the selection that it was compiled from."""
    gap: int = LEADER_GAP
    """Two ranges of a file are fetched as one over at most so many bytes."""
    dense_nbytes: int | None = None
    """What all channels at full resolution would take over the same chips, headers included; None: not known."""
    profile: str | None = None
    """Name of the profile that the bands are of."""
    search: dict[str, Any] | None = field(default=None, hash=False)
    """What was searched for, as the item collection says."""

    @cached_property
    def files(self) -> dict[str, Source]:
        """Every file by href, with a source of it for its size, ETag and header."""
        first: dict[str, Source] = {}
        for source in self.requests.sources:
            first.setdefault(source.href, source)
        return first

    @cached_property
    def fallbacks(self) -> dict[str, str]:
        """Why GDAL has to read a file, by href: what that takes is not known beforehand."""
        return {href: source.why for href, source in self.files.items() if source.why is not None}

    @cached_property
    def headers(self) -> dict[str, int]:
        """Bytes of the header of each file that is read by its byte ranges; containers of features have none."""
        files = self.files.items()
        return {href: source.header_nbytes for href, source in files if source.why is None and source.header_nbytes}

    @property
    def header_nbytes(self) -> int:
        """Bytes of all headers, with the pixels that lie in them. A reader that kept the headers spares them."""
        return sum(self.headers.values())

    @cached_property
    def runs(self) -> Runs:
        """What to fetch beyond the headers: every tile once, neighbours joined. Files count as in `files`."""
        requests, places = self.requests, {href: place for place, href in enumerate(self.files)}
        heads = np.array([source.header_nbytes for source in self.files.values()], np.int64)
        file_of = np.array([places[source.href] for source in requests.sources], np.int64)
        tiles = requests.tiles
        files = file_of[requests.source][tiles.owners] if len(requests) else np.zeros(0, np.int64)
        return join_runs(files, tiles.offsets, tiles.lengths, tiles.wholes, heads, self.gap)

    @property
    def tile_nbytes(self) -> int:
        """Bytes of whole tiles beyond the headers; a tile that two requests share counts once."""
        return self.runs.tile_nbytes

    @property
    def prefix_nbytes(self) -> int:
        """Bytes of prefixes of tiles beyond the headers."""
        return self.runs.prefix_nbytes

    @property
    def gap_nbytes(self) -> int:
        """Bytes between joined tiles, fetched because that is cheaper than a request."""
        return self.runs.gap_nbytes

    @property
    def pixel_nbytes(self) -> int:
        """Bytes of bodies on the wire for a reader that has the headers: tiles, prefixes, gaps."""
        return self.runs.nbytes

    @property
    def planned_nbytes(self) -> int:
        """Bytes of bodies on the wire: headers and pixels."""
        return self.header_nbytes + self.pixel_nbytes

    @property
    def planned_requests(self) -> int:
        """Requests on the wire: one for each header and each run."""
        return len(self.headers) + len(self.runs)

    @cached_property
    def empty(self) -> list[tuple[str, str]]:
        """(slot, band) of the channels that no item fills: their pixels are not valid."""
        filled = {channel for source in self.requests.sources for channel in source.channels}
        return [name for number, name in enumerate(self.channels) if number not in filled]

    def summary(self) -> str:
        """One line for people."""
        empty = f" ({len(self.empty)} empty)" if self.empty else ""
        gdal = f"; GDAL reads {len(self.fallbacks)} files more" if self.fallbacks else ""
        return (
            f"{len(self.channels)} channels{empty} of {len(self.files)} files, {len(self.chips)} chips: "
            f"{self.planned_requests} requests, {self.planned_nbytes:,} bytes "
            f"(headers {self.header_nbytes:,}, tiles {self.tile_nbytes:,}, prefixes {self.prefix_nbytes:,}, "
            f"gaps {self.gap_nbytes:,}){gdal}"
        )

    def explain(self) -> Iterator[tuple[str, ByteRange, str]]:
        """What a reader without headers fetches, in its order: href, bytes, and ``header`` or ``pixels``."""
        for href, nbytes in self.headers.items():
            yield href, ByteRange(0, nbytes), "header"
        hrefs = list(self.files)
        for file, run in self.runs:
            yield hrefs[file], run, "pixels"

    def part(self, chips: Sequence[int], channels: Iterable[int] | None = None) -> Manifest:
        """The plan of some chips, in the order given, and of the requests that fill one of `channels` (None: any).

        The channels stay as they are; those left out are empty. Raises ManifestError for a chip that is not there.
        """
        place = np.full(len(self.chips), -1)
        if outside := [chip for chip in chips if not 0 <= chip < len(place)]:
            raise ManifestError(f"no chip {outside[0]} in a manifest of {len(place)}; they count from 0")
        place[list(chips)] = range(len(chips))
        kept = place[self.requests.chip] >= 0
        if channels is not None:
            wanted = set(channels)
            named = np.array([not wanted.isdisjoint(source.channels) for source in self.requests.sources], bool)
            kept &= named[self.requests.source]
        requests = self.requests.take(np.flatnonzero(kept))
        requests = replace(requests, chip=place[requests.chip])
        return replace(self, chips=tuple(self.chips[chip] for chip in chips), requests=requests, dense_nbytes=None)

    def without_prefixes(self) -> Manifest:
        """The same plan in whole tiles, whose checksums are reached."""
        return replace(self, requests=replace(self.requests, tiles=self.requests.tiles.whole()))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write ``*.geomask.parquet``, or JSON Lines under any other name, whole or not at all.

        Raises ManifestError for what could not be read back, such as a scale that is not finite.
        """
        save_manifest(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], item: str | None = None) -> Self:
        """Read what `save` wrote, or the requests of one item of it.

        Raises ManifestError where it is broken, foreign or of another version, or where no request is of the item.
        """
        return cls(**load_manifest(path, item))

    def lines(self) -> Iterator[str]:
        """As JSON Lines, without line ends. Raises ManifestError as `save` does."""
        return manifest_lines(self)

    @classmethod
    def parse(cls, lines: Iterable[str]) -> Self:
        """From JSON Lines. Raises ManifestError as `load` does, naming the line."""
        return cls(**parse_lines(lines))

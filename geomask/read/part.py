"""What is decoded at once: a window of some GeoTIFF tiles, for every chip that shows a piece of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..cog.level import ByteRange
from ..window import Window
from .decode import split

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..cog.layout import Layout
    from ..plan.manifest import Manifest
    from ..plan.request import ReadRequest


@dataclass(frozen=True, slots=True)
class Place:
    """A piece of a chip's request."""

    chip: int
    """Position in the manifest's chips."""
    window: Window
    """Of the level's pixels: the request's, or its rows above or in the last row of GeoTIFF tiles."""
    whole: Window
    """The window of the whole request."""

    def within(self, window: Window) -> tuple[slice, slice]:
        """Rows and columns of the piece, counted from the corner of `window`."""
        row, col = self.window.row_off - window.row_off, self.window.col_off - window.col_off
        return slice(row, row + self.window.height), slice(col, col + self.window.width)


@dataclass(frozen=True, slots=True)
class Part:
    """Pixels that are decoded together, and where they are shown."""

    request: ReadRequest
    """What is decoded: a window around all places, with the ranges that they need."""
    places: tuple[Place, ...]
    rank: int
    """Of its source in the manifest: of two that are valid the lower is shown."""

    @property
    def href(self) -> str:
        """Of the file."""
        return self.request.source.href


def cut_parts(manifest: Manifest, layouts: Mapping[str, Layout]) -> tuple[list[Part], list[Part]]:
    """The parts of a manifest: those that are decoded from ranges, and those that GDAL reads.

    Places of different chips in the same GeoTIFF tiles of a source are one part: a tile is decoded once for them all.
    """
    groups: dict[tuple[int, ...], list[tuple[ReadRequest, Place]]] = {}
    foreign = []
    for request, rank in zip(manifest.requests, manifest.requests.source.tolist(), strict=True):
        if request.source.why is not None:
            foreign.append(Part(request, (Place(request.chip, request.window, request.window),), rank))
            continue
        for piece in split(request, layouts[request.source.href].level(request.source.level)):
            tiles = tuple(range_.offset for range_ in piece.ranges)
            # sparse tiles have no range: such places may lie anywhere, and stay alone
            key = (rank, *tiles) if tiles else (rank, -1 - len(groups))
            groups.setdefault(key, []).append((piece, Place(request.chip, piece.window, request.window)))
    return [_join(pieces, key[0]) for key, pieces in groups.items()], foreign


def _join(pieces: Sequence[tuple[ReadRequest, Place]], rank: int) -> Part:
    first, places = pieces[0][0], tuple(place for _, place in pieces)
    if len(pieces) == 1:
        return Part(first, places, rank)
    windows = [place.window for place in places]
    top, left = min(window.row_off for window in windows), min(window.col_off for window in windows)
    bottom, right = max(window.row_stop for window in windows), max(window.col_stop for window in windows)
    longest = [max(lengths) for lengths in zip(*([r.length for r in piece.ranges] for piece, _ in pieces), strict=True)]
    ranges = tuple(ByteRange(r.offset, length) for r, length in zip(first.ranges, longest, strict=True))
    request = replace(first, window=Window(top, left, bottom - top, right - left), ranges=ranges)
    return Part(request, places, rank)

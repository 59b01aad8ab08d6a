"""The cube that a read fills, part by part, in whatever order bytes arrive."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from ..cog.level import ByteRange
from ..errors import FetchError, LayoutError
from ..fetch import Want, fetch
from .decode import Pieces, decode, split
from .fallback import read_with_gdal

if TYPE_CHECKING:
    from ..cog.layout import Layout
    from ..fetch import Trip
    from ..plan.request import ReadRequest
    from ..signing import Sign
    from ..window import Placement, Window
    from .cube import Cube
    from .receipt import Fallback

#: Up to here float64 holds every integer.
EXACT = 1 << 53

#: What is fetched of a tile, as a share of it, each time that a prefix does not hold the rows of the window.
LONGER = (0.0, 1 / 16, 1.0)


@dataclass(frozen=True, slots=True)
class Part:
    """What is decoded at once: a request, or its rows above or in the last row of GeoTIFF tiles."""

    request: ReadRequest
    whole: Window
    """The window of the whole request."""

    @property
    def href(self) -> str:
        """Of the file."""
        return self.request.source.href


class Canvas:
    """The cube that is filled, and what fills it."""

    def __init__(self, cube: Cube, layouts: dict[str, Layout], sign: Sign | None) -> None:
        self.manifest, self.sign = cube.manifest, sign
        self._cube, self._layouts = cube, layouts
        self.pieces = {href: Pieces(href, layouts[href].header) for href in self.manifest.headers}
        self.parts: list[Part] = []
        """What is decoded from ranges."""
        self.foreign: list[Part] = []
        """What GDAL reads itself."""
        for request in self.manifest.requests:
            (self.foreign if request.source.why else self.parts).extend(self._parts(request))
        self.refetches: list[Trip] = []
        """What it took to make prefixes longer."""
        self._locks = {href: Lock() for href in self.pieces}

    def _parts(self, request: ReadRequest) -> list[Part]:
        level = self._layouts[request.source.href].level(request.source.level)
        return [Part(part, request.window) for part in split(request, level)]

    def paste(self, part: Part) -> None:
        """Decode a part and paste its pixels; where a prefix of a tile turns out too short, fetch more of it."""
        request, layout = part.request, self._layouts[part.href]
        for share in LONGER:
            request = self._lengthen(request, share) if share else request
            try:
                pixels, seen = decode(layout, request, self.pieces[layout.href])
            except LayoutError:
                if not request.rests:
                    raise
            else:
                self._put(part, pixels, seen)
                return

    def _lengthen(self, request: ReadRequest, share: float) -> ReadRequest:
        """The request with a further `share` of each tile of which it has a prefix, fetched now."""
        source, rests = request.source, {rest.offset: rest.length for rest in request.rests}
        more = [
            ByteRange(piece.stop, min(rests.get(piece.stop, 0), math.ceil(share * whole)))
            for piece, whole in zip(request.ranges, request.wholes, strict=True)
        ]
        pieces = self.pieces[source.href]
        with self._locks[source.href]:  # requests that share a tile find it too short at the same time
            missing = dict.fromkeys(part for part in more if part.length and not pieces.hold(part))
            wants = [Want(source.href, part.offset, part.length, source.size, source.etag) for part in missing]
            for want, got in zip(wants, fetch(wants, sign=self.sign), strict=True):
                pieces.add(want.offset, got.data)
                self.refetches.append(got.trip)
        longer = (
            ByteRange(piece.offset, piece.length + part.length)
            for piece, part in zip(request.ranges, more, strict=True)
        )
        return replace(request, ranges=tuple(longer))

    def read_with_gdal(self, part: Part) -> Fallback:
        """Let GDAL read a part, and paste its pixels."""
        pixels, seen, fallback = read_with_gdal(self._layouts[part.href], part.request, self.sign)
        self._put(part, pixels, seen)
        return fallback

    def _put(self, part: Part, pixels: np.ndarray, seen: np.ndarray) -> None:
        """Paste `pixels` and `seen`, both (bands, rows, columns), into their channels."""
        if pixels.dtype.itemsize == 8 and pixels.dtype.kind in "iu" and _beyond(pixels[seen]):
            raise LayoutError(f"{part.href} holds integers over 2^53, which no float holds; read it with rasterio")
        placement, chip = self._place(part), part.request.chip
        for channel, band, known in zip(part.request.source.channels, pixels, seen, strict=True):
            placement.paste(known, self._cube.valid[chip, channel])
            placement.paste(np.where(known, band, 0), self._cube.image[chip, channel])

    def _place(self, part: Part) -> Placement:
        """Where a part lies in its chip. Found when it is pasted: for thousands of chips it would not fit memory."""
        source, layout = part.request.source, self._layouts[part.href]
        level, chip = layout.level(source.level), self.manifest.chips[part.request.chip]
        placement = self.manifest.grid.place(chip, layout.grid, (level.height, level.width))
        if placement is None or placement.source != part.whole:
            raise FetchError(f"{part.href}: the manifest's window does not fit the file any more; compile it anew")
        return placement.narrow(part.request.window.row_off - part.whole.row_off, part.request.window.height)


def _beyond(pixels: np.ndarray) -> bool:
    """Whether a 64-bit integer is none that float64 holds; the smallest has no absolute value."""
    return bool((pixels > EXACT).any() or (pixels.dtype.kind == "i" and (pixels < -EXACT).any()))

"""The cube that a read fills, part by part, in whatever order bytes arrive."""

from __future__ import annotations

import math
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from ..cog.level import ByteRange
from ..errors import FetchError, LayoutError
from ..fetch import Want, fetch
from .decode import Pieces, decode
from .fallback import read_with_gdal
from .overlay import find_overlays
from .part import cut_parts

if TYPE_CHECKING:
    from ..cog.layout import Layout
    from ..fetch import Got, Trip
    from ..plan.request import ReadRequest
    from ..signing import Sign
    from ..window import Placement, Scatter
    from .cube import Cube
    from .kept import Kept
    from .part import Part, Place
    from .receipt import Fallback

#: Up to here float64 holds every integer.
EXACT = 1 << 53

#: A shift by less than this from a whole number is one: 0.1 / 0.0001 is not 1000 in binary.
WHOLE = 1e-6

#: What is fetched of a tile, as a share of it, each time that a prefix does not hold the rows of the window.
LONGER = (0.0, 1 / 16, 1.0)


class Canvas:
    """The cube that is filled, and what fills it."""

    def __init__(
        self, cube: Cube, layouts: dict[str, Layout], sign: Sign | None = None, kept: Kept | None = None
    ) -> None:
        self.manifest, self.sign, self._kept = cube.manifest, sign, kept
        self._cube, self._layouts = cube, layouts
        self.pieces = {href: Pieces(href, layouts[href].header) for href in self.manifest.headers}
        if kept is not None:
            for href, pieces in self.pieces.items():
                for offset, data in kept.pieces(self.manifest.files[href]).items():
                    pieces.add(offset, data)
        self.parts, self.foreign = cut_parts(self.manifest, layouts)
        self.refetches: list[Trip] = []
        """What it took to make prefixes longer."""
        self._locks = {href: Lock() for href in self.pieces}
        self._overlays = find_overlays(self.manifest)

    def add(self, want: Want, got: Got) -> None:
        """Take in what was fetched."""
        self.pieces[want.href].add(want.offset, got.data)
        if self._kept is not None:
            self._kept.add(self.manifest.files[want.href], want.offset, got.data)

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
                self.add(want, got)
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
        """Paste `pixels` and `seen`, both (bands, rows, columns), into their channels of every chip of the part."""
        if pixels.dtype.itemsize == 8 and pixels.dtype.kind in "iu" and _beyond(pixels[seen]):
            raise LayoutError(f"{part.href} holds integers over 2^53, which no float holds; read it with rasterio")
        source = part.request.source
        own = zip(source.scales, source.offsets, strict=True)
        wanted = [self.manifest.scaling[channel] for channel in source.channels]
        values = [rescale(band, *pair) for band, pair in zip(pixels, zip(own, wanted, strict=True), strict=True)]
        for place in part.places:
            inside, placement = place.within(part.request.window), self._place(part, place)
            for channel, band, known in zip(source.channels, values, seen, strict=True):
                image, valid = self._cube.image[place.chip, channel], self._cube.valid[place.chip, channel]
                shown = np.where(known[inside], band[inside], 0)
                if overlay := self._overlays.get((place.chip, channel)):
                    overlay.paste(placement, part.rank, shown, known[inside], image, valid)
                else:
                    placement.paste(known[inside], valid)
                    placement.paste(shown, image)

    def _place(self, part: Part, place: Place) -> Placement | Scatter:
        """Where pixels lie in a chip. Found when they are pasted: for thousands of chips it would not fit memory."""
        layout = self._layouts[part.href]
        level, chip = layout.level(part.request.source.level), self.manifest.chips[place.chip]
        placement = self.manifest.grid.place(chip, layout.grid, (level.height, level.width))
        if placement is None or placement.source != place.whole:
            raise FetchError(f"{part.href}: the manifest's window does not fit the file any more; compile it anew")
        return placement.narrow(place.window.row_off - place.whole.row_off, place.window.height)


def rescale(pixels: np.ndarray, own: tuple[float, float], wanted: tuple[float, float]) -> np.ndarray:
    """Pixels of which `own` (scale, offset) gives physical values as those of which `wanted` gives the same.

    Where scales are equal that is a shift, which is whole for stored integers whose offset was changed by whole steps,
    as Sentinel-2's was by 1000 with processing baseline 04.00.
    """
    if own == wanted:
        return pixels
    factor, shift = own[0] / wanted[0], (own[1] - wanted[1]) / wanted[0]
    shift = round(shift) if abs(shift - round(shift)) < WHOLE else shift
    return pixels.astype(np.float64) * factor + shift


def _beyond(pixels: np.ndarray) -> bool:
    """Whether a 64-bit integer is none that float64 holds; the smallest has no absolute value."""
    return bool((pixels > EXACT).any() or (pixels.dtype.kind == "i" and (pixels < -EXACT).any()))

"""Bytes into pixels: a TIFF of just the tiles that came, decoded by GDAL."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from ..cog.level import ByteRange
from ..cog.minitiff import cut_tiff
from ..cog.prefix import first_rows
from ..errors import FetchError, LayoutError
from ..grid import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..cog.layout import Layout
    from ..cog.level import Level
    from ..plan.request import ReadRequest


class Pieces:
    """Tiles out of what was fetched of one file: its header and its runs."""

    def __init__(self, href: str, header: bytes) -> None:
        self._href, self._starts, self._data = href, [0], [header]
        self._lock = Lock()  # decoding and fetching go on side by side

    def add(self, offset: int, data: bytes) -> None:
        """Put in what was fetched from byte `offset` on."""
        with self._lock:
            at = bisect_right(self._starts, offset)
            self._starts.insert(at, offset)
            self._data.insert(at, data)

    def hold(self, piece: ByteRange) -> bool:
        """Whether these bytes are there."""
        return len(self._find(piece)) == piece.length

    def reach(self, at: int) -> int:
        """The first byte from `at` on that is not there."""
        with self._lock:
            while (number := self._part_at(at)) is not None:
                at = self._starts[number] + len(self._data[number])
        return at

    def __call__(self, piece: ByteRange) -> bytes:
        """These bytes. Raises FetchError where some did not come."""
        data = self._find(piece)
        if len(data) < piece.length:
            raise FetchError(f"{self._href}: the tile at {piece.offset} was not fetched; compile the manifest anew")
        return data

    def _find(self, piece: ByteRange) -> bytes:
        """As many of these bytes as there are, put together where one part ends and the next begins."""
        found: list[bytes] = []
        at = piece.offset
        with self._lock:
            while at < piece.stop and (number := self._part_at(at)) is not None:
                begin = at - self._starts[number]
                found.append(self._data[number][begin : begin + piece.stop - at])
                at += len(found[-1])
        return found[0] if len(found) == 1 else b"".join(found)

    def _part_at(self, at: int) -> int | None:
        """The part that has a byte; most often the last one that begins before it."""
        before = range(bisect_right(self._starts, at) - 1, -1, -1)
        return next((number for number in before if at < self._starts[number] + len(self._data[number])), None)


def split(request: ReadRequest, level: Level) -> list[ReadRequest]:
    """The request; or where prefixes are planned, what lies above the last row of GeoTIFF tiles, and the rest."""
    window = request.window
    cut = (window.row_stop - 1) // level.tile_height * level.tile_height
    if not request.rests or cut <= window.row_off:
        return [request]
    upper = Window(window.row_off, window.col_off, cut - window.row_off, window.width)
    lower = Window(cut, window.col_off, window.row_stop - cut, window.width)
    return [_narrow(request, level, upper, prefixes=False), _narrow(request, level, lower, prefixes=True)]


def _narrow(request: ReadRequest, level: Level, window: Window, prefixes: bool) -> ReadRequest:
    """The request for a part of its window, with the ranges of the tiles that hold it."""
    tables = (level, level.mask) if level.mask else (level,)
    inside = {offset for table in tables for offset in table.offsets[:, *table.tiles(window)].ravel().tolist()}
    kept = [
        (piece, whole)
        for piece, whole in zip(request.ranges, request.wholes, strict=True)
        if piece.offset in inside and (prefixes or piece.length == whole)
    ]
    ranges, wholes = tuple(piece for piece, _ in kept), tuple(whole for _, whole in kept)
    return replace(request, window=window, ranges=ranges, wholes=wholes)


def decode(layout: Layout, request: ReadRequest, pieces: Callable[[ByteRange], bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of a request in the file's dtype, and where they were observed, both (bands, rows, columns) of its window.

    Where prefixes of tiles are planned, the window lies in one row of tiles, as `split` makes them. Not observed:
    nodata, masked by the file's mask or alpha band, not finite. `pieces` gives bytes of the file. Raises LayoutError
    where they do not decode, or a prefix does not hold the rows of the window.
    """
    level, indexes = layout.level(request.source.level), request.source.indexes
    bands = (*indexes, layout.alpha) if layout.alpha else indexes
    rows, tile = None, pieces
    if request.rests:
        rows = request.window.row_stop % level.tile_height or level.tile_height
        planned = {piece.offset: piece.length for piece in request.ranges}
        tile = partial(_first_rows, level, pieces, planned, rows)
    pixels = _read(layout, level, bands, request.window, tile, rows)
    seen = observed(pixels[: len(indexes)], request.source.nodata)
    if layout.alpha:
        seen &= pixels[-1] != 0
    if level.mask:
        seen &= _read(layout, level.mask, (1,), request.window, pieces)[0] != 0
    return pixels[: len(indexes)], seen


def _first_rows(
    level: Level, pieces: Callable[[ByteRange], bytes], planned: dict[int, int], rows: int, tile: ByteRange
) -> bytes:
    return first_rows(level, pieces(ByteRange(tile.offset, planned.get(tile.offset, tile.length))), rows)


def _read(
    layout: Layout,
    level: Level,
    indexes: Sequence[int],
    window: Window,
    tile: Callable[[ByteRange], bytes],
    rows: int | None = None,
) -> np.ndarray:
    """Pixels (bands, rows, columns) of a window of a level or a mask; see `cut_tiff` for `tile` and `rows`."""
    from rasterio.errors import RasterioError
    from rasterio.io import MemoryFile
    from rasterio.windows import Window as RasterioWindow

    planes = {0} if len(level.offsets) == 1 else {index - 1 for index in indexes}
    content, row, col = cut_tiff(layout, level, planes, window, tile, rows)
    try:
        # GDAL_NUM_THREADS stays at 1: the threads are ours.
        with MemoryFile(content) as file, file.open() as dataset:
            place = RasterioWindow(col, row, window.width, window.height)  # type: ignore[call-arg, unused-ignore]
            pixels: np.ndarray = dataset.read(indexes, window=place)
            return pixels
    except RasterioError as error:
        raise LayoutError(f"{layout.href}: a tile of {window} does not decode: {error}") from error


def observed(pixels: np.ndarray, nodata: float | None) -> np.ndarray:
    """Where pixels are neither nodata nor without a finite value, bool of their shape."""
    with np.errstate(over="ignore"):  # of nodata values that the type cannot hold
        seen: np.ndarray = np.ones(pixels.shape, bool) if nodata is None else pixels != nodata
    return seen & np.isfinite(pixels)

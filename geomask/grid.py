"""Integer geometry: the only place where coordinates are rounded.

Rows come before columns, y before x, always. A :class:`Grid` is north-up.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from .errors import GridError
from .window import MAX_SIZE, Axis, Placement
from .window import Window as Window

#: Two grids line up when their pixel edges differ by less than this share of a pixel. Catalogs round coordinates to
#: four decimals; a shift that changes which pixel is read is never smaller than half a pixel.
ALIGNED = 1e-2

#: ``EPSG:32633``, or the beginning of WKT 1 or 2: ``PROJCS[``, ``BOUNDCRS[``.
CRS_TEXT = re.compile(r"[A-Za-z]+:\w+\Z|[A-Z_]+\s*\[")


@dataclass(frozen=True, slots=True)
class Grid:
    """A north-up raster's frame: CRS, origin, pixel size and extent."""

    crs: str
    """An authority code such as ``EPSG:3035``, or WKT."""
    left: float
    """x of the left edge, in units of the CRS."""
    top: float
    """y of the top edge."""
    res_y: float
    """Height of a pixel, positive."""
    res_x: float
    """Width of a pixel, positive."""
    height: int
    """Rows."""
    width: int
    """Columns."""

    def __post_init__(self) -> None:
        """Refuse what has no area or is no number."""
        if not (isinstance(self.crs, str) and CRS_TEXT.match(self.crs)):
            # Anything else may be an address that GDAL would go and fetch, or a file that it would open.
            raise GridError(f"a grid has a CRS as text, a code such as EPSG:32633 or WKT, not {str(self.crs)[:60]!r}")
        numbers = (self.left, self.top, self.res_y, self.res_x)
        if not all(map(math.isfinite, numbers)) or self.res_y <= 0 or self.res_x <= 0:
            raise GridError(f"a grid needs finite edges and positive pixel sizes, not {numbers}")
        if self.height < 1 or self.width < 1:
            raise GridError(f"a grid has at least one row and one column, not {self.height} x {self.width}")
        if max(self.height, self.width) > MAX_SIZE:
            raise GridError(f"a grid has at most {MAX_SIZE} rows and columns, not {self.height} x {self.width}")

    @classmethod
    def from_transform(cls, crs: str, transform: tuple[float, ...], height: int, width: int) -> Self:
        """From the first six numbers of an affine transform (a, b, c, d, e, f), as rasterio and ``proj:transform`` say.

        Raises GridError where the raster is rotated or not north-up.
        """
        a, b, c, d, e, f = transform[:6]
        if b or d or a <= 0 or e >= 0:
            raise GridError(f"the transform {transform[:6]} is rotated or not north-up; warp the file first")
        return cls(crs, c, f, -e, a, height, width)

    @property
    def transform(self) -> tuple[float, float, float, float, float, float]:
        """The affine transform (a, b, c, d, e, f) from (column, row) to (x, y)."""
        return (self.res_x, 0.0, self.left, 0.0, -self.res_y, self.top)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(left, bottom, right, top)."""
        return self.bounds_of(self.window)

    @property
    def window(self) -> Window:
        """The whole grid."""
        return Window(0, 0, self.height, self.width)

    def bounds_of(self, window: Window) -> tuple[float, float, float, float]:
        """(left, bottom, right, top) of a window."""
        left = self.left + window.col_off * self.res_x
        top = self.top - window.row_off * self.res_y
        return left, top - window.height * self.res_y, left + window.width * self.res_x, top

    def window_of(self, bounds: tuple[float, float, float, float]) -> Window:
        """The window whose edges are nearest to `bounds` (left, bottom, right, top); it may reach over the grid."""
        left, bottom, right, top = _finite(bounds)
        row, row_stop = (round((self.top - y) / self.res_y) for y in (top, bottom))
        col, col_stop = (round((x - self.left) / self.res_x) for x in (left, right))
        return Window(row, col, row_stop - row, col_stop - col)

    def crop(self, window: Window) -> Grid:
        """The grid of one window."""
        left, _, _, top = self.bounds_of(window)
        return Grid(self.crs, left, top, self.res_y, self.res_x, window.height, window.width)

    def resized(self, height: int, width: int) -> Grid:
        """The same extent in another number of pixels: the grid of an overview."""
        res_y, res_x = self.res_y * self.height / height, self.res_x * self.width / width
        return Grid(self.crs, self.left, self.top, res_y, res_x, height, width)

    def place(self, window: Window, source: Grid, size: tuple[int, int] | None = None) -> Placement | None:
        """Which pixels of a file fill `window` of this grid, and where; None where they do not meet.

        `source` is the file's grid, `size` the (rows, columns) of the level that is read, None for full resolution. The
        pixels of the file, or of the level where this grid is coarser than the file, are as large as this grid's or a
        whole multiple, and their edges line up. An overview's need not: its size seldom divides the file's.
        Raises GridError where CRSs differ, a pixel size is no whole multiple, or pixel edges do not line up.
        """
        rows, cols = self._axes(source, size)
        (top, stop), (left, right) = rows.span(window.row_off, window.height), cols.span(window.col_off, window.width)
        if top == stop or left == right:
            return None
        row_at, col_at = rows.pixel(np.arange(top, stop)), cols.pixel(np.arange(left, right))
        row, col = int(row_at[0]), int(col_at[0])
        return Placement(
            source=Window(row, col, int(row_at[-1]) + 1 - row, int(col_at[-1]) + 1 - col),
            rows=row_at - row,
            cols=col_at - col,
            row=int(top) - window.row_off - rows.shift,
            col=int(left) - window.col_off - cols.shift,
        )

    def cover(
        self, windows: np.ndarray, source: Grid, size: tuple[int, int] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """`place` for many windows: the positions of those that the file meets, and what to read for each.

        `windows` is int64 (windows, 4), each row as `Window` has it; so is the second array. Raises as `place` does.
        """
        rows, cols = self._axes(source, size)
        (top, stop), (left, right) = rows.span(windows[:, 0], windows[:, 2]), cols.span(windows[:, 1], windows[:, 3])
        met = np.flatnonzero((top < stop) & (left < right))
        row, row_last = rows.pixel(top[met]), rows.pixel(stop[met] - 1)
        col, col_last = cols.pixel(left[met]), cols.pixel(right[met] - 1)
        return met, np.stack([row, col, row_last + 1 - row, col_last + 1 - col], 1)

    def _axes(self, source: Grid, size: tuple[int, int] | None) -> tuple[Axis, Axis]:
        if not same_crs(self.crs, source.crs):
            raise GridError(f"the file is in {source.crs[:60]}, the grid in {self.crs[:60]}; choose the file's CRS")
        height, width = size or (source.height, source.width)
        coarser = source.res_y < self.res_y * (1 - ALIGNED)
        base = source.resized(height, width) if coarser else source
        repeat = _multiple(base, self)
        extents = base.height * repeat, base.width * repeat
        if max(extents) > MAX_SIZE:
            raise GridError(f"the file covers {extents[0]} x {extents[1]} pixels of the grid, over {MAX_SIZE}")
        return (
            Axis(_offset(base.top - self.top, self.res_y, "rows"), extents[0], height),
            Axis(_offset(self.left - base.left, self.res_x, "columns"), extents[1], width),
        )


def same_crs(one: str, other: str) -> bool:
    """Whether two CRS texts mean the same one (authority codes and WKT alike). GridError where one means none."""
    if one == other:
        return True
    from rasterio.crs import CRS  # 0.2 s, and most often not needed
    from rasterio.errors import CRSError

    try:
        return bool(CRS.from_user_input(one) == CRS.from_user_input(other))
    except CRSError as error:
        raise GridError(f"no CRS that PROJ knows: {error}") from error


def _finite(bounds: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    if not all(map(math.isfinite, bounds)):
        raise GridError(f"bounds are four finite numbers, not {bounds}")
    return bounds


def crs_text(crs: Any) -> str:
    """A rasterio CRS as an authority's code where it has one, else as WKT."""
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else str(crs.to_wkt())


def _multiple(source: Grid, target: Grid) -> int:
    ratios = source.res_y / target.res_y, source.res_x / target.res_x
    repeat = round(ratios[0])
    # what the pixel edges have drifted apart at the far end, in pixels of the target
    drift = max(abs(ratios[0] - repeat) * source.height, abs(ratios[1] - repeat) * source.width)
    if repeat < 1 or drift > ALIGNED:
        raise GridError(
            f"pixels of {source.res_y:g} x {source.res_x:g} do not fit a grid of {target.res_y:g} x {target.res_x:g}: "
            "they must be as large or a whole multiple; choose a finer grid or an overview level"
        )
    return repeat


def _offset(distance: float, res: float, axis: str) -> int:
    pixels = max(-2.0 * MAX_SIZE, min(distance / res, 2.0 * MAX_SIZE))  # beyond it nothing meets
    if abs(pixels - round(pixels)) > ALIGNED:
        raise GridError(f"the file's {axis} are shifted by {pixels % 1:.3f} of a pixel against the grid; snap the grid")
    return round(pixels)

"""Integer geometry: the only place where coordinates are rounded.

Rows come before columns, y before x, always. A :class:`Grid` is north-up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from .crs import CRS_TEXT, same_crs, transform_bounds
from .errors import GridError
from .nearest import pixel_size, reach, scatter
from .window import MAX_SIZE, Axis, Placement, Scatter
from .window import Window as Window

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Two grids line up when their pixel edges differ by less than this share of a pixel. Catalogs round coordinates to
#: four decimals; a shift that changes which pixel is read is never smaller than half a pixel.
ALIGNED = 1e-2


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

    @classmethod
    def snap(cls, crs: str, bounds: tuple[float, float, float, float], res: float | tuple[float, float]) -> Self:
        """The smallest grid that holds `bounds` (left, bottom, right, top) and whose edges are multiples of `res`.

        `res` is the side of a pixel in units of the CRS, or (height, width). Files whose edges are such multiples, as
        those of Sentinel-2 are, then lie on the grid. Raises GridError for bounds without an area.
        """
        left, bottom, right, top = _finite(bounds)
        res_y, res_x = res if isinstance(res, tuple) else (res, res)
        if not (res_y > 0 and res_x > 0 and left < right and bottom < top):
            raise GridError(f"bounds are left, bottom, right, top and pixels have a size, not {bounds} and {res}")
        first, last = (math.floor(left / res_x + ALIGNED), math.ceil(right / res_x - ALIGNED))
        low, high = (math.floor(bottom / res_y + ALIGNED), math.ceil(top / res_y - ALIGNED))
        return cls(crs, first * res_x, high * res_y, res_y, res_x, max(high - low, 1), max(last - first, 1))

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

    def place(self, window: Window, source: Grid, size: tuple[int, int] | None = None) -> Placement | Scatter | None:
        """Which pixels of a file fill `window` of this grid, and where; None where they do not meet.

        `source` is the file's grid, `size` the (rows, columns) of the level that is read, None for full resolution.
        Every pixel of the grid takes the file's pixel under its centre. Where the CRS is one, the pixels of the file,
        or of the level where this grid is coarser than the file, are as large as this grid's or a whole multiple, and
        edges line up, that is a rectangle, and no pixel is resampled; an overview's size need not divide the file's.
        Raises GridError where a CRS is none, or the file covers more pixels than can be counted.
        """
        axes = self._axes(source, size)
        if axes is None:
            return scatter(self, window, source, size or (source.height, source.width))
        rows, cols = axes
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
        axes = self._axes(source, size)
        if axes is None:
            parts = reach(self, windows, source, size or (source.height, source.width))
            met = np.flatnonzero((parts[:, 2:] > 0).all(1))
            return met, parts[met]
        rows, cols = axes
        (top, stop), (left, right) = rows.span(windows[:, 0], windows[:, 2]), cols.span(windows[:, 1], windows[:, 3])
        met = np.flatnonzero((top < stop) & (left < right))
        row, row_last = rows.pixel(top[met]), rows.pixel(stop[met] - 1)
        col, col_last = cols.pixel(left[met]), cols.pixel(right[met] - 1)
        return met, np.stack([row, col, row_last + 1 - row, col_last + 1 - col], 1)

    def lines_up(self, source: Grid, size: tuple[int, int] | None = None) -> bool:
        """Whether a file's pixels, or those of its level of `size`, are taken as they are. Raises as `place` does."""
        return self._axes(source, size) is not None

    def part(self, bounds: tuple[float, float, float, float]) -> Grid:
        """The pixels of this grid that `bounds` (left, bottom, right, top) touch. Raises GridError where none does."""
        left, bottom, right, top = _finite(bounds)
        rows = [
            math.floor((self.top - top) / self.res_y + ALIGNED),
            math.ceil((self.top - bottom) / self.res_y - ALIGNED),
        ]
        cols = [
            math.floor((left - self.left) / self.res_x + ALIGNED),
            math.ceil((right - self.left) / self.res_x - ALIGNED),
        ]
        (row, row_stop), (col, col_stop) = np.clip(rows, 0, self.height).tolist(), np.clip(cols, 0, self.width).tolist()
        if row >= row_stop or col >= col_stop:
            raise GridError(f"{bounds} do not meet the grid, which reaches over {self.bounds}")
        return self.crop(Window(row, col, row_stop - row, col_stop - col))

    def around(self, bounds: Iterable[tuple[float, float, float, float]]) -> Grid:
        """This grid with as many more rows and columns as it takes to hold all `bounds` (left, bottom, right, top).

        Raises GridError where that is more than a grid can have.
        """
        edges = np.array([self.bounds, *bounds])
        left, bottom = edges[:, :2].min(0)
        right, top = edges[:, 2:].max(0)
        rows = [math.ceil(far / self.res_y - ALIGNED) for far in (top - self.top, self.bounds[1] - bottom)]
        cols = [math.ceil(far / self.res_x - ALIGNED) for far in (self.left - left, right - self.bounds[2])]
        first = self.top + rows[0] * self.res_y, self.left - cols[0] * self.res_x
        size = self.height + sum(rows), self.width + sum(cols)
        return Grid(self.crs, first[1], first[0], self.res_y, self.res_x, *size)

    def bounds_on(self, other: Grid) -> tuple[float, float, float, float]:
        """(left, bottom, right, top) of this grid on the CRS of another one. Raises GridError where it has no place."""
        return self.bounds if same_crs(self.crs, other.crs) else transform_bounds(self.crs, other.crs, self.bounds)

    def res_on(self, source: Grid) -> tuple[float, float]:
        """Height and width of this grid's pixels in units of the CRS of `source`, as in the middle of this grid."""
        return pixel_size(self, source)

    def _axes(self, source: Grid, size: tuple[int, int] | None) -> tuple[Axis, Axis] | None:
        """How rows and columns of the level lie on this grid's; None where they do not line up."""
        if not same_crs(self.crs, source.crs):
            return None
        height, width = size or (source.height, source.width)
        coarser = source.res_y < self.res_y * (1 - ALIGNED)
        base = source.resized(height, width) if coarser else source
        repeat = _multiple(base, self)
        row, col = _offset(base.top - self.top, self.res_y), _offset(self.left - base.left, self.res_x)
        if repeat is None or row is None or col is None:
            return None
        extents = base.height * repeat, base.width * repeat
        if max(extents) > MAX_SIZE:
            raise GridError(f"the file covers {extents[0]} x {extents[1]} pixels of the grid, over {MAX_SIZE}")
        return Axis(row, extents[0], height), Axis(col, extents[1], width)


def _finite(bounds: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    if not all(map(math.isfinite, bounds)):
        raise GridError(f"bounds are four finite numbers, not {bounds}")
    return bounds


def _multiple(source: Grid, target: Grid) -> int | None:
    """How many pixels of `target` one of `source` spans, rows and columns alike; None for no whole number."""
    ratios = source.res_y / target.res_y, source.res_x / target.res_x
    repeat = round(ratios[0])
    # what the pixel edges have drifted apart at the far end, in pixels of the target
    drift = max(abs(ratios[0] - repeat) * source.height, abs(ratios[1] - repeat) * source.width)
    return repeat if repeat >= 1 and drift <= ALIGNED else None


def _offset(distance: float, res: float) -> int | None:
    """A distance in whole pixels; None where edges do not line up."""
    pixels = max(-2.0 * MAX_SIZE, min(distance / res, 2.0 * MAX_SIZE))  # beyond it nothing meets
    return round(pixels) if abs(pixels - round(pixels)) <= ALIGNED else None

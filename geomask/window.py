"""Rectangles of pixels, and where those of a file land on a grid: integers, rows before columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import GridError

#: Rows or columns of the largest grid: GDAL counts no further than 2^31, and products of two fit 64 bits.
MAX_SIZE = 1 << 30


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of pixels on one level of one file, or on the target grid."""

    row_off: int
    """First row, 0-based."""
    col_off: int
    """First column, 0-based."""
    height: int
    """Rows."""
    width: int
    """Columns."""

    def __post_init__(self) -> None:
        """Refuse an empty window: nothing downstream has a use for one."""
        if self.height < 1 or self.width < 1:
            raise GridError(f"a window has at least one row and one column, not {self.height} x {self.width}")
        if max(abs(self.row_off), abs(self.col_off), self.height, self.width) > MAX_SIZE:
            raise GridError(f"{self} reaches over {MAX_SIZE} rows or columns")

    @property
    def row_stop(self) -> int:
        """One past the last row."""
        return self.row_off + self.height

    @property
    def col_stop(self) -> int:
        """One past the last column."""
        return self.col_off + self.width

    def within(self, height: int, width: int) -> bool:
        """Whether the window lies inside an image of that size."""
        return self.row_off >= 0 and self.col_off >= 0 and self.row_stop <= height and self.col_stop <= width


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """Where the pixels of a source window land in a target window: each target pixel takes the one under its centre."""

    source: Window
    """The part of the source to read, in its pixels."""
    rows: np.ndarray
    """For each target row that is covered, the row of `source` that fills it, int64."""
    cols: np.ndarray
    """For each target column that is covered, the column of `source`, int64."""
    row: int
    """First target row that is covered, counted from the target window's."""
    col: int
    """First target column that is covered."""

    def narrow(self, first: int, count: int) -> Placement:
        """The part that `count` rows of `source` fill, from its row `first` on."""
        start, stop = np.searchsorted(self.rows, (first, first + count)).tolist()
        source = Window(self.source.row_off + first, self.source.col_off, count, self.source.width)
        return Placement(source, self.rows[start:stop] - first, self.cols, self.row + start, self.col)

    def paste(self, pixels: np.ndarray, out: np.ndarray) -> None:
        """Write `pixels` (..., rows, columns of the source window) into `out` (..., rows, columns of the target)."""
        target = out[..., self.row : self.row + len(self.rows), self.col : self.col + len(self.cols)]
        target[...] = pixels[..., self.rows[:, None], self.cols]


@dataclass(frozen=True, slots=True, eq=False)
class Scatter:
    """Where the pixels of a source window land in a target window that it does not line up with.

    It stands in for a :class:`Placement`: each target pixel takes the one under its centre here too.
    """

    source: Window
    """The part of the source to read, in its pixels."""
    rows: np.ndarray
    """For each target pixel the row of `source` that fills it, int32 (rows, columns); -1: none does."""
    cols: np.ndarray
    """For each target pixel the column of `source`, int32 (rows, columns)."""

    def narrow(self, first: int, count: int) -> Scatter:
        """The part that `count` rows of `source` fill, from its row `first` on."""
        source = Window(self.source.row_off + first, self.source.col_off, count, self.source.width)
        rows = np.where((self.rows >= first) & (self.rows < first + count), self.rows - first, -1)
        return Scatter(source, rows, self.cols)

    def paste(self, pixels: np.ndarray, out: np.ndarray) -> None:
        """Write `pixels` (..., rows, columns of the source window) into `out` (..., rows, columns of the target)."""
        here = self.rows >= 0
        out[..., here] = pixels[..., self.rows[here], self.cols[here]]


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a target grid over a source, in whole target pixels."""

    shift: int
    """Target pixels from the source's first edge to the target's."""
    extent: int
    """Target pixels that the source covers."""
    size: int
    """Pixels of the source."""

    def span(self, first: Any, count: Any) -> tuple[Any, Any]:
        """What the source covers of `count` target pixels from `first` on, counted from the source's first edge."""
        start = np.clip(first + self.shift, 0, self.extent)
        return start, np.clip(first + self.shift + count, start, self.extent)

    def pixel(self, at: Any) -> Any:
        """The source's pixel under the centre of a target pixel, counted as `span` does."""
        return (2 * at + 1) * self.size // (2 * self.extent)

"""The GeoTIFF tiles of windows, as byte ranges: many windows of one level at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from ..cog.prefix import prefix_nbytes
from ..errors import GridError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..cog.level import Level
    from ..grid import Window


@dataclass(frozen=True, slots=True, eq=False)
class Tiles:
    """Byte ranges of the tiles of many windows; a sparse tile has none."""

    starts: np.ndarray
    """Where the ranges of each window begin, and at the end their number: int64 (windows + 1,)."""
    offsets: np.ndarray
    """First byte of each range, int64 (ranges,)."""
    lengths: np.ndarray
    """Bytes of each range, int64: less than the tile's where a prefix holds the rows that the window needs."""
    wholes: np.ndarray
    """Bytes of the whole tile, int64."""

    @classmethod
    def none(cls, windows: int) -> Self:
        """No range for any of so many windows."""
        empty = np.zeros(0, np.int64)
        return cls(np.zeros(windows + 1, np.int64), empty, empty, empty)

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """The windows of all parts, one part after the other."""
        if not parts:
            return cls.none(0)
        counts = np.concatenate([np.diff(part.starts) for part in parts])
        columns = (np.concatenate([getattr(part, name) for part in parts]) for name in ("offsets", "lengths", "wholes"))
        return cls(np.concatenate([[0], np.cumsum(counts)]), *columns)

    @property
    def counts(self) -> np.ndarray:
        """Ranges of each window."""
        return np.diff(self.starts)

    @property
    def owners(self) -> np.ndarray:
        """The window of each range, int64 (ranges,)."""
        return np.repeat(np.arange(len(self.starts) - 1), self.counts)

    def take(self, at: np.ndarray) -> Tiles:
        """Some of the windows, by position."""
        counts = self.counts[at]
        starts = np.concatenate([[0], np.cumsum(counts)])
        inner = np.arange(starts[-1]) - np.repeat(starts[:-1], counts) + np.repeat(self.starts[:-1][at], counts)
        return Tiles(starts, self.offsets[inner], self.lengths[inner], self.wholes[inner])

    def whole(self) -> Tiles:
        """The same tiles without prefixes."""
        return Tiles(self.starts, self.offsets, self.wholes, self.wholes)


def find_tiles(level: Level, planes: Sequence[int], windows: np.ndarray) -> Tiles:
    """The tiles of `windows` (windows, 4), each row as `Window` has it, in the planes given (0-based).

    Of each window in order of plane, tile row, tile column, the tiles of the level's mask last. Raises GridError where
    a window reaches over the level.
    """
    first, last = windows[:, :2], windows[:, :2] + windows[:, 2:]
    if (first < 0).any() or (last > (level.height, level.width)).any():
        raise GridError(f"a window reaches over the level of {level.height} x {level.width} pixels")
    image = _find(level, planes, first, last)
    if level.mask is None:
        return image
    masks = _find(level.mask, (0,), first, last).whole()  # a bit a pixel: not worth a margin
    order = np.argsort(np.concatenate([image.owners, masks.owners]), kind="stable")
    columns = (
        np.concatenate([getattr(image, name), getattr(masks, name)])[order] for name in ("offsets", "lengths", "wholes")
    )
    return Tiles(image.starts + masks.starts, *columns)


def _find(level: Level, planes: Sequence[int], first: np.ndarray, last: np.ndarray) -> Tiles:
    """`find_tiles` of a level or a mask alone; `first` and `last` are (windows, 2): row, column, `last` exclusive."""
    size = np.array([level.tile_height, level.tile_width])
    begin, end = first // size, -(-last // size)
    rows, cols = (end - begin).T
    counts = rows * cols * len(planes)
    starts = np.concatenate([[0], np.cumsum(counts)])
    owner = np.repeat(np.arange(len(first)), counts)
    inner = np.arange(starts[-1]) - starts[:-1][owner]
    plane, inner = np.divmod(inner, (rows * cols)[owner])
    row, col = np.divmod(inner, cols[owner])
    row, col = row + begin[owner, 0], col + begin[owner, 1]
    at = np.asarray(planes, np.int64)[plane], row, col
    offsets, wholes = level.offsets[at], level.lengths[at]
    top = row * level.tile_height
    filled = np.minimum(level.tile_height, level.height - top)
    lengths = prefix_nbytes(level, wholes, np.minimum(last[owner, 0] - top, filled), filled)
    here = wholes > 0
    starts = np.concatenate([[0], np.cumsum(np.bincount(owner[here], minlength=len(first)))]).astype(np.int64)
    return Tiles(starts, offsets[here], lengths[here], wholes[here])


def window_array(windows: Iterable[Window]) -> np.ndarray:
    """Windows as int64 (windows, 4)."""
    rows = [(window.row_off, window.col_off, window.height, window.width) for window in windows]
    return np.array(rows, np.int64).reshape(-1, 4)

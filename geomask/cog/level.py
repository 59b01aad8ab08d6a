"""One resolution of a GeoTIFF: its size, its tags, and which bytes hold which pixels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..errors import GridError

if TYPE_CHECKING:
    from ..grid import Window


@dataclass(frozen=True, slots=True, order=True)
class ByteRange:
    """A run of bytes in a file."""

    offset: int
    """First byte, 0-based."""
    length: int
    """Bytes."""

    @property
    def stop(self) -> int:
        """One past the last byte."""
        return self.offset + self.length


@dataclass(frozen=True, slots=True)
class Tag:
    """A TIFF tag as it stands in the file, to be copied."""

    code: int
    dtype: int
    count: int
    value: bytes


def no_tables() -> np.ndarray:
    """The tile table of a level whose tiles nobody has listed, int64 (0, 0, 0)."""
    return np.zeros((0, 0, 0), np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """One resolution of a file: full size or an overview."""

    height: int
    """Rows."""
    width: int
    """Columns."""
    tile_height: int
    """Rows of a GeoTIFF tile, or of a strip."""
    tile_width: int
    """Columns of a GeoTIFF tile; a strip is as wide as the level."""
    offsets: np.ndarray
    """First byte of each tile, int64 (planes, tile rows, tile columns); planes is 1 where bands are interleaved.

    Of shape (0, 0, 0) where no header lists them: GDAL alone reads the level.
    """
    lengths: np.ndarray
    """Bytes of each tile, same shape; 0 where the file holds no such tile (sparse: nodata)."""
    tags: tuple[Tag, ...] = field(repr=False, default=())
    """All tags of the level but its sizes and tile tables."""
    mask: Level | None = None
    """The level's internal mask (1 bit a pixel), None where the file has none."""
    compression: int = 1
    """TIFF tag 259; 1 is none."""
    row_nbytes: int = 0
    """Bytes of one row of a GeoTIFF tile when it is decompressed; 0 where there are no tables."""

    def tiles(self, window: Window) -> tuple[slice, slice]:
        """Tile rows and tile columns that hold `window`. Raises GridError where it reaches over the level."""
        if not window.within(self.height, self.width):
            raise GridError(f"{window} reaches over the level of {self.height} x {self.width} pixels")
        rows = slice(window.row_off // self.tile_height, -(-window.row_stop // self.tile_height))
        cols = slice(window.col_off // self.tile_width, -(-window.col_stop // self.tile_width))
        return rows, cols

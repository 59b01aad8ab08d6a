"""Where the network is asked: tiles of the output grid, which are files, and the cuts of each, which fit memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import GridError
from ..grid import Window

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..grid import Grid


@dataclass(frozen=True, slots=True)
class Cut:
    """What the network is shown of a tile at once, and what of its answer counts."""

    seen: Window
    """Of the pixels that are read for the tile, counted from their first row and column."""
    kept: Window
    """Of `seen`, counted from its first row and column."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One file of a map."""

    number: int
    """Its place among all tiles of the grid, by row, then column."""
    name: str
    core: Window
    """Of the grid: what is written."""
    window: Window
    """Of the grid: what is read, `core` and the halo around it that lies on the grid."""


@dataclass(frozen=True, slots=True)
class Tiling:
    """How a grid is cut so that what is put together equals one pass of the network over all of it.

    Without `overlap` each cut sees `halo` pixels more than are kept of it to each side, but none beyond the grid, where
    a pass over all of it sees none either; cuts begin at multiples of the network's stride. With it, for networks that
    look at everything, cuts of `chip` pixels overlap by so many, and answers are blended (`Cut.kept` is all of it).
    """

    grid: Grid
    side: int
    """Rows and columns of a tile; fewer at the far edges."""
    chip: int
    """Rows and columns that are kept of a cut, or with `overlap` shown; fewer at the far edges."""
    halo: int
    """Pixels to each side that an answer may depend on."""
    stride: int = 1
    """Of the network (`Field`)."""
    overlap: int = 0
    """Pixels that neighbouring cuts share; 0: they are put side by side."""

    def __post_init__(self) -> None:
        """Refuse what leaves seams. Raises GridError."""
        if min(self.side, self.chip, self.stride) < 1 or self.halo < 0 or not 0 <= self.overlap < self.chip:
            raise GridError(f"{self.side}, {self.chip}, {self.halo} and {self.overlap} pixels make no tiles and chips")
        if any(pixels % self.stride for pixels in (self.side, self.chip, self.halo, self.overlap)):
            raise GridError(
                f"tiles of {self.side} pixels, chips of {self.chip}, a halo of {self.halo} and an overlap of "
                f"{self.overlap}; this network halves what it sees, so choose multiples of {self.stride}"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        return -(-self.grid.height // self.side), -(-self.grid.width // self.side)

    def __len__(self) -> int:
        return self.shape[0] * self.shape[1]

    def __iter__(self) -> Iterator[Tile]:
        return (self.tile(number) for number in range(len(self)))

    def tile(self, number: int) -> Tile:
        """The tile of a number. Raises GridError for one that is not there."""
        if not 0 <= number < len(self):
            raise GridError(f"no tile {number}; a grid of {self.shape} has {len(self)}, from 0")
        row, col = divmod(number, self.shape[1])
        top, left = row * self.side, col * self.side
        bottom, right = min(top + self.side, self.grid.height), min(left + self.side, self.grid.width)
        core = Window(top, left, bottom - top, right - left)
        (first, stop), (first_col, stop_col) = self._reach(top, bottom, 0), self._reach(left, right, 1)
        return Tile(number, f"r{row:05}_c{col:05}", core, Window(first, first_col, stop - first, stop_col - first_col))

    def cuts(self, tile: Tile) -> list[Cut]:
        """What the network is shown of a tile, by row, then column."""
        if self.overlap:
            return [
                Cut(Window(row, col, height, width), Window(0, 0, height, width))
                for row, height in self._lattice(tile, 0)
                for col, width in self._lattice(tile, 1)
            ]
        core = tile.core
        return [
            self._cut(tile, Window(row, col, min(self.chip, core.row_stop - row), min(self.chip, core.col_stop - col)))
            for row in range(core.row_off, core.row_stop, self.chip)
            for col in range(core.col_off, core.col_stop, self.chip)
        ]

    def _reach(self, first: int, stop: int, axis: int) -> tuple[int, int]:
        """From where to where a tile's core is read along rows (0) or columns (1)."""
        length = (self.grid.height, self.grid.width)[axis]
        if not self.overlap:
            return max(0, first - self.halo), min(length, stop + self.halo)
        met = self._starts(length, first, stop)
        return met[0], min(length, met[-1] + self.chip)

    def _starts(self, length: int, first: int, stop: int) -> list[int]:
        """Where overlapping cuts that meet a core begin; the last of the grid ends where that does."""
        last = -(-max(0, length - self.chip) // self.stride) * self.stride
        every = (*range(0, last, self.chip - self.overlap), last)
        return [start for start in every if start < stop and start + self.chip > first]

    def _lattice(self, tile: Tile, axis: int) -> list[tuple[int, int]]:
        """First pixel, counted from those read for the tile, and length of the overlapping cuts along an axis."""
        length, core = (self.grid.height, self.grid.width)[axis], tile.core
        first, stop = ((core.row_off, core.row_stop), (core.col_off, core.col_stop))[axis]
        starts = self._starts(length, first, stop)
        return [(start - starts[0], min(self.chip, length - start)) for start in starts]

    def _cut(self, tile: Tile, core: Window) -> Cut:
        top, left = max(0, core.row_off - self.halo), max(0, core.col_off - self.halo)
        bottom = min(self.grid.height, core.row_stop + self.halo)
        right = min(self.grid.width, core.col_stop + self.halo)
        seen = Window(top - tile.window.row_off, left - tile.window.col_off, bottom - top, right - left)
        return Cut(seen, Window(core.row_off - top, core.col_off - left, core.height, core.width))

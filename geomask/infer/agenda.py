"""Which tiles of a map are to be made, in which order, and from which items."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import shapely
from shapely.geometry import shape

from ..chips.cells import in_squares
from ..plan.coverage import Coverage
from ..plan.tiles import window_array

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pystac import Item

    from ..grid import Window
    from .job import Job

#: Tiles whose items are found at once.
AT_ONCE = 256


class Errand(NamedTuple):
    """A tile that is to be made."""

    tile: int
    items: tuple[Item, ...]
    """Those that show anything of what is read for it, by slot, then rank; none where nothing does."""


class Agenda:
    """The tiles of a job, over all its items."""

    def __init__(self, job: Job, items: Iterable[Item], size: tuple[int, int] | None = None) -> None:
        """`size` is that of chips, in rows and columns, where a tile is read in whole ones; items are those of it."""
        self.tiling, self._selection, self._size = job.tiling, job.selection, size
        self.coverage = Coverage.of(job.selection, items, job.tiling.grid)
        self._assets = sorted({job.selection.bands[channel.band].asset for channel in job.selection.channels})
        self.tiles = find_tiles(job)
        """Numbers of all tiles of the area, neighbours together."""

    @property
    def empty(self) -> tuple[str, ...]:
        """``slot/band`` of the channels that no item fills, anywhere."""
        selection = self._selection
        there = (
            self.coverage.best(channel.slot, selection.bands[channel.band].asset) for channel in selection.channels
        )
        return tuple(name for name, item in zip(selection.names, there, strict=True) if item is None)

    def errands(self, done: set[int]) -> Iterator[Errand]:
        """All tiles but those that are done, neighbours together."""
        todo = [tile for tile in self.tiles if tile not in done]
        for start in range(0, len(todo), AT_ONCE):
            yield from self._errands(todo[start : start + AT_ONCE])

    def _errands(self, tiles: Sequence[int]) -> Iterator[Errand]:
        windows = window_array(whole_chips(self.tiling.tile(tile).window, self._size) for tile in tiles)
        places: list[set[int]] = [set() for _ in tiles]
        for fills in self.coverage.fills(self._assets, windows).values():
            for fill in fills:
                for number in fill.chips.tolist():
                    places[number].add(fill.place)
        for tile, found in zip(tiles, places, strict=True):
            items = {id(item): item for item in (self.coverage.items[place] for place in sorted(found))}
            yield Errand(tile, tuple(items.values()))


def find_tiles(job: Job) -> list[int]:
    """Numbers of the tiles of a job's area, neighbours together: what they share is fetched once."""
    tiling = job.tiling
    numbers = np.arange(len(tiling))
    if (reached := job.reach) is not None:
        area, (row, col), reach = shape(reached), np.divmod(numbers, tiling.shape[1]), tiling.side
        grid = tiling.grid
        left, top = grid.left + col * reach * grid.res_x, grid.top - row * reach * grid.res_y
        boxes = shapely.box(left, top - reach * grid.res_y, left + reach * grid.res_x, top)
        shapely.prepare(area)
        numbers = numbers[shapely.intersects(area, boxes) & ~shapely.touches(area, boxes)]
    if not len(numbers):
        return []
    row, col = np.divmod(numbers, tiling.shape[1])
    places = np.stack([row, col, np.ones_like(row), np.ones_like(row)], 1)
    order: list[int] = numbers[in_squares(places, 1)].tolist()
    return order


def whole_chips(window: Window, size: tuple[int, int] | None) -> Window:
    """The window of all chips of `size`, side by side from the grid's first row and column on, that meet `window`."""
    if size is None:
        return window
    rows, cols = size
    row, col = window.row_off // rows * rows, window.col_off // cols * cols
    return type(window)(row, col, -(-window.row_stop // rows) * rows - row, -(-window.col_stop // cols) * cols - col)

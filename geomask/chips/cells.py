"""Cells of a grid: side by side over all of it, so that no border is left unseen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely

from ..errors import GridError
from ..window import Window

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..grid import Grid


def tile_grid(grid: Grid, size: tuple[int, int], stride: tuple[int, int]) -> list[Window]:
    """Chips of `size` (rows, columns) every `stride` from the top left corner on, by row, then column.

    Every pixel of the grid is in one; the last ones of a row or a column may reach over the grid.
    """
    rows, cols = (
        range(0, max(length - side, 0) + step, step)
        for length, side, step in zip((grid.height, grid.width), size, stride, strict=True)
    )
    return [Window(row, col, *size) for row in rows for col in cols]


def cut_cells(grid: Grid, size: int, guard: int = 0, extent: shapely.Geometry | None = None) -> tuple[Window, ...]:
    """Cells of about `size` pixels a side, of all of the grid, by row, then column.

    Sides that face another cell are `guard` pixels further in, so that what lies in two cells is twice the guard apart;
    sides on the edge of the grid stay there. Of cells that do not meet `extent`, in the grid's CRS, there is none.
    Raises GridError where the guard leaves nothing of a cell.
    """
    sides = [_sides(length, size, guard) for length in (grid.height, grid.width)]
    rows, cols = sides
    cells = (Window(row, col, height, width) for row, height in rows for col, width in cols)
    if extent is None:
        return tuple(cells)
    shapely.prepare(extent)
    return tuple(cell for cell in cells if _meets(extent, shapely.box(*grid.bounds_of(cell))))


def cells_roi(grid: Grid, cells: Iterable[Window]) -> shapely.Geometry:
    """The region of some cells, in the grid's CRS, for the `roi` of a sampler."""
    return shapely.union_all([shapely.box(*grid.bounds_of(cell)) for cell in cells])


def in_squares(windows: np.ndarray, side: int) -> np.ndarray:
    """The order, int64 (windows,), in which neighbours come together: squares of `side` pixels, and squares of those.

    `windows` is int64 (windows, 4), each row as `Window` has it. The order is Morton's: bits of row and column in turn.
    """
    row, col = (windows[:, axis] - windows[:, axis].min() for axis in (0, 1))
    key = np.zeros(len(windows), np.int64)
    for bit in range(31):
        key |= ((row // side >> bit & 1) << 2 * bit + 1) | ((col // side >> bit & 1) << 2 * bit)
    return np.lexsort((col, row, key))


def as_windows(windows: np.ndarray) -> list[Window]:
    """From rows of int64 (windows, 4)."""
    return [Window(*window) for window in windows.tolist()]


def overlap(windows: np.ndarray) -> bool:
    """Whether any two of int64 (windows, 4), each row as `Window` has it, share a pixel."""
    row, col, height, width = windows.T
    boxes = shapely.box(col, row, col + width, row + height)
    one, other = shapely.STRtree(boxes).query(boxes, predicate="intersects")
    return bool((shapely.area(shapely.intersection(boxes[one], boxes[other]))[one != other] > 0).any())


def _meets(extent: shapely.Geometry, box: shapely.Geometry) -> bool:
    return bool(shapely.intersects(extent, box) and not shapely.touches(extent, box))


def _sides(length: int, size: int, guard: int) -> list[tuple[int, int]]:
    """First pixel and length of each cell along an axis."""
    count = max(1, round(length / size))
    edges = [round(length * number / count) for number in range(count + 1)]
    starts = [edge + guard * (number > 0) for number, edge in enumerate(edges[:-1])]
    stops = [edge - guard * (number < count) for number, edge in enumerate(edges[1:], 1)]
    if guard < 0 or any(stop <= start for start, stop in zip(starts, stops, strict=True)):
        raise GridError(f"cells of {size} pixels with a guard of {guard} have no middle; make them larger")
    return [(start, stop - start) for start, stop in zip(starts, stops, strict=True)]

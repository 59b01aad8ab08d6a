"""Files that do not lie on a grid, or not in its CRS: of each, the pixel under the centre of every pixel of the grid.

Centres are transformed one by one, so that a pixel of the grid has the same value in whatever window it is read. GDAL's
warper interpolates between a few exact points of each window: windows of one scene then differ where they overlap.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from .crs import same_crs, transform
from .window import Scatter, Window

if TYPE_CHECKING:
    from .grid import Grid

#: Rows that are transformed at once.
BLOCK = 1 << 9

#: Scatters that are kept for other bands of one place: those of a few megabytes.
KEPT, KEPT_PIXELS = 64, 1 << 18

type Size = tuple[int, int]


def scatter(target: Grid, window: Window, source: Grid, size: Size) -> Scatter | None:
    """Which pixels of a level of `size` (rows, columns) over `source` fill `window` of `target`, and where.

    None where they do not meet. Raises GridError where a CRS is none, or one cannot be transformed into the other.
    """
    find = _scatter_kept if window.height * window.width <= KEPT_PIXELS else _scatter
    return find(target, window, source, size)


def reach(target: Grid, windows: np.ndarray, source: Grid, size: Size) -> np.ndarray:
    """What `scatter` reads of the level for each of `windows`, int64 (windows, 4), each row as `Window` has it.

    A window that does not meet the level has no height or no width. The pixels on a window's border go furthest; where
    CRSs differ the line between two of them is curved, and one pixel more is read at each side.
    """
    if not len(windows):
        return windows
    rims = [_rim(height, width) for height, width in windows[:, 2:].tolist()]
    counts = [len(rows) for rows, _ in rims]
    rows, cols = (np.concatenate(part) for part in zip(*rims, strict=True))
    owner, starts = np.repeat(np.arange(len(windows)), counts), np.cumsum([0, *counts[:-1]])
    pixels = _pixels(target, rows + windows[owner, 0], cols + windows[owner, 1], source, size)
    margin = 0 if same_crs(target.crs, source.crs) else 1
    first = [np.clip(np.minimum.reduceat(at, starts) - margin, 0, end) for at, end in zip(pixels, size, strict=True)]
    stop = [np.clip(np.maximum.reduceat(at, starts) + 1 + margin, 0, end) for at, end in zip(pixels, size, strict=True)]
    return np.stack([*first, *(np.maximum(end - begin, 0) for begin, end in zip(first, stop, strict=True))], 1)


def pixel_size(target: Grid, source: Grid) -> tuple[float, float]:
    """Height and width of a pixel in the middle of `target`, in units of the CRS of `source`: of equal area, square."""
    if same_crs(target.crs, source.crs):
        return target.res_y, target.res_x
    y, x = target.top - target.height / 2 * target.res_y, target.left + target.width / 2 * target.res_x
    xs, ys = transform(target.crs, source.crs, np.array([x, x + target.res_x, x]), np.array([y, y, y - target.res_y]))
    area = abs((xs[1] - xs[0]) * (ys[2] - ys[0]) - (xs[2] - xs[0]) * (ys[1] - ys[0]))
    side = float(np.sqrt(area)) if np.isfinite(area) and area > 0 else max(source.res_y, source.res_x)
    return side, side


def _scatter(target: Grid, window: Window, source: Grid, size: Size) -> Scatter | None:
    place = np.array([[window.row_off, window.col_off, window.height, window.width]])
    top, left, height, width = reach(target, place, source, size)[0].tolist()
    if not height or not width:
        return None
    at = np.full((2, window.height, window.width), -1, np.int32)
    for first in range(0, window.height, BLOCK):
        rows = np.arange(first, min(first + BLOCK, window.height))
        grid = np.meshgrid(rows + window.row_off, np.arange(window.width) + window.col_off, indexing="ij")
        row, col = _pixels(target, grid[0].ravel(), grid[1].ravel(), source, size)
        inside = (row >= top) & (row < top + height) & (col >= left) & (col < left + width)
        block = at[:, rows[0] : rows[-1] + 1].reshape(2, -1)
        block[:, inside] = row[inside] - top, col[inside] - left
    return Scatter(Window(top, left, height, width), at[0], at[1])


_scatter_kept = lru_cache(KEPT)(_scatter)


def _rim(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pixels on the border of a window."""
    rows, cols = np.arange(height), np.arange(width)
    sides = [(np.zeros_like(cols), cols), (np.full_like(cols, height - 1), cols)]
    sides += [(rows, np.zeros_like(rows)), (rows, np.full_like(rows, width - 1))]
    return np.concatenate([row for row, _ in sides]), np.concatenate([col for _, col in sides])


def _pixels(target: Grid, rows: Any, cols: Any, source: Grid, size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of the level under the centres of pixels of `target`, int64; far outside where there is none."""
    x, y = target.left + (cols + 0.5) * target.res_x, target.top - (rows + 0.5) * target.res_y
    x, y = (x, y) if same_crs(target.crs, source.crs) else transform(target.crs, source.crs, x, y)
    row = (source.top - y) / (source.res_y * source.height / size[0])
    col = (x - source.left) / (source.res_x * source.width / size[1])
    far = 2.0 * max(size) + 2
    bounded = (np.clip(np.nan_to_num(at, nan=-far, posinf=far, neginf=-far), -far, far) for at in (row, col))
    row, col = (np.floor(at).astype(np.int64) for at in bounded)
    return row, col

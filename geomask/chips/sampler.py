"""Chips drawn at random, to the very edge: torchgeo's random sampler draws none near a border."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import shapely
from torchgeo.samplers import SpatialSampler

from ..errors import GridError
from ..grid import Grid, Window

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torchgeo.datasets import GeoDataset

#: Draws in a row of which none lies inside of the region, after which there is taken to be no place for a chip.
TRIES = 100_000

#: A chip may reach this far out of the region, in pixels: edges are floats.
SLACK = 1e-3


class RandomChipSampler(SpatialSampler):
    """Chips of whole pixels of the grid, each place inside of the region as likely as any other, edges included.

    The dataset is a `StacDataset`, or one combined of it by ``&`` or ``|``. Alone, each chip has the whole time span;
    with a temporal sampler of torchgeo it combines by ``@``. Every epoch draws anew.
    """

    def __init__(
        self,
        dataset: GeoDataset,
        *,
        size: int | tuple[int, int],
        length: int | None = None,
        roi: shapely.Geometry | None = None,
        generator: int | np.random.Generator | None = None,
    ) -> None:
        """`size` is in pixels, a side or (rows, columns); `roi` is a polygon, or several, in the dataset's CRS.

        `length` chips are an epoch, by default as many as fit side by side. Raises GridError where no chip fits.
        """
        super().__init__(dataset, roi=roi)  # type: ignore[arg-type]  # several polygons are fine
        self._grid, self._rng = grid_of(dataset), np.random.default_rng(generator)
        self._size = (size, size) if isinstance(size, int) else size
        region = _in_pixels(self.geometry, self._grid)
        parts = shapely.get_parts(shapely.buffer(region, SLACK, join_style="mitre"))
        self._parts = parts[~shapely.is_empty(parts)]
        shapely.prepare(self._parts)
        self._places = self._find_places()
        self._length = length or max(1, round(shapely.area(region) / (self._size[0] * self._size[1])))
        self._draw(1)

    @property
    def strategy(self) -> Literal["random"]:
        """For ``@``: a temporal sampler draws one interval for each chip."""
        return "random"

    def __iter__(self) -> Iterator[tuple[slice, slice]]:
        for row, col in self._draw(len(self)).tolist():
            left, bottom, right, top = self._grid.bounds_of(Window(row, col, *self._size))
            yield slice(left, right), slice(bottom, top)

    def _find_places(self) -> np.ndarray:
        """First row, first column, and how many of both a chip may begin with, of each part's box: int64 (parts, 4)."""
        left, top, right, bottom = shapely.bounds(self._parts).reshape(-1, 4).T
        rows, cols = self._size
        first = np.ceil(np.stack([top, left], 1))
        last = np.floor(np.stack([bottom - rows, right - cols], 1))
        return np.concatenate([first, np.maximum(last - first + 1, 0)], 1).astype(np.int64)

    def _draw(self, count: int) -> np.ndarray:
        """First row and column of `count` chips, int64 (count, 2)."""
        weights = self._places[:, 2:].prod(1).astype(np.float64)
        drawn, tries = list[np.ndarray](), 0
        while count > 0:
            if not weights.any() or tries > TRIES:
                raise GridError(f"no chip of {self._size} rows and columns fits the region; shrink it")
            parts = self._rng.choice(len(weights), max(64, 2 * count), p=weights / weights.sum())
            corners = self._places[parts, :2] + self._rng.integers(0, self._places[parts, 2:])
            # of its own part: boxes of parts may overlap, and a place in two of them would be drawn twice as often
            corners = corners[shapely.covers(self._parts[parts], self._boxes(corners))][:count]
            tries = 0 if len(corners) else tries + len(parts)
            count -= len(corners)
            drawn.append(corners)
        return np.concatenate(drawn)

    def _boxes(self, corners: np.ndarray) -> np.ndarray:
        (row, col), (rows, cols) = corners.T, self._size
        return np.asarray(shapely.box(col, row, col + cols, row + rows))


def grid_of(dataset: GeoDataset) -> Grid:
    """The grid of a `StacDataset`, or of the first one in a combination. Raises GridError where there is none."""
    if isinstance(grid := getattr(dataset, "grid", None), Grid):
        return grid
    for part in getattr(dataset, "datasets", ()):
        try:
            return grid_of(part)
        except GridError:
            continue
    raise GridError(f"a {type(dataset).__name__} has no grid of pixels; draw chips from a StacDataset")


def _in_pixels(geometry: shapely.Geometry, grid: Grid) -> shapely.Geometry:
    """In columns and rows of the grid."""
    scale, origin = np.array([1 / grid.res_x, -1 / grid.res_y]), np.array([grid.left, grid.top])
    return shapely.transform(geometry, lambda points: (points - origin) * scale)

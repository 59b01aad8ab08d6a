"""Where and when a data set has something: the index that torchgeo's samplers draw from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import geopandas
import numpy as np
import pandas as pd
import shapely

from ..errors import GridError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..grid import Grid
    from ..stac.slots import Slot

#: A corner this near to a pixel's edge lies on it: catalogs round coordinates.
NEAR = 1e-2

#: Footprints that are united first; then twice as many of those that they do not cover, and so on.
FIRST = 32


class OutsideError(GridError, IndexError):
    """A place or a time of which a dataset has nothing: torchgeo's unions then ask the other dataset."""


def make_index(shapes: np.ndarray, slots: Sequence[Slot], grid: Grid) -> geopandas.GeoDataFrame:
    """torchgeo's index, of one row: where any item lies on the grid, from the first slot's start to the last one's end.

    `shapes` are the items' footprints in the grid's CRS, shapely polygons; an empty one may lie anywhere. Times are
    naive UTC. Raises GridError where no item meets the grid.
    """
    start, end = min(slot.start for slot in slots), max(slot.end for slot in slots)
    # An interval closed on both sides ends with the last instant of the last slot.
    span = pd.Interval(naive(start), naive(end) - pd.Timedelta(1, "us"), closed="both")
    times = pd.IntervalIndex([span], name="datetime")
    return geopandas.GeoDataFrame(geometry=[find_extent(shapes, grid)], index=times, crs=grid.crs)


def naive(instant: object) -> pd.Timestamp:
    """An instant as torchgeo counts it: UTC, without saying so. One without a zone is taken for UTC."""
    stamp = pd.Timestamp(instant)  # type: ignore[arg-type]
    return stamp if stamp.tzinfo is None else stamp.tz_convert("UTC").tz_localize(None)


def meets(index: geopandas.GeoDataFrame, bounds: tuple[float, float, float, float], t: slice) -> bool:
    """Whether a row of torchgeo's index meets a box (left, bottom, right, top) and an interval of naive UTC."""
    times, box = index.index, shapely.box(*bounds)
    shapes = index.geometry.array[(times.left <= naive(t.stop)) & (naive(t.start) <= times.right)]
    return bool((shapely.intersects(shapes, box) & ~shapely.touches(shapes, box)).any())


def find_extent(shapes: np.ndarray, grid: Grid) -> shapely.Geometry:
    """The union of footprints on the grid, as a shapely geometry whose corners are corners of pixels.

    Every footprint is drawn outward to pixels, then clipped to the grid. Raises GridError where none meets the grid.
    """
    if not len(shapes) or shapely.is_empty(shapes).any():
        return shapely.box(*grid.bounds)
    union = _union(shapely.clip_by_rect(_snapped(shapes, grid), 0, 0, grid.width, grid.height))
    if not shapely.area(union):
        raise GridError(f"no item meets the grid {grid.bounds} of {grid.crs[:60]}; search there, or move the grid")
    return _moved(union, np.array([grid.res_x, -grid.res_y]), np.array([grid.left, grid.top]))


def _snapped(shapes: np.ndarray, grid: Grid) -> np.ndarray:
    """Polygons whose corners count columns and rows of the grid, whole numbers, drawn outward from their middle."""
    points, owners = shapely.get_coordinates(shapes, return_index=True)
    scale = np.array([1 / grid.res_x, -1 / grid.res_y])
    pixels = (points - np.array([grid.left, grid.top])) * scale
    bounds = shapely.bounds(shapes).reshape(-1, 2, 2).mean(1)[owners]
    middle = (bounds - np.array([grid.left, grid.top])) * scale
    pixels = np.where(pixels < middle, np.floor(pixels + NEAR), np.ceil(pixels - NEAR))
    snapped: np.ndarray = shapely.set_coordinates(shapes.copy(), pixels)
    wrong = ~shapely.is_valid(snapped)
    snapped[wrong] = shapely.make_valid(snapped[wrong])
    return snapped


def _union(shapes: np.ndarray) -> shapely.Geometry:
    """The union of polygons, largest first: most of the many scenes of a place lie in the union of a few."""
    union: shapely.Geometry = shapely.Polygon()
    shapes, count = shapes[np.argsort(-shapely.area(shapes), kind="stable")], FIRST
    while len(shapes):
        union = shapely.union_all([union, *shapes[:count]])
        shapely.prepare(union)
        rest = shapes[count:]
        shapes, count = rest[~shapely.covers(union, rest)], 2 * count
    return union


def _moved(geometry: shapely.Geometry, scale: np.ndarray, origin: np.ndarray) -> shapely.Geometry:
    return shapely.transform(geometry, lambda points: points * scale + origin)

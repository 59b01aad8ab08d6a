"""The part of the Earth that a map shows, and in which pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from shapely.geometry import mapping, shape

from ..cog.index import HeaderIndex
from ..crs import transform, transform_bounds
from ..errors import GridError
from ..grid import ALIGNED, Grid
from ..plan.sources import choose_grid, index_selection
from ..stac.footprint import LONLAT, footprints

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pystac import Item
    from shapely.geometry.base import BaseGeometry

    from ..selection import Selection
    from ..signing import Sign

#: Longest side of a piece of an area's edge, degrees: edges that are straight in one CRS curve in another.
PIECE = 0.01
#: A file's pixels are divided into so many rows and columns at most: more is another unit of length.
FINEST = 16


@dataclass(frozen=True)
class Extent:
    """What was asked for; each part may be left out."""

    bbox: tuple[float, float, float, float] | None = None
    """West, south, east, north in degrees."""
    area: dict[str, Any] | None = None
    """A GeoJSON polygon, or several, in degrees: what lies outside is nodata."""
    crs: str | None = None
    """With `res`; without, the grid is that of the finest file."""
    res: float | None = None
    """Side of a pixel, units of `crs`."""

    def __post_init__(self) -> None:
        """Refuse what names no place. Raises GridError."""
        if (self.crs is None) != (self.res is None):
            raise GridError("a CRS and the side of a pixel say only together what the map's pixels are")
        if self.bbox is not None and self.area is not None:
            raise GridError("a box and an area are two places; name one of them")
        if self.area is not None and self._polygon().is_empty:
            raise GridError(f"an area is a polygon, not {self.area.get('type')}")

    def grid(
        self, selection: Selection, items: Sequence[Item], gsd: float, sign: Sign | None = None
    ) -> tuple[Grid, HeaderIndex]:
        """The grid of a map: as it was named, or that of the finest file of `selection`, and the headers that it took.

        `gsd` is the side of the pixels that the network was trained on: where a run reads coarser files alone, theirs
        are divided into such. Raises what planning and fetching raise, and GridError where the place does not meet the
        items.
        """
        if self.crs is None or self.res is None:
            index = index_selection(selection, items, sign=sign)
            grid = choose_grid(selection, items, index)
            parts = round(grid.res_y / gsd) if gsd > 0 else 1
            if 1 < parts <= FINEST and abs(grid.res_y - parts * gsd) <= ALIGNED * gsd:
                grid = grid.resized(grid.height * parts, grid.width * parts)
            return self._part(grid), index
        lies = tuple(shapely.total_bounds(footprints(items, self.crs)).tolist())
        if not lies[0] < lies[2]:
            raise GridError(f"no item says where it lies in {self.crs}; name a CRS that reaches there")
        whole = Grid.snap(self.crs, lies, self.res)
        return self._part(whole), HeaderIndex(sign=sign)

    def area_on(self, grid: Grid) -> dict[str, Any] | None:
        """The area in the CRS of a grid, as GeoJSON."""
        if self.area is None:
            return None
        fine = shapely.segmentize(self._polygon(), PIECE)

        def moved(points: np.ndarray) -> np.ndarray:
            return np.stack(transform(LONLAT, grid.crs, points[:, 0], points[:, 1]), 1)

        found: dict[str, Any] = mapping(shapely.make_valid(shapely.transform(fine, moved)))
        return found

    def _part(self, grid: Grid) -> Grid:
        bounds = self._bounds
        return grid if bounds is None else grid.part(transform_bounds(LONLAT, grid.crs, bounds))

    @property
    def _bounds(self) -> tuple[float, float, float, float] | None:
        """West, south, east, north in degrees."""
        if self.area is None:
            return self.bbox
        west, south, east, north = self._polygon().bounds
        return west, south, east, north

    def _polygon(self) -> BaseGeometry:
        try:
            found = shape(self.area or {})
        except (AttributeError, KeyError, TypeError, ValueError, shapely.errors.ShapelyError) as error:
            raise GridError(f"an area is a GeoJSON polygon: {error}") from error
        return found if found.geom_type in ("Polygon", "MultiPolygon") and found.area > 0 else shapely.Polygon()

"""Where items lie: their geometries as polygons of any CRS, many at once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from ..crs import transform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pystac import Item

#: Longitude and latitude, in this order: what GeoJSON is in (RFC 7946, section 4).
LONLAT = "OGC:CRS84"


def footprints(items: Sequence[Item], crs: str = LONLAT, middle: float | None = None) -> np.ndarray:
    """The footprint of each item, shapely polygons (items,), their corners transformed to `crs`.

    Corners alone: the edges of a scene are straight in its own CRS. An item whose geometry has no area has the
    footprint of its bbox; without one either, or where the CRS does not reach it, an empty one. Parts on both sides
    of the antimeridian come together, and so does an outline that goes around the world because its corners are on both
    sides. `middle` is a longitude: each footprint is put into the turn around the Earth that is nearest to it.
    """
    shapes = np.asarray(shapely.from_geojson([_outline(item) for item in items], on_invalid="ignore"), object)
    shapes[shapes == None] = shapely.Polygon()  # noqa: E711  # an outline that is none
    shapes = _unwrapped(shapes, middle)
    if crs != LONLAT:
        shapes = _transformed(shapes, crs)
    wrong = ~shapely.is_valid(shapes)
    shapes[wrong] = shapely.make_valid(shapes[wrong])
    return shapes


def named_crs(item: Item) -> str | None:
    """What the projection extension says of an item, or of the first asset of which it does; an EPSG code."""
    for fields in (item.properties, *(asset.extra_fields for asset in item.assets.values())):
        code = fields.get("proj:code") or fields.get("proj:epsg")
        if isinstance(code, int) or (isinstance(code, str) and code.startswith("EPSG:")):
            return f"EPSG:{str(code).removeprefix('EPSG:')}"
    return None


def _outline(item: Item) -> str:
    """GeoJSON of the geometry where it is an area, else of the bbox."""
    geometry = item.geometry
    if geometry and geometry.get("type") in ("Polygon", "MultiPolygon"):
        return json.dumps(geometry)
    if item.bbox and len(item.bbox) in (4, 6):
        west, south, east, north = item.bbox if len(item.bbox) == 4 else (*item.bbox[:2], *item.bbox[3:5])
        ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
        return json.dumps({"type": "Polygon", "coordinates": [ring]})
    return '{"type": "Polygon", "coordinates": []}'


def _unwrapped(shapes: np.ndarray, middle: float | None) -> np.ndarray:
    """Longitudes of each shape within half a turn of its first corner, and the whole near `middle`."""
    points, owners = shapely.get_coordinates(shapes, return_index=True)
    if not len(points):
        return shapes
    first = np.searchsorted(owners, owners)
    lon, start = points[:, 0], points[first, 0]
    lon = start + (lon - start + 180) % 360 - 180
    if middle is not None:
        lon += 360 * np.round((middle - start) / 360)
    return _with_points(shapes, np.stack([lon, points[:, 1]], 1))


def _transformed(shapes: np.ndarray, crs: str) -> np.ndarray:
    points, owners = shapely.get_coordinates(shapes, return_index=True)
    moved = np.stack(transform(LONLAT, crs, points[:, 0], points[:, 1]), 1)
    lost = np.unique(owners[~np.isfinite(moved).all(1)])
    moved[np.isin(owners, lost)] = 0
    shapes = _with_points(shapes, moved)
    shapes[lost] = shapely.Polygon()
    return shapes


def _with_points(shapes: np.ndarray, points: np.ndarray) -> np.ndarray:
    copies: Any = shapes.copy()
    return np.asarray(shapely.set_coordinates(copies, points), object)

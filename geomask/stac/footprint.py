"""Where items lie: their geometries as polygons of any CRS, many at once."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from ..crs import transform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pystac import Item

#: Longitude and latitude, in this order: what GeoJSON is in (RFC 7946, section 4).
LONLAT = "OGC:CRS84"

#: Degrees; longer edges are transformed in pieces. Over 3 degrees a parallel leaves its chord in a UTM zone by half a
#: percent of its length.
EDGE = 3.0

#: Degrees that an outline around the world may have across the antimeridian, and up: one that has more may be as wide.
NARROW = 45.0


def footprints(items: Sequence[Item], crs: str = LONLAT, middle: float | None = None) -> np.ndarray:
    """The footprint of each item, shapely polygons (items,), their corners transformed to `crs`.

    Corners alone, but for edges over `EDGE`: those of a scene are straight in its own CRS. An item whose geometry is no
    area has the footprint of its bbox; without one either, or where the CRS does not reach it, an empty one. Parts on
    both sides of the antimeridian come together, and so does an outline that goes around the world because its corners
    are on both sides; where it may just as well be as wide as that (`NARROW`), it is empty. `middle` is a longitude:
    each footprint is put into the turn around the Earth that is nearest to it.
    """
    with np.errstate(over="ignore"):  # of numbers that no float holds
        shapes = np.asarray(shapely.from_geojson([_outline(item) for item in items], on_invalid="ignore"), object)
    shapes[shapes == None] = shapely.Polygon()  # noqa: E711  # an outline that is none
    around = _sides(shapes)[0] >= 180
    shapes = _valid(_unwrapped(shapes, middle))
    wide = around & (np.max(_sides(shapes), 0) > NARROW)
    shapes[wide | _over_poles(shapes)] = shapely.Polygon()
    return _valid(_transformed(shapes, crs)) if crs != LONLAT else shapes


def named_crs(item: Item) -> str | None:
    """What the projection extension says of an item, or of the first asset of which it does; an EPSG code."""
    for fields in (item.properties, *(asset.extra_fields for asset in item.assets.values())):
        code = fields.get("proj:code") or fields.get("proj:epsg")
        if re.fullmatch("(EPSG:)?[0-9]{1,6}", str(code)):
            return f"EPSG:{str(code).removeprefix('EPSG:')}"
    return None


def _outline(item: Item) -> str:
    """GeoJSON of the geometry where it is an area, else of the bbox."""
    geometry, bbox = item.geometry, item.bbox
    if not isinstance(geometry, dict) or geometry.get("type") not in ("Polygon", "MultiPolygon"):
        corners = bbox if isinstance(bbox, list | tuple) and len(bbox) in (4, 6) else []
        west, south, east, north = (*corners[:2], *corners[len(corners) // 2 :][:2]) if corners else (0.0,) * 4
        ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
        geometry = {"type": "Polygon", "coordinates": [ring]}
    try:
        return json.dumps(geometry)
    except (TypeError, ValueError, RecursionError):  # no JSON, or a number of thousands of digits
        return ""


def _sides(shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Width and height of each; 0 of an empty one."""
    west, south, east, north = np.nan_to_num(shapely.bounds(shapes)).reshape(-1, 4).T
    return east - west, north - south


def _valid(shapes: np.ndarray) -> np.ndarray:
    """The same areas as valid shapes; an empty one for none."""
    wrong = ~shapely.is_valid(shapes)
    shapes[wrong] = shapely.make_valid(shapes[wrong])
    shapes[shapely.area(shapes) == 0] = shapely.Polygon()
    return shapes


def _over_poles(shapes: np.ndarray) -> np.ndarray:
    """Whether each reaches to latitudes that are none, by more than a coarse pixel."""
    _, south, _, north = shapely.bounds(shapes).reshape(-1, 4).T
    return np.asarray((south < -91) | (north > 91))


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
    shapes = shapely.segmentize(shapes, EDGE)
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

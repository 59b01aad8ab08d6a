"""Coordinate reference systems as text, and the way from one to another."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import numpy as np

from .errors import GridError

#: ``EPSG:32633``, or the beginning of WKT 1 or 2: ``PROJCS[``, ``BOUNDCRS[``.
CRS_TEXT = re.compile(r"[A-Za-z]+:\w+\Z|[A-Z_]+\s*\[")

#: CRSs and ways between them that are remembered: catalogs name a few zones over and over.
KNOWN = 256


@lru_cache(KNOWN)
def same_crs(one: str, other: str) -> bool:
    """Whether two CRS texts mean the same one (authority codes and WKT alike). GridError where one means none."""
    if one == other:
        return True
    for text in (one, other):  # anything else may be an address that GDAL would go and fetch, or a file
        if not CRS_TEXT.match(text):
            raise GridError(f"a CRS is a code such as EPSG:32633, or WKT, not {text[:60]!r}")
    from rasterio.crs import CRS  # 0.2 s, and most often not needed
    from rasterio.errors import CRSError

    try:
        return bool(CRS.from_user_input(one) == CRS.from_user_input(other))
    except CRSError as error:
        raise GridError(f"no CRS that PROJ knows: {error}") from error


def crs_text(crs: Any) -> str:
    """A rasterio CRS as an authority's code where it has one, else as WKT."""
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else str(crs.to_wkt())


def transform(source: str, target: str, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points of one CRS in another, float64; infinite where there is no such place. Longitude comes before latitude.

    Raises GridError where one is no CRS, or nothing leads from one to the other.
    """
    xs, ys = _transformer(source, target).transform(x, y)
    return np.asarray(xs, np.float64), np.asarray(ys, np.float64)


def transform_bounds(source: str, target: str, bounds: tuple[float, ...]) -> tuple[float, float, float, float]:
    """(left, bottom, right, top) that hold those of another CRS, whose edges curve. Raises GridError as `transform`."""
    from pyproj.exceptions import ProjError

    try:
        left, bottom, right, top = _transformer(source, target).transform_bounds(*bounds, densify_pts=21)
    except ProjError:  # as of a bottom above its top
        left = bottom = right = top = np.nan
    if not np.isfinite((left, bottom, right, top)).all():
        raise GridError(f"{target[:60]} does not reach to {bounds} of {source[:60]}")
    return left, bottom, right, top


@lru_cache(KNOWN)
def is_geographic(crs: str) -> bool:
    """Whether a CRS counts in degrees. Raises GridError where it is none."""
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        return bool(CRS.from_user_input(crs).is_geographic)
    except CRSError as error:
        raise GridError(f"no CRS that PROJ knows: {error}") from error


def is_crs(text: str) -> bool:
    """Whether PROJ knows it."""
    try:
        return is_geographic(text) or True
    except GridError:
        return False


@lru_cache(KNOWN)
def _transformer(source: str, target: str) -> Any:
    from pyproj import Transformer  # 0.1 s, and seldom needed
    from pyproj.exceptions import ProjError

    try:
        return Transformer.from_crs(source, target, always_xy=True)
    except ProjError as error:
        raise GridError(f"nothing leads from {source[:60]} to {target[:60]}: {error}") from error

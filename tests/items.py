"""STAC items, dates x bands, over the tiny COGs of :mod:`cogs`.

Asset ``bands[b]`` of date ``d`` holds `expected(code(d, b, bands), ...)`: every file of the set has its own numbers.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import rasterio
from cogs import Values, write_cog
from rasterio.warp import transform_bounds

START = datetime(2020, 1, 5, 10, 30, tzinfo=UTC)
"""Time of the first item; the next ones follow every ten days."""

CLASSES = (4, 5, 8, 9)
"""SCL classes in the items' masks: vegetation, bare, and cloud of two kinds."""

EXTENSIONS = [f"https://stac-extensions.github.io/{name}/v2.0.0/schema.json" for name in ("projection", "raster", "eo")]


def code(date: int, band: int, bands: int) -> int:
    """What stands for the band in :func:`cogs.expected`: date and band count from 0, `bands` is how many there are."""
    return 1 + date * bands + band


def expected_scl(date: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """SCL on any level of it: rows (n, 1) and columns (1, m) give (n, m), uint8, of `CLASSES` in patches of five."""
    return np.array(CLASSES, "uint8")[(rows // 5 + columns // 5 + date) % len(CLASSES)]


def write_items(
    folder: Path,
    *,
    dates: int = 3,
    bands: Sequence[str] = ("B02", "B03", "B04", "B08"),
    height: int = 100,
    width: int = 90,
    gsd: float = 10.0,
    scl: bool = False,
    **options: Any,
) -> list[pystac.Item]:
    """Write the files under `folder`/<item id>/ and return the items, with absolute paths as hrefs.

    `scl` adds an asset SCL at twice the pixel size, of half the size. `options` go to `write_cog`.
    """
    items = []
    for date in range(dates):
        time = START + timedelta(days=10 * date)
        place = folder / f"tiny_{time:%Y%m%d}"
        size: dict[str, Any] = {"height": height, "width": width, "gsd": gsd, **options}
        paths = {
            name: write_cog(place / f"{name}.tif", first=code(date, band, len(bands)), **size)
            for band, name in enumerate(bands)
        }
        if scl:
            size |= {"height": -(-height // 2), "width": -(-width // 2), "gsd": 2 * gsd, "dtype": "uint8", "nodata": 0}
            paths["SCL"] = write_cog(place / "SCL.tif", values=_scl(date), **size)
        items.append(_item(place.name, time, paths))
    return items


def _scl(date: int) -> Values:
    return lambda _band, _level, rows, columns: expected_scl(date, rows, columns)


def _item(name: str, time: datetime, paths: dict[str, Path]) -> pystac.Item:
    assets = {key: _asset(key, path) for key, path in paths.items()}
    with rasterio.open(next(iter(paths.values()))) as file:
        crs = file.crs.to_string()
        west, south, east, north = transform_bounds(file.crs, "EPSG:4326", *file.bounds)
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return pystac.Item(
        id=name,
        geometry={"type": "Polygon", "coordinates": [ring]},
        bbox=[west, south, east, north],
        datetime=time,
        properties={"proj:code": crs, "eo:cloud_cover": 50.0},
        stac_extensions=EXTENSIONS,
        assets=assets,
    )


def _asset(name: str, path: Path) -> pystac.Asset:
    with rasterio.open(path) as file:
        fields = {
            "gsd": file.transform.a,
            "proj:code": file.crs.to_string(),
            "proj:shape": list(file.shape),
            "proj:transform": list(file.transform)[:6],
            "data_type": file.dtypes[0],
            "nodata": file.nodata,
            "bands": [{"name": name}],
        }
        if name != "SCL":
            fields |= {"raster:scale": 0.0001, "raster:offset": 0}
    return pystac.Asset(str(path), media_type=pystac.MediaType.COG, roles=["data"], extra_fields=fields)

"""The files that readers are measured on: COGs as Sentinel-2 archives hold them, made once and kept."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import batched
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Bumped when the pixels change, so that nobody measures old files beside new ones.
VERSION = 1

EPSG = 32633
LEFT, TOP, GSD = 300_000.0, 5_300_040.0, 10.0

FIRST = datetime(2024, 5, 5, 10, 30, tzinfo=UTC)


@dataclass(frozen=True)
class Scene:
    """Dates x bands of square files, one band each."""

    side: int = 5490
    """Rows and columns of a file."""
    tile: int = 512
    """Rows and columns of a GeoTIFF tile."""
    window: int = 256
    """Rows and columns of the windows that are read."""
    bands: int = 12
    dates: int = 3

    @property
    def assets(self) -> list[str]:
        """``B01``, ``B02`` and so on."""
        return [f"B{band + 1:02d}" for band in range(self.bands)]

    @property
    def times(self) -> list[datetime]:
        """One a month."""
        return [FIRST + timedelta(days=31 * date) for date in range(self.dates)]

    @property
    def names(self) -> list[str]:
        """Of the items."""
        return [f"S2_{time:%Y%m%d}" for time in self.times]

    def level_side(self, level: int | None) -> int:
        """Rows and columns of an overview (None: of the file): GDAL's COG driver halves and rounds down."""
        return self.side if level is None else self.side >> (level + 1)

    @cached_property
    def _fields(self) -> tuple[np.ndarray, np.ndarray]:
        """Brightness and roughness, float32 (rows, columns): both vary from parcel to parcel, as land does."""
        rng = np.random.default_rng(7)
        brightness = np.add.reduce([step * _smooth(rng, self.side, self.side // step) for step in (900, 300, 90)])
        roughness = _smooth(rng, self.side, self.side // 700) + _smooth(rng, self.side, self.side // 120)
        return brightness / brightness.std(), roughness

    def pixels(self, date: int, band: int) -> np.ndarray:
        """uint16 (rows, columns) of one file; 0, which means nodata, does not occur.

        A whole GeoTIFF tile takes about 263 KB with DEFLATE and predictor 2, as in the Sentinel-2 archives.
        """
        number = date * self.bands + band
        rng = np.random.default_rng(number)
        shift = (number * 389) % self.side
        brightness, roughness = (np.roll(field, (shift, 2 * shift), (0, 1)) for field in self._fields)
        noise = rng.standard_normal((self.side, self.side), np.float32)
        values = 1500 + 40 * number + 350 * brightness + 11.3 * np.exp(0.6 * roughness) * noise
        return values.clip(1, 65_535).astype(np.uint16)

    def publish(self, folder: Path) -> Iterator[Path]:
        """Write ``<item>/<asset>.tif`` below `folder` where they are not there yet; yields each path."""
        for date, name in enumerate(self.names):
            for band, asset in enumerate(self.assets):
                path = folder / name / f"{asset}.tif"
                if not path.exists():
                    _write(path, self.pixels(date, band), self.tile)
                yield path

    def items(self, assets: list[str], hrefs: Sequence[str]) -> list[dict[str, Any]]:
        """STAC items in order of time, of as many dates as there are `hrefs` for these assets, dates first."""
        return [
            _item(self, name, time, dict(zip(assets, row, strict=True)))
            for name, time, row in zip(self.names, self.times, batched(hrefs, len(assets)), strict=False)
        ]

    @property
    def folder_name(self) -> str:
        """Where the files lie in a cache: other scenes have other folders."""
        return f"scene-{VERSION}-{self.side}-{self.tile}-{self.bands}x{self.dates}"


def _smooth(rng: np.random.Generator, side: int, cells: int) -> np.ndarray:
    """Smooth noise of unit spread, float32 (side, side), with about `cells` bumps along a side."""
    coarse = rng.standard_normal((max(cells, 2) + 1,) * 2).astype(np.float32)
    at = np.linspace(0, len(coarse) - 1, side, dtype=np.float32)
    low = np.minimum(at.astype(int), len(coarse) - 2)
    share = at - low
    share = share * share * (3 - 2 * share)  # no creases at the cells' edges
    across = coarse[:, low] * (1 - share) + coarse[:, low + 1] * share
    smooth: np.ndarray = across[low] * (1 - share)[:, None] + across[low + 1] * share[:, None]
    return smooth


def _write(path: Path, pixels: np.ndarray, tile: int) -> None:
    import rasterio
    import rasterio.shutil
    from rasterio.io import MemoryFile
    from rasterio.transform import from_origin

    path.parent.mkdir(parents=True, exist_ok=True)
    shape = {"height": pixels.shape[0], "width": pixels.shape[1], "count": 1, "dtype": "uint16", "nodata": 0}
    place = {"crs": f"EPSG:{EPSG}", "transform": from_origin(LEFT, TOP, GSD, GSD)}
    draft = path.with_suffix(".part")
    # GDAL warns of a COG's tiles under 128 pixels, which a test has, and then honours them
    with rasterio.Env(GDAL_VALIDATE_CREATION_OPTIONS=False), MemoryFile() as memory:
        with memory.open(driver="GTiff", tiled=True, **shape, **place) as dataset:
            dataset.write(pixels, 1)
        options = {"compress": "DEFLATE", "predictor": "YES", "blocksize": tile, "num_threads": "ALL_CPUS"}
        rasterio.shutil.copy(memory.name, draft, driver="COG", **options)
    os.replace(draft, path)


def _item(scene: Scene, name: str, time: datetime, hrefs: dict[str, str]) -> dict[str, Any]:
    from rasterio.warp import transform_bounds

    right, bottom = LEFT + scene.side * GSD, TOP - scene.side * GSD
    west, south, east, north = transform_bounds(f"EPSG:{EPSG}", "EPSG:4326", LEFT, bottom, right, TOP)
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    grid = {"proj:shape": [scene.side, scene.side], "proj:transform": [GSD, 0.0, LEFT, 0.0, -GSD, TOP]}
    # both spellings of the CRS: readers know one or the other
    crs = {"proj:epsg": EPSG, "proj:code": f"EPSG:{EPSG}"}
    pixel = {"data_type": "uint16", "nodata": 0, "spatial_resolution": GSD}
    assets = {
        asset: {
            "href": href,
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "roles": ["data"],
            "gsd": GSD,
            "eo:bands": [{"name": asset}],
            "raster:bands": [pixel],
            **grid,
            **crs,
        }
        for asset, href in hrefs.items()
    }
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [
            "https://stac-extensions.github.io/projection/v1.1.0/schema.json",
            "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
            "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
        ],
        "id": name,
        "collection": "benchmark",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, south, east, north],
        "properties": {"datetime": time.isoformat().replace("+00:00", "Z"), "eo:cloud_cover": 0.0, **grid, **crs},
        "links": [],
        "assets": assets,
    }

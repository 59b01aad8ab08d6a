"""The scenes of the inference benchmark: real pixels of nrt, one part to learn from, another one repeated to map.

Bands, dates and labels are those of one square kilometre of Romanian forest. What is learned from and what is mapped
share no pixel of it: their columns have a guard between them. To a scene of any size the test part is repeated by
mirroring, and so are its labels.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.io import MemoryFile
from rasterio.transform import from_origin
from rasterio.warp import transform_bounds

from geomask.atomic import write_text

if TYPE_CHECKING:
    from collections.abc import Callable

#: Bumped when what is written changes, so that nobody measures old files beside new ones.
VERSION = 1

EPSG, GSD = 3035, 10

#: Clear over the whole place, one of each season with leaves or without; the labels are of 2018.
DATES = ("2018-04-12", "2018-07-01", "2018-09-19")

#: By name: variable and pixel size (m) of the cube that it comes from; those of 20 m are repeated to 10 m.
BANDS = {
    "B02": ("B2", 10),
    "B03": ("B3", 10),
    "B04": ("B4", 10),
    "B08": ("B8", 10),
    "B03-20m": ("B3", 20),
    "B04-20m": ("B4", 20),
    "B8A": ("B8A", 20),
    "B11": ("B11", 20),
}

#: Most that noise adds or takes, in digital numbers. Without it a mirrored repeat packs to a tenth of what real pixels
#: take; this much is below the sensor's own noise.
NOISE = 4

#: Tree cover in percent at which one class ends and the next begins, as in the demo.
CUTS = (30.0, 70.0, 85.0)

#: Of the source, in pixels of 10 m; four columns lie between them, twice what the network looks to a side.
TRAIN, TEST = (0, 60), (64, 100)

LABELS = "labels.tif"


@dataclass(frozen=True, slots=True)
class Scene:
    """A part of the source as COGs in a folder: ``DATE/BAND.tif`` and ``labels.tif``."""

    columns: tuple[int, int]
    """Of the source: the first, and the one after the last."""
    side: int | None = None
    """Rows and columns to which the part is repeated; None: as it is."""
    block: int = 512
    """Rows and columns of a GeoTIFF tile."""
    overviews: int | None = None
    """How many; None: down to one tile, as GDAL's COG driver does."""

    @property
    def folder_name(self) -> str:
        """Where it lies in a cache: what is made otherwise has another name."""
        recipe = [VERSION, EPSG, GSD, DATES, BANDS, NOISE, asdict(self)]
        digest = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:8]
        return f"scene-{self.side or 'source'}-{digest}"

    @property
    def files(self) -> list[str]:
        """Of its imagery, relative to its folder."""
        return [f"{date}/{band}.tif" for date in DATES for band in BANDS]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.repeat(source_labels()).shape
        return rows, columns

    def pixels(self, number: int) -> np.ndarray:
        """uint16 (rows, columns) of one of `files`; 0, which means nodata, does not occur."""
        repeated = self.repeat(source_pixels()[number])
        draw = np.random.default_rng([number, *self.columns, self.side or 0])
        noise = draw.integers(-NOISE, NOISE, repeated.shape, np.int8, endpoint=True)
        return (repeated.astype(np.int32) + noise).clip(1, 65_535).astype(np.uint16)

    def repeat(self, source: np.ndarray) -> np.ndarray:
        """Of a source (rows, columns) the part, repeated by mirroring."""
        part = source[:, slice(*self.columns)]
        if self.side is None:
            return part
        more = [(0, max(0, self.side - length)) for length in part.shape]
        repeated: np.ndarray = np.pad(part, more, "symmetric")[: self.side, : self.side]
        return repeated

    def publish(self, folder: Path, advance: Callable[[], object]) -> Path:
        """Write it below `folder`, whole or not at all, where it does not lie yet; its own folder."""
        place = folder / self.folder_name
        if place.is_dir():
            for _ in self.files:
                advance()
            return place
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix="draft-", dir=folder) as draft:
            whole = Path(draft) / "scene"
            for number, name in enumerate(self.files):
                self._write(whole / name, self.pixels(number), nodata=0, resampling="AVERAGE")
                advance()
            self._write(whole / LABELS, self.repeat(source_labels()), nodata=255, resampling="NEAREST")
            os.replace(whole, place)
        return place

    def items(self, href: Callable[[str], str]) -> dict[str, Any]:
        """The STAC item collection of a published scene, whose files lie where `href` says, by their names."""
        place: dict[str, Any] = {"proj:shape": list(self.shape), "proj:transform": list(self.transform)[:6]}
        # both spellings of the CRS: readers know one or the other
        place |= {"proj:epsg": EPSG, "proj:code": f"EPSG:{EPSG}"}
        return {"type": "FeatureCollection", "features": [self._item(date, href, place) for date in DATES]}

    @property
    def transform(self) -> rasterio.Affine:
        """From pixels to the CRS."""
        left, top = source_corner()
        return from_origin(left + GSD * self.columns[0], top, GSD, GSD)

    def _item(self, date: str, href: Callable[[str], str], place: dict[str, Any]) -> dict[str, Any]:
        rows, columns = self.shape
        left, top = self.transform @ (0, 0)
        box = (left, top - GSD * rows, left + GSD * columns, top)
        west, south, east, north = transform_bounds(f"EPSG:{EPSG}", "EPSG:4326", *box)
        ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
        pixel = {"data_type": "uint16", "nodata": 0, "spatial_resolution": GSD}
        assets = {
            band: {
                "href": href(f"{date}/{band}.tif"),
                "type": "image/tiff; application=geotiff; profile=cloud-optimized",
                "roles": ["data"],
                "gsd": GSD,
                "eo:bands": [{"name": band}],
                "raster:bands": [pixel],
                **place,
            }
            for band in BANDS
        }
        return {
            "type": "Feature",
            "stac_version": "1.0.0",
            "stac_extensions": [
                "https://stac-extensions.github.io/projection/v1.1.0/schema.json",
                "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
                "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
            ],
            "id": f"S2_{date.replace('-', '')}",
            "collection": "benchmark",
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "bbox": [west, south, east, north],
            "properties": {"datetime": f"{date}T00:00:00Z", "eo:cloud_cover": 0.0, **place},
            "links": [],
            "assets": assets,
        }

    def _write(self, path: Path, pixels: np.ndarray, nodata: int, resampling: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        size = {"height": pixels.shape[0], "width": pixels.shape[1], "count": 1, "dtype": pixels.dtype}
        place = {"crs": f"EPSG:{EPSG}", "transform": self.transform, "nodata": nodata}
        options = {"compress": "DEFLATE", "predictor": "YES", "blocksize": self.block, "num_threads": "ALL_CPUS"}
        options |= {} if self.overviews is None else {"overview_count": self.overviews}
        # GDAL warns of a COG's tiles under 128 pixels, which a test has, and then honours them
        with rasterio.Env(GDAL_VALIDATE_CREATION_OPTIONS=False), MemoryFile() as memory:
            with memory.open(driver="GTiff", **size, **place) as dataset:
                dataset.write(pixels, 1)
            rasterio.shutil.copy(memory.name, path, driver="COG", overview_resampling=resampling, **options)


def write_profile(path: Path) -> None:
    """What the assets are, as `geomask train --profile` reads it."""
    bands = [f"  - {{name: {name}, asset: {name}, index: 1, gsd: {GSD}, dtype: uint16, nodata: 0}}" for name in BANDS]
    lines = ["name: benchmark", "title: Eight bands of nrt", "bands:", *bands]
    write_text(path, "\n".join(lines) + "\n")


def bytes_per_pixel(scene: Scene, folder: Path) -> tuple[float, float]:
    """What DEFLATE with predictor 2 makes of a pixel: of the source as it comes, and of a tile of a published scene.

    Means over all bands and dates. The source is taken at its own pixel sizes, each date and band as one strip.
    """
    tiles = []
    for name in scene.files:
        with rasterio.open(folder / name) as file:
            tiles.append(packed(file.read(1, window=((0, scene.block), (0, scene.block)))))
    return fmean(map(packed, _raw_pixels())), fmean(tiles)


def packed(pixels: np.ndarray) -> float:
    """Bytes a pixel of (rows, columns) as one strip."""
    rows, columns = pixels.shape
    options = {"compress": "DEFLATE", "predictor": 2, "blockysize": rows}
    with MemoryFile() as memory:
        size = {
            "height": rows,
            "width": columns,
            "count": 1,
            "dtype": pixels.dtype,
            "transform": from_origin(0, 0, GSD, GSD),
        }
        with memory.open(driver="GTiff", **size, **options) as file:
            file.write(pixels, 1)
        with memory.open() as file:
            return int(file.get_tag_item("BLOCK_SIZE_0_0", "TIFF", bidx=1)) / pixels.size


@cache
def _raw_pixels() -> list[np.ndarray]:
    """uint16 (rows, columns) of each date and band, at the source's own pixel size."""
    from nrt import data

    cubes = {10: data.romania_10m(), 20: data.romania_20m()}
    try:
        return [
            np.nan_to_num(cubes[gsd][name].sel(time=date).values).astype(np.uint16)
            for date in DATES
            for name, gsd in BANDS.values()
        ]
    finally:
        for cube in cubes.values():
            cube.close()


def source_pixels() -> list[np.ndarray]:
    """uint16 (100, 100) of each date and band, in the order of `Scene.files`."""
    sizes = [gsd // GSD for _ in DATES for _, gsd in BANDS.values()]
    return [pixels.repeat(size, 0).repeat(size, 1) for pixels, size in zip(_raw_pixels(), sizes, strict=True)]


@cache
def source_labels() -> np.ndarray:
    """Tree cover in percent, uint8 (100, 100): each label of 20 m four times."""
    from nrt import data

    labels: np.ndarray = data.romania_forest_cover_percentage()
    return labels.repeat(20 // GSD, 0).repeat(20 // GSD, 1)


@cache
def source_corner() -> tuple[float, float]:
    """Left and top, in m."""
    from nrt import data

    with data.romania_10m() as cube:
        return float(cube.x[0]) - GSD / 2, float(cube.y[0]) + GSD / 2

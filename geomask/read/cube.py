"""Pixels of a manifest's channels on its grid, as arrays, as xarray and as a GeoTIFF."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..atomic import atomic_path
from .frame import Frame

if TYPE_CHECKING:
    import os

    import xarray as xr

    from ..plan.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Cube:
    """The pixels of every chip and channel of a manifest."""

    manifest: Manifest
    image: np.ndarray
    """Values as stored in the files (chips, channels, rows, columns), 0 where not valid.

    float32, or float64 where a file holds numbers that float32 would round; integers beyond 2^53 are refused.
    """
    valid: np.ndarray
    """bool, same shape: False for nodata, for slots that no item fills, and beyond the edge of a file."""

    def to_xarray(self, chip: int = 0, *, masked: bool = True, scaled: bool = False) -> xr.Dataset:
        """One chip as ``image`` and ``valid`` (slot, band, y, x); a (slot, band) that is no channel is not valid.

        `masked` puts NaN where a pixel is not valid, where else 0 stands. `scaled` gives physical values, stored value
        times scale plus offset of the file, and masks: float32 where that tells any two stored values apart, else
        float64. Slots and bands come in the order in which the channels first name them. y and x are pixel centres;
        ``spatial_ref`` has the CRS and the transform in the form of CF, for rioxarray too. Raises ManifestError for a
        chip that is not there.
        """
        frame = Frame.of(self.manifest, chip, masked=masked, scaled=scaled)
        return frame.dataset(*frame.fill(self.image[chip], self.valid[chip]))

    def save_geotiff(self, path: str | os.PathLike[str], chip: int = 0) -> None:
        """Write one chip as a tiled GeoTIFF of floats, NaN where not valid, a band a channel named ``slot/band``."""
        import rasterio

        grid = self.manifest.grid.crop(self.manifest.chips[chip])
        profile = {
            "driver": "GTiff",
            "dtype": self.image.dtype.name,
            "nodata": float("nan"),
            "count": len(self.manifest.channels),
            "height": grid.height,
            "width": grid.width,
            "crs": grid.crs,
            "transform": rasterio.Affine(*grid.transform),
            "compress": "deflate",
            "predictor": 3,
            "tiled": True,
            "interleave": "band",
        }
        pixels = np.where(self.valid[chip], self.image[chip], self.image.dtype.type("nan"))
        with atomic_path(path) as draft, rasterio.open(draft, "w", **profile) as dataset:
            dataset.write(pixels)
            dataset.descriptions = [f"{slot}/{band}" for slot, band in self.manifest.channels]

"""One tile of a map as a COG, in memory: a disk or a bucket gets it whole."""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..grid import Grid

#: The class of pixels of which nothing was seen; where values were learned, NaN.
NODATA = 255
#: Pixels of a GeoTIFF tile: what is written is smaller than what a screen shows, and overviews come with it.
BLOCK = 256


def class_colours(count: int) -> list[tuple[int, int, int]]:
    """A colour, 0..255 each, for each of `count` classes: hues a golden angle apart, so that more change none."""
    parts = (
        colorsys.hls_to_rgb((0.33 + 0.618034 * number) % 1, 0.35 + 0.2 * (number % 3), 0.6) for number in range(count)
    )
    return [(round(255 * red), round(255 * green), round(255 * blue)) for red, green, blue in parts]


def encode_cog(values: np.ndarray, grid: Grid, classes: int | None) -> bytes:
    """Classes, uint8 (rows, columns), with `NODATA` and a colour table; or where `classes` is None float32 with NaN.

    With overviews: of classes the most frequent one of the pixels below, of values their mean.
    """
    import rasterio
    from rasterio.io import MemoryFile
    from rasterio.shutil import copy

    kind, nodata = ("float32", float("nan")) if classes is None else ("uint8", NODATA)
    profile = {"driver": "GTiff", "dtype": kind, "nodata": nodata, "count": 1, "crs": grid.crs}
    size = {"height": grid.height, "width": grid.width, "transform": rasterio.Affine(*grid.transform)}
    options = {"compress": "DEFLATE", "blocksize": BLOCK, "predictor": "YES" if classes is None else "NO"}
    with MemoryFile() as plain, MemoryFile() as cog:
        with plain.open(**profile, **size) as dataset:
            dataset.write(values.astype(kind), 1)
            if classes is not None:
                colours = {number: (*colour, 255) for number, colour in enumerate(class_colours(classes))}
                dataset.write_colormap(1, {**colours, NODATA: (0, 0, 0, 0)})
        with plain.open() as dataset:
            overviews = "AVERAGE" if classes is None else "MODE"
            copy(dataset, cog.name, driver="COG", overview_resampling=overviews, **options)
        cog.seek(0)
        data: bytes = cog.read()
    return data

"""What a model learns: a raster of classes on the grid."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from ..errors import GridError, ItemError
from ..grid import Grid, crs_text

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

#: The label of a pixel that has none; losses and scores leave it out.
IGNORE = -1


def load_labels(path: str | os.PathLike[str], grid: Grid, cuts: Sequence[float] = ()) -> np.ndarray:
    """The classes of band 1 of a raster on `grid`, int64 (rows, columns), `IGNORE` where there is none.

    `cuts` turn a continuous value into classes: class c holds cuts[c-1] <= value < cuts[c]. Without cuts the raster
    holds the classes, from 0. Its pixels may be coarser by a whole multiple: each is repeated. Raises ItemError where
    the file cannot be read or a class is negative, GridError where it does not line up.
    """
    import rasterio
    from rasterio.errors import RasterioError

    try:
        with rasterio.open(path) as dataset:
            if dataset.crs is None:
                raise ItemError(f"labels {path} name no CRS; assign one with `rio edit-info --crs`")
            values, nodata = dataset.read(1), dataset.nodata
            source = Grid.from_transform(crs_text(dataset.crs), tuple(dataset.transform), *dataset.shape)
    except RasterioError as error:
        raise ItemError(f"cannot read labels from {path}: {error}") from error
    try:
        placement = grid.place(grid.window, source)
    except GridError as error:
        raise GridError(f"labels {path}: {error}") from error
    if placement is None:
        raise GridError(f"labels {path} do not meet the grid: {source.bounds} against {grid.bounds}")
    known = np.isfinite(values) if nodata is None else np.isfinite(values) & (values != nodata)
    if not len(cuts) and (values[known] % 1).any():
        raise ItemError(f"labels {path} hold fractions, not classes; say with cuts where classes end")
    classes = np.digitize(values, cuts) if len(cuts) else np.where(known, values, IGNORE).astype(np.int64)
    if (classes[known] < 0).any():
        raise ItemError(f"labels {path} hold the class {int(classes[known].min())}; classes count from 0, or give cuts")
    rows = slice(placement.source.row_off, placement.source.row_stop)
    cols = slice(placement.source.col_off, placement.source.col_stop)
    labels = np.full((grid.height, grid.width), IGNORE, np.int64)
    placement.paste(np.where(known, classes, IGNORE)[rows, cols], labels)
    return labels


def name_classes(cuts: Sequence[float], count: int) -> tuple[str, ...]:
    """Names of `count` classes: the values between the cuts, or just numbers where there are no cuts."""
    if not len(cuts):
        return tuple(f"class {number}" for number in range(count))
    between = [f"{low:g} to {high:g}" for low, high in pairwise(cuts)]
    return (f"under {cuts[0]:g}", *between, f"{cuts[-1]:g} and over")

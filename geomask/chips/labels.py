"""What a model learns: classes or values on the grid, from an array, a raster or a vector file, window by window."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..errors import ItemError
from .classes import IGNORE as IGNORE
from .classes import known as known
from .classes import name_classes as name_classes
from .classes import unlabelled as unlabelled
from .raster import RasterLabels
from .vector import VectorLabels

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from ..grid import Grid
    from ..window import Window

#: Suffixes of vector files; all else is a raster.
VECTORS = frozenset(
    (".gpkg", ".geojson", ".json", ".geojsonl", ".shp", ".fgb", ".gml", ".kml", ".parquet", ".geoparquet")
)


class Labels(Protocol):
    """Classes or values on a grid."""

    @property
    def names(self) -> tuple[str, ...] | None:
        """Of the classes, from 0; None: they are numbers, and how many is not known before all are read."""

    def read(self, window: Window) -> np.ndarray:
        """The classes of a window of the grid, int64 (rows, columns), `IGNORE` where there is none.

        Values to regress are float32, NaN where there is none.
        """


@dataclass(frozen=True, slots=True, eq=False)
class ArrayLabels:
    """Classes or values in memory."""

    values: np.ndarray
    """int64, or float32 for values, (rows, columns) of the whole grid."""
    names: tuple[str, ...] | None = None

    def read(self, window: Window) -> np.ndarray:
        """See `Labels`."""
        kind = np.float32 if self.values.dtype.kind == "f" else np.int64
        labels = unlabelled((window.height, window.width), kind)
        top, left = max(window.row_off, 0), max(window.col_off, 0)
        inside = self.values[top : max(window.row_stop, top), left : max(window.col_stop, left)]
        row, col = top - window.row_off, left - window.col_off
        labels[row : row + inside.shape[0], col : col + inside.shape[1]] = inside
        return labels


def open_labels(
    path: str | os.PathLike[str],
    grid: Grid,
    cuts: Sequence[float] = (),
    column: str | None = None,
    *,
    values: bool = False,
) -> Labels:
    """The classes of a raster or a vector file on `grid`; `column` is a vector file's, `cuts` make classes of values.

    With `values` it is the values of a raster that are learned. A file is a vector file by its suffix (`VECTORS`), or
    where a column is named. Raises ItemError where it cannot be read, or holds shapes where values are wanted,
    GridError where it does not meet the grid.
    """
    if column is not None or Path(path).suffix.lower() in VECTORS:
        if values:
            raise ItemError(f"labels {path} hold shapes; values to regress are read from a raster: rasterize them")
        return VectorLabels.load(path, grid, cuts, column)
    return RasterLabels(str(path), grid, tuple(cuts), values)


def load_labels(
    path: str | os.PathLike[str], grid: Grid, cuts: Sequence[float] = (), column: str | None = None
) -> np.ndarray:
    """The classes of all of `grid`, int64 (rows, columns), `IGNORE` where there is none. Raises as `open_labels`."""
    return open_labels(path, grid, cuts, column).read(grid.window)

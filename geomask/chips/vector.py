"""Labels in a vector file: areas of classes."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import shapely

from ..errors import GridError, ItemError
from ..grid import Grid, Window
from .classes import IGNORE, name_classes, to_classes

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from geopandas import GeoDataFrame


@dataclass(frozen=True, slots=True, eq=False)
class VectorLabels:
    """Shapes of classes on a grid: a pixel is of the last shape that holds its centre."""

    grid: Grid
    """What windows count on, and the shapes' CRS."""
    shapes: np.ndarray
    """shapely geometries (shapes,), in the file's order."""
    classes: np.ndarray
    """Of each shape, int64."""
    names: tuple[str, ...] | None
    """Of the classes; None where the file holds their numbers."""
    outside: int
    """The class of a pixel in no shape, or `IGNORE`."""
    _tree: shapely.STRtree

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], grid: Grid, cuts: Sequence[float] = (), column: str | None = None
    ) -> Self:
        """All shapes of a file that geopandas reads, in the CRS of `grid`.

        `column` holds the classes: whole numbers from 0, values that `cuts` divide, or names, which are classes in
        alphabetical order; what lies in no shape, or has no value, has no label. Without a column there are two
        classes, 0 outside of all shapes and 1 inside. Raises ItemError where the file or the column is not there or
        names no CRS, GridError where no shape meets the grid.
        """
        frame = _read(path, column)
        if column is not None:
            frame = frame[frame[column].notna()]
        frame = frame[~(frame.geometry.isna() | frame.geometry.is_empty)].to_crs(grid.crs)
        shapes = np.asarray(frame.geometry.array)
        if not shapely.intersects(shapes, shapely.box(*grid.bounds)).any():
            raise GridError(f"no shape of labels {path} with a value meets the grid {grid.bounds} of {grid.crs[:60]}")
        if column is None:
            return cls(grid, shapes, np.ones(len(shapes), np.int64), ("outside", "inside"), 0, shapely.STRtree(shapes))
        classes, names = _classes(frame[column], cuts, f"{path}, column {column}")
        return cls(grid, shapes, classes, names, IGNORE, shapely.STRtree(shapes))

    def read(self, window: Window) -> np.ndarray:
        """The classes of a window of the grid, int64 (rows, columns), `IGNORE` where there is none."""
        from rasterio import Affine
        from rasterio.features import rasterize

        there = np.sort(self._tree.query(shapely.box(*self.grid.bounds_of(window))))
        shape = (window.height, window.width)
        if not len(there):
            return np.full(shape, self.outside, np.int64)
        burnt = zip(self.shapes[there], self.classes[there].tolist(), strict=True)
        transform = Affine(*self.grid.crop(window).transform)
        labels: np.ndarray = rasterize(burnt, shape, fill=self.outside, transform=transform, dtype="int32")
        return labels.astype(np.int64)

    def __reduce__(self) -> tuple[Any, ...]:
        """Without the tree, which is made anew in a worker."""
        return _again, (self.grid, self.shapes, self.classes, self.names, self.outside)


def _again(
    grid: Grid, shapes: np.ndarray, classes: np.ndarray, names: tuple[str, ...] | None, outside: int
) -> VectorLabels:
    return VectorLabels(grid, shapes, classes, names, outside, shapely.STRtree(shapes))


def _read(path: str | os.PathLike[str], column: str | None) -> GeoDataFrame:
    """The file's shapes and the column. Raises ItemError."""
    import geopandas

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # of several layers pyogrio takes the first, and warns
            frame = (
                geopandas.read_parquet(path)
                if Path(path).suffix.lower() in (".parquet", ".geoparquet")
                else geopandas.read_file(path)
            )
    except (OSError, ValueError, RuntimeError, UserWarning) as error:
        raise ItemError(f"cannot read labels from {path}: {error}") from error
    if column is not None and column not in frame.columns:
        there = ", ".join(name for name in frame.columns if name != frame.geometry.name)
        raise ItemError(f"labels {path} have no column {column}; choose one of {there}")
    if frame.crs is None:
        raise ItemError(f"labels {path} name no CRS; assign one with `ogr2ogr -a_srs`")
    return frame


def _classes(column: Any, cuts: Sequence[float], where: str) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """The class of each value of a column, int64, and the classes' names."""
    if column.dtype.kind in "biuf":
        classes = to_classes(column.to_numpy(np.float64), np.ones(len(column), bool), cuts, where)
        return classes, name_classes(cuts, len(cuts) + 1) if len(cuts) else None
    if len(cuts):
        raise ItemError(f"labels {where} hold names; cuts divide numbers")
    names, classes = np.unique(column.to_numpy(str), return_inverse=True)
    return classes.astype(np.int64), tuple(names.tolist())

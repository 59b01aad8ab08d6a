"""Labels in a raster."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..crs import crs_text
from ..errors import GridError, ItemError
from ..grid import Grid, Window
from .classes import name_classes, to_classes, unlabelled

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class RasterLabels:
    """Band 1 of a raster, on a grid: each pixel takes the one under its centre."""

    path: str
    grid: Grid
    """What windows count on."""
    cuts: tuple[float, ...] = ()
    """Where one class ends and the next begins; without cuts the raster holds the classes, from 0."""
    values: bool = False
    """It holds values to regress, not classes."""

    def __post_init__(self) -> None:
        """Look at the header. Raises ItemError where it cannot be read, GridError where it does not meet the grid."""
        with self._opened() as (_, source):
            met, _ = self.grid.cover(np.array([[0, 0, self.grid.height, self.grid.width]]), source)
            if not len(met):
                raise GridError(f"labels {self.path} do not meet the grid: {source.bounds} against {self.grid.bounds}")

    @property
    def names(self) -> tuple[str, ...] | None:
        """Of the classes; None where the raster holds their numbers."""
        return name_classes(self.cuts, len(self.cuts) + 1) if self.cuts else None

    def read(self, window: Window) -> np.ndarray:
        """The classes of a window of the grid, int64 (rows, columns), `IGNORE` where there is none.

        Values to regress are float32, NaN where there is none. Raises ItemError where the file cannot be read, or holds
        fractions or negative classes.
        """
        labels = unlabelled((window.height, window.width), np.float32 if self.values else np.int64)
        with self._opened() as (file, source):
            if placement := self.grid.place(window, source):
                part = placement.source
                rows, cols = (part.row_off, part.row_stop), (part.col_off, part.col_stop)
                values = file.read(1, window=(rows, cols))
                known = np.isfinite(values) if file.nodata is None else np.isfinite(values) & (values != file.nodata)
                if self.values:
                    placement.paste(np.where(known, values, np.nan).astype(np.float32), labels)
                else:
                    placement.paste(to_classes(values, known, self.cuts, self.path), labels)
        return labels

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, Grid]]:
        """The open file and its grid; opened anew by each reader, since handles cross no thread and no fork."""
        import rasterio
        from rasterio.errors import RasterioError

        try:
            with rasterio.open(self.path, sharing=False) as file:
                if file.crs is None:
                    raise ItemError(f"labels {self.path} name no CRS; assign one with `rio edit-info --crs`")
                yield file, self._grid_of(file)
        except RasterioError as error:
            raise ItemError(f"cannot read labels from {self.path}: {error}") from error

    def _grid_of(self, file: Any) -> Grid:
        try:
            return Grid.from_transform(crs_text(file.crs), tuple(file.transform), *file.shape)
        except GridError as error:
            raise GridError(f"labels {self.path}: {error}") from error

"""A torchgeo dataset over STAC items: what a sampler asks for is planned, then read, and nothing else is fetched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import geopandas
import numpy as np
import pandas as pd
import shapely
import torch
from torchgeo.datasets import GeoDataset

from ..cog.index import HeaderIndex
from ..errors import GridError, SelectionError
from ..plan.compile import compile_manifest
from ..plan.sources import index_selection
from ..read.reader import read_manifest
from .labels import IGNORE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pystac import Item
    from torchgeo.datasets.utils import GeoSlice

    from ..grid import Grid, Window
    from ..plan.manifest import Manifest
    from ..selection import Selection


class StacDataset(GeoDataset):
    """The channels of a selection over a grid, for torchgeo's samplers.

    It is indexed by the grid and the slots alone: no file is opened before the first sample, and then only headers and
    tiles that the sample needs. Combine a spatial and a temporal sampler by ``@``::

        sampler = GriddedPatchSampler(dataset, size=16) @ SequentialTimestampSampler(dataset)

    The index has one row: the whole grid, from the first slot's start to the last slot's end, as naive UTC. A sample is

    ========== ================================================================================
    ``image``  float32 (channels, rows, columns): stored values, 0 where not valid
    ``valid``  bool, same shape: False for nodata, empty slots, and slots outside the interval
    ``time``   int64 (channels,): start of each channel's slot, seconds since 1970 in UTC
    ``mask``   int64 (rows, columns): labels, only where the dataset has them; -1: none
    ``chip``   int64 (1,): row offset * columns of the grid + column offset
    ``bounds`` float64 (4,): left, bottom, right, top, in the grid's CRS
    ========== ================================================================================
    """

    def __init__(
        self,
        items: Sequence[Item],
        selection: Selection,
        grid: Grid,
        labels: np.ndarray | None = None,
        index: HeaderIndex | None = None,
    ) -> None:
        """`labels` are classes on the grid, int64 (rows, columns); headers that are in `index` are not fetched again.

        Raises GridError where the labels are not of the grid's size.
        """
        if labels is not None and labels.shape != (grid.height, grid.width):
            raise GridError(f"labels of {labels.shape} rows and columns on a grid of {(grid.height, grid.width)}")
        self.items, self.selection, self.grid, self.labels = list(items), selection, grid, labels
        self._headers = index
        first, last = (selection.slots[at] for at in (0, -1))
        span = pd.Interval(
            pd.Timestamp(first.start.replace(tzinfo=None)),
            # An interval closed on both sides ends with the last instant of the last slot.
            pd.Timestamp(last.end.replace(tzinfo=None)) - pd.Timedelta(1, "us"),
            closed="both",
        )
        self.index = geopandas.GeoDataFrame(
            geometry=[shapely.box(*grid.bounds)], index=pd.IntervalIndex([span], name="datetime"), crs=grid.crs
        )
        self._res = (grid.res_x, grid.res_y)

    def window_of(self, index: GeoSlice) -> Window:
        """The window of the grid that a sampler's slice means.

        It may reach over the grid, as those of torchgeo's gridded sampler do: what lies outside is not valid and has no
        label. Raises GridError where it does not meet the grid at all.
        """
        x, y, _ = self._disambiguate_slice(index)
        window = self.grid.window_of((x.start, y.start, x.stop, y.stop))
        if self.grid.place(window, self.grid) is None:
            raise GridError(f"{window} does not meet the grid of {self.grid.height} x {self.grid.width} pixels")
        return window

    def labels_of(self, window: Window) -> np.ndarray:
        """The labels of a window, int64 (rows, columns), -1 outside the grid.

        Raises SelectionError where the dataset has none.
        """
        if self.labels is None:
            raise SelectionError("chips to learn from need labels; give the dataset some")
        labels = np.full((window.height, window.width), IGNORE, np.int64)
        if (placement := self.grid.place(window, self.grid)) is None:
            return labels
        source = placement.source
        placement.paste(self.labels[source.row_off : source.row_stop, source.col_off : source.col_stop], labels)
        return labels

    def plan(self, windows: Sequence[Window]) -> Manifest:
        """The manifest of some chips."""
        return compile_manifest(self.selection, self.items, self.headers, self.grid, windows)

    @property
    def headers(self) -> HeaderIndex:
        """The headers of the selection's files, fetched at first use."""
        if self._headers is None:
            self._headers = index_selection(self.selection, self.items)
        return self._headers

    def __getitem__(self, index: GeoSlice) -> dict[str, Any]:
        """The sample of a slice [x0:x1, y0:y1, t0:t1]; times are naive UTC."""
        window = self.window_of(index)
        cube, _ = read_manifest(self.plan([window]), self.headers)
        seen = torch.from_numpy(self._in_interval(self._disambiguate_slice(index)[2]))
        valid = torch.from_numpy(cube.valid[0]) & seen[:, None, None]
        starts = [self.selection.slots[channel.slot].start for channel in self.selection.channels]
        sample = {
            "image": torch.from_numpy(cube.image[0]).float() * valid,
            "valid": valid,
            "time": torch.tensor([round(start.timestamp()) for start in starts], dtype=torch.int64),
            "chip": torch.tensor([window.row_off * self.grid.width + window.col_off]),
            "bounds": torch.tensor(self.grid.bounds_of(window), dtype=torch.float64),
        }
        if self.labels is not None:
            sample["mask"] = torch.from_numpy(self.labels_of(window))
        return sample

    def _in_interval(self, t: slice) -> np.ndarray:
        """Whether each channel's slot meets the interval, bool (channels,)."""
        start, stop = (pd.Timestamp(instant) for instant in (t.start, t.stop))
        slots = [self.selection.slots[channel.slot] for channel in self.selection.channels]
        meets = [
            pd.Timestamp(slot.start.replace(tzinfo=None)) <= stop
            and start < pd.Timestamp(slot.end.replace(tzinfo=None))
            for slot in slots
        ]
        return np.array(meets, bool)

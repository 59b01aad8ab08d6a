"""geomask: plan the bytes, fetch them, decode."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pystac

from contenders.job import Adapter
from geomask import (
    Band,
    Channel,
    Selection,
    Window,
    compile_manifest,
    index_selection,
    make_slots,
    read_manifest,
)

if TYPE_CHECKING:
    from contenders.job import Job
    from geomask import HeaderIndex, Manifest


class Reader(Adapter):
    """Keeps the header index."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._items = [pystac.Item.from_dict(item) for item in job.items]
        slots = make_slots(self._items)
        bands = tuple(Band(asset, asset, gsd=10) for asset in job.assets)
        channels = (Channel(slot, band, job.level) for slot in range(len(slots)) for band in range(len(bands)))
        self._selection = Selection(slots, bands, tuple(channels))
        self._index: HeaderIndex | None = None

    def keep(self) -> None:
        """Fetch and parse all headers."""
        self._index = index_selection(self._selection, self._items)

    def plan(self, index: HeaderIndex) -> Manifest:
        """The manifest of the window, on the grid of the level."""
        grid = index[self.job.hrefs[0][0]].level_grid(self.job.level)
        return compile_manifest(self._selection, self._items, index, grid, [Window(*self.job.window)])

    def read(self) -> np.ndarray:
        """Plan, fetch, decode."""
        index = self._index or index_selection(self._selection, self._items)
        cube, _ = read_manifest(self.plan(index), index)
        pixels: np.ndarray = cube.image[0].astype(np.uint16).reshape(self.job.result_shape)
        return pixels

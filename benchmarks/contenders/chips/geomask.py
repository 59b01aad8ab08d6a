"""geomask: StacDataset with a DataLoader without workers; a batch is planned and read at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pystac
from torch.utils.data import DataLoader
from torchgeo.datasets.utils import stack_samples

from contenders.chips.job import ChipReader
from geomask import Band, Channel, Grid, Selection, index_selection, make_slots
from geomask.chips.dataset import StacDataset

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np

    from contenders.chips.job import ChipJob

#: Chips of a batch. More of them ask for more bytes at once, so that the link never waits.
BATCH = 64


class Reader(ChipReader):
    """Fetches all headers at the start, and keeps them."""

    def __init__(self, job: ChipJob) -> None:
        super().__init__(job)
        self._items = [pystac.Item.from_dict(item) for item in job.items]
        slots = make_slots(self._items)
        bands = tuple(Band(asset, asset, gsd=job.res) for asset in job.assets)
        channels = (Channel(slot, band) for slot in range(len(slots)) for band in range(len(bands)))
        self._selection = Selection(slots, bands, tuple(channels))
        left, top = job.origin
        self._grid = Grid(f"EPSG:{job.epsg}", left, top, job.res, job.res, job.side, job.side)

    def open(self) -> None:
        """The data set with the headers of all files: it would fetch them as chips need them."""
        index = index_selection(self._selection, self._items)
        self._dataset = StacDataset(self._items, self._selection, self._grid, index=index)

    def batches(self) -> Iterable[np.ndarray]:
        """A batch is planned and read at once."""
        loader = DataLoader(self._dataset, sampler=self.job.slices(), batch_size=BATCH, collate_fn=stack_samples)
        for sample in loader:
            yield sample["image"].numpy().reshape(-1, *self.job.chip_shape)

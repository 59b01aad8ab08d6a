"""geomask: StacDataset of items in memory; it opens no file."""

from __future__ import annotations

import pystac

from contenders.start.job import Starter, StartJob
from geomask import Band, Grid, Selection, make_slots
from geomask.chips.dataset import StacDataset


class Reader(Starter):
    """Takes pystac items."""

    def __init__(self, job: StartJob) -> None:
        super().__init__(job)
        self._items = [pystac.Item.from_dict(item) for item in job.items()]

    def read(self) -> int:
        """Slots by month, all their channels, a grid over the region, and the data set."""
        return chips(self.job, self._items)


def chips(job: StartJob, items: list[pystac.Item]) -> int:
    """Make the data set of all items, and count its chips."""
    bands = [Band(asset, asset, gsd=job.res) for asset in job.assets]
    grid = Grid.snap(f"EPSG:{job.epsg}", tuple(job.bounds), job.res)
    dataset = StacDataset(items, Selection.dense(make_slots(items), bands), grid)
    x, y, _ = dataset.bounds
    return round((x.stop - x.start) / x.step) // 64 * (round((y.stop - y.start) / y.step) // 64)

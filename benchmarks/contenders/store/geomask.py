"""geomask: a chip store, read once from the files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pystac

from contenders.store.job import StoreReader
from geomask import Band, Channel, Grid, Selection, make_slots
from geomask.chips.dataset import StacDataset
from geomask.chips.store import ChipStore
from geomask.chips.store_plan import plan_store
from geomask.chips.writer import write_store

if TYPE_CHECKING:
    import torch


class Reader(StoreReader):
    """The store gives validity, times and places too."""

    def make(self) -> ChipStore:
        """Plan, fetch and decode all chips."""
        job = self.job
        items = [pystac.Item.from_dict(item) for item in job.items]
        names = list(dict.fromkeys(asset for _, asset in job.channels))
        crs, left, top, res, side = job.grid
        bands = tuple(Band(name, name, gsd=res) for name in names)
        channels = tuple(Channel(item, names.index(asset)) for item, asset in job.channels)
        selection = Selection(make_slots(items), bands, channels)
        dataset = StacDataset(items, selection, Grid(crs, left, top, res, res, side, side))
        folder = Path(job.folder) / "store"
        write_store(folder, dataset, plan_store(dataset, np.array(job.windows)))
        return ChipStore(folder)

    def image(self, batch: Any) -> torch.Tensor:
        """Of a sample."""
        image: torch.Tensor = batch["image"]
        return image

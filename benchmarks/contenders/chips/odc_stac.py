"""odc-stac + xbatcher: a lazy cube in chunks of a GeoTIFF tile, its chips computed by 16 threads of dask."""

from __future__ import annotations

from itertools import batched
from typing import TYPE_CHECKING

from contenders.gdal import tune

tune()

import dask  # noqa: E402  # GDAL reads its settings when it is first imported
import numpy as np  # noqa: E402
import odc.stac  # noqa: E402
import pystac  # noqa: E402
import xbatcher  # noqa: E402
from affine import Affine  # noqa: E402
from odc.geo.geobox import GeoBox  # noqa: E402

from contenders.chips.job import WORKERS, ChipReader  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterable

    from contenders.chips.job import ChipJob

#: Chips computed at once: chunks that they share are read once, and 16 threads have enough to do.
BATCH = 64


class Reader(ChipReader):
    """Opens a file anew for each chunk; GDAL remembers what it has fetched."""

    def __init__(self, job: ChipJob) -> None:
        super().__init__(job)
        self._items = [pystac.Item.from_dict(item) for item in job.items]
        left, top = job.origin
        place = Affine(job.res, 0, left, 0, -job.res, top)
        self._geobox = GeoBox((job.side, job.side), place, f"EPSG:{job.epsg}")

    def open(self) -> None:
        """The cube and its chips, both lazy. xbatcher knows chips of a lattice only: the first one is its origin."""
        job = self.job
        cube = odc.stac.load(
            self._items, job.assets, geobox=self._geobox, dtype="uint16", chunks={"time": 1, "x": 512, "y": 512}
        )
        rows, cols = zip(*job.places, strict=True)
        top, left = min(rows) % job.size, min(cols) % job.size
        array = (
            cube.to_dataarray("band").transpose("time", "band", "y", "x").isel(y=slice(top, None), x=slice(left, None))
        )
        self._chips = xbatcher.BatchGenerator(array, {"y": job.size, "x": job.size}, preload_batch=False)
        across = (job.side - left) // job.size
        self._numbers = [(row - top) // job.size * across + (col - left) // job.size for row, col in job.places]

    def batches(self) -> Iterable[np.ndarray]:
        """Sixteen chips at a time."""
        for numbers in batched(self._numbers, BATCH):
            chips = [self._chips[number] for number in numbers]
            loaded = dask.compute(*chips, scheduler="threads", num_workers=WORKERS)
            yield np.stack([chip.to_numpy().reshape(self.job.chip_shape) for chip in loaded])

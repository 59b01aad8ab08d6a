"""odc-stac: the window as a GeoBox, loaded by 16 threads without dask."""

from __future__ import annotations

from contenders.gdal import THREADS, tune

tune()

import numpy as np  # noqa: E402  # GDAL reads its settings when it is first imported
import odc.stac  # noqa: E402
import pystac  # noqa: E402
from affine import Affine  # noqa: E402
from odc.geo.geobox import GeoBox  # noqa: E402

from contenders.job import Adapter, Job  # noqa: E402


class Reader(Adapter):
    """Opens every file anew in each load."""

    keeps_headers = False

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._items = [pystac.Item.from_dict(item) for item in job.items]
        left, _, _, top = job.bounds
        place = Affine(job.res[1], 0, left, 0, -job.res[0], top)
        self._geobox = GeoBox(job.window[2:], place, f"EPSG:{job.epsg}")

    def read(self) -> np.ndarray:
        """Load into memory."""
        loaded = odc.stac.load(self._items, self.job.assets, geobox=self._geobox, dtype="uint16", pool=THREADS)
        return np.stack([loaded[asset].values for asset in self.job.assets], axis=1)

"""odc-stac + xbatcher: a lazy cube of all items in chunks of 2048, and its chips."""

from __future__ import annotations

import odc.stac
import pystac
import xbatcher
from affine import Affine
from odc.geo.geobox import GeoBox

from contenders.start.job import Starter, StartJob


class Reader(Starter):
    """Takes pystac items."""

    def __init__(self, job: StartJob) -> None:
        super().__init__(job)
        self._items = [pystac.Item.from_dict(item) for item in job.items()]
        left, bottom, right, top = job.bounds
        shape = (round((top - bottom) / job.res), round((right - left) / job.res))
        self._geobox = GeoBox(shape, Affine(job.res, 0, left, 0, -job.res, top), f"EPSG:{job.epsg}")

    def read(self) -> int:
        """The cube and its chips, both lazy."""
        chunks = {"time": 1, "x": 2048, "y": 2048}
        cube = odc.stac.load(
            self._items, self.job.assets, geobox=self._geobox, dtype="uint16", chunks=chunks, groupby="solar_day"
        )
        return len(xbatcher.BatchGenerator(cube.to_dataarray("band"), {"y": 64, "x": 64}, preload_batch=False))

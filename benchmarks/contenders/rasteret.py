"""rasteret: `read_window` of a collection, which is its index of headers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import rasteret
from obstore.store import HTTPStore
from rasteret.cloud import ObstoreBackend
from shapely.geometry import shape

from contenders.job import Adapter, Job

if TYPE_CHECKING:
    from rasteret.core.collection import Collection

rasteret.set_options(progress=False)


class Reader(Adapter):
    """Keeps the collection."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        rows = [
            {
                "id": item["id"],
                "datetime": item["properties"]["datetime"],
                "geometry": shape(item["geometry"]).wkb,
                "assets": {asset: {"href": item["assets"][asset]["href"], "band_index": 0} for asset in job.assets},
                "proj:epsg": job.epsg,
            }
            for item in job.items
        ]
        self._table = pa.Table.from_pylist(rows)
        # its own store refuses http without s
        store = HTTPStore.from_url(job.root, client_options={"allow_http": True})
        self._backend = ObstoreBackend(store, url_prefix=job.root)
        self._collection: Collection | None = None

    def keep(self) -> None:
        """Build the collection with the headers."""
        self._collection = self._build()

    def read(self) -> np.ndarray:
        """Read the window of all records."""
        collection = self._collection or self._build()
        pixels: np.ndarray = collection.read_window(
            record_ids=[item["id"] for item in self.job.items],
            bounds=self.job.bounds,
            res=(self.job.res[1], self.job.res[0]),
            bands=self.job.assets,
            target_crs=self.job.epsg,
            group_by="id",
            backend=self._backend,
        )
        return pixels

    def _build(self) -> Collection:
        return rasteret.build_from_table(
            self._table, enrich_cog=True, band_codes=self.job.assets, backend=self._backend
        )

"""rasteret: its torchgeo data set over a collection, which is its index of headers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import rasteret
from obstore.store import HTTPStore, LocalStore
from rasteret.cloud import ObstoreBackend
from shapely.geometry import shape

from contenders.chips.job import WORKERS, ChipReader

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rasteret.integrations.torchgeo import RasteretGeoDataset

    from contenders.chips.job import ChipJob


class Reader(ChipReader):
    """Fetches all headers at the start, and keeps them. Its chips are read by 16 threads, which share connections."""

    def __init__(self, job: ChipJob) -> None:
        super().__init__(job)
        self._table = table(job.items, job.assets, job.epsg)
        self._backend = backend(job.hrefs[0][0])
        self._threads = ThreadPoolExecutor(WORKERS)
        self._dataset: RasteretGeoDataset | None = None

    def open(self) -> None:
        """Build the collection with the headers, and the data set."""
        collection = rasteret.build_from_table(
            self._table, enrich_cog=True, band_codes=self.job.assets, backend=self._backend
        )
        self._dataset = collection.to_torchgeo_dataset(bands=self.job.assets, time_series=True, backend=self._backend)

    def batches(self) -> Iterable[np.ndarray]:
        """A chip is a batch. The first date, an instant, is not within a time that begins with it."""
        *_, times = self._dataset.bounds
        times = slice(times.start - timedelta(1), times.stop)
        for sample in self._threads.map(self._dataset.__getitem__, ((x, y, times) for x, y in self.job.slices())):
            yield sample["image"].numpy()[None]

    def close(self) -> None:
        """Close the connections."""
        self._threads.shutdown()
        if self._dataset is not None:
            self._dataset.close()


def table(items: list[dict], assets: list[str], epsg: int) -> pa.Table:
    """The items, as rasteret takes them."""
    rows = [
        {
            "id": item["id"],
            "datetime": datetime.fromisoformat(item["properties"]["datetime"]).replace(tzinfo=None),
            "geometry": shape(item["geometry"]).wkb,
            "assets": {asset: {"href": item["assets"][asset]["href"], "band_index": 0} for asset in assets},
            "proj:epsg": epsg,
        }
        for item in items
    ]
    return pa.Table.from_pylist(rows)


def backend(href: str) -> ObstoreBackend:
    """Where the files lie. Its own store refuses http without s."""
    parts = urlsplit(href)
    if not parts.scheme:
        return ObstoreBackend(LocalStore(), url_prefix="/")
    root = f"{parts.scheme}://{parts.netloc}/"
    return ObstoreBackend(HTTPStore.from_url(root, client_options={"allow_http": True}), url_prefix=root)

"""rasteret: its torchgeo data set, over a collection that holds the header of every file."""

from __future__ import annotations

import rasteret

from contenders.chips.rasteret import backend, table
from contenders.start.job import Starter, StartJob


class Reader(Starter):
    """Takes an Arrow table of records."""

    def __init__(self, job: StartJob) -> None:
        super().__init__(job)
        self._table = table(job.items(), job.assets, job.epsg)
        self._backend = backend(job.root)

    def read(self) -> int:
        """Fetch all headers."""
        collection = rasteret.build_from_table(
            self._table, enrich_cog=True, band_codes=self.job.assets, backend=self._backend
        )
        dataset = collection.to_torchgeo_dataset(bands=self.job.assets, time_series=True, backend=self._backend)
        x, y, _ = dataset.bounds
        return round((x.stop - x.start) / x.step) // 64 * (round((y.stop - y.start) / y.step) // 64)

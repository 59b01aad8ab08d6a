"""geomask from a frozen search: reading the items counts too."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from contenders.start.geomask import chips
from contenders.start.job import Starter, StartJob
from geomask import load_items, save_items


class Reader(Starter):
    """Takes a GeoParquet file."""

    def __init__(self, job: StartJob) -> None:
        super().__init__(job)
        self._folder = TemporaryDirectory()
        self._path = Path(self._folder.name) / "items.parquet"
        save_items(job.items(), self._path)

    def read(self) -> int:
        """Load the items, and make the data set."""
        return chips(self.job, load_items(self._path))

    def close(self) -> None:
        """Remove the file."""
        self._folder.cleanup()

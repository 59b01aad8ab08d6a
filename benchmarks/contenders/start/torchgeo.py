"""torchgeo: RasterDataset over the files on this machine, of which it opens the first band of every item."""

from __future__ import annotations

from pathlib import Path

from contenders.chips.torchgeo import Scenes
from contenders.start.job import Starter, StartJob


class Reader(Starter):
    """Takes files, not items."""

    def __init__(self, job: StartJob) -> None:
        super().__init__(job)
        self._paths = [str(Path(job.folder, path)) for path in job.paths(job.assets[0])]

    def read(self) -> int:
        """Open all."""
        dataset = Scenes(self._paths, bands=self.job.assets, time_series=True)
        x, y, _ = dataset.bounds
        return round((x.stop - x.start) / x.step) // 64 * (round((y.stop - y.start) / y.step) // 64)

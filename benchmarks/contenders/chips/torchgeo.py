"""torchgeo: RasterDataset(time_series=True) over /vsicurl, 16 workers of a DataLoader."""

from __future__ import annotations

import multiprocessing
import re
from typing import TYPE_CHECKING

from contenders.gdal import tune

tune()

from torch.utils.data import DataLoader  # noqa: E402  # GDAL reads its settings when it is first imported
from torchgeo.datasets import RasterDataset  # noqa: E402
from torchgeo.datasets.utils import stack_samples  # noqa: E402

from contenders.chips.job import WORKERS, ChipReader  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np

    from contenders.chips.job import ChipJob

#: Forked workers would share connections that the data set has opened; spawned ones import torchgeo one by one.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["torchgeo.datasets"])


class Scenes(RasterDataset):
    """Files of one band each, named by date and band."""

    filename_regex = r"\w+_(?P<date>\d{8})_(?P<band>B\d\d)\.tif"
    separate_files = True
    all_bands = tuple(f"B{band + 1:02d}" for band in range(12))

    @property
    def files(self) -> list[str]:
        """As given: the base class would list a folder of the server."""
        return list(self.paths)


class Reader(ChipReader):
    """Opens a file a date to index it; each worker opens every file again, and keeps it open."""

    def __init__(self, job: ChipJob) -> None:
        super().__init__(job)
        self._paths = [_path(row[0]) for row in job.hrefs]

    def open(self) -> None:
        """Open the first band of each date."""
        self._dataset = Scenes(self._paths, bands=self.job.assets, time_series=True)

    def batches(self) -> Iterable[np.ndarray]:
        """A chip is a batch: with larger ones some workers would have nothing to do."""
        loader = DataLoader(
            self._dataset,
            sampler=self.job.slices(),
            num_workers=min(WORKERS, len(self.job.places)),
            collate_fn=stack_samples,
            multiprocessing_context=CONTEXT,
        )
        for sample in loader:
            yield sample["image"].numpy()


def _path(href: str) -> str:
    return f"/vsicurl/{href}" if re.match("https?:", href) else href

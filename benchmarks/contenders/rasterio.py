"""rasterio over /vsicurl with the best settings found, a thread a file."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from contenders.gdal import THREADS, tune

tune()

import numpy as np  # noqa: E402  # GDAL reads its settings when it is first imported
import rasterio  # noqa: E402
from rasterio.windows import Window  # noqa: E402

from contenders.job import Adapter, Job  # noqa: E402


class Reader(Adapter):
    """Keeps the open files."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._pool = ThreadPoolExecutor(THREADS)
        self._hrefs = [href for row in job.hrefs for href in row]
        self._datasets: list[rasterio.DatasetReader] = []

    def keep(self) -> None:
        """Open every file."""
        self._datasets = list(self._pool.map(self._open, self._hrefs))

    def read(self) -> np.ndarray:
        """Read what is open, or else open and read each file in one go."""
        if self._datasets:
            pixels = self._pool.map(self._window, self._datasets)
        else:
            pixels = self._pool.map(self._open_and_read, self._hrefs)
        return np.stack(list(pixels)).reshape(self.job.result_shape)

    def close(self) -> None:
        """Close the files."""
        self._pool.shutdown()
        for dataset in self._datasets:
            dataset.close()

    def _open(self, href: str) -> rasterio.DatasetReader:
        level = {} if self.job.level is None else {"overview_level": self.job.level}
        return rasterio.open(href, sharing=False, **level)

    def _window(self, dataset: rasterio.DatasetReader) -> np.ndarray:
        row, col, height, width = self.job.window
        pixels: np.ndarray = dataset.read(1, window=Window(col, row, width, height))
        return pixels

    def _open_and_read(self, href: str) -> np.ndarray:
        with self._open(href) as dataset:
            return self._window(dataset)

"""rio-tiler: `Reader.part` of each file, by 16 threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from contenders.gdal import THREADS, tune

tune()

import numpy as np  # noqa: E402  # GDAL reads its settings when it is first imported
from rasterio.crs import CRS  # noqa: E402
from rio_tiler.io import Reader as File  # noqa: E402

from contenders.job import Adapter, Job  # noqa: E402


class Reader(Adapter):
    """Keeps the open files."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        # An open file belongs to its thread: elsewhere it can neither be read nor closed.
        self._threads = [ThreadPoolExecutor(1) for _ in range(THREADS)]
        self._hrefs = [href for row in job.hrefs for href in row]
        self._crs = CRS.from_epsg(job.epsg)
        self._files: list[File] = []

    def keep(self) -> None:
        """Open every file."""
        self._files = self._each(File, self._hrefs)

    def read(self) -> np.ndarray:
        """Read what is open, or else open and read each file in one go."""
        kept = self._each(self._window, self._files)
        pixels = kept or self._each(self._open_and_read, self._hrefs)
        return np.stack(pixels).reshape(self.job.result_shape)

    def close(self) -> None:
        """Close the files, each thread its last one first, as their settings are nested."""
        backwards = reversed(list(enumerate(self._files)))
        closing = [self._threads[number % THREADS].submit(file.close) for number, file in backwards]
        for done in closing:
            done.result()
        for thread in self._threads:
            thread.shutdown()

    def _each(self, function: Callable[[Any], Any], values: Iterable[Any]) -> list[Any]:
        """The results of all values, number n always in the same thread."""
        tasks = [self._threads[number % THREADS].submit(function, value) for number, value in enumerate(values)]
        return [task.result() for task in tasks]

    def _window(self, file: File) -> np.ndarray:
        height, width = self.job.window[2:]
        part = file.part(self.job.bounds, bounds_crs=self._crs, dst_crs=self._crs, height=height, width=width)
        pixels: np.ndarray = part.array.data[0]
        return pixels

    def _open_and_read(self, href: str) -> np.ndarray:
        with File(href) as file:
            return self._window(file)

"""async-geotiff: all files at once in one event loop."""

from __future__ import annotations

import asyncio

import numpy as np
from async_geotiff import GeoTIFF, Window
from async_tiff.store import HTTPStore

from contenders.job import Adapter, Job


class Reader(Adapter):
    """Keeps the parsed headers."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._loop = asyncio.new_event_loop()
        self._store = HTTPStore.from_url(job.root, client_options={"allow_http": True})
        self._files: list[GeoTIFF] = []

    def keep(self) -> None:
        """Open every file."""
        self._files = self._loop.run_until_complete(self._open_all())

    def read(self) -> np.ndarray:
        """Read what is open, or else open and read each file in one go."""
        pixels = self._loop.run_until_complete(self._read_all())
        return np.stack(pixels).reshape(self.job.result_shape)

    def close(self) -> None:
        """Close the event loop."""
        self._loop.close()

    async def _open_all(self) -> list[GeoTIFF]:
        return await asyncio.gather(*(self._open(path) for path in self.job.paths))

    async def _read_all(self) -> list[np.ndarray]:
        if self._files:
            return await asyncio.gather(*map(self._window, self._files))
        return await asyncio.gather(*(self._open_and_read(path) for path in self.job.paths))

    async def _open(self, path: str) -> GeoTIFF:
        return await GeoTIFF.open(path, store=self._store)

    async def _window(self, file: GeoTIFF) -> np.ndarray:
        row, col, height, width = self.job.window
        level = file if self.job.level is None else file.overviews[self.job.level]
        array = await level.read(window=Window(col_off=col, row_off=row, width=width, height=height))
        pixels: np.ndarray = array.data[0]
        return pixels

    async def _open_and_read(self, path: str) -> np.ndarray:
        return await self._window(await self._open(path))

"""lazycogs: the window as bounds and resolution over a geoparquet file of the items."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb_extension_icu
import duckdb_extension_parquet
import duckdb_extension_spatial
import lazycogs
import numpy as np
import rustac
from obstore.store import HTTPStore

from contenders.job import Adapter, Job


class Reader(Adapter):
    """Opens every file anew in each read."""

    keeps_headers = False

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._folder = TemporaryDirectory()
        self._parquet = str(Path(self._folder.name) / "items.parquet")
        rustac.write_sync(self._parquet, job.items)
        self._client = _client(Path(self._folder.name) / "extensions")

    def read(self) -> np.ndarray:
        """Open and load."""
        job = self.job
        array = lazycogs.open(
            self._parquet,
            bbox=job.bounds,
            crs=f"EPSG:{job.epsg}",
            resolution=job.res[0],
            bands=job.assets,
            dtype="uint16",
            nodata=0,
            duckdb_client=self._client,
            # its own store refuses http without s
            store=HTTPStore.from_url(job.root, client_options={"allow_http": True}),
        )
        pixels: np.ndarray = array.transpose("time", "band", "y", "x").values
        return pixels

    def close(self) -> None:
        """Remove the geoparquet file."""
        self._folder.cleanup()


def _client(folder: Path) -> rustac.DuckdbClient:
    """A client with DuckDB's extensions from their packages: else DuckDB downloads them at first use."""
    system = "osx" if platform.system() == "Darwin" else "linux"
    machine = "arm64" if platform.machine() in ("arm64", "aarch64") else "amd64"
    for package in (duckdb_extension_icu, duckdb_extension_parquet, duckdb_extension_spatial):
        (extension,) = Path(package.__file__).parent.glob("extensions/*/*.duckdb_extension")
        place = folder / extension.parent.name / f"{system}_{machine}"
        place.mkdir(parents=True, exist_ok=True)
        os.symlink(extension, place / extension.name)
    return rustac.DuckdbClient(extension_directory=str(folder), install_extensions=False)

"""stackstac: the window as bounds and resolution, computed by 16 threads of dask."""

from __future__ import annotations

from contenders.gdal import THREADS, TUNED, tune

tune()

import numpy as np  # noqa: E402  # GDAL reads its settings when it is first imported
import stackstac  # noqa: E402
from stackstac.rio_env import LayeredEnv  # noqa: E402

from contenders.job import Adapter  # noqa: E402


class Reader(Adapter):
    """Opens every file anew for each stack."""

    keeps_headers = False

    def read(self) -> np.ndarray:
        """Stack and compute."""
        job = self.job
        stack = stackstac.stack(
            job.items,
            assets=job.assets,
            epsg=job.epsg,
            resolution=(job.res[1], job.res[0]),
            bounds=job.bounds,
            snap_bounds=False,
            dtype=np.dtype("uint16"),
            fill_value=np.uint16(0),
            rescale=False,
            xy_coords=False,
            gdal_env=LayeredEnv(always=TUNED),
        )
        pixels: np.ndarray = stack.data.compute(scheduler="threads", num_workers=THREADS)
        return pixels

"""Files that the engine cannot cut: GDAL reads them over the network itself, as well tuned as it can be."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from ..cog.gdal import open_level
from ..errors import FetchError
from .decode import observed
from .receipt import Fallback

if TYPE_CHECKING:
    from ..cog.layout import Layout
    from ..plan.request import ReadRequest
    from ..signing import Sign


def read_with_gdal(
    layout: Layout, request: ReadRequest, sign: Sign | None = None
) -> tuple[np.ndarray, np.ndarray, Fallback]:
    """Pixels of a request and where they were observed, as `decode` gives them, and why it took GDAL.

    Raises LayoutError where GDAL does not open the file, and FetchError where it does not read it, or where the file is
    not the one that was planned.
    """
    from rasterio.errors import RasterioError
    from rasterio.windows import Window as RasterioWindow

    start, source, window = time.perf_counter(), request.source, request.window
    level = layout.level(source.level)
    place = RasterioWindow(window.col_off, window.row_off, window.width, window.height)  # type: ignore[call-arg, unused-ignore]
    try:
        with open_level(layout, source.level, sign) as dataset:
            if dataset.shape != (level.height, level.width):
                raise FetchError(
                    f"{layout.href} has {dataset.shape} pixels where {level.height} x {level.width} were planned; "
                    "compile the manifest anew"
                )
            pixels: np.ndarray = dataset.read(source.indexes, window=place)
            masks: np.ndarray = dataset.read_masks(source.indexes, window=place)
    except RasterioError as error:
        # no words of GDAL: they may hold a signed address
        raise FetchError(f"{layout.href}: GDAL cannot read {window} of it ({type(error).__name__})") from None
    seconds = time.perf_counter() - start
    return pixels, observed(pixels, source.nodata) & (masks != 0), Fallback(layout.href, str(layout.why), seconds)

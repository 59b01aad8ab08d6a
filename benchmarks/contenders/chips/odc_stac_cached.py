"""odc-stac + xbatcher with room for all bytes of a run. If not told so, GDAL keeps 16 MB of what it has fetched."""

from __future__ import annotations

import os

os.environ["CPL_VSIL_CURL_CACHE_SIZE"] = "1000000000"

from contenders.chips.odc_stac import Reader as Reader  # GDAL reads its settings when it is first imported

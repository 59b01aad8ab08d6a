"""Which assets of an item are rasters whose headers can be indexed."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pystac.utils import is_absolute_href

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pystac import Asset, Item

_TYPES = frozenset({"image/tiff", "image/geotiff", "image/vnd.stac.geotiff", "image/jp2"})
_SUFFIXES = frozenset({".tif", ".tiff", ".jp2"})


def raster_hrefs(items: Iterable[Item]) -> list[str]:
    """Absolute hrefs of all GeoTIFF and JPEG 2000 assets, each once, sorted; signed as the items have them.

    An asset's media type says what it is; where it has none, its suffix does.
    """
    return sorted({_absolute(asset) for item in items for asset in item.assets.values() if _is_raster(asset)})


def _is_raster(asset: Asset) -> bool:
    if asset.media_type:
        return asset.media_type.partition(";")[0].strip().lower() in _TYPES
    return PurePosixPath(urlsplit(asset.href).path).suffix.lower() in _SUFFIXES


def _absolute(asset: Asset) -> str:
    # A path of this machine is absolute, wherever the item says that it is from.
    return asset.href if is_absolute_href(asset.href) else asset.get_absolute_href() or asset.href

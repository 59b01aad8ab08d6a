"""What GDAL makes of a header: grid, pixel type, nodata, alpha, scale and offset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..crs import crs_text
from ..errors import GridError, LayoutError
from ..grid import Grid

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

    from .pages import Pages

#: Meanings kept, a kilobyte or two each. Bands and dates of one scene often share theirs.
MAX_KNOWN = 4096

#: Of the header in memory, which GDAL's messages name.
_NAME = "header.tif"

type _Key = tuple[Any, ...]
_known: dict[_Key, dict[str, Any]] = {}


def header_meaning(href: str, header: bytes, pages: Pages) -> dict[str, Any]:
    """Fields of a Layout that GDAL knows about the file that begins with `header`.

    GDAL is asked once for all files whose first pages have the same tags: opening a header in it takes longer than all
    else. Raises LayoutError where the file has no CRS, is rotated, has complex pixels, or GDAL does not open it.
    """
    from rasterio.errors import CRSError, RasterioError
    from rasterio.io import MemoryFile

    first = pages.levels[0]
    key = (pages.byteorder, first.height, first.width, first.mask is None, first.tags)
    if key in _known:
        return _known[key]
    try:
        with MemoryFile(header, filename=_NAME) as file, file.open(driver="GTiff") as dataset:
            meaning = dataset_meaning(dataset)
    except (RasterioError, CRSError, UnicodeDecodeError) as error:  # the last of geokeys that are no text
        said = str(error).rpartition(f"{_NAME}: ")[2]
        raise LayoutError(f"{href} is no GeoTIFF that GDAL opens: {said}") from error
    except (GridError, LayoutError) as error:
        raise LayoutError(f"{href} {error}") from error
    if len(_known) >= MAX_KNOWN:
        _known.clear()
    _known[key] = meaning
    return meaning


def dataset_meaning(dataset: DatasetReader) -> dict[str, Any]:
    """Those fields of an open dataset. Raises LayoutError and GridError, whose messages a file's name goes before."""
    if dataset.crs is None:
        raise LayoutError("names no CRS; assign one with `rio edit-info --crs`")
    if dataset.dtypes[0].startswith("complex"):
        raise LayoutError("has complex pixels, which is not supported; write their parts as bands")
    transform = tuple(dataset.transform)
    try:
        grid = Grid.from_transform(crs_text(dataset.crs), transform, dataset.height, dataset.width)
    except GridError as error:
        raise GridError(f"does not lie on a grid: {error}") from error
    return {
        "grid": grid,
        "count": dataset.count,
        "dtype": dataset.dtypes[0],
        "nodata": dataset.nodata,
        "alpha": _alpha(dataset),
        "scales": tuple(dataset.scales),
        "offsets": tuple(dataset.offsets),
    }


def _alpha(dataset: DatasetReader) -> int | None:
    """The band (1-based) by which GDAL masks the others: nodata and an internal mask go before it."""
    from rasterio.enums import ColorInterp, MaskFlags

    colors = list(dataset.colorinterp)
    if ColorInterp.alpha not in colors:  # to ask for flags makes GDAL look at all pages
        return None
    masked = any(MaskFlags.alpha in flags for flags in dataset.mask_flag_enums)
    return colors.index(ColorInterp.alpha) + 1 if masked else None

"""All tiles of a map as one raster: a VRT that names them, for GDAL, rasterio and QGIS."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from .catalog import file_names
from .geotiff import BLOCK, NODATA, class_colours

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .tiling import Tile, Tiling

NAME = "map.vrt"


def make_vrt(tiling: Tiling, tiles: Iterable[Tile], folder: str, classes: int | None) -> bytes:
    """The VRT of the tiles that were written, below `folder`; `classes` is their number, None where tiles hold values.

    Where there is no tile there is nodata. Paths are relative, so a map may be moved.
    """
    grid = tiling.grid
    root = Element("VRTDataset", rasterXSize=str(grid.width), rasterYSize=str(grid.height))
    SubElement(root, "SRS").text = grid.crs
    a, b, c, d, e, f = grid.transform
    SubElement(root, "GeoTransform").text = ", ".join(map(repr, (c, a, b, f, d, e)))
    band = SubElement(root, "VRTRasterBand", dataType="Float32" if classes is None else "Byte", band="1")
    SubElement(band, "NoDataValue").text = "nan" if classes is None else str(NODATA)
    if classes is not None:
        SubElement(band, "ColorInterp").text = "Palette"
        table, colours = SubElement(band, "ColorTable"), class_colours(classes)
        for number in range(NODATA + 1):
            red, green, blue = colours[number] if number < classes else (0, 0, 0)
            alpha = "255" if number < classes else "0"
            SubElement(table, "Entry", c1=str(red), c2=str(green), c3=str(blue), c4=alpha)
    for tile in tiles:
        source = SubElement(band, "SimpleSource")
        SubElement(source, "SourceFilename", relativeToVRT="1").text = f"{folder}{file_names(tile.name)['map']}"
        SubElement(source, "SourceBand").text = "1"
        size = {"xSize": str(tile.core.width), "ySize": str(tile.core.height)}
        # with its size and blocks said, a file is opened only where it is looked at
        SubElement(
            source,
            "SourceProperties",
            RasterXSize=size["xSize"],
            RasterYSize=size["ySize"],
            DataType="Float32" if classes is None else "Byte",
            BlockXSize=str(BLOCK),
            BlockYSize=str(BLOCK),
        )
        SubElement(source, "SrcRect", {"xOff": "0", "yOff": "0", **size})
        SubElement(source, "DstRect", {"xOff": str(tile.core.col_off), "yOff": str(tile.core.row_off), **size})
    indent(root, " ")
    return tostring(root) + b"\n"

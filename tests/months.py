"""A scene of three months, in files that are cut and files that GDAL reads, at whatever address a server gives it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pystac
import rasterio
import rasterio.shutil
from cogs import write_cog
from items import code, write_items

from geomask.cog.index import HeaderIndex
from geomask.grid import Grid, Window
from geomask.plan.compile import compile_manifest
from geomask.plan.manifest import Manifest
from geomask.plan.sources import index_selection
from geomask.read.cube import Cube
from geomask.selection import Selection
from geomask.signing import Sign
from geomask.stac.profile import Band
from geomask.stac.slots import make_slots

TILED = ("B02", "B03", "B04")
FOREIGN = ("strips", "jpeg2000")
"""Assets of which no tiles can be cut."""
HEIGHT, WIDTH = 320, 256
GRID = Grid("EPSG:32633", 500_000, 5_000_000, 10, 10, HEIGHT, WIDTH)
CHIPS = (Window(10, 20, 80, 80), Window(100, 60, 80, 80), Window(230, 170, 80, 80))


def write_scene(folder: Path) -> list[pystac.Item]:
    """Three items, a month each, over files in ``folder/bucket``, with spaces and a % in the way; hrefs are paths."""
    place = folder / "bucket" / "a scene, 100% cloudy"
    items = write_items(place, bands=TILED, height=HEIGHT, width=WIDTH, block=64, holes=True)
    for month, item in enumerate(items):
        item.datetime = datetime(2020, 1 + month, 5, tzinfo=UTC)
        place = Path(item.assets["B02"].href).parent
        first = code(month, 0, len(TILED)) + 20
        size = {"height": HEIGHT, "width": WIDTH, "first": first, "overviews": False}
        strips = write_cog(place / "strips #1.tif", driver="GTiff", tiled=False, blockysize=8, **size)
        exact = {"RESOLUTIONS": 1, "REVERSIBLE": "YES", "QUALITY": 100}
        rasterio.shutil.copy(strips, place / "whole.jp2", driver="JP2OpenJPEG", **exact)
        for name, path in zip(FOREIGN, (strips, place / "whole.jp2"), strict=True):
            item.add_asset(name, pystac.Asset(str(path)))
    return items


def moved(items: Sequence[pystac.Item], href: Callable[[Path], str]) -> list[pystac.Item]:
    """The same items, their files at the address that `href` gives for a path."""
    copies = [item.clone() for item in items]
    for item in copies:
        for asset in item.assets.values():
            asset.href = href(Path(asset.href))
    return copies


def planned(
    items: Sequence[pystac.Item], names: Sequence[str] = TILED, sign: Sign | None = None
) -> tuple[Manifest, HeaderIndex]:
    """All months of some assets over `CHIPS`, and the headers that were fetched for it."""
    selection = Selection.dense(make_slots(items), tuple(Band(name, name, 10) for name in names))
    index = index_selection(selection, items, sign=sign)
    return compile_manifest(selection, items, index, GRID, CHIPS), index


def assert_pixels(cube: Cube, manifest: Manifest, items: Sequence[pystac.Item]) -> None:
    """What the cube holds is what rasterio reads of the files of `items`, which are on the disk, and 0 is nodata."""
    assert manifest.channels
    for channel, (slot, name) in enumerate(manifest.channels):
        (item,) = (item for item in items if item.datetime and f"{item.datetime:%Y-%m}" == slot)
        with rasterio.open(item.assets[name].href) as file:
            for number, chip in enumerate(manifest.chips):
                place = rasterio.windows.Window(chip.col_off, chip.row_off, chip.width, chip.height)
                wanted = file.read(1, window=place)
                np.testing.assert_array_equal(cube.image[number, channel], wanted)
                np.testing.assert_array_equal(cube.valid[number, channel], wanted != 0)

"""Imagery where the answer lies in few places: objects placed in a real scene, as COGs, with what every block costs.

The ground is bands B02, B03 and B04 of a real Sentinel-2 scene of desert, salt pans, rocks and clouds
(``cog_S2A_29RKH``): 5 x 5 chips of 192 x 192 pixels. In each acquisition of it a chip shows none or one of three
objects in a random place, 10 pixels long, brighter than the ground, turned by any angle: one bar, two thin bars side by
side, or three dots in a row. All have the same area, and differ twofold in brightness, so an overview of factor 4 shows
little more than that something is there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pystac
import rasterio

from geomask.chips.cells import tile_grid
from geomask.grid import Window
from geomask.masks.preview import Preview
from geomask.plan.compile import compile_manifest
from geomask.plan.cost import Cost
from geomask.plan.survey import Survey, survey
from geomask.read.reader import read_manifest
from geomask.selection import Selection
from geomask.stac.band import Band
from geomask.stac.slots import make_slots

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from geomask.plan.manifest import Manifest
    from geomask.read.cube import Cube

SCENE = "cog_S2A_29RKH"
NAMES = ("B02", "B03", "B04")
BANDS = tuple(Band(name, name, 100, nodata=0) for name in NAMES)
KINDS = ("none", "bar", "pair", "dots")
#: Pixels of a chip's side, of a GeoTIFF tile's and of the square that an object lies in; chips along a side.
CHIP, TILE, BOX, ALONG = 192, 16, 16, 5
#: What is looked at first: B04 in an overview of factor 4.
PREVIEW, PREVIEW_LEVEL = Preview((2,), 4), 1
#: Object pixels are computed from so many points down and across.
FINE = 4


@dataclass(frozen=True, eq=False)
class Acquisition:
    """The chips of one acquisition, by row and column, as they were read, and what is needed to plan more reads."""

    labels: np.ndarray
    """Position in `KINDS`, int64 (chips,)."""
    selection: Selection
    """All bands at full resolution."""
    place: Survey
    chips: tuple[Window, ...]
    image: np.ndarray
    """Stored values, float32 (chips, bands, rows, columns)."""
    overview: Cube
    """What previews are made of: read at their level, in pixels of the grid."""

    def plan(self, selection: Selection, windows: Sequence[Window]) -> Manifest:
        """Some channels over some windows."""
        place = self.place
        return compile_manifest(selection, place.coverage, place.index, place.grid, windows, dense=False)

    @cached_property
    def prices(self) -> np.ndarray:
        """Bytes of each GeoTIFF tile, float64 (chips, bands, rows, columns of tiles)."""
        count = CHIP // TILE
        tiles = [window for chip in self.chips for window in cut(chip, count)]
        place = self.place
        cost = Cost.of(self.selection, place.coverage, place.index, place.grid, tiles)
        nbytes = cost.nbytes.values[0, :, 0]
        return nbytes.reshape(len(NAMES), len(self.chips), count, count).swapaxes(0, 1)

    @cached_property
    def overhead(self) -> tuple[float, float]:
        """Bytes that a chip takes whatever is chosen: its share of all headers; and with that of the preview."""
        headers = self.plan(self.selection, self.chips).header_nbytes
        preview = self.plan(PREVIEW.selection(self.selection, PREVIEW_LEVEL), self.chips).pixel_nbytes
        return headers / len(self.chips), (headers + preview) / len(self.chips)

    def nbytes(self, at: Sequence[int], chosen: np.ndarray, preview: bool) -> float:
        """Planned bytes of the chips at these positions, their share of headers and preview included.

        `chosen` is bool (chips at these positions, groups, rows, columns): blocks of all bands at once, or of each.
        """
        total = len(at) * self.overhead[preview]
        for group, of_group in enumerate(chosen.swapaxes(0, 1)):
            selection = self.selection if chosen.shape[1] == 1 else self.selection.keep([group])
            blocks = [cut(self.chips[chip], chosen.shape[-1]) for chip in at]
            windows = [blocks[chip][block] for chip, block in np.argwhere(of_group.reshape(len(at), -1)).tolist()]
            total += self.plan(selection, windows).pixel_nbytes if windows else 0
        return total


def cut(chip: Window, count: int) -> list[Window]:
    """`count` x `count` blocks of a chip, by row and column."""
    side = CHIP // count
    return [
        Window(chip.row_off + row, chip.col_off + column, side, side)
        for row in range(0, CHIP, side)
        for column in range(0, CHIP, side)
    ]


def open_ground(data: Path) -> np.ndarray:
    """The real scene, uint16 (bands, rows, columns). Raises FileNotFoundError where it is not in `data`."""
    paths = [data / SCENE / f"{name}.tif" for name in NAMES]
    if missing := [path for path in paths if not path.exists()]:
        raise FileNotFoundError(f"{SCENE}/{missing[0].name} is not in {data}; name its folder by --data")
    pixels = []
    for path in paths:
        with rasterio.open(path) as file:
            pixels.append(file.read(1))
    return np.stack(pixels)[:, : ALONG * CHIP, : ALONG * CHIP]


def make_acquisitions(ground: np.ndarray, count: int, folder: Path) -> Iterator[Acquisition]:
    """Written as COGs into `folder` where they are not there yet, and read."""
    for number in range(count):
        pixels, labels = place_objects(ground, np.random.default_rng(number))
        yield _read(_publish(pixels, folder / f"{number:03}", number), labels)


def place_objects(ground: np.ndarray, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """An acquisition, uint16 (bands, rows, columns), and the kinds of its chips, int64 (chips,), by row and column.

    Its light differs from others' by up to 10 %, and each pixel has noise of 15.
    """
    light, noise = draw.uniform(0.9, 1.1), draw.normal(0, 15, ground.shape)
    pixels = ground * light + noise
    kinds = []
    for chip in range(ALONG**2):
        kinds.append(int(draw.integers(len(KINDS))))
        top, left = draw.integers(0, CHIP - BOX, 2) + CHIP * np.array(divmod(chip, ALONG))
        cover = object_cover(kinds[-1], draw.uniform(0, math.pi), draw.uniform(0, 1, 2))
        pixels[:, top : top + BOX, left : left + BOX] += draw.uniform(1200, 2400) * cover
    return np.clip(pixels, 1, 65_535).astype(np.uint16), np.array(kinds)


def object_cover(kind: int, angle: float, shift: np.ndarray) -> np.ndarray:
    """Share of each of 16 x 16 pixels that an object covers, float (16, 16).

    It lies in the middle, moved by `shift` pixels (down, right), turned by `angle` radians.
    """
    points = (np.arange(BOX * FINE) + 0.5) / FINE - BOX / 2
    y, x = points[:, None] - shift[0], points[None, :] - shift[1]
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    if KINDS[kind] == "bar":
        inside = (abs(along) < 5) & (abs(across) < 1.5)
    elif KINDS[kind] == "pair":
        inside = (abs(along) < 5) & (abs(abs(across) - 2) < 0.75)
    elif KINDS[kind] == "dots":
        inside = (abs((along + 2) % 4 - 2) < 1.25) & (abs(along) < 6) & (abs(across) < 2)
    else:
        return np.zeros((BOX, BOX))
    return inside.reshape(BOX, FINE, BOX, FINE).mean((1, 3))


def _publish(pixels: np.ndarray, folder: Path, number: int) -> pystac.Item:
    """COGs, a file a band, and their item."""
    item = pystac.Item(folder.name, None, None, datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=number), {})
    folder.mkdir(parents=True, exist_ok=True)
    for name, band in zip(NAMES, pixels, strict=True):
        path = folder / f"{name}.tif"
        if not path.exists():
            _write_cog(path, band)
        item.add_asset(name, pystac.Asset(str(path)))
    return item


def _write_cog(path: Path, band: np.ndarray) -> None:
    """DEFLATE with predictor 2, GeoTIFF tiles of 16 pixels, averaged overviews in tiles of 64 (GDAL's least)."""
    profile = {
        "driver": "COG",
        "count": 1,
        "dtype": "uint16",
        "nodata": 0,
        "height": band.shape[0],
        "width": band.shape[1],
        "crs": "EPSG:32629",
        "transform": rasterio.transform.from_origin(199_980, 3_100_020, 100, 100),
        "compress": "DEFLATE",
        "predictor": 2,
        "blocksize": TILE,
        "overview_count": PREVIEW_LEVEL + 2,
        "overview_resampling": "average",
    }
    draft = path.with_suffix(".draft.tif")  # a run that was cut off leaves no half of a file
    # GDAL warns of any BLOCKSIZE under 128, and then honours it.
    settings = rasterio.Env(GDAL_TIFF_OVR_BLOCKSIZE=64, GDAL_VALIDATE_CREATION_OPTIONS=False)
    with settings, rasterio.open(draft, "w", **profile) as file:
        file.write(band, 1)
    draft.replace(path)


def _read(item: pystac.Item, labels: np.ndarray) -> Acquisition:
    selection = Selection.dense(make_slots([item]), BANDS)
    place = survey(selection, [item])
    chips = tuple(tile_grid(place.grid, (CHIP, CHIP), (CHIP, CHIP)))
    dense, overview = (
        read_manifest(compile_manifest(wanted, place.coverage, place.index, place.grid, chips), place.index)[0]
        for wanted in (selection, PREVIEW.selection(selection, PREVIEW_LEVEL))
    )
    return Acquisition(labels, selection, place, chips, dense.image, overview)

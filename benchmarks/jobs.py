"""The cases: which windows of which files are read, what the pixels are, and what whole GeoTIFF tiles would cost."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from contenders.job import Job, digest
from scene import EPSG, GSD, LEFT, TOP

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from scene import Scene

#: The 8x overview, as rasterio counts.
OVERVIEW = 2

#: Repetitions of a case, each at a place of its own.
PLACES = 5
DRAWS = 100
QUICK_DRAWS = 8

SEED = 3

Place = tuple[int, int]
"""(row_off, col_off) of a window, in pixels of its level."""


@dataclass(frozen=True, slots=True)
class Case:
    """One job at several places; each place is a repetition."""

    name: str
    bands: int
    """The first so many assets."""
    dates: int
    level: int | None
    places: tuple[Place, ...]


def make_cases(scene: Scene, quick: bool) -> list[Case]:
    """A, A1, B, C and random; `quick` takes fewer places of each, for A to C the middle one.

    How much of a GeoTIFF tile a window needs decides what a prefix saves. So the places are drawn in strata: their rows
    spread evenly over all shares that are possible, and their columns likewise, and the mean over them is the typical
    share.
    """
    kept = slice(PLACES // 2, PLACES // 2 + 1) if quick else slice(None)
    crossing = _spread(scene, _offsets(scene, None, crossing=True), PLACES)[kept]
    inside = _spread(scene, _offsets(scene, None, crossing=False), PLACES)[kept]
    coarse = _spread(scene, _offsets(scene, OVERVIEW, crossing=True), PLACES)[kept]
    anywhere = _spread(scene, range(scene.side - scene.window + 1), QUICK_DRAWS if quick else DRAWS)
    few = min(3, scene.bands)
    return [
        Case("A", few, scene.dates, None, crossing),
        Case("A1", few, scene.dates, None, inside),
        Case("B", scene.bands, scene.dates, None, crossing),
        Case("C", few, scene.dates, OVERVIEW, coarse),
        Case("random", 1, 1, None, anywhere),
    ]


def _offsets(scene: Scene, level: int | None, *, crossing: bool) -> list[int]:
    """Where a window can start, in rows or columns, so that it lies in two GeoTIFF tiles, or in one."""
    offsets = range(scene.level_side(level) - scene.window + 1)
    return [at for at in offsets if ((at + scene.window - 1) // scene.tile > at // scene.tile) == crossing]


def _spread(scene: Scene, offsets: Sequence[int], count: int) -> tuple[Place, ...]:
    """Places in order of their rows within a GeoTIFF tile: of `count` equal parts of the offsets, one each."""
    rng = np.random.default_rng(SEED)
    parts = np.array_split(sorted(offsets, key=lambda at: (at % scene.tile, at)), count)
    rows, cols = ([int(rng.choice(part)) for part in parts] for _ in range(2))
    return tuple(zip(rows, rng.permutation(cols).tolist(), strict=True))


def paths(case: Case, scene: Scene) -> list[str]:
    """Of the case's files below the scene's folder, dates first."""
    return [f"{name}/{asset}.tif" for name in scene.names[: case.dates] for asset in scene.assets[: case.bands]]


def make_job(case: Case, scene: Scene, place: Place, hrefs: list[str]) -> Job:
    """The case at one place, over files at these addresses, in the order of `paths`."""
    assets, side = scene.assets[: case.bands], scene.level_side(case.level)
    res = scene.side * GSD / side
    window = (*place, scene.window, scene.window)
    items = scene.items(assets, hrefs)
    return Job(items, assets, case.level, window, (side, side), (res, res), (LEFT, TOP), EPSG)


def true_digest(case: Case, scene: Scene, place: Place, folder: Path) -> str:
    """Of the pixels, as plain rasterio reads them from the files in `folder`."""
    import rasterio
    from rasterio.windows import Window

    row, col = place
    window = Window(col, row, scene.window, scene.window)
    level = {} if case.level is None else {"overview_level": case.level}
    pixels = []
    for path in paths(case, scene):
        with rasterio.open(folder / path, **level) as dataset:
            pixels.append(dataset.read(1, window=window))
    return digest(np.stack(pixels))


def whole_bytes(case: Case, scene: Scene, place: Place, folder: Path) -> int:
    """Bytes of all GeoTIFF tiles that the window meets, in all files."""
    rows, cols = (slice(start // scene.tile, -(-(start + scene.window) // scene.tile)) for start in place)
    return sum(int(_lengths(folder / path, case.level)[rows, cols].sum()) for path in paths(case, scene))


@cache
def _lengths(path: Path, level: int | None) -> np.ndarray:
    """Bytes of each GeoTIFF tile of a level, (tile rows, tile columns)."""
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0 if level is None else level + 1].aspage()
        shape = (-(-page.imagelength // page.tilelength), -(-page.imagewidth // page.tilewidth))
        return np.array(page.databytecounts).reshape(shape)

"""Which chips of the scene are read, in which order, and what their pixels are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from contenders.chips.job import ChipJob
from contenders.job import digest
from scene import EPSG, GSD, LEFT, TOP

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from scene import Scene

#: Rows and columns of a chip.
SIZE = 64

#: Where the lattice of chips begins: off the GeoTIFF tiles, so that one chip in eight crosses an edge, each way.
FIRST = (24, 40)

BANDS = 3
SEED = 5

Place = tuple[int, int]
"""(row_off, col_off) of a chip, in pixels."""


@dataclass(frozen=True, slots=True)
class ChipCase:
    """Some chips in an order."""

    name: str
    served: bool
    """Over HTTP; else from this machine's disk."""
    places: tuple[Place, ...]
    repeats: int = 1


def make_chip_cases(scene: Scene, quick: bool) -> list[ChipCase]:
    """http, http-grid and files."""
    repeats = 1 if quick else 3
    random = random_places(scene, 128 if quick else 512)
    return [
        ChipCase("http", True, random, repeats),
        ChipCase("http-grid", True, gridded_places(scene, 12 if quick else 32), repeats),
        ChipCase("files", False, random_places(scene, 96 if quick else 512), repeats),
    ]


def random_places(scene: Scene, count: int) -> tuple[Place, ...]:
    """Chips of the whole scene, none twice, in random order."""
    rows, cols = _lattice(scene)
    drawn = np.random.default_rng(SEED).permutation(len(rows) * len(cols))[:count]
    return tuple((rows[number // len(cols)], cols[number % len(cols)]) for number in drawn.tolist())


def gridded_places(scene: Scene, side: int) -> tuple[Place, ...]:
    """A square of `side` x `side` chips, row by row."""
    rows, cols = (axis[2 : 2 + side] for axis in _lattice(scene))
    return tuple((row, col) for row in rows for col in cols)


def _lattice(scene: Scene) -> tuple[list[int], list[int]]:
    """Rows and columns at which chips begin."""
    stop = scene.side - SIZE + 1
    return list(range(FIRST[0], stop, SIZE)), list(range(FIRST[1], stop, SIZE))


def chip_files(scene: Scene, folder: Path) -> dict[str, Path]:
    """The files that chips are of, by names that tell date and band (torchgeo reads them), dates first."""
    assets = scene.assets[:BANDS]
    return {f"{name}_{asset}.tif": folder / name / f"{asset}.tif" for name in scene.names for asset in assets}


def make_chip_job(scene: Scene, places: Sequence[Place], hrefs: list[str]) -> ChipJob:
    """Over files at these addresses, in the order of `chip_files`."""
    assets = scene.assets[:BANDS]
    items = scene.items(assets, hrefs)
    return ChipJob(items, assets, scene.side, GSD, (LEFT, TOP), EPSG, SIZE, list(places))


def true_chips(places: Sequence[Place], files: Sequence[Path]) -> np.ndarray:
    """As plain rasterio reads them: uint16 (chips, files, rows, columns)."""
    import rasterio
    from rasterio.windows import Window

    chips = np.empty((len(places), len(files), SIZE, SIZE), np.uint16)
    for number, path in enumerate(files):
        with rasterio.open(path) as dataset:
            for at in sorted(range(len(places)), key=lambda at: places[at]):
                row, col = places[at]
                chips[at, number] = dataset.read(1, window=Window(col, row, SIZE, SIZE))
    return chips


def true_digests(scene: Scene, places: Sequence[Place], folder: Path) -> list[str]:
    """Of each chip."""
    chips = true_chips(places, list(chip_files(scene, folder).values()))
    return [digest(chip) for chip in chips]

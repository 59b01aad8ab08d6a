"""Maps that a contender wrote, against the labels of the scene; and the items that it was given."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import rasterio
from inferscene import CUTS, Scene, source_labels
from rasterio.windows import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: What a map has where it says nothing.
NODATA = 255


def write_items(path: Path, scene: Scene, href: Callable[[str], str]) -> None:
    """An item collection of the scene, its files where `href` says."""
    path.write_text(json.dumps(scene.items(href)))


class Truth:
    """The classes of a scene."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._classes = np.digitize(scene.repeat(source_labels()), CUTS).astype(np.uint8)

    def score(self, folder: Path) -> float:
        """Share of all pixels that the maps below a folder name right; one that they do not cover is wrong."""
        said = np.full(self._classes.shape, NODATA, np.uint8)
        for path in map_files(folder):
            with rasterio.open(path) as file:
                columns, rows = ~self._scene.transform @ (file.transform.c, file.transform.f)
                self._paste(said, file.read(1), round(rows), round(columns))
        return float((said == self._classes).mean())

    def _paste(self, said: np.ndarray, part: np.ndarray, row: int, column: int) -> None:
        """Put a part that may reach over the scene where it belongs, and leave what is there where it has nodata."""
        height, width = said.shape
        inside = Window(column, row, part.shape[1], part.shape[0]).intersection(Window(0, 0, width, height))
        rows, columns = inside.toslices()
        part = part[rows.start - row : rows.stop - row, columns.start - column : columns.stop - column]
        said[rows, columns] = np.where(part == NODATA, said[rows, columns], part)


def map_files(folder: Path) -> Iterator[Path]:
    """The rasters of a map: those that its STAC items name; where there are no items, those in the folder itself."""
    documents = ((path, json.loads(path.read_text())) for path in sorted(folder.rglob("*.json")))
    items = [(path, found) for path, found in documents if isinstance(found, dict) and found.get("type") == "Feature"]
    for path, item in items:
        yield from (path.parent / asset["href"] for asset in item["assets"].values() if asset["href"].endswith(".tif"))
    if not items:
        yield from sorted(folder.glob("*.tif"))

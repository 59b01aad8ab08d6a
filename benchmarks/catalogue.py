"""A catalog of 10^5 items with a file behind every asset: made once and kept."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any

from contenders.start.job import StartJob, path_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EPSG = 32633
LEFT, TOP, GSD = 100_020.0, 5_900_040.0, 10.0


@dataclass(frozen=True)
class Catalogue:
    """Files of `across` x `across` places, side by side, on as many dates as `count` items need."""

    count: int = 100_000
    """Items."""
    across: int = 10
    """Places in a row, and rows of places."""
    side: int = 10_980
    """Rows and columns of a file; nearly all of it is a hole."""
    assets: tuple[str, ...] = ("B01", "B02", "B03")

    @property
    def folder_name(self) -> str:
        """Where the files lie in a cache."""
        return f"catalogue-1-{self.count}-{self.across}x{self.across}-{self.side}-{len(self.assets)}"

    @cached_property
    def places(self) -> list[dict[str, Any]]:
        """As `StartJob` has them."""
        from rasterio.warp import transform_bounds

        extent = self.side * GSD
        corners = [(LEFT + col * extent, TOP - row * extent) for row, col in product(range(self.across), repeat=2)]
        found = []
        for number, (left, top) in enumerate(corners):
            west, south, east, north = transform_bounds(
                f"EPSG:{EPSG}", "EPSG:4326", left, top - extent, left + extent, top
            )
            ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
            geometry = {"type": "Polygon", "coordinates": [ring]}
            place = {"name": f"T{number:02d}", "left": left, "top": top}
            found.append({**place, "geometry": geometry, "bbox": [west, south, east, north]})
        return found

    def job(self, count: int, root: str, folder: Path) -> StartJob:
        """The first `count` items."""
        extent = self.across * self.side * GSD
        bounds = (LEFT, TOP - extent, LEFT + extent, TOP)
        return StartJob(count, self.places, list(self.assets), root, str(folder), self.side, GSD, EPSG, bounds)

    def publish(self, folder: Path) -> Iterator[int]:
        """Write all files below `folder` where they are not there yet; yields after each place.

        Those of one place are one file on disk, under many names.
        """
        folder.mkdir(parents=True, exist_ok=True)
        dates = sorted(set(self.job(self.count, "", folder).dates))
        for number, place in enumerate(self.places):
            file = folder / f"{place['name']}.tif"
            if not file.exists():
                draft = file.with_suffix(".part")
                _write(draft, place, self.side)
                _link(draft, folder, [path_of(place["name"], date, asset) for date in dates for asset in self.assets])
                draft.rename(file)  # last: what was interrupted is made anew
            yield number


def _link(file: Path, folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)
        os.link(file, folder / name)


def _write(path: Path, place: dict[str, Any], side: int) -> None:
    import rasterio
    from rasterio.transform import from_origin

    shape = {"height": side, "width": side, "count": 1, "dtype": "uint16", "nodata": 0}
    tiles = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "DEFLATE", "predictor": 2}
    where = {"crs": f"EPSG:{EPSG}", "transform": from_origin(place["left"], place["top"], GSD, GSD)}
    with rasterio.open(path, "w", driver="GTiff", sparse_ok=True, **shape, **tiles, **where):
        pass

"""A catalog of many items, and the form of its adapter. Imported in every environment: needs nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterator

FIRST = datetime(2020, 1, 1, 10, 30, tzinfo=UTC)

#: Between two dates of a place.
REVISIT = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class StartJob:
    """Items of square files, date by date over all places of a square region."""

    count: int
    """Items."""
    places: list[dict[str, Any]]
    """``name``, ``left``, ``top`` (m), ``geometry`` and ``bbox`` (degrees) of each."""
    assets: list[str]
    root: str
    """Where a file is: root, then `path_of`."""
    folder: str
    """The same files on this machine."""
    side: int
    """Rows and columns of a file."""
    res: float
    """Of its pixels, m."""
    epsg: int
    bounds: tuple[float, float, float, float]
    """(left, bottom, right, top) of all places, m."""

    @property
    def dates(self) -> list[datetime]:
        """Of each item."""
        return [FIRST + number // len(self.places) * REVISIT for number in range(self.count)]

    def paths(self, asset: str) -> list[str]:
        """Of an asset's files, below `root` or `folder`."""
        return [path_of(place["name"], date, asset) for place, date in self._each()]

    def items(self) -> list[dict[str, Any]]:
        """As STAC has them."""
        return [self._item(place, date) for place, date in self._each()]

    def told(self, chips: int) -> dict[str, Any]:
        """How many chips of 64 x 64 the data set has room for."""
        return {"chips": chips}

    def _each(self) -> Iterator[tuple[dict[str, Any], datetime]]:
        for number, date in enumerate(self.dates):
            yield self.places[number % len(self.places)], date

    def _item(self, place: dict[str, Any], date: datetime) -> dict[str, Any]:
        transform = [self.res, 0.0, place["left"], 0.0, -self.res, place["top"]]
        grid = {"proj:shape": [self.side, self.side], "proj:transform": transform}
        crs = {"proj:epsg": self.epsg, "proj:code": f"EPSG:{self.epsg}"}
        pixel = {"data_type": "uint16", "nodata": 0, "spatial_resolution": self.res}
        assets = {
            asset: {
                "href": self.root + path_of(place["name"], date, asset),
                "type": "image/tiff; application=geotiff; profile=cloud-optimized",
                "roles": ["data"],
                "gsd": self.res,
                "eo:bands": [{"name": asset}],
                "raster:bands": [pixel],
            }
            for asset in self.assets
        }
        return {
            "type": "Feature",
            "stac_version": "1.0.0",
            "stac_extensions": [
                "https://stac-extensions.github.io/projection/v1.1.0/schema.json",
                "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
                "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
            ],
            "id": f"{place['name']}_{date:%Y%m%d}",
            "collection": "benchmark",
            "geometry": place["geometry"],
            "bbox": place["bbox"],
            "properties": {"datetime": date.isoformat().replace("+00:00", "Z"), "eo:cloud_cover": 0.0, **grid, **crs},
            "links": [],
            "assets": assets,
        }


def path_of(place: str, date: datetime, asset: str) -> str:
    """Of a file: its name tells date and band."""
    return f"{place}_{date:%Y%m%d}_{asset}.tif"


class Starter(ABC):
    """A data set of many items. Making it brings the items into the form that the data set takes."""

    job_class: ClassVar[type] = StartJob
    keeps_headers: ClassVar[bool] = False

    def __init__(self, job: StartJob) -> None:
        self.job = job

    @abstractmethod
    def read(self) -> int:
        """Make the data set, ready for its first chip; the number of chips of 64 x 64 pixels that fit into it."""

    def close(self) -> None:  # noqa: B027  # most have nothing to close
        """Let go of connections and files."""

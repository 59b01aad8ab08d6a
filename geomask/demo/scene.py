"""The demo's scene in memory: what the package ``nrt`` carries, as the bands that are published."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.transform import Affine, from_origin

from geomask.errors import RunError


@dataclass(frozen=True, slots=True)
class CubeBand:
    """A variable of the two cubes, and what it is published as."""

    name: str
    """Of the asset and its file."""
    source: str
    """The cube's variable."""
    gsd: int
    """Pixel size in m: says from which of the two cubes it comes."""
    common_name: str = ""
    """Empty: classes, not reflectance."""
    wavelength: float = 0.0
    """Centre, in micrometres."""

    @property
    def dtype(self) -> str:
        """Of the published file."""
        return "uint16" if self.common_name else "uint8"


BANDS = (
    CubeBand("B02", "B2", 10, "blue", 0.49),
    CubeBand("B03", "B3", 10, "green", 0.56),
    CubeBand("B04", "B4", 10, "red", 0.665),
    CubeBand("B08", "B8", 10, "nir", 0.842),
    CubeBand("B8A", "B8A", 20, "nir08", 0.865),
    CubeBand("B11", "B11", 20, "swir16", 1.61),
    CubeBand("SCL", "SCL", 20),
)


@dataclass(frozen=True, slots=True)
class Scene:
    """The chosen dates in memory."""

    times: list[datetime]
    """UTC, ascending."""
    pixels: dict[str, npt.NDArray[Any]]
    """Per band (dates, rows, columns), in the dtype that is published; 0 is nodata."""
    label: npt.NDArray[Any]
    """(rows, columns) at 20 m, uint8, percent; 255 is nodata."""
    left: float
    top: float
    """Outer corner of the upper left pixel, in m; the same at both pixel sizes."""

    def transform(self, gsd: int) -> Affine:
        """From pixels of `gsd` m to the CRS."""
        return from_origin(self.left, self.top, gsd, gsd)


def load_scene(chosen: range) -> Scene:
    """Read the chosen dates of both cubes, and the label. Raises RunError where the extra ``demo`` is missing."""
    try:
        from nrt import data
    except ImportError as error:
        raise RunError("the demo's data are in the extra `demo`: pip install 'geomask[demo]'") from error
    pixels = {}
    with data.romania_10m() as fine, data.romania_20m() as coarse:
        for band in BANDS:
            values = (fine if band.gsd == 10 else coarse)[band.source].values[list(chosen)]
            pixels[band.name] = np.nan_to_num(values, nan=0).astype(band.dtype)
        days = fine.time.values[list(chosen)].astype("datetime64[s]").tolist()
        left, top = float(fine.x[0]) - 5, float(fine.y[0]) + 5  # from the pixel's centre to its corner
    times = [day.replace(tzinfo=UTC) for day in days]
    return Scene(times, pixels, data.romania_forest_cover_percentage(), left, top)

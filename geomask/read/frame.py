"""A chip as xarray shows it: names, places and types, the same whether it is read at once or in parts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..errors import GridError, ManifestError
from ..plan.limits import LATENT

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr

    from ..grid import Grid
    from ..plan.manifest import Manifest

DIMS = ("slot", "band", "y", "x")


@dataclass(frozen=True, slots=True)
class Frame:
    """A chip, or some slots and bands of it, as an array (slots, bands, rows, columns)."""

    grid: Grid
    """Of the chip."""
    slots: tuple[str, ...]
    bands: tuple[str, ...]
    channels: tuple[int, ...]
    """Positions in the manifest's channels of those that lie here."""
    places: tuple[tuple[int, int], ...]
    """(slot, band) of each of them, as positions in `slots` and `bands`; any other (slot, band) is not valid."""
    scaling: tuple[tuple[float, float], ...] | None
    """(scale, offset) of each of them; None: values stay as stored."""
    masked: bool
    """Whether NaN stands where a pixel is not valid, else 0."""
    dtype: np.dtype[Any]
    """Of the values: float32 or float64."""

    @classmethod
    def of(cls, manifest: Manifest, chip: int, *, masked: bool, scaled: bool) -> Self:
        """Of a chip; slots and bands in the order in which the manifest's channels first name them.

        Scaled values are masked. They are float32 where that tells any two stored values of a file apart, as it does
        for reflectances of 16 bits, else float64. Raises ManifestError for a chip that is not there, and for a channel
        that is twice there.
        """
        if not 0 <= chip < len(manifest.chips):
            raise ManifestError(f"no chip {chip} in a manifest of {len(manifest.chips)}; they count from 0")
        names = manifest.channels
        if len(set(names)) < len(names):
            raise ManifestError("the manifest names a channel twice; xarray has one place for each slot and band")
        slots, bands = tuple(dict.fromkeys(slot for slot, _ in names)), tuple(dict.fromkeys(band for _, band in names))
        return cls(
            grid=manifest.grid.crop(manifest.chips[chip]),
            slots=slots,
            bands=bands,
            channels=tuple(range(len(names))),
            places=tuple((slots.index(slot), bands.index(band)) for slot, band in names),
            scaling=manifest.scaling if scaled else None,
            masked=masked or scaled,
            dtype=_scaled_type(manifest) if scaled else value_type(manifest),
        )

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(slots, bands, rows, columns)."""
        return len(self.slots), len(self.bands), self.grid.height, self.grid.width

    def take(self, slots: Sequence[int], bands: Sequence[int]) -> Frame:
        """Some slots and bands, by position, in the order given."""
        slot_at, band_at = ({at: place for place, at in enumerate(axis)} for axis in (slots, bands))
        kept = [at for at, (slot, band) in enumerate(self.places) if slot in slot_at and band in band_at]
        return replace(
            self,
            slots=tuple(self.slots[at] for at in slots),
            bands=tuple(self.bands[at] for at in bands),
            channels=tuple(self.channels[at] for at in kept),
            places=tuple((slot_at[self.places[at][0]], band_at[self.places[at][1]]) for at in kept),
            scaling=None if self.scaling is None else tuple(self.scaling[at] for at in kept),
        )

    def fill(self, image: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values and validity (slots, bands, rows, columns), from what a `Cube` has of `channels`.

        `image` and `valid` are (channels, rows, columns), of the whole chip or a part of it.
        """
        shape = (len(self.slots), len(self.bands), *image.shape[1:])
        values, seen = np.full(shape, np.nan if self.masked else 0, self.dtype), np.zeros(shape, bool)
        for number, place in enumerate(self.places):
            known = seen[place] = valid[number]
            pixels = image[number]
            if self.scaling is not None:
                scale, offset = self.scaling[number]
                pixels = pixels.astype(np.float64) * scale + offset  # rounded once, where it is written
            np.copyto(values[place], pixels, casting="same_kind", where=known)
        return values, seen

    def dataset(self, image: Any, valid: Any, encoding: dict[str, Any] | None = None) -> xr.Dataset:
        """The Dataset of ``image`` and ``valid``, both of `shape`: arrays, or what xarray reads later."""
        import xarray as xr

        label = "pixel values as stored" if self.scaling is None else "physical pixel values"
        nodata = {"_FillValue": np.nan} if self.masked else {}  # what rioxarray calls nodata in a file that it writes
        data = {
            "image": xr.Variable(DIMS, image, _attrs(label), {**(encoding or {}), **nodata}),
            "valid": xr.Variable(DIMS, valid, _attrs("whether a pixel was observed"), encoding),
        }
        return xr.Dataset(data, {"slot": list(self.slots), "band": list(self.bands), **_place(self.grid)})


def value_type(manifest: Manifest) -> np.dtype[Any]:
    """float32, unless the files of a manifest hold numbers that it would round: then float64.

    Raises ManifestError where they hold latents.
    """
    types = {source.dtype for source in manifest.requests.sources}
    if LATENT in types:
        href = next(source.href for source in manifest.requests.sources if source.dtype == LATENT)
        raise ManifestError(f"{href} holds features, no pixels; `geomask infer --from-features` decodes them")
    exact = all(np.can_cast(dtype, np.float32, "safe") for dtype in types)
    return np.dtype(np.float32 if exact else np.float64)


def _scaled_type(manifest: Manifest) -> np.dtype[Any]:
    """float32, unless stored values or physical ones need float64."""
    plain = value_type(manifest)
    crowded = any(
        _is_crowded(source.dtype, *manifest.scaling[channel])
        for source in manifest.requests.sources
        for channel in source.channels
    )
    return np.dtype(np.float64) if crowded else plain


def _is_crowded(dtype: str, scale: float, offset: float) -> bool:
    """Whether float32 could round the physical values of two stored ones to one."""
    if np.dtype(dtype).kind == "f":
        return (scale, offset) != (1, 0)
    stored, single = np.iinfo(dtype), np.finfo(np.float32)
    largest = max(abs(value * scale + offset) for value in (int(stored.min), int(stored.max)))
    return abs(scale) < max(2 * largest * float(single.eps), float(single.tiny)) or largest > float(single.max)


def _attrs(label: str) -> dict[str, str]:
    return {"long_name": label, "grid_mapping": "spatial_ref"}


def _place(grid: Grid) -> dict[str, Any]:
    """Pixel centres and the CRS as the CF conventions have them, in the form that rioxarray and GDAL read too."""
    import xarray as xr
    from rasterio.crs import CRS
    from rasterio.enums import WktVersion
    from rasterio.errors import CRSError

    try:
        crs = CRS.from_user_input(grid.crs)
        wkt = crs.to_wkt(version=WktVersion.WKT2_2019)
    except CRSError as error:
        raise GridError(f"no CRS that PROJ knows: {error}") from error
    a, b, c, d, e, f = grid.transform
    gdal = " ".join(repr(float(number)) for number in (c, a, b, f, d, e))
    y, x = (
        grid.top - (np.arange(grid.height) + 0.5) * grid.res_y,
        grid.left + (np.arange(grid.width) + 0.5) * grid.res_x,
    )
    if crs.is_geographic:
        names, units = ("latitude", "longitude"), ("degrees_north", "degrees_east")
    else:
        names, units = ("projection_y_coordinate", "projection_x_coordinate"), (crs.linear_units.replace(" ", "_"),) * 2
    return {
        "y": xr.Variable("y", y, {"axis": "Y", "standard_name": names[0], "units": units[0]}),
        "x": xr.Variable("x", x, {"axis": "X", "standard_name": names[1], "units": units[1]}),
        "spatial_ref": xr.Variable((), 0, {"crs_wkt": wkt, "GeoTransform": gdal}),
    }

"""What an item itself says of its bands: STAC 1.1 `bands`, and 1.0 `eo:bands` and `raster:bands`."""

from __future__ import annotations

import math
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import ItemError
from .band import Band
from .values import finite, maybe, parse_number, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pystac import Asset, Item

_TYPES = frozenset({"image/tiff", "image/geotiff", "image/vnd.stac.geotiff", "image/jp2"})
_SUFFIXES = frozenset({".tif", ".tiff", ".jp2"})
#: Roles of pictures and texts, which hold no band of their own.
_NO_BANDS = frozenset({"thumbnail", "overview", "visual", "metadata"})

#: A band's field, and what it is called, in order: STAC 1.1 prefixes what an extension defines, 1.0 does not.
_NAMES = {
    "common_name": ("eo:common_name", "common_name"),
    "wavelength": ("eo:center_wavelength", "center_wavelength"),
    "gsd": ("gsd",),
    "pixel": ("raster:spatial_resolution", "spatial_resolution"),
    "dtype": ("data_type",),
    "nodata": ("nodata",),
    "scale": ("raster:scale", "scale"),
    "offset": ("raster:offset", "offset"),
}
_DESCRIBED = tuple(field for field in _NAMES if field not in ("scale", "offset"))
#: What a band inherits from its asset, and an asset from its item, where it says nothing itself (STAC 1.1, "Bands").
_INHERITED = {"nodata", "data_type"} | {name for names in _NAMES.values() for name in names if ":" in name}

_PARSERS: dict[str, Callable[[Any], Any]] = {
    "common_name": text,
    "wavelength": finite,
    "gsd": finite,
    "pixel": finite,
    "dtype": text,
    "nodata": parse_number,
    "scale": finite,
    "offset": finite,
}


def read_bands(item: Item) -> tuple[Band, ...]:
    """The bands of an item's GeoTIFF and JPEG 2000 assets, in their order, as the item describes them.

    A band alone in its asset is called as the asset; others ``asset_band``, with the band's number where it has no
    name. Pictures are left out, and bands whose pixel size the item does not say. Scale and offset stay 1 and 0: they
    may differ from item to item, and `item_scaling` asks each. Raises ItemError for what is no metadata.
    """
    return tuple(band for key, asset in item.assets.items() if _is_raster(asset) for band in _bands(item, key, asset))


def item_scaling(item: Item, band: Band) -> tuple[float, float] | None:
    """(scale, offset) that the item states for a band; None where it states neither, or has no such asset or band."""
    asset = item.assets.get(band.asset)
    if asset is None:
        return None
    found = _fields(item, asset, band.index, ("scale", "offset"))
    return (found.get("scale", 1.0), found.get("offset", 0.0)) if found else None


def _bands(item: Item, key: str, asset: Asset) -> Iterator[Band]:
    listed = _lists(item, asset)
    count = max((len(entries) for entries in listed), default=0) or 1
    names = [_name(listed, number) for number in range(count)]
    for number in range(count):
        fields = _fields(item, asset, number + 1, _DESCRIBED)
        pixel = fields.pop("pixel", None) or _pixel(item, asset)
        if fields.setdefault("gsd", pixel) is not None:
            yield Band(_called(key, names, number), key, index=number + 1, **fields)


def _called(key: str, names: list[str | None], number: int) -> str:
    if len(names) == 1:
        return key
    name = names[number]
    return f"{key}_{name if name and names.count(name) == 1 else number + 1}"


def _fields(item: Item, asset: Asset, index: int, wanted: tuple[str, ...]) -> dict[str, Any]:
    """What is said of a band (1-based): by itself, else by its asset, else by the item."""
    places: list[Mapping[str, Any]] = [entries[index - 1] for entries in _lists(item, asset) if index <= len(entries)]
    places.append({"gsd": asset.extra_fields.get("gsd"), **_inherited(asset.extra_fields)})
    places.append(_inherited(item.properties))
    found = {}
    for field in wanted:
        said = [place[name] for place in places for name in _NAMES[field] if place.get(name) is not None]
        try:
            if said:
                found[field] = _PARSERS[field](said[0])
        except (TypeError, ValueError) as error:
            raise ItemError(f"item {item.id}: {field} of a band in {asset.href}: {error}") from error
    return found


def _inherited(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: fields[name] for name in _INHERITED if name in fields}


def _lists(item: Item, asset: Asset) -> list[list[Mapping[str, Any]]]:
    """The descriptions of an asset's bands, the newest kind first. Entries of the first STAC are numbers of others."""
    lists = []
    for kind in ("bands", "raster:bands", "eo:bands"):
        entries = asset.extra_fields.get(kind)
        if not isinstance(entries, list):
            continue
        shared = item.properties.get(kind)
        found = [_entry(entry, shared) for entry in entries]
        if any(entry is None for entry in found):
            raise ItemError(f"item {item.id}: {kind} of {asset.href} is no list of bands")
        lists.append([entry for entry in found if entry is not None])
    return lists


def _entry(entry: Any, shared: Any) -> Mapping[str, Any] | None:
    if type(entry) is int and isinstance(shared, list) and 0 <= entry < len(shared):
        entry = shared[entry]
    return entry if isinstance(entry, dict) else None


def _name(lists: list[list[Mapping[str, Any]]], number: int) -> str | None:
    names = (entries[number].get("name") for entries in lists if number < len(entries))
    return next((name for name in names if isinstance(name, str) and name), None)


def _pixel(item: Item, asset: Asset) -> float | None:
    """Metres of a pixel's side by `proj:transform` in a UTM zone or the like, else by the item's gsd."""
    for fields in (asset.extra_fields, item.properties):
        transform = fields.get("proj:transform")
        code = fields.get("proj:code", item.properties.get("proj:code"))
        if isinstance(transform, list) and len(transform) >= 6 and code != "EPSG:4326":
            return _positive(transform[0])
    return _positive(item.properties.get("gsd"))


def _positive(value: Any) -> float | None:
    try:
        number = maybe(finite)(value)
    except (TypeError, ValueError):
        return None
    return abs(number) if number and not math.isclose(number, 0) else None


def _is_raster(asset: Asset) -> bool:
    if _NO_BANDS & set(asset.roles or ()):
        return False
    if asset.media_type:
        return asset.media_type.partition(";")[0].strip().lower() in _TYPES
    return PurePosixPath(urlsplit(asset.href).path).suffix.lower() in _SUFFIXES

"""What a catalog's assets mean: a profile, one YAML file in ``catalogs/`` or of the user's own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ..errors import ItemError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True)
class Band:
    """One spectral band of a collection, and where an item keeps it."""

    name: str
    """The band's name in geomask, unique in its profile."""
    asset: str
    """The item's asset that holds it."""
    gsd: float
    """Ground sample distance, metres."""
    common_name: str | None = None
    """STAC's common name (red, nir, ...), where it has one."""
    wavelength: float | None = None
    """Centre wavelength, micrometres."""
    index: int = 1
    """The band's number in its file, 1-based."""
    dtype: str = "uint16"
    """numpy's name of the stored type."""
    nodata: float | None = None
    """The stored value that means no observation."""
    scale: float = 1.0
    """Physical value = stored value * scale + offset."""
    offset: float = 0.0
    """See `scale`."""

    def __post_init__(self) -> None:
        """Refuse numbers that no file can have."""
        if self.index < 1 or not self.gsd > 0:
            raise ItemError(f"band {self.name}: index counts from 1 and gsd is positive, not {self.index}, {self.gsd}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Of a mapping with these fields. Raises ItemError where one is missing, unknown or of the wrong kind."""
        known = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or not {"name", "asset", "gsd"} <= set(values) <= known:
            raise ItemError(
                f"a band has name, asset, gsd and may have {', '.join(sorted(known))}; this one is {values}"
            )
        try:
            return cls(**{key: _FIELDS[key](value) for key, value in values.items()})
        except ItemError:
            raise
        except (TypeError, ValueError) as error:
            raise ItemError(f"band {values['name']}: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, for `from_dict`."""
        return {**asdict(self), "nodata": json_number(self.nodata)}


def json_number(value: float | None) -> float | str | None:
    """A nodata value as STAC writes it: JSON has no words for NaN and infinities, so they are strings."""
    return value if value is None or math.isfinite(value) else str(value)


def parse_number(value: Any) -> float | None:
    """What `json_number` wrote; YAML takes ``1e-4`` for a string. Raises ValueError or TypeError for no number."""
    if isinstance(value, bool):
        raise TypeError(f"{value} is no number")
    return value if value is None or isinstance(value, int) else float(value)


def _finite(value: Any) -> float:
    number = parse_number(value)
    if number is None or not math.isfinite(number):
        raise ValueError(f"{value!r} is no finite number")
    return float(number)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is no text; set it in quotes")
    return value


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r} is no whole number")
    return value


def _maybe[T](parse: Callable[[Any], T]) -> Callable[[Any], T | None]:
    return lambda value: None if value is None else parse(value)


#: How the fields of a band are read from YAML and JSON.
_FIELDS: dict[str, Callable[[Any], Any]] = {
    "name": _text,
    "asset": _text,
    "gsd": _finite,
    "common_name": _maybe(_text),
    "wavelength": _maybe(_finite),
    "index": _whole,
    "dtype": _text,
    "nodata": parse_number,
    "scale": _finite,
    "offset": _finite,
}


@dataclass(frozen=True, slots=True)
class Profile:
    """A collection's bands and habits, as plain data."""

    name: str
    bands: tuple[Band, ...]
    title: str = ""
    endpoint: str | None = None
    """Address of the STAC API, where there is one."""
    collections: tuple[str, ...] = ()
    """Collections that the bands belong to; empty: any."""
    cloud_mask: str | None = None
    """The asset that classifies pixels."""
    clear_classes: tuple[int, ...] = ()
    """Values of the cloud mask that mean a clear view."""

    def select(self, names: Iterable[str] | None = None) -> tuple[Band, ...]:
        """Bands by name or common name, in the order asked for; all of them for None.

        Raises ItemError for a name that is unknown.
        """
        return self.bands if names is None else tuple(self._band(name) for name in names)

    def _band(self, name: str) -> Band:
        for band in self.bands:
            if name in (band.name, band.common_name):
                return band
        known = ", ".join(band.name for band in self.bands)
        raise ItemError(f"profile {self.name} has no band {name}; it has {known}")


def load_profile(name: str | Path) -> Profile:
    """The profile of that name in the package, or the YAML file at that path.

    Raises ItemError where there is none, or where it is no profile.
    """
    import yaml

    shipped = files("geomask.catalogs").joinpath(f"{name}.yaml")
    source = shipped if shipped.is_file() else Path(name)
    try:
        document = yaml.safe_load(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise ItemError(
            f"no profile {name}: neither one of {', '.join(profile_names())} nor a readable file"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ItemError(f"profile {name} is no YAML: {str(error).splitlines()[0]}") from error
    return _profile(str(name), document)


def profile_names() -> list[str]:
    """The profiles that the package ships."""
    return sorted(file.name[:-5] for file in files("geomask.catalogs").iterdir() if file.name.endswith(".yaml"))


def _profile(name: str, document: Any) -> Profile:
    if not isinstance(document, dict) or not isinstance(document.get("bands"), list) or not document["bands"]:
        raise ItemError(f"profile {name} has no list of bands")
    try:
        bands = tuple(Band.from_dict(values) for values in document["bands"])
    except ItemError as error:
        raise ItemError(f"profile {name}: {error}") from error
    if len({band.name for band in bands}) < len(bands):
        raise ItemError(f"profile {name} names a band twice")
    cloud_mask = document.get("cloud_mask") or {}
    try:
        return Profile(
            name=str(document.get("name", name)),
            bands=bands,
            title=str(document.get("title", "")),
            endpoint=_maybe(_text)(document.get("endpoint")),
            collections=_each(_text, document.get("collections")),
            cloud_mask=_text(cloud_mask["asset"]) if cloud_mask else None,
            clear_classes=_each(_whole, cloud_mask["clear_classes"]) if cloud_mask else (),
        )
    except (KeyError, TypeError, ValueError) as error:
        wanted = "collections are a list of names, a cloud_mask has an asset and a list of clear_classes"
        raise ItemError(f"profile {name}: {error}; {wanted}") from error


def _each[T](parse: Callable[[Any], T], values: Any) -> tuple[T, ...]:
    if values is not None and not isinstance(values, list):
        raise ValueError(f"{values!r} is no list")
    return tuple(parse(value) for value in values or ())

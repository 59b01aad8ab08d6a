"""One band of a collection: where an item keeps it, and what its stored values mean."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from ..errors import ItemError
from .values import each, finite, json_number, maybe, parse_number, record, text, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_VERSION = re.compile(r"\d{1,9}(\.\d{1,9})*")


@dataclass(frozen=True, slots=True)
class Scaling:
    """A scale and offset that hold for some items: those whose property equals a value, or is at least a version.

    An item without the property fits no rule about it.
    """

    property: str
    """Name of the item's property."""
    scale: float
    """Physical value = stored value * scale + offset."""
    offset: float
    """See `scale`."""
    equals: bool | float | str | None = None
    """The value that it has."""
    at_least: str | None = None
    """The lowest version: numbers with dots between them, compared one by one, so that 05.11 comes after 05.9."""

    def __post_init__(self) -> None:
        """Refuse a rule that says nothing, or two things, or compares with what is no version."""
        if (self.equals is None) == (self.at_least is None):
            raise ItemError(f"a scaling by {self.property} has either equals or at_least")
        if self.at_least is not None and _version(self.at_least) is None:
            raise ItemError(f"a scaling by {self.property} is at_least a version such as 04.00, not {self.at_least!r}")

    def fits(self, properties: Mapping[str, Any]) -> bool:
        """Whether it holds for an item with these properties."""
        value = properties.get(self.property)
        if self.at_least is None:
            return value == self.equals and isinstance(value, bool) == isinstance(self.equals, bool)
        found, lowest = _version(value), _version(self.at_least)
        return found is not None and lowest is not None and found >= lowest

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """Of a mapping with these fields. Raises ItemError where one is missing, unknown or of the wrong kind."""
        return cls(**record("scaling", values, _RULE, ("property", "scale", "offset")))

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, for `from_dict`."""
        return {key: value for key, value in asdict(self).items() if value is not None}


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
    """Physical value = stored value * scale + offset, where none of `scalings` says otherwise."""
    offset: float = 0.0
    """See `scale`."""
    scalings: tuple[Scaling, ...] = ()
    """Rules for some items; the first that fits holds."""

    def __post_init__(self) -> None:
        """Refuse numbers that no file can have."""
        if self.index < 1 or not self.gsd > 0:
            raise ItemError(f"band {self.name}: index counts from 1 and gsd is positive, not {self.index}, {self.gsd}")

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """Of a mapping with these fields. Raises ItemError where one is missing, unknown or of the wrong kind."""
        return cls(**record("band", values, BAND_FIELDS, ("name", "asset", "gsd")))

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, for `from_dict`."""
        rules = [rule.to_dict() for rule in self.scalings]
        return {**asdict(self), "nodata": json_number(self.nodata), "scalings": rules}


def _version(value: Any) -> tuple[int, ...] | None:
    """The numbers of a version without zeros at its end: 4, 4.0 and 04.00 are the same. None for no version."""
    if isinstance(value, bool) or not _VERSION.fullmatch(str(value)):
        return None
    numbers = [int(number) for number in str(value).split(".")]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def _plain(value: Any) -> bool | float | str | None:
    return value if isinstance(value, bool | str) else finite(value)


_RULE: dict[str, Callable[[Any], Any]] = {
    "property": text,
    "scale": finite,
    "offset": finite,
    "equals": _plain,
    "at_least": text,
}

#: How the fields of a band are read from YAML and JSON.
BAND_FIELDS: dict[str, Callable[[Any], Any]] = {
    "name": text,
    "asset": text,
    "gsd": finite,
    "common_name": maybe(text),
    "wavelength": maybe(finite),
    "index": whole,
    "dtype": text,
    "nodata": parse_number,
    "scale": finite,
    "offset": finite,
    "scalings": each(Scaling.from_dict),
}

"""Plain values of YAML and JSON, checked: text, numbers, lists and records. All of it may come from strangers."""

from __future__ import annotations

import math
from reprlib import repr as shortened
from typing import TYPE_CHECKING, Any

from ..errors import ItemError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

#: Whole numbers beyond this are no pixel values, and no float holds them exactly.
LARGEST = 2**64


def record(
    what: str, values: Any, parsers: Mapping[str, Callable[[Any], Any]], required: Sequence[str] = ()
) -> dict[str, Any]:
    """The fields of a mapping, each read by its parser.

    Raises ItemError where it is no mapping, or where a field is missing, unknown or of the wrong kind.
    """
    known = f"a {what} has {', '.join(required)} and may have {', '.join(sorted(parsers.keys() - set(required)))}"
    if not isinstance(values, dict):
        raise ItemError(f"{known}; this is {shortened(values)}")
    if strange := [key for key in values if key not in parsers]:
        raise ItemError(f"{known}; this one has {shortened(strange[0])}")
    if lacking := [key for key in required if key not in values]:
        raise ItemError(f"{known}; this one has no {lacking[0]}")
    name = values.get("name")
    label = f"{what} {name}" if isinstance(name, str) and name.isprintable() else what
    found = {}
    for key, value in values.items():
        try:
            found[key] = parsers[key](value)
        except ItemError as error:
            raise ItemError(f"{label}: {error}") from error
        except (TypeError, ValueError) as error:
            raise ItemError(f"{label}: {key}: {error}") from error
    return found


def json_number(value: float | None) -> float | str | None:
    """A nodata value as STAC writes it: JSON has no words for NaN and infinities, so they are strings."""
    return value if value is None or math.isfinite(value) else str(value)


def parse_number(value: Any) -> float | None:
    """What `json_number` wrote; YAML takes ``1e-4`` for a string. Raises ValueError or TypeError for no number."""
    if isinstance(value, bool):
        raise TypeError(f"{value} is no number")
    if isinstance(value, int) and abs(value) > LARGEST:
        raise ValueError(f"{shortened(value)} is more than any pixel holds")
    if value is None or isinstance(value, int):
        return value
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{shortened(value)} is no number") from None


def finite(value: Any) -> float:
    """A number that is one. Raises ValueError or TypeError otherwise."""
    number = parse_number(value)
    if number is None or not math.isfinite(number):
        raise ValueError(f"{shortened(value)} is no finite number")
    return float(number)


def text(value: Any) -> str:
    """Text that is not empty. Raises ValueError otherwise."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"{shortened(value)} is no text; set it in quotes")
    return value


def whole(value: Any) -> int:
    """A whole number. Raises ValueError otherwise."""
    if type(value) is not int:
        raise ValueError(f"{shortened(value)} is no whole number")
    return value


def truth(value: Any) -> bool:
    """True or false. Raises ValueError otherwise."""
    if not isinstance(value, bool):
        raise ValueError(f"{shortened(value)} is neither true nor false")
    return value


def maybe[T](parse: Callable[[Any], T]) -> Callable[[Any], T | None]:
    """A parser that leaves None as it is."""
    return lambda value: None if value is None else parse(value)


def each[T](parse: Callable[[Any], T]) -> Callable[[Any], tuple[T, ...]]:
    """A parser of lists."""

    def parse_all(values: Any) -> tuple[T, ...]:
        if not isinstance(values, list):
            raise ValueError(f"{shortened(values)} is no list")
        return tuple(parse(value) for value in values)

    return parse_all

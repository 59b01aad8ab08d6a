"""Kinds of values in a manifest's JSON, which anybody may have written: each is checked before it is used."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from ..errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: No number of a manifest is larger: up to here JSON, Parquet, int64 and float64 agree on every whole number.
LIMIT = 1 << 53


def decode(line: str) -> Any:
    """A JSON document. Raises ManifestError where it is none."""
    try:
        return _DECODER.decode(line)
    except RecursionError:
        raise ManifestError("JSON that is nested too deeply") from None
    except ManifestError:
        raise
    except ValueError as error:
        raise ManifestError(f"no JSON: {error}") from error


def _refuse(word: str) -> None:
    raise ManifestError(f"no JSON: {word} is no number there; set it in quotes")


_DECODER = json.JSONDecoder(parse_constant=_refuse)


def members(document: Any, names: Iterable[str]) -> dict[str, Any]:
    """An object with these members and no other."""
    if not isinstance(document, dict):
        raise ManifestError(f"an object is wanted, not {brief(document)}")
    names = list(names)
    if missing := [name for name in names if name not in document]:
        raise ManifestError(f"{missing[0]} is missing")
    if unknown := sorted(document.keys() - set(names)):
        raise ManifestError(f"{brief(unknown[0])} is unknown; there are {', '.join(names)}")
    return document


def text(name: str, value: Any) -> str:
    """Text."""
    if type(value) is not str:
        raise ManifestError(f"{name} is {brief(value)}, no text")
    return value


def whole(name: str, value: Any) -> int:
    """A whole number within +-2^53."""
    if type(value) is not int:
        raise ManifestError(f"{name} is {brief(value)}, no whole number")
    if not -LIMIT <= value <= LIMIT:
        raise ManifestError(f"{name} is {brief(value)}, beyond +-2^53")
    return value


def finite(name: str, value: Any) -> float:
    """A finite number."""
    if type(value) not in (int, float):
        raise ManifestError(f"{name} is {brief(value)}, no number")
    if not abs(value) < math.inf:
        raise ManifestError(f"{name} is {value}, not finite")
    return _float(name, value)


def number(name: str, value: Any) -> float:
    """Any number; NaN and infinities are text."""
    if type(value) is str and value in ("nan", "inf", "-inf"):
        return float(value)
    return finite(name, value)


def each[T](kind: Callable[[str, Any], T], name: str, values: Any) -> tuple[T, ...]:
    """A list of values of one kind."""
    if type(values) is not list:
        raise ManifestError(f"{name} is {brief(values)}, no list")
    return tuple(kind(f"{name}[{place}]", value) for place, value in enumerate(values))


def maybe[T](kind: Callable[[str, Any], T], name: str, value: Any) -> T | None:
    """None, or a value of one kind."""
    return None if value is None else kind(name, value)


def brief(value: Any) -> str:
    """A value as an error shows it: what a stranger wrote may be long."""
    try:
        said = json.dumps(value)
    except (TypeError, ValueError, RecursionError):  # a number of thousands of digits is a ValueError
        said = f"a {type(value).__name__}"
    return said if len(said) <= 60 else f"{said[:57]}..."


def _float(name: str, value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        raise ManifestError(f"{name} is {brief(value)}, too large for a float64") from None

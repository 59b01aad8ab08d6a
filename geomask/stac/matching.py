"""Which items answer a search: its parameters, parsed into tests that an item passes or not.

They mean what the STAC API specification says; where it leaves room:

* everything asked for holds at once, a bbox beside a geometry too;
* an item that lacks a property matches no condition on it, not even ``neq``, and sorts last in either direction;
* a query's operand is read as the kind of value that the item has, since ``stac-client`` sends ``"10"`` for 10;
* what cannot be understood is an error that quotes it, never an empty answer.
"""

from __future__ import annotations

import json
import math
import operator
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import cql2
import shapely
from shapely.geometry import box, shape

from ..errors import ItemError, SearchError
from .fields import comparable, item_span, item_value, parse_instant, short

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .fields import Json

type Test = Callable[[Json], bool]
"""Whether an item, as JSON, is wanted."""


def parse_interval(text: str) -> tuple[datetime, datetime]:
    """First and last instant of ``instant``, ``start/end``, ``start/..`` or ``../end``; both belong to it.

    Raises SearchError for any other text, and where the end is before the start.
    """
    ends = text.split("/")
    first, last = (ends[0], ends[-1]) if len(ends) < 3 else ("", "")
    start = datetime.min.replace(tzinfo=UTC) if first in ("", "..") else parse_instant(first)
    end = datetime.max.replace(tzinfo=UTC) if last in ("", "..") else parse_instant(last)
    if start is None or end is None or {first, last} <= {"", ".."}:
        raise SearchError(f"datetime {text!r}: give 2020-01-31T00:00:00Z, or start/end, where one end may be ..")
    if end < start:
        raise SearchError(f"datetime {text!r}: its end is before its start")
    return start, end


def parse_bbox(value: Any) -> shapely.Geometry:
    """The area of west,south,east,north in degrees; of six numbers the heights are left out.

    A west greater than east crosses the antimeridian. Raises SearchError for any other value.
    """
    try:
        numbers = [float(number) for number in (value.split(",") if isinstance(value, str) else value)]
    except (TypeError, ValueError) as error:
        raise SearchError(f"bbox {short(value)}: {error}") from error
    if len(numbers) == 6:
        del numbers[2::3]
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)) or numbers[1] > numbers[3]:
        raise SearchError(f"bbox {short(value)}: give west south east north in degrees, south below north")
    west, south, east, north = numbers
    if west <= east:
        return box(west, south, east, north)
    return shapely.union(box(west, south, 180, north), box(-180, south, east, north))


def parse_geometry(value: Any) -> shapely.Geometry:
    """A GeoJSON geometry, given as an object or as text. Raises SearchError for anything else."""
    geometry = _parse_json(value, "intersects")
    try:
        return _valid_shape(geometry)
    except Exception as error:  # shapely has one error for each way of being no geometry
        raise SearchError(f"intersects {short(value)} is no GeoJSON geometry: {error}") from error


def parse_tests(asked: Mapping[str, Any]) -> list[Test]:
    """The tests that an item has to pass for the parameters of a request, as GET or POST has them.

    Raises SearchError for a parameter that is unknown or makes no sense.
    """
    known = {*_PARSERS, "filter", "filter-lang", "sortby"}
    if unknown := ", ".join(sorted(asked.keys() - known)):
        raise SearchError(f"unknown search parameter {unknown}; known are {', '.join(sorted(known))}")
    tests = [parse(asked[name]) for name, parse in _PARSERS.items() if asked.get(name)]
    if asked.get("filter"):
        tests.append(_parse_filter(asked["filter"], asked.get("filter-lang")))
    return tests


def _one_of(name: str, value: Any) -> Test:
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(one, str) for one in names):
        raise SearchError(f"{name} {short(value)}: give a list of names")
    return lambda item: item_value(item, name.removesuffix("s")) in names


def _parse_datetime(value: Any) -> Test:
    first, last = parse_interval(str(value))

    def overlaps(item: Json) -> bool:
        start, end = item_span(item)
        return bool(start or end) and (start is None or start <= last) and (end is None or end >= first)

    return overlaps


def _touches(area: shapely.Geometry) -> Test:
    shapely.prepare(area)

    def touches(item: Json) -> bool:
        if item["geometry"] is None:
            return False
        try:
            return bool(shapely.intersects(area, _valid_shape(item["geometry"])))
        except Exception as error:  # as in parse_geometry
            raise ItemError(f"item {item['id']} has a geometry that is none: {error}") from error

    return touches


def _parse_query(value: Any) -> Test:
    query = _parse_json(value, "query")
    conditions = []
    for name, operands in query.items():
        if not isinstance(operands, dict):
            raise SearchError(f"query: {name} needs an operator, as in {{'lt': 10}}, not {short(operands)}")
        for symbol, operand in operands.items():
            if symbol not in _OPERATORS:
                raise SearchError(f"query: unknown operator {symbol!r} on {name}; known are {', '.join(_OPERATORS)}")
            if symbol == "in" and not isinstance(operand, list):
                raise SearchError(f"query: `in` on {name} needs a list, not {short(operand)}")
            conditions.append((name, symbol, operand))
    return lambda item: all(_holds(item, *condition) for condition in conditions)


def _holds(item: Json, name: str, symbol: str, operand: Any) -> bool:
    value = item_value(item, name)
    if value is None:
        return False
    try:
        return bool(_OPERATORS[symbol](value, operand))
    except TypeError as error:
        raise SearchError(f"query: cannot tell {name} {symbol} {operand!r} of item {item['id']}: {error}") from error


def _ordering(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda value, operand: compare(comparable(value), comparable(_read_as(value, operand)))


def _equal(value: Any, operand: Any) -> bool:
    same = _read_as(value, operand)
    return isinstance(value, bool) == isinstance(same, bool) and bool(comparable(value) == comparable(same))


def _read_as(value: Any, operand: Any) -> Any:
    """The operand, and where it is text and the value is not: what the text says in JSON."""
    if isinstance(value, str) or not isinstance(operand, str):
        return operand
    try:
        return json.loads(operand)
    except ValueError:
        return operand


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": _equal,
    "neq": lambda value, operand: not _equal(value, operand),
    "lt": _ordering(operator.lt),
    "lte": _ordering(operator.le),
    "gt": _ordering(operator.gt),
    "gte": _ordering(operator.ge),
    "startsWith": lambda value, operand: str(value).startswith(operand),
    "endsWith": lambda value, operand: str(value).endswith(operand),
    "contains": lambda value, operand: operand in (value if isinstance(value, list) else str(value)),
    "in": lambda value, operand: any(_equal(value, one) for one in operand),
}

_PARSERS: dict[str, Callable[[Any], Test]] = {
    "ids": partial(_one_of, "ids"),
    "collections": partial(_one_of, "collections"),
    "datetime": _parse_datetime,
    "bbox": lambda value: _touches(parse_bbox(value)),
    "intersects": lambda value: _touches(parse_geometry(value)),
    "query": _parse_query,
}


def _parse_filter(value: Any, language: str | None) -> Test:
    if language not in (None, "cql2-text", "cql2-json"):
        raise SearchError(f"filter-lang is {language!r}; known are cql2-text and cql2-json")
    try:
        expression = cql2.parse_text(value) if language == "cql2-text" else cql2.Expr(value)
    except Exception as error:  # cql2 raises nothing narrower
        raise SearchError(f"filter {short(value)} is no CQL2: {' '.join(str(error).split())}") from error

    def accepts(item: Json) -> bool:
        searchable = {name: part for name, part in item.items() if name not in ("assets", "links")}  # ten times faster
        left: Any = expression.reduce(searchable).to_json()
        if isinstance(left, bool):
            return left
        if _mentions_property(left):  # one that the item lacks: CQL2 calls this NULL, which is no match
            return False
        raise SearchError(f"filter {short(value)} cannot be decided for item {item['id']}: it comes to {short(left)}")

    return accepts


def _mentions_property(expression: Any) -> bool:
    if isinstance(expression, dict):
        return "property" in expression or any(map(_mentions_property, expression.values()))
    return isinstance(expression, list) and any(map(_mentions_property, expression))


def _valid_shape(geometry: Any) -> shapely.Geometry:
    """A GeoJSON geometry for shapely; a footprint that crosses itself is mended, since GEOS refuses it."""
    outline = shape(geometry)
    return outline if shapely.is_valid(outline) else shapely.make_valid(outline)


def _parse_json(value: Any, name: str) -> Json:
    try:
        document = json.loads(value) if isinstance(value, str) else value
    except ValueError as error:
        raise SearchError(f"{name} {short(value)} is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise SearchError(f"{name} {short(value)} is no JSON object")
    return document

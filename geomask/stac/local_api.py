"""A STAC API over items in memory: what pystac-client asks of a server, answered with no server and no network.

:class:`LocalApiIO` stands where pystac-client sends its requests, so all that lies above it (search, paging, counting,
collections) works unchanged. The answers are those of the STAC API specification; where it leaves room:

* everything asked for holds at once, a bbox beside a geometry too;
* an item that lacks a property matches no condition on it, not even ``neq``, and sorts last in either direction;
* a query's operand is read as the kind of value that the item has, since ``stac-client`` sends ``"10"`` for 10;
* what cannot be understood is an error that quotes it, never an empty answer.
"""

from __future__ import annotations

import json
import math
import operator
import re
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import cql2
import shapely
from pystac_client.exceptions import APIError
from pystac_client.mixins import QUERYABLES_REL
from pystac_client.stac_api_io import StacApiIO
from shapely.geometry import box, shape

from ..errors import ItemError, SearchError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

type Json = dict[str, Any]
"""A JSON object: an item, a collection, the parameters of a request."""

type Test = Callable[[Json], bool]
"""Whether an item, as JSON, is wanted."""

ROOT = "geomask-local://api"
"""The made-up address that stands for the items in memory; nothing ever resolves it."""

MAX_LIMIT = 10_000
"""Items on a page at most, and where no limit is given: pages cost a server, here they cost nothing."""

_CONFORMS_TO = (
    *(f"https://api.stacspec.org/v1.0.0/{name}" for name in ("core", "collections", "ogcapi-features", "item-search")),
    *(f"https://api.stacspec.org/v1.0.0/item-search#{name}" for name in ("fields", "filter", "query", "sort")),
    *(f"http://www.opengis.net/spec/cql2/1.0/conf/{name}" for name in ("cql2-text", "cql2-json", "basic-cql2")),
)

_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:?\d\d)?)?")

_ITEM_FIELDS = ("type", "stac_version", "stac_extensions", "id", "collection", "geometry", "bbox", "links", "assets")
_TIME_FIELDS = ("datetime", "start_datetime", "end_datetime")


class LocalApiIO(StacApiIO):
    """pystac-client's transport, answering from memory; addresses outside :data:`ROOT` still go to the network.

    `title` says where the items come from. Items come in order of time, then id, unless a request sorts them. Raises
    ItemError for what is no item.
    """

    def __init__(self, items: Iterable[Json], collections: Iterable[Json] = (), title: str | None = None) -> None:
        super().__init__()
        self._title = title
        self._items = sorted(map(check_item, items), key=time_order)
        self._collections = {collection["id"]: _as_served(collection) for collection in map(_check_id, collections)}
        self._last: tuple[str, list[Json]] = ("", [])

    def request(
        self,
        href: str,
        method: str | None = None,
        headers: dict[str, str] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> str:
        """Answer a request, as JSON text.

        Raises SearchError for parameters that make no sense, pystac-client's APIError (404) for what is not there.
        """
        url = urlsplit(href)
        if f"{url.scheme}://{url.netloc}" != ROOT:
            return super().request(href, method, headers, parameters)
        asked = {**dict(parse_qsl(url.query)), **(parameters or {})}
        place = url._replace(query="").geturl()
        return json.dumps(self._answer(place, (method or "GET").upper(), asked))

    def _answer(self, place: str, method: str, asked: Json) -> Json:
        match [unquote(part) for part in place.removeprefix(ROOT).split("/") if part]:
            case []:
                return _landing_page(self._title)
            case ["search"]:
                return self._page(place, method, asked)
            case ["collections"]:
                return {"collections": list(self._collections.values()), "links": []}
            case ["collections", name] if name in self._collections:
                return self._collections[name]
            case ["collections", name, "items"]:
                return self._page(place, method, {**asked, "collections": [name]})
            case ["collections", name, "items", item_id]:
                found = self._find({"collections": [name], "ids": [item_id]})
                if found:
                    return found[0]
            case ["queryables"] | ["collections", _, "queryables"]:
                return self._queryables(place)
        error = APIError(f"{place} is not there")
        error.status_code = 404
        raise error

    def _page(self, place: str, method: str, asked: Json) -> Json:
        limit = min(_whole_number(asked, "limit", MAX_LIMIT, least=1), MAX_LIMIT)
        start = _whole_number(asked, "token", 0, least=0)
        fields = _parse_fields(asked.get("fields"))
        found = self._find({name: value for name, value in asked.items() if name not in ("limit", "token", "fields")})
        page, rest = found[start : start + limit], found[start + limit :]
        return {
            "type": "FeatureCollection",
            "features": [trim_fields(item, *fields) for item in page] if fields else page,
            "links": [_next_link(place, method, {**asked, "token": str(start + limit)})] if rest else [],
            "numberMatched": len(found),
            "numberReturned": len(page),
        }

    def _find(self, asked: Json) -> list[Json]:
        """The items asked for, in order. The last answer is kept: the next page asks the same again."""
        key = json.dumps(asked, sort_keys=True, default=str)
        if self._last[0] != key:
            sort_keys, tests = parse_sortby(asked.get("sortby")), parse_tests(asked)
            found = [item for item in self._items if all(test(item) for test in tests)]
            self._last = (key, sort_items(found, sort_keys))
        return self._last[1]

    def _queryables(self, place: str) -> Json:
        names = sorted({"id", "collection", "geometry", *(name for item in self._items for name in item["properties"])})
        schema = "https://json-schema.org/draft/2019-09/schema"
        return {"$schema": schema, "$id": place, "type": "object", "properties": {name: {} for name in names}}


def _landing_page(title: str | None) -> Json:
    kinds = {"json": "application/json", "geojson": "application/geo+json", "schema": "application/schema+json"}
    return {
        "type": "Catalog",
        "stac_version": "1.0.0",
        "id": "geomask-local",
        "title": title,
        "description": "Items in memory.",
        "conformsTo": list(_CONFORMS_TO),
        "links": [
            {"rel": "self", "href": f"{ROOT}/", "type": kinds["json"]},
            {"rel": "root", "href": f"{ROOT}/", "type": kinds["json"]},
            {"rel": "data", "href": f"{ROOT}/collections", "type": kinds["json"]},
            {"rel": QUERYABLES_REL, "href": f"{ROOT}/queryables", "type": kinds["schema"]},
            {"rel": "search", "href": f"{ROOT}/search", "type": kinds["geojson"], "method": "GET"},
            {"rel": "search", "href": f"{ROOT}/search", "type": kinds["geojson"], "method": "POST"},
        ],
    }


def _as_served(collection: Json) -> Json:
    """A collection whose links lead into this API instead of to the files that it came from."""
    replaced = ("self", "root", "parent", "child", "item", "items")
    links = [link for link in collection.get("links", []) if link.get("rel") not in replaced]
    here = f"{ROOT}/collections/{collection['id']}"
    hrefs = {"self": here, "root": f"{ROOT}/", "parent": f"{ROOT}/", "items": f"{here}/items"}
    return {**collection, "links": [*links, *({"rel": rel, "href": href} for rel, href in hrefs.items())]}


def _next_link(place: str, method: str, asked: Json) -> Json:
    link = {"rel": "next", "type": "application/geo+json", "method": method}
    if method == "POST":
        return {**link, "href": place, "body": asked}
    return {**link, "href": f"{place}?{urlencode(asked, doseq=True)}"}


def _check_id(collection: Any) -> Json:
    if not isinstance(collection, dict) or not isinstance(collection.get("id"), str):
        raise ItemError(f"not a STAC collection, which has an id: {_short(collection)}")
    return collection


def check_item(item: Any) -> Json:
    """The item itself, if it is one: a STAC item as JSON. Raises ItemError that says what it lacks."""
    if not isinstance(item, dict) or item.get("type") != "Feature" or not isinstance(item.get("id"), str):
        raise ItemError(f"not a STAC item, which is a GeoJSON Feature with an id: {_short(item)}")
    kinds = {"properties": dict, "assets": dict, "links": list}
    wrong = [name for name, kind in kinds.items() if not isinstance(item.get(name), kind)]
    if wrong or not isinstance(item.get("geometry"), dict | None):
        raise ItemError(f"item {item['id']} is no STAC item: {', '.join(wrong) or 'geometry'} is missing or of no use")
    for name in _TIME_FIELDS:
        text = item["properties"].get(name)
        if text is not None and parse_instant(text) is None:
            raise ItemError(
                f"item {item['id']}: {name} is {text!r}, which is no timestamp such as 2020-01-31T00:00:00Z"
            )
    return item


def time_order(item: Json) -> tuple[datetime, str, str]:
    """Sort key of the default order: time (its start; the undated last), id, collection."""
    start = _span(item)[0] or datetime.max.replace(tzinfo=UTC)
    return start, str(item.get("id")), str(item.get("collection"))


def parse_instant(text: object) -> datetime | None:
    """An RFC 3339 timestamp as an instant in UTC, or None for anything else. Without a zone it is in UTC."""
    if not isinstance(text, str) or not _TIMESTAMP.fullmatch(text):
        return None
    try:
        instant = datetime.fromisoformat(text.upper())
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except (ValueError, OverflowError):  # a 13th month; a zone that leads out of the calendar
        return None


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
        raise SearchError(f"bbox {_short(value)}: {error}") from error
    if len(numbers) == 6:
        del numbers[2::3]
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)) or numbers[1] > numbers[3]:
        raise SearchError(f"bbox {_short(value)}: give west south east north in degrees, south below north")
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
        raise SearchError(f"intersects {_short(value)} is no GeoJSON geometry: {error}") from error


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
        raise SearchError(f"{name} {_short(value)}: give a list of names")
    return lambda item: item_value(item, name.removesuffix("s")) in names


def _parse_datetime(value: Any) -> Test:
    first, last = parse_interval(str(value))

    def overlaps(item: Json) -> bool:
        start, end = _span(item)
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
            raise SearchError(f"query: {name} needs an operator, as in {{'lt': 10}}, not {_short(operands)}")
        for symbol, operand in operands.items():
            if symbol not in _OPERATORS:
                raise SearchError(f"query: unknown operator {symbol!r} on {name}; known are {', '.join(_OPERATORS)}")
            if symbol == "in" and not isinstance(operand, list):
                raise SearchError(f"query: `in` on {name} needs a list, not {_short(operand)}")
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
    return lambda value, operand: compare(_comparable(value), _comparable(_read_as(value, operand)))


def _equal(value: Any, operand: Any) -> bool:
    same = _read_as(value, operand)
    return isinstance(value, bool) == isinstance(same, bool) and bool(_comparable(value) == _comparable(same))


def _read_as(value: Any, operand: Any) -> Any:
    """The operand, and where it is text and the value is not: what the text says in JSON."""
    if isinstance(value, str) or not isinstance(operand, str):
        return operand
    try:
        return json.loads(operand)
    except ValueError:
        return operand


def _comparable(value: Any) -> Any:
    """A timestamp as its instant, anything else as it is: text orders neither zones nor fractions of seconds."""
    return parse_instant(value) or value


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
        raise SearchError(f"filter {_short(value)} is no CQL2: {' '.join(str(error).split())}") from error

    def accepts(item: Json) -> bool:
        searchable = {name: part for name, part in item.items() if name not in ("assets", "links")}  # ten times faster
        left: Any = expression.reduce(searchable).to_json()
        if isinstance(left, bool):
            return left
        if _mentions_property(left):  # one that the item lacks: CQL2 calls this NULL, which is no match
            return False
        raise SearchError(f"filter {_short(value)} cannot be decided for item {item['id']}: it comes to {_short(left)}")

    return accepts


def _mentions_property(expression: Any) -> bool:
    if isinstance(expression, dict):
        return "property" in expression or any(map(_mentions_property, expression.values()))
    return isinstance(expression, list) and any(map(_mentions_property, expression))


def item_value(item: Json, name: str) -> Any:
    """What an item has under a name: ``id``, ``eo:cloud_cover``, ``properties.eo:cloud_cover``, ``geometry.type``.

    None where it has nothing.
    """
    if name in ("id", "collection"):
        return item.get(name)
    name = name.removeprefix("properties.")
    for node in (item["properties"], item):
        if name in node:
            return node[name]
        found: Any = node
        for part in name.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if found is not None:
            return found
    return None


def parse_sortby(value: Any) -> list[tuple[str, bool]]:
    """Names to sort by, first one first, each with whether it descends. Raises SearchError for what says no such."""
    keys = []
    for part in value.split(",") if isinstance(value, str) else value or []:
        if isinstance(part, str):
            part = {"field": part.lstrip("+-"), "direction": "desc" if part.startswith("-") else "asc"}
        if not isinstance(part, dict) or not part.get("field") or part.get("direction", "asc") not in ("asc", "desc"):
            raise SearchError(f"sortby {_short(value)}: give names, with a - before those that descend")
        keys.append((part["field"], part.get("direction") == "desc"))
    return keys


def sort_items(items: list[Json], keys: list[tuple[str, bool]]) -> list[Json]:
    """Items by the keys of :func:`parse_sortby`, equal ones in the order that they came in."""
    for name, descends in reversed(keys):
        valued = [(item_value(item, name), item) for item in items]
        have = [(_rank(value), item) for value, item in valued if value is not None]
        have.sort(key=operator.itemgetter(0), reverse=descends)
        items = [item for _, item in have] + [item for value, item in valued if value is None]
    return items


def _rank(value: Any) -> tuple[str, Any]:
    """A sort key for values of all kinds; kinds do not mix."""
    value = _comparable(value)
    if isinstance(value, int | float):
        return "number", value
    return (type(value).__name__, value) if isinstance(value, str | datetime) else ("other", json.dumps(value))


def _parse_fields(value: Any) -> tuple[list[str], list[str]] | None:
    """What to include and what to exclude, or None for whole items."""
    if not value:
        return None
    if isinstance(value, str):
        names = value.split(",")
        included = [name.removeprefix("+") for name in names if not name.startswith("-")]
        return included, [name[1:] for name in names if name.startswith("-")]
    if not isinstance(value, dict):
        raise SearchError(f"fields {_short(value)}: give names, with a - before those to leave out")
    return list(value.get("include") or ()), list(value.get("exclude") or ())


def trim_fields(item: Json, include: list[str], exclude: list[str]) -> Json:
    """An item with some of its fields. What is included comes on top of what makes it a valid item."""
    kept = item
    if include:
        kept = {}
        for name in (*_ITEM_FIELDS, *(f"properties.{name}" for name in _TIME_FIELDS), *include):
            kept = _with_field(kept, item, _field_path(item, name))
    for name in exclude:
        kept = _without_field(kept, _field_path(item, name))
    return kept


def _field_path(item: Json, name: str) -> list[str]:
    path = name.split(".")
    return path if path[0] in item or path[0] in (*_ITEM_FIELDS, "properties") else ["properties", *path]


def _with_field(target: Json, source: Any, path: list[str]) -> Json:
    name, *rest = path
    if not isinstance(source, dict) or name not in source:
        return target
    return {**target, name: _with_field(target.get(name, {}), source[name], rest) if rest else source[name]}


def _without_field(source: Any, path: list[str]) -> Any:
    name, *rest = path
    if not isinstance(source, dict) or name not in source:
        return source
    if rest:
        return {**source, name: _without_field(source[name], rest)}
    return {key: value for key, value in source.items() if key != name}


def _span(item: Json) -> tuple[datetime | None, datetime | None]:
    """Start and end of an item: its datetime twice, or where that is null, its interval."""
    properties = item.get("properties") or {}
    instant = parse_instant(properties.get("datetime"))
    if instant is not None:
        return instant, instant
    return parse_instant(properties.get("start_datetime")), parse_instant(properties.get("end_datetime"))


def _valid_shape(geometry: Any) -> shapely.Geometry:
    """A GeoJSON geometry for shapely; a footprint that crosses itself is mended, since GEOS refuses it."""
    outline = shape(geometry)
    return outline if shapely.is_valid(outline) else shapely.make_valid(outline)


def _parse_json(value: Any, name: str) -> Json:
    try:
        document = json.loads(value) if isinstance(value, str) else value
    except ValueError as error:
        raise SearchError(f"{name} {_short(value)} is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise SearchError(f"{name} {_short(value)} is no JSON object")
    return document


def _whole_number(asked: Mapping[str, Any], name: str, default: int, *, least: int) -> int:
    value = asked.get(name, default)
    if not re.fullmatch(r"\d+", str(value)) or int(value) < least:
        raise SearchError(f"{name} is {_short(value)}; give a whole number from {least} on")
    return int(value)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 120 else f"{text[:117]}..."

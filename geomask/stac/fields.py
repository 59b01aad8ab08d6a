"""The fields of an item as JSON: which it must have, what they hold, sorting by them, and keeping only some of them."""

from __future__ import annotations

import json
import operator
import re
from datetime import UTC, datetime
from typing import Any

from ..errors import ItemError, SearchError

type Json = dict[str, Any]
"""A JSON object: an item, a collection, the parameters of a request."""

_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:?\d\d)?)?")

_ITEM_FIELDS = ("type", "stac_version", "stac_extensions", "id", "collection", "geometry", "bbox", "links", "assets")
_TIME_FIELDS = ("datetime", "start_datetime", "end_datetime")


def check_item(item: Any) -> Json:
    """The item itself, if it is one: a STAC item as JSON. Raises ItemError that says what it lacks."""
    if not isinstance(item, dict) or item.get("type") != "Feature" or not isinstance(item.get("id"), str):
        raise ItemError(f"not a STAC item, which is a GeoJSON Feature with an id: {short(item)}")
    kinds = {"properties": dict, "assets": dict, "links": list}
    wrong = [name for name, kind in kinds.items() if not isinstance(item.get(name), kind)]
    if wrong or not isinstance(item.get("geometry"), dict | None):
        raise ItemError(f"item {item['id']} is no STAC item: {', '.join(wrong) or 'geometry'} is missing or of no use")
    if not isinstance(item.get("collection"), str | None):
        raise ItemError(f"item {item['id']} is no STAC item: its collection is {short(item['collection'])}, no name")
    for name in _TIME_FIELDS:
        text = item["properties"].get(name)
        if text is not None and parse_instant(text) is None:
            raise ItemError(
                f"item {item['id']}: {name} is {text!r}, which is no timestamp such as 2020-01-31T00:00:00Z"
            )
    return item


def time_order(item: Json) -> tuple[datetime, str, str]:
    """Sort key of the default order: time (its start; the undated last), id, collection."""
    start = item_span(item)[0] or datetime.max.replace(tzinfo=UTC)
    return start, str(item.get("id")), str(item.get("collection"))


def item_span(item: Json) -> tuple[datetime | None, datetime | None]:
    """Start and end of an item: its datetime twice, or where that is null, its interval."""
    properties = item.get("properties") or {}
    instant = parse_instant(properties.get("datetime"))
    if instant is not None:
        return instant, instant
    return parse_instant(properties.get("start_datetime")), parse_instant(properties.get("end_datetime"))


def parse_instant(text: object) -> datetime | None:
    """An RFC 3339 timestamp as an instant in UTC, or None for anything else. Without a zone it is in UTC."""
    if not isinstance(text, str) or not _TIMESTAMP.fullmatch(text):
        return None
    try:
        instant = datetime.fromisoformat(text.upper())
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except (ValueError, OverflowError):  # a 13th month; a zone that leads out of the calendar
        return None


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


def comparable(value: Any) -> Any:
    """A timestamp as its instant, anything else as it is: text orders neither zones nor fractions of seconds."""
    return parse_instant(value) or value


def parse_sortby(value: Any) -> list[tuple[str, bool]]:
    """Names to sort by, first one first, each with whether it descends. Raises SearchError for what says no such."""
    keys = []
    for part in value.split(",") if isinstance(value, str) else value or []:
        if isinstance(part, str):
            part = {"field": part.lstrip("+-"), "direction": "desc" if part.startswith("-") else "asc"}
        if not isinstance(part, dict) or not part.get("field") or part.get("direction", "asc") not in ("asc", "desc"):
            raise SearchError(f"sortby {short(value)}: give names, with a - before those that descend")
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


def in_order(items: list[Json], keys: list[tuple[str, bool]]) -> bool:
    """Whether items come as :func:`sort_items` would put them; of equal ones any may be first."""

    def values(some: list[Json]) -> list[list[Any]]:
        return [[item_value(item, name) for name, _ in keys] for item in some]

    return not keys or values(items) == values(sort_items(items, keys))


def _rank(value: Any) -> tuple[str, Any]:
    """A sort key for values of all kinds; kinds do not mix."""
    value = comparable(value)
    if isinstance(value, int | float):
        return "number", value
    return (type(value).__name__, value) if isinstance(value, str | datetime) else ("other", json.dumps(value))


def parse_fields(value: Any) -> tuple[list[str], list[str]] | None:
    """What to include and what to exclude, or None for whole items."""
    if not value:
        return None
    if isinstance(value, str):
        names = value.split(",")
        included = [name.removeprefix("+") for name in names if not name.startswith("-")]
        return included, [name[1:] for name in names if name.startswith("-")]
    if not isinstance(value, dict):
        raise SearchError(f"fields {short(value)}: give names, with a - before those to leave out")
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


def short(value: Any, length: int = 120) -> str:
    """A value as an error quotes it, cut to `length` characters."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= length else f"{text[: length - 3]}..."

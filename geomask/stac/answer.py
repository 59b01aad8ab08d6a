"""What the answer to a search has to hold: tests for its items, and the fields that those tests need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cql2

from ..errors import SearchError
from .fields import parse_instant, parse_sortby
from .matching import parse_interval, parse_tests

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .fields import Json
    from .matching import Test

_TESTED = ("ids", "collections", "datetime", "bbox", "intersects", "query", "filter")

#: Items are told apart and sorted by these.
_ALWAYS = ("id", "collection", "properties.datetime", "properties.start_datetime", "properties.end_datetime")

_MEMBERS = ("id", "collection", "geometry", "bbox", "type", "stac_version", "stac_extensions", "links", "assets")


def answer_tests(asked: Json, here: Iterable[str]) -> dict[str, Test]:
    """A test for each parameter of a search. What a server was asked for (all but `here`) it may read more widely."""
    tests = {}
    for name in _TESTED:
        if not asked.get(name):
            continue
        language = {"filter-lang": asked.get("filter-lang")} if name == "filter" else {}
        (test,) = parse_tests({name: asked[name], **language})
        tests[name] = test if name in here else _wider(name, asked[name], test)
    return tests


def needed_fields(asked: Json) -> list[str]:
    """The fields of an item that have to be there to test and to sort it, as ``properties.eo:cloud_cover``."""
    names = [name for name, _ in parse_sortby(asked.get("sortby"))]
    names += asked.get("query") or ()
    names += _properties(as_json_filter(asked["filter"])) if asked.get("filter") else ()
    names += ["geometry"] if asked.get("bbox") or asked.get("intersects") else ()
    paths = (name if name in _MEMBERS or name.startswith("properties.") else f"properties.{name}" for name in names)
    return list(dict.fromkeys((*_ALWAYS, *paths)))


def with_fields(fields: Json, needed: Iterable[str]) -> Json:
    """The parameter `fields`, changed so that what is needed comes too."""
    needed = list(needed)
    include = [*fields["include"], *needed] if fields.get("include") else []
    hidden = [name for name in fields.get("exclude") or () if not any(_holds(name, path) for path in needed)]
    return {"include": list(dict.fromkeys(include)), "exclude": hidden}


def as_json_filter(value: Any) -> Json:
    """A CQL2 filter as JSON. Raises SearchError where it is none."""
    try:
        return dict(value if isinstance(value, dict) else cql2.Expr(value).to_json())
    except Exception as error:  # cql2 raises nothing narrower
        raise SearchError(f"filter {value!r} is no CQL2: {' '.join(str(error).split())}") from error


def _wider(name: str, value: Any, test: Test) -> Test:
    """A test that fails only where a server has no way of reading the parameter that would let the item pass."""
    if name == "datetime":
        first, last = parse_interval(str(value))

        def meets(item: Json) -> bool:
            """The specification leaves open whether an item's interval counts beside its datetime."""
            properties = item["properties"]
            start, end = (parse_instant(properties.get(name)) for name in ("start_datetime", "end_datetime"))
            return test(item) or bool(start and end and start <= last and end >= first)

        return meets

    def passes(item: Json) -> bool:
        if name == "collections" and item.get("collection") is None:
            return True
        try:
            return test(item)
        except SearchError:  # it cannot be told here; the server could
            return True

    return passes


def _properties(expression: Any) -> list[str]:
    """The names that a CQL2 expression mentions."""
    if isinstance(expression, dict):
        own = [expression["property"]] if isinstance(expression.get("property"), str) else []
        return own + [name for part in expression.values() for name in _properties(part)]
    return [name for part in expression for name in _properties(part)] if isinstance(expression, list) else []


def _holds(name: str, path: str) -> bool:
    """Whether a field, as a user may write it, is the one at a path, or what it lies in."""
    return any(path == whole or path.startswith(f"{whole}.") for whole in (name, f"properties.{name}"))

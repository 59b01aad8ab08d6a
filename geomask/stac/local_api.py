"""A STAC API over items in memory: what pystac-client asks of a server, answered with no server and no network.

:class:`LocalApiIO` stands where pystac-client sends its requests, so all that lies above it (search, paging, counting,
collections) works unchanged. What a search means is said in :mod:`geomask.stac.matching`.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from pystac_client.exceptions import APIError
from pystac_client.mixins import QUERYABLES_REL
from pystac_client.stac_api_io import StacApiIO

from ..errors import ItemError, SearchError
from .fields import check_item, parse_fields, parse_sortby, short, sort_items, time_order, trim_fields
from .matching import parse_tests

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .fields import Json

ROOT = "geomask-local://api"
"""The made-up address that stands for the items in memory; nothing ever resolves it."""

MAX_LIMIT = 10_000
"""Items on a page at most, and where no limit is given: pages cost a server, here they cost nothing."""

_CONFORMS_TO = (
    *(f"https://api.stacspec.org/v1.0.0/{name}" for name in ("core", "collections", "ogcapi-features", "item-search")),
    *(f"https://api.stacspec.org/v1.0.0/item-search#{name}" for name in ("fields", "filter", "query", "sort")),
    *(f"http://www.opengis.net/spec/cql2/1.0/conf/{name}" for name in ("cql2-text", "cql2-json", "basic-cql2")),
)


class LocalApiIO(StacApiIO):
    """pystac-client's transport, answering from memory; addresses outside :data:`ROOT` still go to the network.

    `title` says where the items come from, `search` which search has found them. Items come in order of time, then id,
    unless a request sorts them. Raises ItemError for what is no item.
    """

    def __init__(
        self,
        items: Iterable[Json],
        collections: Iterable[Json] = (),
        title: str | None = None,
        search: Json | None = None,
    ) -> None:
        super().__init__()
        self._landing_page = _landing_page(title, search)
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
                return self._landing_page
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
        fields = parse_fields(asked.get("fields"))
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


def _landing_page(title: str | None, search: Json | None) -> Json:
    kinds = {"json": "application/json", "geojson": "application/geo+json", "schema": "application/schema+json"}
    return {
        "type": "Catalog",
        "stac_version": "1.0.0",
        "id": "geomask-local",
        "title": title,
        "description": "Items in memory.",
        "conformsTo": list(_CONFORMS_TO),
        "search": search,
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
        raise ItemError(f"not a STAC collection, which has an id: {short(collection)}")
    return collection


def _whole_number(asked: Mapping[str, Any], name: str, default: int, *, least: int) -> int:
    value = asked.get(name, default)
    if not re.fullmatch(r"\d+", str(value)) or int(value) < least:
        raise SearchError(f"{name} is {short(value)}; give a whole number from {least} on")
    return int(value)

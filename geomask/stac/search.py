"""Searching: an API on the network, a static catalog or a file of items, all asked through pystac-client.

Everything that can go wrong outside (a file, a server, a parameter) comes back as a SearchError of one line.
"""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, cast

from pystac_client import Client, ItemSearch
from pystac_client.errors import ClientTypeError
from pystac_client.exceptions import APIError
from pystac_client.item_search import OPS
from pystac_client.warnings import NoConformsTo

from ..errors import SearchError
from ..signing import unsigned
from .fields import short
from .frozen import Found, item_collection, load_found, load_items, save_items
from .inquiry import Inquiry
from .items import make_items
from .local_api import ROOT
from .matching import parse_bbox, parse_geometry, parse_interval
from .static import TIMEOUT, in_one_line, is_url, name_of, open_local, serve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pystac import Item
    from pystac_client.item_search import (
        BBoxLike,
        CollectionsLike,
        DatetimeLike,
        FieldsLike,
        FilterLike,
        IDsLike,
        IntersectsLike,
        QueryLike,
        SortbyLike,
    )

    from .fields import Json

__all__ = [
    "Found",
    "SearchParameters",
    "check_parameters",
    "count_matched",
    "describe_search",
    "item_collection",
    "load_found",
    "load_items",
    "open_catalog",
    "save_items",
    "search",
    "search_features",
]

_HINTS = {
    "bbox": "a larger bbox",
    "intersects": "a larger area",
    "datetime": "a longer datetime",
    "query": "a looser query",
    "filter": "a looser filter",
    "collections": "other collections",
    "ids": "other ids",
}


class SearchParameters(TypedDict, total=False):
    """What a search can ask for; names and forms are those of ``pystac_client.Client.search``."""

    method: str
    """GET or POST (the default)."""
    max_items: int
    """Items at most. Which ones is for the server to say, unless `sortby` is given."""
    limit: int
    """Items on a page of the answer."""
    ids: IDsLike
    collections: CollectionsLike
    bbox: BBoxLike
    """West, south, east, north in degrees."""
    intersects: IntersectsLike
    """A GeoJSON geometry."""
    datetime: DatetimeLike
    """An instant or an interval: ``2020-07``, ``2020-07-01/..``."""
    query: QueryLike
    """As in ``["eo:cloud_cover<10"]`` or ``{"eo:cloud_cover": {"lt": 10}}``."""
    filter: FilterLike
    """CQL2, as text or as JSON."""
    filter_lang: str
    sortby: SortbyLike
    fields: FieldsLike


def search(source: str | Client, **parameters: Unpack[SearchParameters]) -> list[Item]:
    """The items of a catalog that fit, as :func:`search_features` finds them.

    Raises SearchError where nothing does or the search cannot be answered, ItemError where an answer is no item.
    """
    return make_items(search_features(source, **parameters), name_of(source))


def search_features(source: str | Client, **parameters: Unpack[SearchParameters]) -> list[Json]:
    """The items that fit as GeoJSON, sorted by time and id unless `sortby` is given.

    `source` is what :func:`open_catalog` takes, or gives. What a server cannot do, or does wrongly, is done here, with
    a warning (docs/search.md). With `fields` a feature may be less than an item. Raises SearchError for parameters that
    make no sense, where the server cannot be asked, where its pages do not advance, and where nothing fits.
    """
    client = _opened(source)
    with in_one_line(name_of(source)):
        features = _inquire(client, name_of(source), parameters).features()
    if not features:
        raise SearchError(_nothing_found(name_of(source), parameters))
    return features


def count_matched(source: str | Client, **parameters: Unpack[SearchParameters]) -> int:
    """How many items fit, `max_items` aside; 0 is an answer too.

    As the server counts them; where it does not, or is asked for what it cannot do, they are fetched and counted.
    """
    client = _opened(source)
    with in_one_line(name_of(source)):
        return _inquire(client, name_of(source), parameters).count()


def describe_search(source: str | Client, **parameters: Unpack[SearchParameters]) -> Json:
    """A search as plain data, for :func:`save_items` and manifests: its catalog, unsigned, and what was asked for.

    Headers, which may be secrets, are no part of it. Where the catalog is itself a frozen search, that is `within`.
    """
    client = _opened(source)
    where = name_of(source)
    with in_one_line(where):
        asked = _asked(parameters)
    wanted = {name: value for name, value in asked.items() if name != "limit"}
    if parameters.get("max_items"):
        wanted["max_items"] = parameters["max_items"]
    within = client.extra_fields.get("search") if _is_local(client) else None
    described = {"url": unsigned(where), "parameters": wanted, **({"within": within} if within else {})}
    return cast("Json", json.loads(json.dumps(described)))


def check_parameters(**parameters: Unpack[SearchParameters]) -> None:
    """Raise SearchError for parameters that no catalog could answer, before one is opened."""
    shared = {name: value for name, value in parameters.items() if name in ("method", "filter_lang")}
    for name, value in parameters.items():
        alone = cast("SearchParameters", {**shared, name: value})
        with in_one_line(f"{name} {short(value, 80)}"):
            _check(alone, ItemSearch(f"{ROOT}/search", **alone))


def open_catalog(href: str, headers: dict[str, str] | None = None) -> Client:
    """A catalog to search: an API or a static catalog by its URL, a local file by its path, or ``-``.

    A static catalog is read to its last item, then searched locally. Raises SearchError where it cannot be read.
    """
    if not is_url(href):
        return open_local(href)
    with in_one_line(href), warnings.catch_warnings():
        warnings.simplefilter("ignore", NoConformsTo)  # a static catalog never does, and is walked
        try:
            client = Client.open(href, headers=headers, timeout=TIMEOUT)
        except (ClientTypeError, ValueError):  # a collection, items, or lines of them
            return serve(href, headers)
        except APIError as error:
            if isinstance(error.__context__, UnicodeDecodeError):  # no text: stac-geoparquet
                return serve(href, headers)
            raise
        if client.get_search_link() and not client.conforms_to("ITEM_SEARCH"):
            client.add_conforms_to("ITEM_SEARCH")  # servers older than conformance classes
        return client if client.conforms_to("ITEM_SEARCH") else serve(href, headers)


def _inquire(client: Client, where: str, parameters: SearchParameters) -> Inquiry:
    max_items, method = parameters.get("max_items"), parameters.get("method")
    return Inquiry.of(client, where, _asked(parameters), max_items, method, trusted=_is_local(client))


def _asked(parameters: SearchParameters) -> Json:
    """The parameters in the form that POST gives them. Raises SearchError for those that no catalog could answer."""
    given = {name: value for name, value in parameters.items() if name != "method"}
    search = ItemSearch(f"{ROOT}/search", **cast("SearchParameters", given))
    _check(parameters, search)
    return search.get_parameters()


def _is_local(client: Client) -> bool:
    """Whether a catalog is in memory: what it answers are the tests of this package."""
    return (client.get_self_href() or "").startswith(ROOT)


def _check(parameters: SearchParameters, search: ItemSearch) -> None:
    """Look at what pystac-client passes on unseen."""
    query = parameters.get("query")
    for condition in query if isinstance(query, list) else ():
        if not _is_condition(condition):
            raise SearchError(f"query {condition!r}: give name, operator and value, as in eo:cloud_cover<10")
    asked = search.get_parameters()
    if parameters.get("intersects") is not None and not asked.get("intersects"):
        raise SearchError(f"intersects {short(parameters['intersects'], 80)} has no geometry")
    for name, parse in (("bbox", parse_bbox), ("intersects", parse_geometry), ("datetime", parse_interval)):
        if asked.get(name):
            parse(asked[name])


def _is_condition(text: str) -> bool:
    """Whether pystac-client understands a condition; it drops, without a word, those that it does not."""
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return any(len(text.split(symbol)) == 2 for symbol in OPS)


def _nothing_found(where: str, parameters: Mapping[str, Any]) -> str:
    asked = [f"{name} {short(value, 80)}" for name, value in parameters.items() if name in _HINTS and value]
    if not asked:
        return f"{where} holds no items"
    hints = [hint for name, hint in _HINTS.items() if parameters.get(name)]
    return f"nothing in {where} fits {', '.join(asked)}; try {' or '.join(hints)}"


def _opened(source: str | Client) -> Client:
    return open_catalog(source) if isinstance(source, str) else source

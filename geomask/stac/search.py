"""Searching: an API on the network, a static catalog or a file of items, all asked through pystac-client.

Everything that can go wrong outside (a file, a server, a parameter) comes back as a SearchError of one line.
"""

from __future__ import annotations

import json
import warnings
from os import fspath
from typing import IO, TYPE_CHECKING, Any, TypedDict, Unpack, cast

from pystac import Item
from pystac_client import Client, ItemSearch
from pystac_client.errors import ClientTypeError
from pystac_client.item_search import OPS
from pystac_client.warnings import NoConformsTo

from ..atomic import write_text
from ..errors import ItemError, SearchError
from .fields import check_item, short, time_order
from .local_api import ROOT
from .matching import parse_bbox, parse_geometry, parse_interval
from .static import TIMEOUT, in_one_line, is_url, name_of, open_local, serve, walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from os import PathLike

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
    where = name_of(source)
    return [_as_item(feature, where) for feature in search_features(source, **parameters)]


def search_features(source: str | Client, **parameters: Unpack[SearchParameters]) -> list[Json]:
    """The items that fit as GeoJSON, sorted by time and id unless `sortby` is given.

    `source` is what :func:`open_catalog` takes, or gives. With `fields` a feature may be less than an item. Raises
    SearchError for parameters that make no sense, where the server cannot be asked, and where nothing fits.
    """
    client = _opened(source)
    with in_one_line(name_of(source)):
        found = _ask(client, parameters)
        features = list(found.items_as_dicts())
    if not features:
        raise SearchError(_nothing_found(name_of(source), parameters))
    return features if parameters.get("sortby") else sorted(features, key=time_order)


def count_matched(source: str | Client, **parameters: Unpack[SearchParameters]) -> int:
    """How many items fit, as the server counts them; 0 is an answer too. Raises SearchError where it does not count."""
    client = _opened(source)
    with in_one_line(name_of(source)), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="numberMatched", category=UserWarning)  # said below
        matched = _ask(client, parameters).matched()
    if matched is None:
        raise SearchError(f"{name_of(source)} does not count what matches; fetch the items and count them")
    return matched


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
        if client.get_search_link() and not client.conforms_to("ITEM_SEARCH"):
            client.add_conforms_to("ITEM_SEARCH")  # servers older than conformance classes
        return client if client.conforms_to("ITEM_SEARCH") else serve(href, headers)


def load_items(source: str | PathLike[str] | IO[str]) -> list[Item]:
    """The items in a file, in its order: all that :func:`open_local` takes, and open files.

    Raises SearchError where it cannot be read, ItemError for what is no item.
    """
    if isinstance(source, str) or hasattr(source, "__fspath__"):
        where = fspath(source)
        items, _ = walk(where)
    else:
        where = str(getattr(source, "name", "the open file"))
        items, _ = walk(where, source.read())
    return [_as_item(item, where) for item in items]


def save_items(items: Iterable[Item | Json], path: str | PathLike[str]) -> None:
    """Write an item collection, whole or not at all. Raises RunError where the folder cannot be written to."""
    write_text(path, json.dumps(item_collection(items)))


def item_collection(items: Iterable[Item | Json]) -> Json:
    """Items as one GeoJSON FeatureCollection; hrefs stay as they are."""
    features = [item.to_dict(transform_hrefs=False) if isinstance(item, Item) else item for item in items]
    return {"type": "FeatureCollection", "features": features}


def _ask(client: Client, parameters: SearchParameters) -> ItemSearch:
    found = client.search(**parameters)
    _check(parameters, found)
    return found


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


def _as_item(feature: Json, where: str) -> Item:
    check_item(feature)
    try:
        return Item.from_dict(feature, preserve_dict=False)
    except Exception as error:  # pystac raises what it stumbles over
        raise ItemError(f"{where}: item {feature['id']} cannot be read: {type(error).__name__}: {error}") from error

"""Searching: an API on the network, a static catalog or a file of items, all asked through pystac-client.

Everything that can go wrong outside (a file, a server, a parameter) comes back as a SearchError of one line.
"""

from __future__ import annotations

import json
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import repeat
from os import fspath
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypedDict, Unpack, cast
from urllib.parse import unquote, urlsplit

from pystac import Item
from pystac.utils import make_absolute_href
from pystac_client import Client, ItemSearch
from pystac_client.errors import ClientTypeError
from pystac_client.item_search import OPS
from pystac_client.stac_api_io import StacApiIO
from pystac_client.warnings import NoConformsTo

from ..atomic import write_text
from ..errors import GeomaskError, ItemError, SearchError
from .local_api import ROOT, LocalApiIO, check_item, parse_bbox, parse_geometry, parse_interval, time_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
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

    from .local_api import Json

STDIN = "-"
"""The path that stands for standard input."""

TIMEOUT = (10.0, 120.0)
"""Seconds to connect, and between two bytes of an answer; requests would wait for ever."""

_READERS = 8

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
    where = _name_of(source)
    return [_as_item(feature, where) for feature in search_features(source, **parameters)]


def search_features(source: str | Client, **parameters: Unpack[SearchParameters]) -> list[Json]:
    """The items that fit as GeoJSON, sorted by time and id unless `sortby` is given.

    `source` is what :func:`open_catalog` takes, or gives. With `fields` a feature may be less than an item. Raises
    SearchError for parameters that make no sense, where the server cannot be asked, and where nothing fits.
    """
    client = _opened(source)
    with _in_one_line(_name_of(source)):
        found = _ask(client, parameters)
        features = list(found.items_as_dicts())
    if not features:
        raise SearchError(_nothing_found(_name_of(source), parameters))
    return features if parameters.get("sortby") else sorted(features, key=time_order)


def count_matched(source: str | Client, **parameters: Unpack[SearchParameters]) -> int:
    """How many items fit, as the server counts them; 0 is an answer too. Raises SearchError where it does not count."""
    client = _opened(source)
    with _in_one_line(_name_of(source)), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="numberMatched", category=UserWarning)  # said below
        matched = _ask(client, parameters).matched()
    if matched is None:
        raise SearchError(f"{_name_of(source)} does not count what matches; fetch the items and count them")
    return matched


def check_parameters(**parameters: Unpack[SearchParameters]) -> None:
    """Raise SearchError for parameters that no catalog could answer, before one is opened."""
    shared = {name: value for name, value in parameters.items() if name in ("method", "filter_lang")}
    for name, value in parameters.items():
        alone = cast("SearchParameters", {**shared, name: value})
        with _in_one_line(f"{name} {_short(value)}"):
            _check(alone, ItemSearch(f"{ROOT}/search", **alone))


def open_catalog(href: str, headers: dict[str, str] | None = None) -> Client:
    """A catalog to search: an API or a static catalog by its URL, a local file by its path, or ``-``.

    A static catalog is read to its last item, then searched locally. Raises SearchError where it cannot be read.
    """
    if not _is_url(href):
        return open_local(href)
    with _in_one_line(href), warnings.catch_warnings():
        warnings.simplefilter("ignore", NoConformsTo)  # a static catalog never does, and is walked
        try:
            client = Client.open(href, headers=headers, timeout=TIMEOUT)
        except (ClientTypeError, ValueError):  # a collection, items, or lines of them
            return _serve(href, headers)
        if client.get_search_link() and not client.conforms_to("ITEM_SEARCH"):
            client.add_conforms_to("ITEM_SEARCH")  # servers older than conformance classes
        return client if client.conforms_to("ITEM_SEARCH") else _serve(href, headers)


def open_local(path: str | PathLike[str]) -> Client:
    """A catalog to search from a file, with no server: a static catalog or collection, an item collection, one item,
    items as NDJSON, or any of these on standard input as ``-``.

    The hrefs of assets become absolute. Raises SearchError where it cannot be read, ItemError for what is no item.
    """
    return _serve(fspath(path))


def load_items(source: str | PathLike[str] | IO[str]) -> list[Item]:
    """The items in a file, in its order: all that :func:`open_local` takes, and open files.

    Raises SearchError where it cannot be read, ItemError for what is no item.
    """
    if isinstance(source, str) or hasattr(source, "__fspath__"):
        where = fspath(source)
        items, _ = _walk(where)
    else:
        where = str(getattr(source, "name", "the open file"))
        items, _ = _walk(where, source.read())
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
        raise SearchError(f"intersects {_short(parameters['intersects'])} has no geometry")
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
    asked = [f"{name} {_short(value)}" for name, value in parameters.items() if name in _HINTS and value]
    if not asked:
        return f"{where} holds no items"
    hints = [hint for name, hint in _HINTS.items() if parameters.get(name)]
    return f"nothing in {where} fits {', '.join(asked)}; try {' or '.join(hints)}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _opened(source: str | Client) -> Client:
    return open_catalog(source) if isinstance(source, str) else source


def _name_of(source: str | Client) -> str:
    if isinstance(source, str):
        return "standard input" if source == STDIN else source
    href = source.get_self_href() or source.id
    return source.title or "the items in memory" if href.startswith(ROOT) else href


@contextmanager
def _in_one_line(where: str) -> Iterator[None]:
    """Turn whatever goes wrong inside into a SearchError of one line that begins with `where`."""
    try:
        yield
    except GeomaskError:
        raise
    except Exception as error:  # pystac-client raises bare Exceptions for parameters, and servers answer anything
        status = getattr(error, "status_code", None)
        reason = " ".join(str(error).split()) or type(error).__name__
        reason = reason if len(reason) <= 300 else f"{reason[:297]}..."
        raise SearchError(f"{where}: {f'status {status}: ' if status else ''}{reason}") from error


def _serve(href: str, headers: dict[str, str] | None = None) -> Client:
    items, collections = _walk(href, headers=headers)
    return Client.open(f"{ROOT}/", stac_io=LocalApiIO(items, collections, _name_of(href)))


def _walk(href: str, text: str | None = None, headers: dict[str, str] | None = None) -> tuple[list[Json], list[Json]]:
    """Every item and every collection that `href` holds or leads to, in the order of the links, each file once.

    `text` is the content of `href` where it has been read already.
    """
    items: list[Json] = []
    collections: list[Json] = []
    level, seen = [href], {href}
    with ThreadPoolExecutor(_READERS, thread_name_prefix="geomask-stac") as pool, _network(headers) as network:
        texts = [_read(href, network) if text is None else text]
        while level:
            links: list[str] = []
            for place, content in zip(level, texts, strict=True):
                for document in _parse(content, place):
                    links += _sort_out(document, place, items, collections)
            level = [link for link in dict.fromkeys(links) if link not in seen]
            seen.update(level)
            texts = list(pool.map(_read, level, repeat(network)))
    return items, collections


@contextmanager
def _network(headers: dict[str, str] | None) -> Iterator[StacApiIO]:
    network = StacApiIO(headers=headers, timeout=TIMEOUT)
    with network.session:
        yield network


def _sort_out(document: Json, place: str, items: list[Json], collections: list[Json]) -> list[str]:
    """Put a document where it belongs; return where it leads."""
    kind = document.get("type", "Collection" if "extent" in document else "Catalog")  # before STAC 1.0 it said neither
    if kind == "Feature":
        items.append(_make_absolute(check_item(document), place))
    elif kind == "FeatureCollection" and isinstance(document.get("features"), list):
        for feature in map(check_item, document["features"]):
            own = next((link.get("href") for link in feature["links"] if link.get("rel") == "self"), None)
            items.append(_make_absolute(feature, own if own and _is_url(own) else place))
    elif kind in ("Catalog", "Collection") and isinstance(document.get("links"), list):
        _make_absolute(document, place)
        if kind == "Collection":
            collections.append(document)
        return [link["href"] for link in document["links"] if link.get("rel") in ("child", "item")]
    else:
        raise SearchError(f"{_name_of(place)} is neither a STAC catalog nor items: it is of type {kind!r}")
    return []


def _make_absolute(document: Json, place: str) -> Json:
    """Free a document's hrefs, of assets and of links, from where it was read."""
    for part in (*document.get("assets", {}).values(), *document["links"]):
        if not isinstance(part, dict) or not isinstance(part.get("href"), str):
            raise ItemError(f"{place}: {document.get('id')} has an asset or a link without an href")
        part["href"] = make_absolute_href(part["href"], _base(place))
    return document


def _base(place: str) -> str:
    """What relative hrefs start from."""
    return place if _is_url(place) else str(Path(place).absolute())


def _parse(text: str, place: str) -> list[Json]:
    """The JSON object in a text, or one from each line."""
    where = _name_of(place)
    try:
        documents = [json.loads(text)]
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise SearchError(f"{where} is no JSON: {error if text.strip() else 'it is empty'}") from error
        lines = enumerate(text.splitlines(), 1)
        documents = [_parse_line(line, f"line {row} of {where}") for row, line in lines if line.strip()]
    except RecursionError as error:
        raise SearchError(f"{where} is no STAC: it is nested too deep") from error
    if not all(isinstance(document, dict) for document in documents):
        raise SearchError(f"{where} is neither a STAC catalog nor items")
    return documents


def _parse_line(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SearchError(f"{where} is no JSON: {error}") from error


def _read(place: str, network: StacApiIO) -> str:
    if place == STDIN:
        return sys.stdin.read()
    if _is_url(place):
        with _in_one_line(place):
            return network.read_text(place)
    path = Path(unquote(urlsplit(place).path) if place.startswith("file://") else place)
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise SearchError(f"no such file: {place}; give a catalog.json, items as GeoJSON, a URL, or -") from error
    except IsADirectoryError as error:
        raise SearchError(f"{place} is a folder; give the catalog.json in it") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SearchError(f"cannot read {place}: {getattr(error, 'strerror', None) or error}") from error


def _is_url(href: str) -> bool:
    return href.startswith(("http://", "https://"))


def _as_item(feature: Json, where: str) -> Item:
    check_item(feature)
    try:
        return Item.from_dict(feature, preserve_dict=False)
    except Exception as error:  # pystac raises what it stumbles over
        raise ItemError(f"{where}: item {feature['id']} cannot be read: {type(error).__name__}: {error}") from error

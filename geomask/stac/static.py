"""Static catalogs and files of items, read to their last item and then searched as if they were an API."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import repeat
from os import fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from pystac.utils import make_absolute_href
from pystac_client import Client
from pystac_client.stac_api_io import StacApiIO

from ..errors import GeomaskError, ItemError, SearchError
from .fields import check_item
from .local_api import ROOT, LocalApiIO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

    from requests import Request

    from .fields import Json

STDIN = "-"
"""The path that stands for standard input."""

TIMEOUT = (10.0, 120.0)
"""Seconds to connect, and between two bytes of an answer; requests would wait for ever."""

_READERS = 8


def open_local(path: str | PathLike[str]) -> Client:
    """A catalog to search from a file, with no server: a static catalog or collection, an item collection, one item,
    items as NDJSON, or any of these on standard input as ``-``.

    The hrefs of assets become absolute. Raises SearchError where it cannot be read, ItemError for what is no item.
    """
    return serve(fspath(path))


def serve(href: str, headers: dict[str, str] | None = None) -> Client:
    """Read all that `href` (a URL, a path, ``-``) leads to, and answer from memory. Raises as :func:`open_local`."""
    items, collections = walk(href, headers=headers)
    return Client.open(f"{ROOT}/", stac_io=LocalApiIO(items, collections, name_of(href)))


def walk(href: str, text: str | None = None, headers: dict[str, str] | None = None) -> tuple[list[Json], list[Json]]:
    """Every item and every collection that `href` holds or leads to, in the order of the links, each file once.

    `text` is the content of `href` where it has been read already.
    """
    items: list[Json] = []
    collections: list[Json] = []
    level, seen = [href], {href}
    with ThreadPoolExecutor(_READERS, thread_name_prefix="geomask-stac") as pool, _network(href, headers) as network:
        texts = [_read(href, network) if text is None else text]
        while level:
            links: list[str] = []
            for place, content in zip(level, texts, strict=True):
                for document in _parse(content, place):
                    links += _sort_out(document, place, items, collections)
            level = [link for link in dict.fromkeys(links) if link not in seen]
            if is_url(href) and not all(map(is_url, level)):
                raise SearchError(f"{href} links to files of this machine, where no remote catalog may lead")
            seen.update(level)
            texts = list(pool.map(_read, level, repeat(network)))
    return items, collections


@contextmanager
def _network(href: str, headers: dict[str, str] | None) -> Iterator[StacApiIO]:
    """Requests that carry `headers`, which may be secrets, to the host of `href` alone."""
    host = urlsplit(href).netloc

    def keep_secrets(request: Request) -> Request:
        if urlsplit(request.url).netloc == host:
            request.headers = {**request.headers, **(headers or {})}
        return request

    network = StacApiIO(request_modifier=keep_secrets, timeout=TIMEOUT)
    with network.session:
        yield network


def _sort_out(document: Json, place: str, items: list[Json], collections: list[Json]) -> list[str]:
    """Put a document where it belongs; return where it leads."""
    kind = document.get("type", "Collection" if "extent" in document else "Catalog")  # before STAC 1.0 it said neither
    if kind == "Feature":
        items.append(_make_absolute(check_item(document), place))
    elif kind == "FeatureCollection" and isinstance(document.get("features"), list):
        features = map(check_item, document["features"])
        items += [_make_absolute(feature, _own_url(feature) or place) for feature in features]
    elif kind in ("Catalog", "Collection") and isinstance(document.get("links"), list):
        _make_absolute(document, place)
        if kind == "Collection":
            collections.append(document)
        return [link["href"] for link in document["links"] if link.get("rel") in ("child", "item")]
    else:
        raise SearchError(f"{name_of(place)} is neither a STAC catalog nor items: it is of type {kind!r}")
    return []


def _own_url(feature: Json) -> str | None:
    """The URL that a feature calls its own, if it does: its hrefs are relative to that, wherever it was found."""
    hrefs = (link.get("href") for link in feature["links"] if isinstance(link, dict) and link.get("rel") == "self")
    own = next(hrefs, None)
    return own if isinstance(own, str) and is_url(own) else None


def _make_absolute(document: Json, place: str) -> Json:
    """Free a document's hrefs, of assets and of links, from where it was read."""
    assets = document.get("assets", {})
    if not isinstance(assets, dict):
        raise ItemError(f"{place}: {document.get('id')} has assets without names")
    for part in (*assets.values(), *document["links"]):
        if not isinstance(part, dict) or not isinstance(part.get("href"), str):
            raise ItemError(f"{place}: {document.get('id')} has an asset or a link without an href")
        part["href"] = make_absolute_href(part["href"], _base(place))
    return document


def _base(place: str) -> str:
    """What relative hrefs start from."""
    return place if is_url(place) else str(Path(place).absolute())


def _parse(text: str, place: str) -> list[Json]:
    """The JSON object in a text, or one from each line."""
    where = name_of(place)
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
    if is_url(place):
        with in_one_line(place):
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


def is_url(href: str) -> bool:
    """Whether it is asked over the network; anything else is a path."""
    return href.startswith(("http://", "https://"))


def name_of(source: str | Client) -> str:
    """What messages call a source."""
    if isinstance(source, str):
        return "standard input" if source == STDIN else source
    href = source.get_self_href() or source.id
    return source.title or "the items in memory" if href.startswith(ROOT) else href


@contextmanager
def in_one_line(where: str) -> Iterator[None]:
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

"""Static catalogs and files of items, read to their last item and then searched as if they were an API."""

from __future__ import annotations

import io
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import repeat
from os import fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from pystac.utils import make_absolute_href
from pystac_client import Client
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO

from ..errors import GeomaskError, ItemError, SearchError
from .fields import check_item
from .geoparquet import MAGIC, read_geoparquet
from .items import collector_paused
from .local_api import ROOT, LocalApiIO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

    from .fields import Json

STDIN = "-"
"""The path that stands for standard input."""

TIMEOUT = (10.0, 120.0)
"""Seconds to connect, and between two bytes of an answer; requests would wait for ever."""

_READERS = 8


@dataclass(frozen=True, slots=True)
class Contents:
    """All that a catalog or a file leads to."""

    items: list[Json] = field(default_factory=list)
    """In the order of the links."""
    collections: list[Json] = field(default_factory=list)
    """As the items."""
    searches: list[Json] = field(default_factory=list)
    """What was searched for, as each item collection says that was frozen (docs/search.md)."""

    @property
    def search(self) -> Json | None:
        """What was searched for, where one search gave it all."""
        return self.searches[0] if len(self.searches) == 1 else None


def open_local(path: str | PathLike[str]) -> Client:
    """A catalog to search from a file, with no server: a static catalog or collection, an item collection, one item,
    items as NDJSON, stac-geoparquet, or any of these on standard input as ``-``.

    The hrefs of assets become absolute. Raises SearchError where it cannot be read, ItemError for what is no item.
    """
    return serve(fspath(path))


def serve(href: str, headers: dict[str, str] | None = None) -> Client:
    """Read all that `href` (a URL, a path, ``-``) leads to, and answer from memory. Raises as :func:`open_local`."""
    found = walk(href, headers=headers)
    return Client.open(f"{ROOT}/", stac_io=LocalApiIO(found.items, found.collections, name_of(href), found.search))


def walk(href: str, content: bytes | None = None, headers: dict[str, str] | None = None) -> Contents:
    """Every item and every collection that `href` holds or leads to, in the order of the links, each file once.

    `content` is that of `href` where it has been read already.
    """
    found = Contents()
    level, seen = [href], {href}
    network = Network(href, headers)
    with ThreadPoolExecutor(_READERS, thread_name_prefix="geomask-stac") as pool, network.session:
        contents = [_read(href, network) if content is None else content]
        while level:
            links: list[str] = []
            with collector_paused():
                for place, read in zip(level, contents, strict=True):
                    for document in _parse(read, place):
                        links += _sort_out(document, place, found)
            level = [link for link in dict.fromkeys(links) if link not in seen]
            if is_url(href) and not all(map(is_url, level)):
                raise SearchError(f"{href} links to files of this machine, where no remote catalog may lead")
            seen.update(level)
            contents = list(pool.map(_read, level, repeat(network)))
    return found


class Network:
    """Requests that carry `headers`, which may be secrets, to the host of `href` alone."""

    def __init__(self, href: str, headers: dict[str, str] | None) -> None:
        self._host, self._secrets = urlsplit(href).netloc, headers or {}
        self.session = StacApiIO().session  # it asks again, five times, where a connection breaks

    def fetch(self, href: str) -> bytes:
        """The content of a file. Raises pystac-client's APIError where the answer is another one."""
        headers = self._secrets if urlsplit(href).netloc == self._host else {}
        answer = self.session.get(href, headers=headers, timeout=TIMEOUT)
        if not answer.ok:
            raise APIError.from_response(answer)
        return answer.content


def _sort_out(document: Json, place: str, found: Contents) -> list[str]:
    """Put a document where it belongs; return where it leads."""
    kind = document.get("type", "Collection" if "extent" in document else "Catalog")  # before STAC 1.0 it said neither
    if kind == "Feature":
        found.items.append(_make_absolute(check_item(document), place))
    elif kind == "FeatureCollection" and isinstance(document.get("features"), list):
        features = map(check_item, document["features"])
        found.items.extend(_make_absolute(feature, _own_url(feature) or place) for feature in features)
        if isinstance(document.get("search"), dict):
            found.searches.append(document["search"])
    elif kind in ("Catalog", "Collection") and isinstance(document.get("links"), list):
        _make_absolute(document, place)
        if kind == "Collection":
            found.collections.append(document)
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
        if not _says_where(part["href"]):
            part["href"] = make_absolute_href(part["href"], _base(place))
    return document


def _says_where(href: str) -> bool:
    """Whether an href is plainly absolute, which pystac needs ten times as long to find out."""
    return "://" in href and not href.startswith((".", "/", "file:"))


def _base(place: str) -> str:
    """What relative hrefs start from."""
    return place if is_url(place) else str(Path(place).absolute())


def _parse(content: bytes, place: str) -> list[Json]:
    """The JSON object in a text, or one from each line; the item collection in stac-geoparquet."""
    where = name_of(place)
    if content.startswith(MAGIC):
        features, search = read_geoparquet(content, where)
        return [{"type": "FeatureCollection", "features": features, "search": search}]
    try:
        text = content.decode("utf-8")
        documents = [json.loads(text)]
    except UnicodeDecodeError as error:
        raise SearchError(f"cannot read {where}: {error}") from error
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise SearchError(f"{where} is no JSON: {error if text.strip() else 'it is empty'}") from error
        lines = enumerate(io.StringIO(text), 1)  # an item may hold what splitlines takes for the end of a line
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


def _read(place: str, network: Network) -> bytes:
    if place == STDIN:
        stream = getattr(sys.stdin, "buffer", None)
        return stream.read() if stream else sys.stdin.read().encode()  # of a notebook it has none
    if is_url(place):
        with in_one_line(place):
            return network.fetch(place)
    path = Path(unquote(urlsplit(place).path) if place.startswith("file://") else place)
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise SearchError(f"no such file: {place}; give a catalog.json, items as GeoJSON, a URL, or -") from error
    except IsADirectoryError as error:
        raise SearchError(f"{place} is a folder; give the catalog.json in it") from error
    except OSError as error:
        raise SearchError(f"cannot read {place}: {error.strerror or error}") from error


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
        reason = f"status {status}: {reason}" if status else reason
        raise SearchError(reason if reason.startswith(where) else f"{where}: {reason}") from error

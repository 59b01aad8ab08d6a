"""Frozen searches: the items that were found, in a file, so that a run can be repeated when the catalog has changed."""

from __future__ import annotations

import json
from os import fspath
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from pystac import Item

from ..atomic import atomic_path
from .geoparquet import write_geoparquet
from .items import make_items
from .static import walk

if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike

    from .fields import Json

#: Names that end so are of items one a line, and of stac-geoparquet; any other is of GeoJSON.
LINES, PARQUET = (".ndjson", ".jsonl"), (".parquet", ".geoparquet")


class Found(NamedTuple):
    """What a search has found."""

    items: list[Item]
    """In the order of the file."""
    search: Json | None
    """What was searched for, as `describe_search` says it; None where the file does not."""


def load_items(source: str | PathLike[str] | IO[str]) -> list[Item]:
    """The items in a file, in its order: all that :func:`open_local` takes, and open files.

    Raises SearchError where it cannot be read, ItemError for what is no item.
    """
    return load_found(source).items


def load_found(source: str | PathLike[str] | IO[str] | IO[bytes]) -> Found:
    """As :func:`load_items`, with what was searched for."""
    if isinstance(source, str) or hasattr(source, "__fspath__"):
        where = fspath(source)
        contents = walk(where)
    else:
        where = str(getattr(source, "name", "the open file"))
        read = source.read()
        contents = walk(where, read.encode() if isinstance(read, str) else read)
    return Found(make_items(contents.items, where), contents.search)


def save_items(items: Iterable[Item | Json], path: str | PathLike[str], search: Json | None = None) -> None:
    """Freeze items, whole or not at all: as NDJSON, stac-geoparquet or GeoJSON, by the suffix of `path`.

    `search` is noted in it, but for NDJSON, which has no place for it. Raises RunError where the folder cannot be
    written to.
    """
    suffix = Path(path).suffix.lower()
    with atomic_path(path) as draft:
        collection = item_collection(items, search)
        if suffix in PARQUET:
            write_geoparquet(collection["features"], draft, search)
        elif suffix in LINES:
            draft.write_text("".join(f"{json.dumps(feature)}\n" for feature in collection["features"]), "utf-8")
        else:
            draft.write_text(json.dumps(collection), "utf-8")


def item_collection(items: Iterable[Item | Json], search: Json | None = None) -> Json:
    """Items as one GeoJSON FeatureCollection, with the search as a member of its own; hrefs stay as they are."""
    features = [item.to_dict(transform_hrefs=False) if isinstance(item, Item) else item for item in items]
    return {"type": "FeatureCollection", "features": features, **({"search": search} if search else {})}

"""The headers that a manifest's files need to be decoded: kept ones, and the others fetched as long as planned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..cog.index import index_headers
from ..cog.layout import parse_layout
from ..errors import FetchError
from ..fetch import Want, fetch, same_version

if TYPE_CHECKING:
    from ..cog.index import HeaderIndex
    from ..cog.layout import Layout
    from ..fetch import Trip
    from ..plan.manifest import Manifest
    from ..plan.request import Source
    from ..signing import Sign


def fetch_layouts(
    manifest: Manifest, index: HeaderIndex | None, sign: Sign | None = None
) -> tuple[dict[str, Layout], tuple[Trip, ...]]:
    """The layout of each file by href, and what it took to fetch those that `index` does not have.

    Raises FetchError where a file is not there, or not the one that was planned.
    """
    layouts, wants, first = {}, [], _first_bytes(manifest)
    for href, source in manifest.files.items():
        kept = index[href] if index is not None and href in index else None
        # an index saves the tags alone: pixels that the plan takes from behind them may be missing
        if kept and (kept.why is not None or source.header_nbytes <= max(len(kept.header), first[href])):
            layouts[href] = kept
        elif source.why is None:
            wants.append(Want(href, 0, source.header_nbytes, source.size, source.etag))
    trips = []
    for want, got in zip(wants, fetch(wants, sign=sign), strict=True):
        layouts[want.href] = parse_layout(want.href, got.data, got.size, got.etag, got.modified)
        trips.append(got.trip)
    if foreign := [href for href in manifest.files if href not in layouts]:
        coarse = {source.href for source in manifest.requests.sources if source.level is not None}
        described = index_headers(foreign, sign=sign, overviews=coarse)
        layouts |= {href: described[href] for href in foreign}
        trips += described.trips
    for source in manifest.requests.sources:
        _check_unchanged(source, layouts[source.href])
    return layouts, tuple(trips)


def _first_bytes(manifest: Manifest) -> dict[str, int]:
    """The first byte of each file that a request takes."""
    requests, first = manifest.requests, np.full(len(manifest.requests.sources), np.iinfo(np.int64).max)
    np.minimum.at(first, requests.source[requests.tiles.owners], requests.tiles.offsets)
    by_file: dict[str, int] = {}
    for source, offset in zip(requests.sources, first.tolist(), strict=True):
        by_file[source.href] = min(offset, by_file.get(source.href, offset))
    return by_file


def _check_unchanged(source: Source, layout: Layout) -> None:
    planned = (source.size, source.dtype, source.why)
    if planned != (layout.size, layout.dtype, layout.why) or not same_version(source.etag, layout.etag):
        raise FetchError(
            f"{source.href} changed since it was planned (size {source.size} -> {layout.size}, type {source.dtype} -> "
            f"{layout.dtype}, ETag {source.etag} -> {layout.etag}); compile the manifest anew"
        )
    if max(source.indexes) > layout.count:
        raise FetchError(f"{source.href} has {layout.count} bands, no band {max(source.indexes)}; compile it anew")

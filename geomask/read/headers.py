"""The headers that a manifest's files need to be decoded: kept ones, and the others fetched as long as planned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..cog.index import index_headers
from ..cog.layout import parse_layout
from ..errors import FetchError
from ..fetch import Want, fetch

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
    layouts, wants = {}, []
    for href, source in manifest.files.items():
        if index is not None and href in index and _reaches(index[href], href, manifest):
            layouts[href] = index[href]
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


def _reaches(layout: Layout, href: str, manifest: Manifest) -> bool:
    """Whether a kept header holds the pixels too that the plan takes from it: an index saves the tags alone."""
    planned = manifest.files[href].header_nbytes
    if len(layout.header) >= planned or layout.why is not None:
        return True
    requests = manifest.requests
    of_file = np.array([source.href == href for source in requests.sources], bool)[requests.source]
    return not (requests.tiles.offsets[np.repeat(of_file, requests.tiles.counts)] < planned).any()


def _check_unchanged(source: Source, layout: Layout) -> None:
    if (source.size, source.etag, source.why) != (layout.size, layout.etag, layout.why):
        raise FetchError(
            f"{source.href} changed since it was planned (size {source.size} -> {layout.size}, "
            f"ETag {source.etag} -> {layout.etag}); compile the manifest anew"
        )
    if max(source.indexes) > layout.count:
        raise FetchError(f"{source.href} has {layout.count} bands, no band {max(source.indexes)}; compile it anew")

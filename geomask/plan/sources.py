"""From channels to files: what of which file fills a channel, and where that lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..cog.index import HeaderIndex, index_headers
from ..errors import GridError, ItemError
from ..signing import signed_by
from ..stac.slots import fill_slots
from ..stac.source import band_href, check_bands
from .request import Source
from .tiles import Tiles, find_tiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy as np
    from pystac import Item

    from ..cog.layout import Layout
    from ..grid import Grid
    from ..selection import Selection
    from ..signing import Sign


@dataclass(frozen=True, slots=True)
class ChannelFile:
    """The file of one channel."""

    channel: int
    """Position in the selection's channels."""
    item: Item
    href: str


def find_files(selection: Selection, items: Iterable[Item]) -> list[ChannelFile]:
    """The files that the selection names, one a channel; a channel that no item fills has none.

    Raises ItemError where there is none at all, or where a band is in no item.
    """
    filled = fill_slots(selection.slots, items)
    check_bands(filled, [selection.bands[band] for band in sorted({c.band for c in selection.channels})])
    files = []
    for number, channel in enumerate(selection.channels):
        item = filled[channel.slot]
        href = item and band_href(item, selection.bands[channel.band])
        if item and href:
            files.append(ChannelFile(number, item, href))
    if not files and selection.channels:
        first, last = selection.slots[0].name, selection.slots[-1].name
        raise ItemError(f"no item fills any slot of the selection ({first} to {last}); search those dates")
    return files


def index_selection(
    selection: Selection,
    items: Iterable[Item],
    on_done: Callable[[], object] | None = None,
    *,
    kept: HeaderIndex | None = None,
    sign: Sign | None = None,
) -> HeaderIndex:
    """The headers of the files that the selection names, and of no other; those in `kept` are not fetched again.

    `sign` signs hrefs; None: as the items' own are signed. Raises as `index_headers` does.
    """
    items = list(items)
    files = find_files(selection, items)
    coarse = {file.href for file in files if selection.channels[file.channel].level is not None}
    sign = sign or signed_by(items)
    return index_headers((file.href for file in files), on_done, kept=kept, sign=sign, overviews=coarse)


def choose_grid(selection: Selection, items: Iterable[Item], index: HeaderIndex) -> Grid:
    """The grid of the finest file that the selection names, the first by slot and band among equals."""
    grids = [index[file.href].grid for file in find_files(selection, items)]
    if not grids:
        raise ItemError("an empty selection has no grid of its own; name one")
    return min(grids, key=lambda grid: grid.res_y * grid.res_x)


def find_sources(selection: Selection, items: Iterable[Item], index: HeaderIndex, grid: Grid) -> list[Source]:
    """The levels of files that fill the channels on `grid`: channels of one file and level share a source.

    Raises ItemError as `compile_manifest` does.
    """
    groups: dict[tuple[int, str, int | None, float | None], list[ChannelFile]] = {}
    for file in find_files(selection, items):
        channel, layout = selection.channels[file.channel], index[file.href]
        # None is full resolution, unless the grid has no use for it
        version = layout.version_for(grid.res_y, grid.res_x) if channel.level is None else channel.level
        nodata = selection.bands[channel.band].nodata
        groups.setdefault((channel.slot, file.href, version, nodata), []).append(file)
    return [_source(selection, files, index[href], version) for (_, href, version, _), files in groups.items()]


def _source(selection: Selection, files: list[ChannelFile], layout: Layout, version: int | None) -> Source:
    channels, item = [selection.channels[file.channel] for file in files], files[0].item
    bands = [selection.bands[channel.band] for channel in channels]
    layout.level(version)  # there has to be one
    for band in bands:
        if band.index > layout.count:
            raise ItemError(f"{layout.href} has {layout.count} bands, no band {band.index} for {band.name}")
    # a catalog may correct what files say, as after a change of the processing baseline; where it is silent they know
    scaling = [
        (band.scale, band.offset)
        if (band.scale, band.offset) != (1, 0)
        else (layout.scales[band.index - 1], layout.offsets[band.index - 1])
        for band in bands
    ]
    return Source(
        item=item.id,
        collection=item.collection_id,
        asset=bands[0].asset,
        href=layout.href,
        slot=selection.slots[channels[0].slot].name,
        bands=tuple(band.name for band in bands),
        channels=tuple(file.channel for file in files),
        indexes=tuple(band.index for band in bands),
        level=version,
        header_nbytes=len(layout.header),
        size=layout.size,
        etag=layout.etag,
        dtype=layout.dtype,
        nodata=bands[0].nodata if layout.nodata is None else layout.nodata,  # the file knows better than the item
        scales=tuple(scale for scale, _ in scaling),
        offsets=tuple(offset for _, offset in scaling),
        why=layout.why,
    )


def find_pieces(
    layout: Layout, version: int | None, indexes: Sequence[int], grid: Grid, windows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, Tiles]:
    """What of a level fills windows of the grid, int64 (windows, 4).

    Returns the positions of the windows that the file meets, what to read of the level for each, and where that lies.
    An alpha band comes along: it says what is valid. Raises GridError where the file does not line up with the grid.
    """
    level = layout.level(version)
    try:
        met, parts = grid.cover(windows, layout.grid, (level.height, level.width))
    except GridError as error:
        raise GridError(f"{layout.href}: {error}") from error
    if layout.why is not None:
        return met, parts, Tiles.none(len(met))
    planes = {0}
    if len(level.offsets) > 1:
        planes = {index - 1 for index in (*indexes, *([layout.alpha] if layout.alpha else []))}
    return met, parts, find_tiles(level, sorted(planes), parts)

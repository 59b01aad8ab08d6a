"""From a selection to a manifest: items into slots, channels into files, windows into byte ranges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..cog.index import HeaderIndex, index_headers
from ..errors import GridError, ItemError
from ..grid import Grid, Window
from ..selection import Channel, Selection
from ..stac.slots import fill_slots
from ..stac.source import band_href, check_bands
from .cost import Cost
from .manifest import Manifest
from .request import ReadRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pystac import Item


@dataclass(frozen=True, slots=True)
class Source:
    """The file of one channel."""

    channel: int
    """Position in the selection's channels."""
    item: Item
    href: str


def find_sources(selection: Selection, items: Iterable[Item]) -> list[Source]:
    """The files that the selection names, one a channel; a channel that no item fills has none.

    Raises ItemError where there is none at all, or where a band is in no item.
    """
    filled = fill_slots(selection.slots, items)
    check_bands(filled, [selection.bands[band] for band in sorted({c.band for c in selection.channels})])
    sources = []
    for number, channel in enumerate(selection.channels):
        item = filled[channel.slot]
        href = item and band_href(item, selection.bands[channel.band])
        if item and href:
            sources.append(Source(number, item, href))
    if not sources and selection.channels:
        first, last = selection.slots[0].name, selection.slots[-1].name
        raise ItemError(f"no item fills any slot of the selection ({first} to {last}); search those dates")
    return sources


def index_selection(
    selection: Selection, items: Iterable[Item], on_done: Callable[[], object] | None = None
) -> HeaderIndex:
    """The headers of the files that the selection names, and of no other. Raises as `index_headers` does."""
    return index_headers((source.href for source in find_sources(selection, items)), on_done)


def choose_grid(selection: Selection, items: Iterable[Item], index: HeaderIndex) -> Grid:
    """The grid of the finest file that the selection names, the first by slot and band among equals."""
    grids = [index[source.href].grid for source in find_sources(selection, items)]
    if not grids:
        raise ItemError("an empty selection has no grid of its own; name one")
    return min(grids, key=lambda grid: grid.res_y * grid.res_x)


def compile_manifest(
    selection: Selection,
    items: Iterable[Item],
    index: HeaderIndex,
    grid: Grid,
    chips: Sequence[Window] | None = None,
) -> Manifest:
    """The manifest that fills the channels of `selection` over `chips` (windows of `grid`; None: all of it).

    Raises ItemError for a file that is not in `index` or a band that no item has, and GridError where a file does not
    line up with the grid.
    """
    chips = (grid.window,) if chips is None else tuple(chips)
    requests: list[ReadRequest] = []
    for source in find_sources(selection, items):
        channel = selection.channels[source.channel]
        requests.extend(_requests(selection, channel, source, index, grid, chips))
    names = tuple((selection.slots[c.slot].name, selection.bands[c.band].name) for c in selection.channels)
    return Manifest(grid, tuple(chips), names, tuple(requests), selection.digest)


def _requests(
    selection: Selection, channel: Channel, source: Source, index: HeaderIndex, grid: Grid, chips: Sequence[Window]
) -> Iterator[ReadRequest]:
    band, layout = selection.bands[channel.band], index[source.href]
    if band.index > layout.count:
        raise ItemError(f"{layout.href} has {layout.count} bands, no band {band.index} for {band.name}")
    level, level_grid = layout.level(channel.level), layout.level_grid(channel.level)
    for chip, window in enumerate(chips):
        try:
            placement = grid.place(window, level_grid)
        except GridError as error:
            raise GridError(f"{layout.href}: {error}") from error
        if placement is None:  # the item does not reach the chip: the channel stays empty there
            continue
        yield ReadRequest(
            item=source.item.id,
            collection=source.item.collection_id,
            asset=band.asset,
            href=source.href,
            slot=selection.slots[channel.slot].name,
            band=band.name,
            channel=source.channel,
            chip=chip,
            index=band.index,
            level=channel.level,
            window=placement.source,
            ranges=tuple(level.ranges(band.index, placement.source)),
            header_nbytes=len(layout.header),
            size=layout.size,
            etag=layout.etag,
            dtype=layout.dtype,
            nodata=band.nodata if layout.nodata is None else layout.nodata,  # the file knows better than the item
            scale=band.scale,
            offset=band.offset,
        )


def free_channels(selection: Selection, items: Sequence[Item], index: HeaderIndex, grid: Grid) -> list[str]:
    """``slot/band`` of channels that were left out and would not cost a byte: their pixels are read for another band.

    In a pixel-interleaved file every GeoTIFF tile holds all bands.
    """
    files = {(channel.slot, selection.bands[channel.band].asset) for channel in selection.channels}
    beside = Selection(selection.slots, selection.bands, _in_files(selection, files))
    kept = [number for number, channel in enumerate(beside.channels) if channel in selection.channels]
    cost = Cost.of(compile_manifest(beside, items, index, grid))
    return [beside.names[number] for number in cost.free_riders(kept)]


def _in_files(selection: Selection, files: set[tuple[int, str]]) -> tuple[Channel, ...]:
    """The selection's channels, and at full resolution all others that lie in these (slot, asset)."""
    taken = {(channel.slot, channel.band) for channel in selection.channels}
    others = (
        Channel(slot, band)
        for slot in range(len(selection.slots))
        for band in range(len(selection.bands))
        if (slot, band) not in taken and (slot, selection.bands[band].asset) in files
    )
    return (*selection.channels, *others)

"""From a selection to a manifest: windows into byte ranges."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ItemError
from ..grid import Window
from ..selection import Channel, Selection
from ..stac.metadata import item_scaling
from .cost import Cost
from .coverage import Coverage
from .limits import check_scaling
from .manifest import Manifest
from .request import Requests, Source
from .runs import LEADER_GAP
from .sources import Use, find_files, find_pieces, find_uses
from .tiles import Tiles, window_array

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pystac import Item

    from ..cog.index import HeaderIndex
    from ..cog.layout import Layout
    from ..grid import Grid
    from ..stac.band import Band


def compile_manifest(
    selection: Selection,
    items: Iterable[Item] | Coverage,
    index: HeaderIndex,
    grid: Grid,
    chips: Sequence[Window] | None = None,
    *,
    gap: int = LEADER_GAP,
    search: dict[str, Any] | None = None,
    dense: bool = True,
    scaling: Sequence[tuple[float, float]] | None = None,
) -> Manifest:
    """The manifest that fills the channels of `selection` over `chips` (windows of `grid`; None: all of it).

    Of the items of a slot, best first, those are read that add to what is covered of a chip; the first source of a
    channel is shown where several are valid. A channel at full resolution is read from an overview where the grid's
    pixels are so large that one of its real size serves. Two ranges of a file are fetched as one over at most `gap`
    bytes: a round trip (s) x bandwidth (bytes/s of one connection) says how many are cheaper than a request. `search`
    is noted down, and `dense` says whether to add up what all channels would take. `scaling` is the (scale, offset) to
    which each channel's values are brought, such as what a network learned them in; None: what profile or items say,
    and items of another year may say otherwise. Raises ItemError for a file that is not in `index` or a band that no
    item has, GridError where a file has no place on the grid, and ManifestError for a `scaling` that cannot be one.
    """
    coverage, chips = Coverage.of(selection, items, grid), (grid.window,) if chips is None else tuple(chips)
    names = tuple((selection.slots[c.slot].name, selection.bands[c.band].name) for c in selection.channels)
    wanted = None if scaling is None else check_scaling([(float(a), float(b)) for a, b in scaling], len(names))
    uses = find_uses(selection, coverage, index, grid, window_array(chips))
    manifest = Manifest(
        grid,
        chips,
        names,
        wanted or _scaling(selection, coverage, [use.source for use in uses]),
        plan_requests(uses, index, grid, chips),
        selection.digest,
        gap,
        profile=selection.profile,
        search=search,
    )
    return replace(manifest, dense_nbytes=_dense_nbytes(manifest, selection, coverage, index)) if dense else manifest


def plan_requests(uses: Iterable[Use], layouts: Mapping[str, Layout], grid: Grid, chips: Sequence[Window]) -> Requests:
    """The requests of `uses` for their chips, by source, then chip; a chip that a file does not reach has none.

    Raises GridError where a file has no place on the grid.
    """
    wanted = window_array(chips)
    kept, chip, windows, tiles = list[Source](), [], [], []
    for use in uses:
        source = use.source
        layout = layouts[source.href]
        met, parts, pieces = find_pieces(layout, source.level, source.indexes, grid, wanted[use.chips])
        if len(met):
            kept.append(source)
            chip.append(use.chips[met])
            windows.append(parts)
            tiles.append(pieces)
    if not kept:
        return Requests.of(())
    places = np.repeat(np.arange(len(kept)), [len(met) for met in chip])
    return Requests(tuple(kept), places, np.concatenate(chip), np.concatenate(windows), Tiles.join(tiles))


def cut_chip(
    manifest: Manifest, layouts: Mapping[str, Layout], chip: int, window: Window, channels: Iterable[int]
) -> Manifest:
    """The plan of a part of one chip, and of some channels; the others stay, and are empty.

    `window` counts from the chip's first row and column. `layouts` has every file of the manifest. Raises ManifestError
    for a chip that is not there.
    """
    wanted, alone = set(channels), manifest.part([chip])
    whole = alone.chips[0]
    place = Window(whole.row_off + window.row_off, whole.col_off + window.col_off, window.height, window.width)
    sources = [source.narrow(wanted) for source in alone.requests.sources if not wanted.isdisjoint(source.channels)]
    uses = [Use(source, np.zeros(1, np.int64)) for source in sources]
    requests = plan_requests(uses, layouts, manifest.grid, [place])
    return replace(manifest, chips=(place,), requests=requests, dense_nbytes=None)


def _scaling(selection: Selection, coverage: Coverage, sources: Sequence[Source]) -> tuple[tuple[float, float], ...]:
    """(scale, offset) of each channel's values, the same for all chips where profile or items say any.

    The band's own; else that of its first rule; else what the best item of the slot says; else its first file.
    """
    by_file: dict[int, tuple[float, float]] = {}
    for source in sources:
        for channel, scale, offset in zip(source.channels, source.scales, source.offsets, strict=True):
            by_file.setdefault(channel, (scale, offset))
    return tuple(
        _stated(selection.bands[channel.band], coverage.best(channel.slot, selection.bands[channel.band].asset))
        or by_file.get(number, (1.0, 0.0))
        for number, channel in enumerate(selection.channels)
    )


def _stated(band: Band, item: Item | None) -> tuple[float, float] | None:
    """What the profile says, or else an item."""
    if (band.scale, band.offset) != (1, 0):
        return band.scale, band.offset
    if band.scalings:
        return band.scalings[0].scale, band.scalings[0].offset
    return item_scaling(item, band) if item else None


def _dense_nbytes(manifest: Manifest, selection: Selection, coverage: Coverage, index: HeaderIndex) -> int | None:
    """Planned bytes of all channels at full resolution; None where a header is not in the index, or GDAL reads."""
    dense, windows = Selection.dense(selection.slots, selection.bands), window_array(manifest.chips)
    if selection.channels == dense.channels:
        return None if manifest.fallbacks else manifest.planned_nbytes
    try:
        hrefs = {file.href for file in find_files(dense, coverage, windows)}
    except ItemError:  # a band of the profile that is in no item
        return None
    if any(href not in index or index[href].why is not None for href in hrefs):
        return None
    by_file: dict[str, list[Use]] = {}
    for use in find_uses(dense, coverage, index, manifest.grid, windows):
        by_file.setdefault(use.source.href, []).append(use)
    # file by file, and only the sums are kept: a dense plan may be much larger than the one that was asked for
    plans = (plan_requests(uses, index, manifest.grid, manifest.chips) for uses in by_file.values())
    return sum(replace(manifest, requests=requests).planned_nbytes for requests in plans)


def free_channels(selection: Selection, items: Iterable[Item] | Coverage, index: HeaderIndex, grid: Grid) -> list[str]:
    """``slot/band`` of channels that were left out and would not cost a byte: their pixels are read for another band.

    In a pixel-interleaved file every GeoTIFF tile holds all bands.
    """
    files = {(channel.slot, selection.bands[channel.band].asset) for channel in selection.channels}
    beside = replace(selection, channels=_in_files(selection, files))
    kept = [number for number, channel in enumerate(beside.channels) if channel in selection.channels]
    cost = Cost.of(beside, items, index, grid)
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

"""From channels to files: what of which file fills a channel, and where that lies."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..cog.index import HeaderIndex, index_headers
from ..errors import GridError, ItemError, ItemWarning
from ..signing import signed_by
from ..stac.source import band_href, scaling_of
from .claims import contradictions
from .coverage import Coverage
from .request import Source
from .tiles import Tiles, find_tiles, window_array

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pystac import Item

    from ..cog.layout import Layout
    from ..grid import Grid
    from ..selection import Selection
    from ..signing import Sign


#: Scales that are nearer to 0, or that far from it, are mistakes: nothing can be brought to them.
LEAST_SCALE = 1e-15


@dataclass(frozen=True, slots=True)
class ChannelFile:
    """A file of one channel."""

    channel: int
    """Position in the selection's channels."""
    place: int
    """Position of the item in the coverage."""
    item: Item
    href: str
    chips: np.ndarray
    """Positions of the windows that it fills, int64, ascending."""


@dataclass(frozen=True, slots=True)
class Use:
    """A level of a file, and the chips for which it is read."""

    source: Source
    chips: np.ndarray
    """Positions of windows, int64, ascending."""


def find_files(
    selection: Selection, items: Iterable[Item] | Coverage, windows: np.ndarray | None = None
) -> list[ChannelFile]:
    """The files that the selection names, by channel, of each the first to be shown first; an empty channel has none.

    `windows` are chips on the grid of the coverage, int64 (chips, 4); None: all that the items cover, as one chip.
    Raises ItemError where no item fills a slot, or a band is in no item.
    """
    coverage = Coverage.of(selection, items, items.grid if isinstance(items, Coverage) else None)
    if not coverage.items and selection.channels:
        first, last = selection.slots[0].name, selection.slots[-1].name
        raise ItemError(f"no item fills any slot of the selection ({first} to {last}); search those dates")
    bands = [selection.bands[number] for number in sorted({channel.band for channel in selection.channels})]
    coverage.check(bands)
    fills = coverage.fills(dict.fromkeys(band.asset for band in bands), windows)
    files = []
    for number, channel in enumerate(selection.channels):
        band = selection.bands[channel.band]
        for fill in fills[band.asset]:
            href = band_href(fill.item, band) if fill.slot == channel.slot else None
            if href:
                files.append(ChannelFile(number, fill.place, fill.item, href, fill.chips))
    return files


def index_selection(
    selection: Selection,
    items: Iterable[Item] | Coverage,
    on_done: Callable[[], object] | None = None,
    *,
    kept: HeaderIndex | None = None,
    sign: Sign | None = None,
    windows: np.ndarray | None = None,
) -> HeaderIndex:
    """The headers of the files that the selection names, and of no other; those in `kept` are not fetched again.

    `sign` signs hrefs; None: as the items' own are. `windows` as in `find_files`. Raises as `index_headers`.
    """
    files = find_files(selection, items, windows)
    coarse = {file.href for file in files if selection.channels[file.channel].level is not None}
    sign = sign or signed_by({id(file.item): file.item for file in files}.values())
    return index_headers((file.href for file in files), on_done, kept=kept, sign=sign, overviews=coarse)


def choose_grid(selection: Selection, items: Iterable[Item], index: HeaderIndex) -> Grid:
    """The grid of the finest file that the selection names, the first by slot and band among equals, as large as all.

    Files that reach beyond it make it larger, in whole pixels; those of another CRS too. Raises ItemError for an empty
    selection, GridError where the files lie too far apart for one grid.
    """
    grids = list(dict.fromkeys(index[file.href].grid for file in find_files(selection, items)))
    if not grids:
        raise ItemError("an empty selection has no grid of its own; name one")
    finest = min(grids, key=lambda grid: math.prod(grid.res_on(grids[0])))
    return finest.around([grid.bounds_on(finest) for grid in grids])


def find_uses(
    selection: Selection,
    items: Iterable[Item] | Coverage,
    index: HeaderIndex,
    grid: Grid,
    windows: np.ndarray | None = None,
) -> list[Use]:
    """The levels of files that fill the channels on `grid`: channels of one file and level share a source.

    `windows` are chips of the grid; None: all of it. Of two sources of a channel the first is shown where both are
    valid. Warns where an item says otherwise than its file (ItemWarning): the file is taken at its word. Raises
    ItemError as `compile_manifest` does.
    """
    windows = window_array([grid.window]) if windows is None else windows
    coverage = Coverage.of(selection, items, grid)
    groups: dict[tuple[int, str, int | None, float | None, bytes], list[ChannelFile]] = {}
    for file in find_files(selection, coverage, windows):
        channel, layout = selection.channels[file.channel], index[file.href]
        # None is full resolution, unless the grid has no use for it
        version = layout.version_for(*grid.res_on(layout.grid)) if channel.level is None else channel.level
        nodata = selection.bands[channel.band].nodata
        key = (file.place, file.href, version, nodata, file.chips.tobytes())
        groups.setdefault(key, []).append(file)
    # by item: a file that lacks one of two bands is in one order for both
    ordered = sorted(groups.items(), key=lambda group: group[0][0])
    return [
        Use(_source(selection, files, index[files[0].href], version), files[0].chips)
        for (_, _, version, _, _), files in ordered
    ]


def _source(selection: Selection, files: list[ChannelFile], layout: Layout, version: int | None) -> Source:
    channels, item = [selection.channels[file.channel] for file in files], files[0].item
    bands = [selection.bands[channel.band] for channel in channels]
    for said in contradictions(item, bands[0].asset, layout):
        warnings.warn(said, ItemWarning, stacklevel=2)
    layout.level(version)  # there has to be one
    for band in bands:
        if band.index > layout.count:
            raise ItemError(f"{layout.href} has {layout.count} bands, no band {band.index} for {band.name}")
    # a catalog may correct what files say, as after a change of the processing baseline; where it is silent they know
    scaling = [
        scaling_of(item, band) or (layout.scales[band.index - 1], layout.offsets[band.index - 1]) for band in bands
    ]
    if wrong := [scale for scale, _ in scaling if not LEAST_SCALE <= abs(scale) <= 1 / LEAST_SCALE]:
        raise ItemError(f"item {item.id}, asset {bands[0].asset}: {wrong[0]} is no scale; a profile may say better")
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
    An alpha band comes along: it says what is valid. Raises GridError where the file has no place on the grid.
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

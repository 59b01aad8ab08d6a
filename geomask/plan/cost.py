"""What channels cost, in bytes on the wire: exact for a hard selection, also where channels share a file.

Cost and plan find byte ranges with the same code and add them up apart from each other: here by channel, in
:mod:`geomask.plan.manifest` by request. They must agree to the byte.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import SelectionError
from .budget import Budget
from .coverage import Coverage
from .runs import LEADER_GAP, join_runs
from .sources import find_files, find_pieces
from .tiles import Tiles, window_array

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import xarray as xr
    from pystac import Item

    from ..cog.index import HeaderIndex
    from ..cog.layout import Layout
    from ..grid import Grid, Window
    from ..selection import Selection


WINDOW = ("row_off", "col_off", "height", "width")


class Bill(NamedTuple):
    """What reading takes, as a manifest of it would say."""

    nbytes: int
    """Planned bytes: headers and pixels."""
    requests: int
    """Planned requests: one for each header, and each run of bytes beyond it."""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """What one level of one file costs for one band, block by block."""

    href: str
    header_nbytes: int
    """Bytes of the file's header, once for all that lies in it."""
    met: np.ndarray
    """Which blocks the file reaches, bool (blocks,)."""
    tiles: Tiles
    """GeoTIFF tiles of each block."""


@dataclass(frozen=True, eq=False)
class Cost:
    """Bytes of the channels of one selection over given blocks, at each level."""

    selection: Selection
    blocks: np.ndarray
    """Windows of the grid, int64 (blocks, 4), each row as `Window` has it."""
    tables: Mapping[tuple[int, int, int | None], list[Table]]
    """By (slot, band, level), of every file that fills it; none where no item does, and where GDAL reads."""
    unknown: frozenset[tuple[int, int]] = frozenset()
    """(slot, band) of channels that GDAL reads: nobody knows what that takes."""
    gap: int = LEADER_GAP
    """Two ranges of a file are fetched as one over at most so many bytes."""

    @classmethod
    def of(
        cls,
        selection: Selection,
        items: Iterable[Item] | Coverage,
        index: HeaderIndex,
        grid: Grid,
        blocks: Sequence[Window] | None = None,
        gap: int = LEADER_GAP,
    ) -> Cost:
        """The cost of each channel of `selection`, at every level, over `blocks` (None: all of the grid as one).

        Raises as `compile_manifest` does.
        """
        places = window_array([grid.window] if blocks is None else blocks)
        tables: dict[tuple[int, int, int | None], list[Table]] = defaultdict(list)
        unknown = set()
        for file in find_files(selection, Coverage.of(selection, items, grid), places):
            channel, layout = selection.channels[file.channel], index[file.href]
            layout.level(channel.level)  # there has to be one
            if layout.why is not None:
                unknown.add((channel.slot, channel.band))
                continue
            for level in (None, *range(len(layout.levels) - 1)):
                table = _table(layout, level, selection.bands[channel.band].index, grid, places, file.chips)
                tables[channel.slot, channel.band, level].append(table)
        full = {key: len(tables[*key[:2], None]) for key in tables}
        tables = {key: found for key, found in tables.items() if len(found) == full[key]}  # levels that all files have
        return cls(selection, places, dict(tables), frozenset(unknown), gap)

    @cached_property
    def nbytes(self) -> xr.DataArray:
        """Bytes of the GeoTIFF tiles of each (slot, band, level, block), read alone and without headers, as float64.

        Of a tile the prefix, where that holds the block's rows. Level -1 is full resolution, 0 the first overview. 0
        for a channel that no item fills, or that is not in the selection; NaN where the file has no such level, its
        pixels do not fit the grid, or GDAL reads it. The sum is dearer than the whole where blocks or channels share a
        tile: `total` counts it once.
        """
        import xarray as xr

        slots, bands = self.selection.slots, self.selection.bands
        depth = 1 + max((level + 1 for _, _, level in self.tables if level is not None), default=0)
        values = np.zeros((len(slots), len(bands), depth, len(self.blocks)))
        for slot, band in {(slot, band) for slot, band, _ in self.tables} | self.unknown:
            values[slot, band] = np.nan
        for (slot, band, level), tables in self.tables.items():
            nbytes = [np.bincount(table.tiles.owners, table.tiles.lengths, len(self.blocks)) for table in tables]
            values[slot, band, 0 if level is None else level + 1] = np.sum(nbytes, 0)
        coords = {
            "slot": [slot.name for slot in slots],
            "band": [band.name for band in bands],
            "level": np.arange(depth) - 1,
            **{name: ("block", at) for name, at in zip(WINDOW, self.blocks.T, strict=True)},
        }
        return xr.DataArray(values, coords, ("slot", "band", "level", "block"), "nbytes", {"units": "byte"})

    @cached_property
    def header_nbytes(self) -> xr.DataArray:
        """Bytes of the headers of the files behind each (slot, band), int64; channels of one file share it."""
        import xarray as xr

        kept = self.selection.to_xarray()
        heads = np.zeros(kept.shape, np.int64)
        for (slot, band, _), tables in self.tables.items():
            heads[slot, band] = sum(table.header_nbytes for table in tables)
        return xr.DataArray(heads, kept.coords, kept.dims, "header_nbytes", {"units": "byte"})

    @cached_property
    def alone(self) -> np.ndarray:
        """Planned bytes of each channel if it were read alone, int64 (channels,); 0 where no item fills it."""
        return np.array([self.total([channel]) for channel in range(len(self.selection.channels))], np.int64)

    @cached_property
    def dense(self) -> int:
        """Planned bytes of all channels."""
        return self.total(range(len(self.selection.channels)))

    def total(self, channels: Iterable[int], blocks: Sequence[int] | None = None) -> int:
        """Planned bytes of these channels together, over these blocks (None: all), headers included.

        A header and a GeoTIFF tile that two of them share count once.
        """
        return self.total_of(self.selection.keep(sorted(set(channels))), blocks)

    def total_of(self, selection: Selection, blocks: Sequence[int] | None = None) -> int:
        """`total` of a selection of the same slots and bands, each channel at the level that it says."""
        return self.bill(selection, blocks).nbytes

    def bill(self, selection: Selection, blocks: Sequence[int] | None = None) -> Bill:
        """What a selection of the same slots and bands takes over these blocks (None: all), headers included.

        Each channel is read at the level that it says; one that no item fills takes nothing.
        """
        heads: dict[str, int] = {}
        places: dict[str, int] = {}
        files, parts = list[int](), list[Tiles]()
        wanted = [self.tables.get((c.slot, c.band, c.level), []) for c in selection.channels]
        for table in chain.from_iterable(wanted):
            met, tiles = table.met, table.tiles
            if blocks is not None:
                met, tiles = met[list(blocks)], tiles.take(np.asarray(blocks, np.int64))
            if met.any():  # the header of a file that no block reaches is not fetched
                heads[table.href] = table.header_nbytes
                files.append(places.setdefault(table.href, len(places)))
                parts.append(tiles)
        tiles = Tiles.join(parts)
        owners = np.repeat(np.array(files, np.int64), [len(part.offsets) for part in parts])
        sizes = np.array(list(heads.values()), np.int64)
        runs = join_runs(owners, tiles.offsets, tiles.lengths, tiles.wholes, sizes, self.gap)
        return Bill(int(sizes.sum()) + runs.nbytes, len(sizes) + len(runs))

    def free_riders(self, channels: Iterable[int]) -> list[int]:
        """Channels that were left out and would not have cost a byte: their tiles are read for others."""
        kept = set(channels)
        total = self.total(kept)
        places = [(channel.slot, channel.band, channel.level) for channel in self.selection.channels]
        hrefs = [{table.href for table in self.tables.get(place, [])} for place in places]
        read = set().union(*(hrefs[channel] for channel in kept))
        beside = [channel for channel, of in enumerate(hrefs) if of & read and channel not in kept]
        return [channel for channel in beside if self.total(kept | {channel}) == total]

    def budget(self, text: str, bandwidth: float | None = None, least: float | None = None) -> int:
        """Bytes of a budget such as ``10%`` (of the dense plan), ``250000``, ``2MB``, or ``1.5s`` at `bandwidth` bit/s.

        `least` is what the cheapest channel takes, where that is not at the level that the selection says. Raises
        SelectionError where the text is none of these, the budget is below the cheapest channel or above all of them,
        or nobody knows what a channel takes.
        """
        for slot, band in sorted(self.unknown):
            name = f"{self.selection.slots[slot].name}/{self.selection.bands[band].name}"
            raise SelectionError(f"{name} has no price: GDAL reads its file; rewrite it with GDAL's COG driver")
        nbytes = Budget.parse(text).nbytes(self.dense, bandwidth)
        cheapest = int(self.alone[self.alone > 0].min(initial=self.dense) if least is None else least)
        if not cheapest <= nbytes <= self.dense:
            raise SelectionError(
                f"a budget of {text} is {nbytes:,.0f} bytes; choose from {cheapest:,} (the cheapest channel) "
                f"to {self.dense:,} (all {len(self.alone)} channels)"
            )
        return int(nbytes)


def _table(layout: Layout, level: int | None, index: int, grid: Grid, blocks: np.ndarray, filled: np.ndarray) -> Table:
    """Of the blocks whose positions are in `filled`."""
    version = layout.version_for(*grid.res_on(layout.grid)) if level is None else level
    at, _, tiles = find_pieces(layout, version, (index,), grid, blocks[filled])
    met, counts = np.zeros(len(blocks), bool), np.zeros(len(blocks), np.int64)
    met[filled[at]], counts[filled[at]] = True, tiles.counts
    starts = np.concatenate([[0], np.cumsum(counts)])
    return Table(layout.href, len(layout.header), met, Tiles(starts, tiles.offsets, tiles.lengths, tiles.wholes))

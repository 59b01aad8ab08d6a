"""The versions of a task's channels: overview levels and other assets of the same band, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from ..errors import SelectionError
from ..plan.cost import Cost
from ..plan.sources import index_selection
from ..plan.tiles import window_array
from ..read.receipt import Receipt
from ..selection import Channel, Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ..chips.memory import Chips
    from ..cog.index import HeaderIndex
    from ..grid import Grid
    from ..plan.coverage import Coverage
    from ..plan.survey import Survey
    from ..stac.band import Band

#: (scale, offset) of each channel's values: physical value = value * scale + offset.
type Scaling = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Versions:
    """Ways to fill each channel of a selection."""

    selection: Selection
    """All channels at full resolution. Its bands are those of the channels, each followed by its other assets."""
    channels: tuple[tuple[Channel | None, ...], ...]
    """(versions, channels): what is read for a channel, None where there is no such version. The first is the
    channel at full resolution."""

    @classmethod
    def of(
        cls, selection: Selection, levels: Sequence[int] = (), alternatives: Mapping[str, Sequence[str]] | None = None
    ) -> Versions:
        """Full resolution, then `levels` (0 is the first overview), then `alternatives`: assets by a band's name.

        An alternative means what its band means: index, nodata, scale and offset. `selection` is dense. Raises
        SelectionError for a band that is not there, an asset that has a place already, and levels that are no such
        or there twice.
        """
        assets = alternatives or {}
        if missing := set(assets) - {band.name for band in selection.bands}:
            raise SelectionError(f"other assets of {min(missing)}, which is no band of the selection")
        if len(set(levels)) < len(levels) or min(levels, default=0) < 0:
            raise SelectionError(f"levels are overviews, each once and from 0, not {', '.join(map(str, levels))}")
        groups = [_with_assets(band, assets.get(band.name, ())) for band in selection.bands]
        starts = np.cumsum([0, *map(len, groups)]).tolist()
        bands = tuple(band for group in groups for band in group)
        full = tuple(Channel(channel.slot, starts[channel.band]) for channel in selection.channels)
        others = (
            tuple(
                Channel(channel.slot, starts[channel.band] + number) if number < len(groups[channel.band]) else None
                for channel in selection.channels
            )
            for number in range(1, max(map(len, groups)))
        )
        coarse = (tuple(replace(channel, level=level) for channel in full) for level in levels)
        return cls(replace(selection, bands=bands, channels=full), (full, *coarse, *others))

    @property
    def is_single(self) -> bool:
        """Whether full resolution is all there is."""
        return len(self.channels) == 1

    def at(self, version: int) -> tuple[Selection, list[int]]:
        """The selection of one version of all channels that have it, and the positions of those."""
        here = [number for number, channel in enumerate(self.channels[version]) if channel is not None]
        return self.choose((version, number) for number in here), here

    def choose(self, planes: Iterable[tuple[int, int]]) -> Selection:
        """What is read by a choice of planes: (version, channel), at most one version of each channel.

        Its channels are in the order of `selection.channels`. Raises SelectionError for a plane that is not there.
        """
        planes = sorted(planes, key=lambda plane: plane[1])
        found = [self.channels[version][number] for version, number in planes]
        if missing := [plane for plane, channel in zip(planes, found, strict=True) if channel is None]:
            raise SelectionError(f"channel {missing[0][1]} has no version {missing[0][0]}")
        return replace(self.selection, channels=tuple(channel for channel in found if channel is not None))

    def index(self, place: Survey) -> HeaderIndex:
        """The headers of all versions; those of full resolution are known from `place`."""
        found, windows = place.index, window_array([place.grid.window])
        for version in range(1, len(self.channels)):
            selection, _ = self.at(version)
            found = found.join(index_selection(selection, place.coverage, kept=found, windows=windows))
        return found

    def cost(self, place: Survey, index: HeaderIndex) -> Cost:
        """What all versions cost over the grid; `dense` and `alone` are those of full resolution."""
        places = [Channel(channel.slot, channel.band) for row in self.channels for channel in row if channel]
        everything = replace(self.selection, channels=tuple(dict.fromkeys(places)))
        cost = Cost.of(everything, place.coverage, index, place.grid)
        base = {(channel.slot, channel.band) for channel in self.selection.channels}
        return replace(cost, selection=self.selection, unknown=cost.unknown & base)

    def that_cost(self, cost: Cost) -> Versions:
        """Without versions that a file does not have, or of which nobody knows what they take.

        A channel that no item fills keeps them all: they take nothing.
        """
        known = cost.tables.keys()

        def is_there(number: int, channel: Channel | None) -> bool:
            full = self.channels[0][number]
            empty = full is not None and (full.slot, full.band, None) not in known
            return channel is not None and (empty or (channel.slot, channel.band, channel.level) in known)

        rows = [
            tuple(channel if is_there(number, channel) else None for number, channel in enumerate(row))
            for row in self.channels[1:]
        ]
        return replace(self, channels=(self.channels[0], *rows))

    def prices(self, cost: Cost, groups: Sequence[int] | None = None) -> np.ndarray:
        """Planned bytes of each version of each group of channels read alone, headers included; float64.

        Of shape (versions, groups, 1, 1), that of a `Grain` without blocks. `groups` has the group of each channel;
        None: each is one. Infinite where a channel of the group has no such version.
        """
        groups = range(len(self.selection.channels)) if groups is None else groups
        prices = np.full((len(self.channels), max(groups) + 1, 1, 1), np.inf)
        for version, row in enumerate(self.channels):
            for group in range(max(groups) + 1):
                members = [channel for channel, of in zip(row, groups, strict=True) if of == group]
                there = tuple(channel for channel in members if channel is not None)
                if len(there) == len(members):
                    prices[version, group] = cost.total_of(replace(self.selection, channels=there))
        return prices


def read_versions(
    chips: Chips,
    receipt: Receipt,
    versions: Versions,
    coverage: Coverage,
    grid: Grid,
    index: HeaderIndex,
    on_done: Callable[[], object] | None = None,
) -> tuple[Chips, Receipt, tuple[Scaling, ...]]:
    """Chips of full resolution with their other versions: image and valid become (chips, versions, channels, ...).

    Each version is planned and read as inference will read it, on the same grid: a coarse pixel fills those of the
    grid that it covers. `receipt` is that of `chips`; what the others took is added. All versions are in memory: as
    many times the bytes of `chips`. Also returns the scaling of the others, as `StacDataset.scaling`: another asset may
    have its own. It is (1, 0) where a channel has no such version. Raises as reading does.
    """
    from ..chips.dataset import StacDataset  # torchgeo takes several seconds

    image = np.zeros((len(chips), len(versions.channels), *chips.image.shape[1:]), np.float32)
    valid = np.zeros(image.shape, bool)
    image[:, 0], valid[:, 0] = chips.image, chips.valid
    scalings = list[Scaling]()
    for version in range(1, len(versions.channels)):
        selection, here = versions.at(version)
        found: dict[int, tuple[float, float]] = {}
        if here:
            dataset = StacDataset(coverage, selection, grid, None, index)
            cube, taken = dataset.read(chips.windows, on_done)
            image[:, version, here], valid[:, version, here] = cube.image, cube.valid
            receipt = _both(receipt, taken)
            found = dict(zip(here, dataset.scaling, strict=True))
        scalings.append(tuple(found.get(channel, (1.0, 0.0)) for channel in range(image.shape[2])))
    return replace(chips, image=image, valid=valid), receipt, tuple(scalings)


def _both(first: Receipt, second: Receipt) -> Receipt:
    """One read after the other."""
    return Receipt(
        *(getattr(first, field.name) + getattr(second, field.name) for field in fields(Receipt)),
    )


def _with_assets(band: Band, assets: Sequence[str]) -> list[Band]:
    """The band, and one of its own for each other asset."""
    return [band, *(replace(band, name=asset, asset=asset) for asset in assets)]

"""What may be bought with a budget: channels, each at one of its versions, at their prices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import SelectionError
from ..masks.fixed import spaced_centres
from .versions import Versions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ..plan.cost import Cost

#: (version, channel): a channel at one of its versions.
type Plane = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Shop:
    """What planes cost, and how much may be spent."""

    prices: np.ndarray
    """Bytes of each read alone, float64 (versions, channels); infinite where there is no such version."""
    budget: float
    """Bytes."""
    total: Callable[[Sequence[Plane]], float] | None = None
    """Exact bytes of planes that share some; None: the sum of their prices."""

    def __post_init__(self) -> None:
        """Refuse a budget that nothing fits. Raises SelectionError."""
        if not any(self.fits([plane]) for plane in self.planes):
            raise SelectionError(f"a budget of {self.budget:,.0f} bytes is below the cost of every channel")

    @classmethod
    def of(cls, cost: Cost, budget: float, versions: Versions | None = None) -> Shop:
        """What plans take: a header or a tile that planes share counts once."""
        known = versions or Versions(cost.selection, (cost.selection.channels,))
        prices = known.prices(cost)[:, :, 0, 0]
        shares = int(cost.alone.sum()) > cost.dense
        is_flat = len(prices) == 1 and len(set(prices[0].tolist())) == 1
        total = None if is_flat and not shares else lambda planes: cost.total_of(known.choose(planes))
        return cls(prices, budget, total)

    @property
    def planes(self) -> list[Plane]:
        """All that can be had, by version, then channel."""
        return [(int(version), int(channel)) for version, channel in np.argwhere(np.isfinite(self.prices))]

    @property
    def is_flat(self) -> bool:
        """Whether there is one version, and every channel costs the same."""
        return len(self.prices) == 1 and bool((self.prices == self.prices[0, 0]).all() and self.prices[0, 0] > 0)

    def cost(self, planes: Sequence[Plane]) -> float:
        """Bytes of planes together."""
        if self.total is not None:
            return float(self.total(planes))
        return float(sum(self.prices[plane] for plane in planes))

    def fits(self, planes: Sequence[Plane]) -> bool:
        """Whether they are within the budget."""
        return self.cost(planes) <= self.budget

    def fill(self, order: Iterable[Plane]) -> list[Plane]:
        """Down an order, each plane that fits and whose channel is not there yet; by channel."""
        kept: list[Plane] = []
        for plane in order:
            if plane[1] not in {channel for _, channel in kept} and self.fits([*kept, plane]):
                kept.append(plane)
        return by_channel(kept)


def by_channel(planes: Iterable[Plane]) -> list[Plane]:
    """Sorted by channel."""
    return sorted(planes, key=lambda plane: plane[1])


def space_planes(shop: Shop, version: int = 0) -> list[Plane]:
    """As many evenly spaced channels as fit, at a version, or the next finer one that there is; none where none fits.

    Finer means that it comes before.
    """
    count = shop.prices.shape[1]
    for heads in range(count, 0, -1):
        channels = [round(float(centre)) for centre in spaced_centres(count, heads)]
        planes = [(_there(shop.prices[:, channel], version), channel) for channel in channels]
        if shop.fits(planes):
            return planes
    return []


def _there(prices: np.ndarray, version: int) -> int:
    """The last version up to `version` that there is, else the first one of all."""
    there = np.flatnonzero(np.isfinite(prices))
    before = there[there <= version]
    return int(before[-1] if len(before) else there[0])

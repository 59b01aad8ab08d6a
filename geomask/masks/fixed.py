"""Choices of channels that learn nothing: uniform spacing and random draws, within a budget of bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import SelectionError

if TYPE_CHECKING:
    from ..plan.cost import Cost


def spaced_centres(count: int, heads: int) -> np.ndarray:
    """Where `heads` points lie evenly over `count` channels: c_j = (j + 0.5) count / heads - 0.5, float (heads,)."""
    return (np.arange(heads) + 0.5) * count / heads - 0.5


def uniform_channels(cost: Cost, budget: int) -> list[int]:
    """As many evenly spaced channels, ordered by slot then band, as stay within `budget` bytes.

    Raises SelectionError where not even one does.
    """
    count = len(cost.alone)
    for heads in range(count, 0, -1):
        channels = [round(float(centre)) for centre in spaced_centres(count, heads)]
        if cost.total(channels) <= budget:
            return channels
    raise SelectionError(f"a budget of {budget:,} bytes is below the cost of a single evenly spaced channel")


def random_channels(cost: Cost, budget: int, seed: int) -> list[int]:
    """Channels drawn at random, each kept if it still fits into `budget` bytes, in ascending order.

    Raises SelectionError where none fits.
    """
    kept: list[int] = []
    for channel in np.random.default_rng(seed).permutation(len(cost.alone)):
        if cost.total([*kept, int(channel)]) <= budget:
            kept.append(int(channel))
    if not kept:
        raise SelectionError(f"a budget of {budget:,} bytes is below the cost of the cheapest channel")
    return sorted(kept)

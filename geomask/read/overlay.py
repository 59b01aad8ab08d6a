"""Channels of a chip that several sources fill: each pixel shows the first of them that is valid there."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..plan.manifest import Manifest
    from ..window import Placement, Scatter


class Overlay:
    """A channel of a chip that several sources fill, in whatever order they come."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._shown = np.full(shape, np.iinfo(np.int32).max, np.int32)
        """The rank of what each pixel shows."""
        self._lock = Lock()

    def paste(
        self,
        placement: Placement | Scatter,
        rank: int,
        band: np.ndarray,
        seen: np.ndarray,
        image: np.ndarray,
        valid: np.ndarray,
    ) -> None:
        """Put valid pixels of a source where none of a lower rank is; `image` and `valid` are those of the chip."""
        here, values = np.zeros(valid.shape, bool), np.zeros(valid.shape, image.dtype)
        placement.paste(seen, here)
        placement.paste(band, values)
        with self._lock:
            here &= rank < self._shown
            self._shown[here] = rank
            image[here] = values[here]
            valid |= here


def find_overlays(manifest: Manifest) -> dict[tuple[int, int], Overlay]:
    """One for each (chip, channel) that several requests fill."""
    requests = manifest.requests
    wide = max((len(source.channels) for source in requests.sources), default=0)
    table = np.full((len(requests.sources), wide), -1)
    for row, source in zip(table, requests.sources, strict=True):
        row[: len(source.channels)] = source.channels
    channels = table[requests.source]
    places = (requests.chip[:, None] * len(manifest.channels) + channels)[channels >= 0]
    found, times = np.unique(places, return_counts=True)
    several = [divmod(place, len(manifest.channels)) for place in found[times > 1].tolist()]
    return {
        (chip, channel): Overlay((manifest.chips[chip].height, manifest.chips[chip].width)) for chip, channel in several
    }

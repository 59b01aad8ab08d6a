"""Chips read once: training then needs neither network nor files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import GridError, SelectionError
from ..read.reader import read_manifest
from ..read.receipt import Receipt
from .labels import IGNORE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torchgeo.datasets.utils import GeoSlice

    from ..grid import Window
    from .dataset import StacDataset


@dataclass(frozen=True, slots=True)
class Chips:
    """All chips of a task in memory."""

    image: np.ndarray
    """float32 (chips, channels, rows, columns), values as stored in the files; 0 where not valid."""
    valid: np.ndarray
    """bool, same shape."""
    labels: np.ndarray
    """int64 (chips, rows, columns); -1 where there is none."""
    windows: tuple[Window, ...]
    """Where each chip lies on the grid."""
    classes: int
    """Classes that a label can have, also those that no chip shows."""

    def __len__(self) -> int:
        return len(self.image)

    def take(self, chips: Sequence[int]) -> Chips:
        """Some of the chips, by position."""
        at = np.asarray(chips, np.int64)
        windows = tuple(self.windows[chip] for chip in chips)
        return Chips(self.image[at], self.valid[at], self.labels[at], windows, self.classes)


def read_chips(
    dataset: StacDataset,
    sampler: Iterable[GeoSlice],
    classes: int | None = None,
    on_done: Callable[[], object] | None = None,
) -> tuple[Chips, Receipt]:
    """Every chip that `sampler` draws, as one manifest: a GeoTIFF tile that chips share is fetched once.

    Chips are sorted by row, then column, so that positions do not depend on the sampler's order. `classes` is how many
    a label can have, by default as many as the chips show. Raises GridError where the sampler draws no chip,
    SelectionError where the dataset has no labels, or its chips show a single class.
    """
    windows = sorted({dataset.window_of(index) for index in sampler}, key=lambda w: (w.row_off, w.col_off))
    if not windows:
        # torchgeo's RandomPatchSampler gives nothing, silently, where a patch is as large as the grid.
        raise GridError(
            f"the sampler draws no chip from {dataset.grid.height} x {dataset.grid.width} pixels; shrink it"
        )
    labels = np.stack([dataset.labels_of(window) for window in windows])
    if len(shown := set(np.unique(labels).tolist()) - {IGNORE}) < 2:
        raise SelectionError(f"the labels of all chips show {len(shown)} class; to learn takes two: cut elsewhere")
    cube, receipt = read_manifest(dataset.plan(windows), dataset.headers, on_done)
    return Chips(
        cube.image.astype(np.float32), cube.valid, labels, tuple(windows), classes or int(labels.max()) + 1
    ), receipt

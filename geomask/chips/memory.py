"""Chips in memory, all at once: what a small network is trained on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..errors import GridError, SelectionError
from ..read.receipt import Receipt
from ..window import Window
from .labels import IGNORE, known, unlabelled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torchgeo.datasets.utils import GeoSlice

    from .dataset import StacDataset


@dataclass(frozen=True, slots=True)
class Chips:
    """All chips of a task in memory."""

    image: np.ndarray
    """float32 (chips, [versions,] channels, rows, columns), values as stored in the files; 0 where not valid."""
    valid: np.ndarray
    """bool, same shape."""
    labels: np.ndarray
    """Classes, int64 (chips, rows, columns), -1 where there is none; or values, float32, NaN where there is none.

    Of what is learned chip by chip, (chips,) does too.
    """
    windows: tuple[Window, ...]
    """Where each chip lies on the grid."""
    classes: int
    """Classes that a label can have, also those that no chip shows; 0 where labels are values."""

    def __len__(self) -> int:
        return len(self.image)

    def take(self, chips: Sequence[int]) -> Chips:
        """Some of the chips, by position."""
        at = np.asarray(chips, np.int64)
        windows = tuple(self.windows[chip] for chip in chips)
        return Chips(self.image[at], self.valid[at], self.labels[at], windows, self.classes)


def read_chips(
    dataset: StacDataset,
    sampler: Iterable[GeoSlice | Window],
    guard: int = 0,
    on_done: Callable[[], object] | None = None,
) -> tuple[Chips, Receipt]:
    """Every chip that `sampler` draws, or names as a window, in one manifest: a tile that chips share is fetched once.

    Chips are sorted by row, then column, so that positions do not depend on the sampler's order. `guard` as in
    `keep_inner`. Raises GridError where the sampler draws no chip, SelectionError where the dataset has no labels, or
    its chips show a single class.
    """
    asked = {index if isinstance(index, Window) else dataset.window_of(index) for index in sampler}
    windows = sorted(asked, key=lambda w: (w.row_off, w.col_off))
    if not windows:
        # torchgeo's RandomPatchSampler gives nothing, silently, where a patch is as large as the grid.
        raise GridError(
            f"the sampler draws no chip from {dataset.grid.height} x {dataset.grid.width} pixels; shrink it"
        )
    labels = np.stack([dataset.labels_of(window) for window in windows])
    counted = 0 if labels.dtype.kind == "f" else int(labels.max()) + 1
    classes = len(dataset.class_names) if dataset.class_names else counted
    kept = keep_inner(Chips(labels, labels, labels, tuple(windows), classes), guard)  # before anything is fetched
    cube, receipt = dataset.read(kept.windows, on_done)
    return replace(kept, image=cube.image.astype(np.float32), valid=cube.valid), receipt


def keep_inner(chips: Chips, guard: int) -> Chips:
    """Chips of which labels within `guard` pixels of their edge are left out; those that then have no label are too.

    Raises GridError where the guard leaves nothing, SelectionError where what is left shows a single class.
    """
    rows, cols = chips.labels.shape[1:]
    if guard < 0 or min(rows, cols) <= 2 * guard:
        raise GridError(f"a guard of {guard} pixels leaves nothing of {rows} x {cols}; choose larger chips")
    labels = unlabelled(chips.labels.shape, chips.labels.dtype)
    inner = slice(guard, rows - guard), slice(guard, cols - guard)
    labels[:, *inner] = chips.labels[:, *inner]
    there = known(labels)
    if (shown := len(np.unique(labels[there]))) < 2:
        what = "value" if labels.dtype.kind == "f" else "class"
        raise SelectionError(f"the labels of all chips show {shown} {what}; to learn takes two: cut elsewhere")
    return replace(chips, labels=labels).take(np.flatnonzero(there.any((1, 2))).tolist())


def leave_out(chips: Chips, label: int) -> Chips:
    """Chips without the labels of one class; those that then have no label are left out too.

    Where it was the last class there are fewer of them. Raises SelectionError where there is no such class, labels are
    values, or what is left shows a single class.
    """
    if not 0 <= label < chips.classes:
        raise SelectionError(f"no class {label} to leave out; there are {chips.classes} classes, from 0")
    labels = np.where(chips.labels == label, IGNORE, chips.labels)
    classes = 1 + int(labels.max(initial=0)) if label == chips.classes - 1 else chips.classes
    return keep_inner(replace(chips, labels=labels, classes=classes), 0)

"""What a network says of a tile, cut by cut, put together."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import torch

from .geotiff import NODATA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..grid import Window
    from ..train.objective import Objective
    from .engine import Engine
    from .tiling import Cut

#: Values, of all channels, that the network is shown at once: its features take some ten times as much, and a processor
#: takes longer where it has to fetch them from memory.
AT_ONCE = 1 << 19


def answer(
    engine: Engine,
    objective: Objective,
    image: np.ndarray,
    valid: np.ndarray,
    cuts: Sequence[Cut],
    overlap: int = 0,
    seen: np.ndarray | None = None,
) -> np.ndarray:
    """Classes, uint8, or values, float32, (rows, columns) of the pixels that are read for a tile.

    `image`, float32 stored values, and `valid`, bool, are (channels, rows, columns). What no cut keeps, and what is not
    `seen`, bool (rows, columns), is `NODATA` or NaN; None: where no channel is valid. With `overlap`, pixels that cuts
    share, outputs are averaged, each weighted by its distance from the cut's edge.
    """
    outputs = _blend(engine, image, valid, cuts, overlap) if overlap else None
    decided = np.full(image.shape[1:], NODATA if objective.has_classes else np.nan, np.float32)
    if outputs is not None:
        decided[...] = objective.decide(torch.from_numpy(outputs)[None])[0].numpy()
    else:
        for batch in batches(cuts, len(image)):
            said = objective.decide(torch.from_numpy(ask(engine, image, valid, batch))).numpy()
            for cut, one in zip(batch, said, strict=True):
                rows, cols = _slices(cut.kept)
                _part(decided, cut.seen)[rows, cols] = one[rows, cols]
    told = (valid.any(0) if seen is None else seen) & _kept(image.shape[1:], cuts)
    if objective.has_classes:
        return np.where(told, decided, NODATA).astype(np.uint8)
    return np.where(told, decided, np.float32(np.nan))


def batches(cuts: Sequence[Cut], channels: int) -> list[list[Cut]]:
    """Cuts of one size that are shown at once."""
    found = []
    ordered = sorted(cuts, key=lambda cut: (cut.seen.height, cut.seen.width))
    for (height, width), same in groupby(ordered, key=lambda cut: (cut.seen.height, cut.seen.width)):
        alike, count = list(same), max(1, AT_ONCE // (channels * height * width))
        found += [alike[start : start + count] for start in range(0, len(alike), count)]
    return found


def ask(engine: Engine, image: np.ndarray, valid: np.ndarray, cuts: Sequence[Cut]) -> np.ndarray:
    """Outputs of cuts of one size, float32 (cuts, outputs, rows, columns)."""
    pixels, seen = (np.stack([_part(values, cut.seen) for cut in cuts]) for values in (image, valid))
    return engine(pixels.astype(np.float32, copy=False), seen)


def _blend(engine: Engine, image: np.ndarray, valid: np.ndarray, cuts: Sequence[Cut], overlap: int) -> np.ndarray:
    """Outputs (outputs, rows, columns), averaged where cuts overlap."""
    total: np.ndarray | None = None
    weights = np.zeros(image.shape[1:], np.float32)
    for batch in batches(cuts, len(image)):
        ramp = _ramp(batch[0].seen, overlap)
        for cut, said in zip(batch, ask(engine, image, valid, batch), strict=True):
            if total is None:
                total = np.zeros((len(said), *image.shape[1:]), np.float32)
            _part(total, cut.seen)[...] += said * ramp
            _part(weights, cut.seen)[...] += ramp
    if total is None:
        return np.zeros((1, *image.shape[1:]), np.float32)
    return total / np.where(weights > 0, weights, 1)


def _ramp(window: Window, overlap: int) -> np.ndarray:
    """1 in the middle, and falling to the edges over `overlap` pixels; float32 (rows, columns)."""
    sides = []
    for length in (window.height, window.width):
        edge = np.minimum(np.arange(1, length + 1), np.arange(length, 0, -1))
        sides.append(np.minimum(1, edge / (overlap + 1)))
    return np.outer(*sides).astype(np.float32)


def _kept(shape: tuple[int, ...], cuts: Sequence[Cut]) -> np.ndarray:
    """Which pixels any cut keeps, bool (rows, columns)."""
    kept = np.zeros(shape, bool)
    for cut in cuts:
        rows, cols = _slices(cut.kept)
        _part(kept, cut.seen)[rows, cols] = True
    return kept


def _part(values: np.ndarray, window: Window) -> np.ndarray:
    """A view of rows and columns, the last two axes."""
    rows, cols = _slices(window)
    return values[..., rows, cols]


def _slices(window: Window) -> tuple[slice, slice]:
    return slice(window.row_off, window.row_stop), slice(window.col_off, window.col_stop)

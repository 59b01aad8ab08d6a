"""Histograms of training latents, made into the integers of `Tables`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import SelectionError
from .context import predict

if TYPE_CHECKING:
    from collections.abc import Sequence

#: What each histogram adds up to. Over 2^20 they are exact in float64, and in the 24 bits of the coder.
TOTAL = 1 << 20
#: Most symbols of a latent, and how far they may lie from 0: v, up to 6 times that, is an int32.
MAX_SYMBOLS, FURTHEST = 1 << 12, 1 << 28
#: Symbols on each side of those that were seen in training.
MARGIN = 2
#: Fewest symbols in training for each class.
LEAST = 200
#: Symbols that the latent's histogram weighs in that of a class, and all symbols alike in the latent's.
ALPHA, BROAD = 16.0, 1.0
#: Stands for a cut that there is not: above every v.
NO_CUT = np.iinfo(np.int32).max


@dataclass(frozen=True, slots=True)
class Stack:
    """Training latents of one shape."""

    planes: np.ndarray
    """int32 (chips, latents, positions)."""
    seen: np.ndarray
    """bool (chips, positions)."""
    columns: int
    """Of a chip."""


def stack(samples: Sequence[np.ndarray], seen: Sequence[np.ndarray] | None) -> list[Stack]:
    """Samples by shape. Raises SelectionError where there is none, or one is no int32 (latents, rows, columns)."""
    masks = [None] * len(samples) if seen is None else list(seen)
    if not len(samples) or len(masks) != len(samples):
        raise SelectionError(f"{len(samples)} samples and {len(masks)} masks; give one or more, and a mask for each")
    shapes: dict[tuple[int, ...], list[tuple[np.ndarray, np.ndarray]]] = {}
    for sample, mask in zip(samples, masks, strict=True):
        mask = np.ones(sample.shape[1:], bool) if mask is None else mask
        _check(sample, mask, len(samples[0]))
        shapes.setdefault(sample.shape, []).append((sample, mask))
    return [_stack(shape, chips) for shape, chips in shapes.items()]


def _check(sample: np.ndarray, mask: np.ndarray, latents: int) -> None:
    if sample.dtype != np.int32 or sample.ndim != 3 or not sample.size or len(sample) != latents:
        raise SelectionError(
            f"a sample is {sample.dtype} {sample.shape}; give int32 (latents, rows, columns), here of {latents} latents"
        )
    if mask.dtype != bool or mask.shape != sample.shape[1:]:
        raise SelectionError(f"a mask is {mask.dtype} {mask.shape}; of this sample it is bool {sample.shape[1:]}")
    if max(-int(sample.min()), int(sample.max())) > FURTHEST:
        raise SelectionError(f"latents from {sample.min()} to {sample.max()}; they lie within {FURTHEST} of 0")


def _stack(shape: tuple[int, ...], chips: list[tuple[np.ndarray, np.ndarray]]) -> Stack:
    planes = np.stack([sample for sample, _ in chips]).reshape(len(chips), shape[0], -1)
    return Stack(planes, np.stack([mask for _, mask in chips]).reshape(len(chips), -1), shape[2])


def fit_latent(stacks: list[Stack], latent: int, contexts: int) -> tuple[int, np.ndarray, np.ndarray]:
    """The lowest symbol of a latent, its cuts (classes - 1,), and its counts (1 + classes, symbols), int64."""
    low, high = _range(np.concatenate([part.planes[:, latent][part.seen] for part in stacks]))
    parts = [_surroundings(part, latent, low, high) for part in stacks]
    symbols, values, is_first = (np.concatenate(some) for some in zip(*parts, strict=True))
    cuts = _cuts(values[~is_first], contexts)
    classes = np.where(is_first, 0, 1 + np.searchsorted(cuts, values, "right"))
    shape = 2 + len(cuts), high - low + 1
    counted = np.bincount(classes * shape[1] + (symbols - low), minlength=shape[0] * shape[1]).reshape(shape)
    counted[0] = counted.sum(0)
    return low, cuts, quantise(_smooth(counted))


def _range(symbols: np.ndarray) -> tuple[int, int]:
    """Lowest and highest that can be coded: what was seen and a margin, around the median where that is too wide."""
    least, most = (int(symbols.min()), int(symbols.max())) if len(symbols) else (0, 0)
    low, high = max(least - MARGIN, -FURTHEST), min(most + MARGIN, FURTHEST)
    if high - low >= MAX_SYMBOLS:
        low = min(max(low, int(np.median(symbols)) - MAX_SYMBOLS // 2), high - MAX_SYMBOLS + 1)
        high = low + MAX_SYMBOLS - 1
    return low, high


def _surroundings(part: Stack, latent: int, low: int, high: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Symbols that were seen, in range, their v, and whether each is the first of its chip."""
    seen = part.seen.T
    planes = np.clip(np.where(seen, part.planes[:, latent].T, 0), low, high).astype(np.int32)
    y, x = np.divmod(np.arange(len(planes)), part.columns)
    is_first = np.broadcast_to((y + x == 0)[:, None], planes.shape)
    return planes[seen], predict(planes, y, x, part.columns)[seen], is_first[seen]


def _cuts(values: np.ndarray, contexts: int) -> np.ndarray:
    """Where classes begin, int32, ascending: quantiles of v. A value that fills several classes is one by itself."""
    classes = min(contexts, len(values) // LEAST)
    if classes < 2:
        return np.empty(0, np.int32)
    ordered = np.sort(values)
    cuts, times = np.unique(ordered[np.arange(1, classes) * len(ordered) // classes], return_counts=True)
    cuts = np.union1d(cuts, cuts[times > 1] + 1)
    kept: np.ndarray = cuts[(cuts > ordered[0]) & (cuts <= ordered[-1])]
    return kept.astype(np.int32)


def _smooth(counted: np.ndarray) -> np.ndarray:
    """Probabilities, float64, same shape: the latent's first, into which all symbols go, then those of its classes."""
    plain = (counted[0] + BROAD / counted.shape[1]) / (counted[0].sum() + BROAD)
    smooth: np.ndarray = (counted + ALPHA * plain) / (counted.sum(1, keepdims=True) + ALPHA)
    smooth[0] = plain
    return smooth


def quantise(probabilities: np.ndarray) -> np.ndarray:
    """Counts of 1 and more that add up to `TOTAL` in each row, int64, same shape (histograms, symbols).

    What is left after rounding down goes where most was lost, to the lower symbol where as much was.
    """
    symbols = probabilities.shape[1]
    # A little less, so that errors of the last bit in their sum cannot make it too much.
    wanted = probabilities * ((TOTAL - symbols) * (1 - 1e-9))
    counts = np.floor(wanted).astype(np.int64)
    left = TOTAL - symbols - counts.sum(1, keepdims=True)
    order = np.argsort(counts - wanted, axis=1, kind="stable")
    ranks = np.argsort(order, axis=1, kind="stable")
    counted: np.ndarray = counts + 1 + (ranks < left)
    return counted

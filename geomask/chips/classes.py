"""Classes: numbers from 0 that a model tells apart, and how values become classes; and what is no label."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ItemError

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The label of a pixel that has none; losses and scores leave it out.
IGNORE = -1

#: Classes count below this: they are kept as int32.
MOST = 1 << 31


def to_classes(values: np.ndarray, known: np.ndarray, cuts: Sequence[float], path: str) -> np.ndarray:
    """Classes of `values`, int64 of the same shape, `IGNORE` where not `known`.

    `cuts` make classes of values: class c holds cuts[c-1] <= value < cuts[c]. Without cuts the values are the classes.
    Raises ItemError, naming `path`, where they are then fractions or below 0.
    """
    if len(cuts):
        return np.where(known, np.digitize(values, cuts), IGNORE)
    shown = values[known]
    if (shown % 1).any():
        raise ItemError(f"labels {path} hold fractions, not classes; say with cuts where classes end")
    if len(shown) and not (shown.min() >= 0 and shown.max() < MOST):
        wrong = shown.min() if shown.min() < 0 else shown.max()
        raise ItemError(f"labels {path} hold the class {wrong:.0f}; classes count from 0 and stay below {MOST}")
    classes = np.full(values.shape, IGNORE, np.int64)
    classes[known] = shown
    return classes


def known(labels: np.ndarray) -> np.ndarray:
    """Where there is a label, bool of the same shape: classes that are not `IGNORE`, values that are not NaN."""
    return ~np.isnan(labels) if labels.dtype.kind == "f" else labels != IGNORE


def unlabelled(shape: tuple[int, ...], dtype: np.dtype[Any] | type) -> np.ndarray:
    """Labels of which there is none: `IGNORE`, or NaN where labels are values, of a floating type."""
    return np.full(shape, np.nan if np.dtype(dtype).kind == "f" else IGNORE, dtype)


def name_classes(cuts: Sequence[float], count: int) -> tuple[str, ...]:
    """Names of `count` classes: the values between the cuts, or just numbers where there are no cuts."""
    if not len(cuts):
        return tuple(f"class {number}" for number in range(count))
    between = [f"{low:g} to {high:g}" for low, high in pairwise(cuts)]
    return (f"under {cuts[0]:g}", *between, f"{cuts[-1]:g} and over")

"""What surrounds a symbol among those before it, and orders in which symbols of a plane are coded.

The neighbours of a symbol in its plane are a on the left, b above, c above on the right and d above on the left, and
v = 2a + 2b + c - d is four times what they predict. Where some are missing others stand for them: in the first column
b for a and d, in the top row a for b, c and d, in the last column b for c. The first symbol has none.

::

    d b c
    a .      front t = x + 2y: a lies on front t - 1, b on t - 2, c on t - 1, d on t - 3
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Positions of a run.
RUN = 1 << 14


def fronts(rows: int, columns: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """y and x of symbols whose neighbours all came before, front after front, int64 each."""
    for front in range(columns + 2 * (rows - 1)):
        y = np.arange(max(0, (front - columns + 2) // 2), min(rows - 1, front // 2) + 1)
        if len(y):  # of a single column every other front is empty
            yield y, front - 2 * y


def runs(rows: int, columns: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """y and x of all symbols, row after row, up to `RUN` at a time, int64 each."""
    for start in range(0, rows * columns, RUN):
        yield np.divmod(np.arange(start, min(start + RUN, rows * columns)), columns)


def predict(planes: np.ndarray, y: np.ndarray, x: np.ndarray, columns: int) -> np.ndarray:
    """v at (y, x) of each plane, int32 (positions, planes); at (0, 0) anything. `planes`: int32 (symbols, planes)."""
    a, b, c, d = (planes.take(at, axis=0) for at in _neighbours(y, x, columns))
    v: np.ndarray = 2 * (a + b) + c - d
    return v


def _neighbours(y: np.ndarray, x: np.ndarray, columns: int) -> tuple[np.ndarray, ...]:
    """Positions of a, b, c and d in a flat plane. Of (0, 0) they are negative: some position, by numpy's rules."""
    left, above = y * columns + x - 1, (y - 1) * columns + x
    has_left, has_above, has_right = x > 0, y > 0, x < columns - 1
    a = np.where(has_left, left, above)
    b = np.where(has_above, above, left)
    c = np.where(has_above & has_right, above + 1, b)
    d = np.where(has_above & has_left, above - 1, b)
    return a, b, c, d


@dataclass(frozen=True, slots=True)
class Classes:
    """Looks up which histogram a symbol is coded by: its latent's and its class's."""

    table: np.ndarray
    """By latent, and v of symbols that count from 0, from the least v on: latent * histograms + class, flat."""
    bases: np.ndarray
    """Where v = 0 lies in the table, int64 (latents,)."""
    firsts: np.ndarray
    """What the first symbol of each plane is coded by: latent * histograms."""

    @classmethod
    def make(cls, lows: np.ndarray, cuts: np.ndarray, symbols: int) -> Self:
        """For symbols 0 to `symbols` - 1 that stand for `lows` and up; class 1 + (number of cuts <= v)."""
        latents, histograms = len(lows), cuts.shape[1] + 2
        values = np.arange(-(symbols - 1), 5 * (symbols - 1) + 1)
        classes = [
            1 + np.searchsorted(cuts[latent], values + 4 * int(lows[latent]), "right") for latent in range(latents)
        ]
        dtype = np.min_scalar_type(latents * histograms - 1)  # of 16 bits or less numpy sorts in linear time
        firsts = np.arange(latents) * histograms
        table = (np.stack(classes) + firsts[:, None]).astype(dtype).ravel()
        bases = np.arange(latents) * len(values) + (symbols - 1)
        return cls(table, bases, firsts.astype(dtype))

    def find(self, planes: np.ndarray, y: np.ndarray, x: np.ndarray, columns: int) -> np.ndarray:
        """latent * histograms + class, (positions, latents). `planes` as in `predict`, symbols from 0; (0, 0) first."""
        found: np.ndarray = self.table.take(predict(planes, y, x, columns) + self.bases)
        if len(y) and y[0] == x[0] == 0:
            found[0] = self.firsts
        return found

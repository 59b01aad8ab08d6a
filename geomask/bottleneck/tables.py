"""What a symbol of a latent is likely to be: integers, the same on every machine.

Each latent has a plain histogram and one for each class of surroundings (see `context`). Encoder and decoder take the
stored integers as they are; floats are used in `fit` alone.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from ..errors import RunError, SelectionError
from .context import Classes, runs
from .histograms import FURTHEST, MAX_SYMBOLS, NO_CUT, TOTAL, fit_latent, stack

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Most classes of surroundings.
MAX_CONTEXTS = 255


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """Frequencies of the symbols of each latent. Raises RunError where they cannot be such."""

    lows: np.ndarray
    """Smallest symbol of each latent, int32 (latents,)."""
    counts: np.ndarray
    """Frequencies, int32 (latents, 1 + contexts, symbols), of sum `TOTAL` each, from `lows` upwards.

    First those of all symbols of the latent, by which the first of a plane is coded. At least 1 for each symbol that
    the latent can have, 0 beyond.
    """
    cuts: np.ndarray
    """v at which each class but the first begins, ascending, int32 (latents, contexts - 1).

    `NO_CUT` where a latent has fewer classes.
    """

    def __post_init__(self) -> None:
        _check_forms(self)
        _check_counts(self.counts)
        least, most = int(self.lows.min()), int((self.lows + self.widths - 1).max())
        if least < -FURTHEST or most > FURTHEST:
            raise RunError(f"tables of symbols from {least} to {most}; the limit is {FURTHEST} away from 0")
        if (np.diff(self.cuts.astype(np.int64), axis=1) < 0).any():
            raise RunError("cuts of tables do not ascend; the file is broken, fit or fetch it again")

    @classmethod
    def fit(cls, samples: Sequence[np.ndarray], seen: Sequence[np.ndarray] | None = None, contexts: int = 12) -> Self:
        """From latents of training chips, int32 (latents, rows, columns) each, of any sizes; or one array of them.

        `seen`: bool (rows, columns) of each chip; what was not seen counts for nothing. `contexts`: most classes of
        surroundings, 1 for none. Raises SelectionError where shapes or dtypes differ from that.
        """
        if not 1 <= contexts <= MAX_CONTEXTS:
            raise SelectionError(f"{contexts} contexts; give 1 to {MAX_CONTEXTS}")
        stacks = stack(samples, seen)
        lows, cuts, counts = zip(*(fit_latent(stacks, at, contexts) for at in range(len(samples[0]))), strict=True)
        return cls(np.array(lows, np.int32), _level(counts), _level_cuts(cuts))

    @property
    def latents(self) -> int:
        """How many."""
        return len(self.lows)

    @property
    def contexts(self) -> int:
        """Classes of surroundings; 1: they do not count."""
        return int(self.counts.shape[1]) - 1

    @property
    def widths(self) -> np.ndarray:
        """Symbols of each latent, int64 (latents,)."""
        widths: np.ndarray = np.count_nonzero(self.counts[:, 0], axis=1)
        return widths

    @property
    def highs(self) -> np.ndarray:
        """Largest symbol of each latent, int32 (latents,)."""
        highs: np.ndarray = self.lows + (self.widths - 1).astype(np.int32)
        return highs

    @property
    def blanks(self) -> np.ndarray:
        """What stands where nothing was seen: the symbol nearest to 0, int32 (latents,)."""
        blanks: np.ndarray = np.clip(np.int32(0), self.lows, self.highs)
        return blanks

    @property
    def digest(self) -> str:
        """sha256 of all of it, as hex digits; the same on every machine."""
        digest = hashlib.sha256(f"geomask tables 1 {TOTAL} {self.counts.shape}".encode())
        for part in (self.lows, self.counts, self.cuts):
            digest.update(np.ascontiguousarray(part, "<i4").tobytes())
        return digest.hexdigest()

    @property
    def classes(self) -> Classes:
        """Which histogram a symbol is coded by."""
        return Classes.make(self.lows, self.cuts, max(2, self.counts.shape[2]))  # 2: see `codec` on a single symbol

    def clip(self, latents: np.ndarray) -> np.ndarray:
        """Each symbol, or the nearest that its latent can have, int32. `latents`: (..., latents, rows, columns)."""
        clipped: np.ndarray = np.clip(latents, self.lows[:, None, None], self.highs[:, None, None])
        return clipped.astype(np.int32)

    def index(self, latents: np.ndarray, seen: np.ndarray | None = None) -> np.ndarray:
        """Symbols counted from `lows`, int32 (rows * columns, latents); the blank where not `seen`.

        Raises SelectionError where `latents` are not int32 (latents, rows, columns), or `seen` not bool (rows,
        columns), or a symbol is none of its latent.
        """
        if latents.dtype != np.int32 or latents.ndim != 3 or not latents.size or len(latents) != self.latents:
            raise SelectionError(
                f"latents are {latents.dtype} {latents.shape}; give int32 (latents, rows, columns), "
                f"with {self.latents} latents"
            )
        if seen is not None:
            latents = np.where(_fitting(seen, latents.shape[1:]), latents, self.blanks[:, None, None])
        planes = latents.reshape(self.latents, -1)
        least, most = planes.min(1), planes.max(1)
        for latent in np.flatnonzero((least < self.lows) | (most > self.highs)):
            raise SelectionError(
                f"latent {latent} has symbols from {least[latent]} to {most[latent]}; "
                f"its table goes from {self.lows[latent]} to {self.highs[latent]}: clip them first (Tables.clip)"
            )
        return np.ascontiguousarray((planes - self.lows[:, None]).T)

    def bits(self, latents: np.ndarray, seen: np.ndarray | None = None) -> np.ndarray:
        """Length of the code of each latent but for rounding, in bits, float64 (latents,). Arguments as of `index`."""
        planes, (_, rows, columns) = self.index(latents, seen), latents.shape
        width, classes = self.counts.shape[2], self.classes
        costs = np.log2(TOTAL / np.maximum(self.counts, 1)).ravel()
        bits = np.zeros(self.latents)
        for y, x in runs(rows, columns):
            found = classes.find(planes, y, x, columns).astype(np.int64)
            cost = costs.take(found * width + planes[y * columns + x])
            bits += cost.sum(0) if seen is None else cost[seen[y, x]].sum(0)
        return bits


def _level(counts: Sequence[np.ndarray]) -> np.ndarray:
    """Counts of all latents; a class that a latent does not have gets those of all its symbols."""
    most, width = (max(part.shape[axis] for part in counts) for axis in (0, 1))
    level = np.zeros((len(counts), most, width), np.int32)
    for latent, part in enumerate(counts):
        level[latent, :, : part.shape[1]] = part[0]
        level[latent, : len(part), : part.shape[1]] = part
    return level


def _level_cuts(cuts: Sequence[np.ndarray]) -> np.ndarray:
    level = np.full((len(cuts), max(map(len, cuts))), NO_CUT, np.int32)
    for latent, part in enumerate(cuts):
        level[latent, : len(part)] = part
    return level


def _fitting(seen: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if seen.dtype != bool or seen.shape != shape:
        raise SelectionError(f"seen is {seen.dtype} {seen.shape}; for these latents give bool {shape}")
    return seen


def _check_forms(tables: Tables) -> None:
    lows, counts, cuts = tables.lows, tables.counts, tables.cuts
    shape = counts.shape if counts.ndim == 3 else (0, 0, 0)
    if lows.shape != shape[:1] or cuts.shape != (shape[0], shape[1] - 2) or not counts.size:
        raise RunError(
            f"tables of shapes {lows.shape}, {counts.shape} and {cuts.shape} do not go together; they are (latents,), "
            "(latents, 1 + contexts, symbols) and (latents, contexts - 1)"
        )
    if any(part.dtype != np.int32 for part in (lows, counts, cuts)):
        raise RunError(f"tables are {lows.dtype}, {counts.dtype} and {cuts.dtype}; each is int32")
    if shape[1] > 1 + MAX_CONTEXTS or shape[2] > MAX_SYMBOLS:
        raise RunError(
            f"tables of {shape[1] - 1} contexts and {shape[2]} symbols; {MAX_CONTEXTS} and {MAX_SYMBOLS} are the most"
        )


def _check_counts(counts: np.ndarray) -> None:
    """That each row adds up, and has 0 only after the last symbol of its latent."""
    sums = counts.sum(2, dtype=np.int64)
    if int(counts.min()) < 0 or (sums != TOTAL).any():
        raise RunError(f"counts of tables from {counts.min()}, of sum {sums.max()}; each row adds up to {TOTAL}")
    has = counts > 0
    widths = has[:, 0].sum(1)
    if (has != (np.arange(counts.shape[2]) < widths[:, None, None])).any():
        raise RunError(
            "counts of tables have a 0 among a latent's symbols; each symbol that it can have counts 1 or more"
        )

"""Train, validation and test by place: cells with a guard between them, each cell in one part only.

Neighbouring pixels resemble each other. Split by random pixel, a score says how well a model interpolates, not how well
it does elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import SelectionError


@dataclass(frozen=True, slots=True)
class Split:
    """Positions of cells, 0-based, in ascending order; no cell is in two parts."""

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]


def make_splits(cells: int, folds: int = 3, validation: float = 0.2, seed: int = 0) -> tuple[Split, ...]:
    """`folds` splits of `cells` cells; every cell is a test cell in exactly one of them.

    `validation` is the share of all cells, at least one, that each split sets aside of its other cells. Raises
    SelectionError where that leaves none to train on.
    """
    held = max(1, round(validation * cells))
    if not 2 <= folds <= cells or cells - -(-cells // folds) - held < 1:
        raise SelectionError(
            f"{cells} cells are too few for {folds} folds with {held} validation cells; use more cells"
        )
    order = np.random.default_rng(seed).permutation(cells)
    splits = []
    for fold in range(folds):
        rest = np.random.default_rng([seed, fold]).permutation(np.setdiff1d(order, order[fold::folds]))
        parts = (rest[held:], rest[:held], order[fold::folds])
        splits.append(Split(*(tuple(sorted(int(cell) for cell in part)) for part in parts)))
    return tuple(splits)

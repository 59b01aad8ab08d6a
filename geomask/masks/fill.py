"""What fits into a budget: versions of units chosen by score for price, never for more than the budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: Exact bytes of a choice, bool of the shape of the prices: what its units share counts once.
type Total = Callable[[np.ndarray], float]


def fill_budget(scores: np.ndarray, prices: np.ndarray, budget: float, total: Total | None = None) -> np.ndarray:
    """At most one version of each unit, of much score, within `budget` bytes; bool of the shape of `scores`.

    `scores` and `prices` are float (versions, ...); a price of infinity is never paid. The greedy solution of the
    multiple-choice knapsack (Sinha & Zoltners 1979): units go from nothing (0 bytes, score 0) along the upper hull of
    their versions, the steps of most score a byte first. A step that does not fit is passed over; a unit that is left
    out by it comes in at its best version that fits. So what costs nothing is always in, and no unit is left out that
    would fit, whatever its score.

    `total` tells the exact bytes where units share some, and is asked for each step; otherwise they are the sum of the
    prices.
    """
    flat, costs = scores.reshape(len(scores), -1), prices.reshape(len(prices), -1)
    purse = _Purse(costs, budget, total, prices.shape)
    units, versions = (column.tolist() for column in _steps(flat, costs))
    ranked = np.argsort(-flat, axis=0, kind="stable").T.tolist()
    for unit, version in zip(units, versions, strict=True):
        if not purse.afford(unit, version) and purse.chosen[unit] < 0:
            purse.enter(unit, (other for other in ranked[unit] if other != version))
    # What one unit brings along may make another one cheaper: until none comes in any more.
    while total and sum(purse.enter(unit, ranked[unit]) for unit in dict.fromkeys(units) if purse.chosen[unit] < 0):
        pass
    return purse.choice


class _Purse:
    """What was chosen so far, and what it takes."""

    def __init__(self, costs: np.ndarray, budget: float, total: Total | None, shape: tuple[int, ...]) -> None:
        """`costs` are (versions, units); `shape` is that of the choice."""
        self._costs, self._budget, self._total, self._shape = costs, budget, total, shape
        self._spent = 0.0
        self.chosen = np.full(costs.shape[1], -1)
        """The version of each unit; -1: nothing."""

    @property
    def choice(self) -> np.ndarray:
        taken: np.ndarray = (self.chosen == np.arange(len(self._costs))[:, None]).reshape(self._shape)
        return taken

    def afford(self, unit: int, version: int) -> bool:
        """Take a version of a unit, if that fits; what was chosen of it before is given back."""
        before = self.chosen[unit]
        self.chosen[unit] = version
        if self._total is None:
            paid = self._costs[before, unit] if before >= 0 else 0.0
            spent = self._spent - paid + self._costs[version, unit]
        else:
            spent = self._total(self.choice) if np.isfinite(self._costs[version, unit]) else np.inf
        if spent <= self._budget:
            self._spent = spent
            return True
        self.chosen[unit] = before
        return False

    def enter(self, unit: int, versions: Iterable[int]) -> bool:
        """Take the first of some versions of a unit that fits."""
        return any(self.afford(unit, version) for version in versions)


def _steps(scores: np.ndarray, costs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Units and the versions that they step to, int64 (steps,), the steps of most score a byte first.

    `scores` and `costs` are (versions, units). Each unit's own steps get less and less worth.
    """
    count = costs.shape[1]
    every = np.arange(count)
    at_score, at_cost = np.zeros(count), np.zeros(count)
    # The first step may lower the score: where the budget reaches that far, something is better than nothing.
    may = np.isfinite(costs)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for _ in costs:
        gain, price = scores - at_score, np.where(may, costs, np.inf) - at_cost
        with np.errstate(divide="ignore", invalid="ignore"):
            worth = np.where(price > 0, gain / price, np.inf)
        worth = np.where(may, worth, -np.inf)
        # Of several versions that cost nothing more, the best.
        free = np.where(may & (price <= 0), scores, -np.inf)
        version = np.where(np.isfinite(free).any(0), free.argmax(0), worth.argmax(0))
        here = worth[version, every] > -np.inf
        unit = every[here]
        found.append((worth[version, every][here], unit, version[here]))
        at_score[unit], at_cost[unit] = scores[version, every][here], costs[version, every][here]
        may = may & (costs > at_cost) & (scores > at_score)
        if not may.any():
            break
    worth, unit, version = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.argsort(-worth, kind="stable")
    return unit[order], version[order]

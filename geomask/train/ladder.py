"""The ladder of lambda: what the published training makes dearer, and when."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .recipe import Recipe


class Ladder:
    """Lambda and the temperature over the epochs (Oehmcke & Gieseke 2022).

    Lambda is multiplied by a factor when Q has not fallen by the threshold for more than `patience` epochs. Then the
    temperature starts anew, and until it would be down again, the cool-down, no epoch counts as one without a drop.
    """

    def __init__(self, recipe: Recipe) -> None:
        """At the first rung, and hot."""
        self._recipe = recipe
        self.fine = recipe.fine
        self.temperature = recipe.hot
        self._best, self._waited, self._resting = math.inf, 0, 0

    def step(self, kept: float) -> None:
        """After an epoch that ended with Q = `kept`, on validation samples."""
        recipe = self._recipe
        if kept < self._best - recipe.threshold:
            self._best, self._waited = kept, 0
        else:
            self._waited += 1
        if self._resting:
            self._resting -= 1
            self._waited = 0
        if self._waited > recipe.patience:
            self.fine *= recipe.factor
            self.temperature, self._waited, self._resting = recipe.hot, 0, self.cooldown
        else:
            self.temperature = max(self.temperature * recipe.cooling, recipe.cold)

    @property
    def cooldown(self) -> int:
        """Epochs that the temperature takes from hot to cold."""
        epochs, temperature = 0, self._recipe.hot
        while temperature > self._recipe.cold:
            temperature *= self._recipe.cooling
            epochs += 1
        return epochs

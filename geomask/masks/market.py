"""What a byte has to be worth: the price at which units, each by its scores, take as many bytes as a budget has."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import SelectionError

#: Of the budget: how exactly the expected bytes meet it. What is chosen in the end is exact to the byte.
EXACT = 1e-4
#: theta goes no further, in units of the mean price: p is 0 or 1 for any score, and theta * price is finite.
FAR = 1e9
#: Steps to theta; Newton's takes three or four from the theta of the step before, and halving ends where it fails.
STEPS = 100


class Market(nn.Module):
    """Units with versions at prices in bytes, which are taken where score > theta * price.

    Budgets, and theta, are in units of the mean price of a unit's dearest version: so scores and theta are of one size,
    whatever the size of the files.
    """

    cost: Tensor
    barred: Tensor
    nothing: Tensor

    def __init__(self, prices: np.ndarray) -> None:
        """`prices` are float64 (versions, groups, rows, columns), infinite for what cannot be had.

        Raises SelectionError where one is negative or NaN.
        """
        super().__init__()
        if not (prices >= 0).all():
            worst = prices[~(prices >= 0)][0]
            raise SelectionError(f"a price of {worst} bytes; a price is 0 or more, and infinity where there is none")
        self.prices = prices
        """As they were given."""
        finite = np.isfinite(prices)
        dearest = np.where(finite, prices, 0).max(0)
        self.unit = float(dearest.mean()) or 1.0
        """Bytes of a price of 1."""
        self.dense = float(dearest.sum()) / self.unit
        """What all units cost at their dearest versions."""
        free = np.where(finite, prices, np.inf).min(0) == 0
        self.register_buffer("cost", torch.from_numpy(np.where(finite, prices, 0) / self.unit).float(), False)
        self.register_buffer("barred", torch.from_numpy(~finite), False)
        # What is free is always taken: there "nothing" is no choice.
        self.register_buffer("nothing", torch.from_numpy(np.where(free, -np.inf, 0.0)).float()[None, None], False)

    def odds(self, scores: Tensor, theta: float | Tensor, tau: float) -> Tensor:
        """Logits of nothing and of the versions, float32 (samples, 1 + versions, groups, rows, columns).

        `scores` are float32 (samples, versions, groups, rows, columns), here and below.
        """
        versions = ((scores - theta * self.cost) / tau).masked_fill(self.barred, -torch.inf)
        return torch.cat([self.nothing.expand(len(scores), -1, -1, -1, -1), versions], 1)

    def shares(self, scores: Tensor, theta: float, tau: float) -> Tensor:
        """p of each version of each unit, of the shape of `scores`."""
        return self.odds(scores, theta, tau).softmax(1)[:, 1:]

    @torch.no_grad()
    def solve(self, scores: Tensor, budget: float, tau: float, start: float = 0.0) -> float:
        """The theta at which the expected bytes are `budget`, on average over the samples.

        `budget` lies between 0 and `dense`, without both. Newton's method within a bracket: expected bytes fall as
        theta rises, but are flat far out.
        """
        theta, low, high, reach = start, -np.inf, np.inf, 1.0
        for _ in range(STEPS):
            expected, slope = self._expect(self.shares(scores, theta, tau), tau)
            if abs(expected - budget) <= EXACT * budget or abs(theta) >= FAR:
                break
            low, high = (theta, high) if expected > budget else (low, theta)
            if high - low <= 1e-7 * abs(theta):  # float32 knows no theta between them
                break
            aim = theta + (expected - budget) / max(slope, 1e-30)
            if low == -np.inf or high == np.inf:  # one side is open: ever longer steps to it
                theta, reach = float(np.clip(aim, theta - reach, theta + reach)), 2 * reach
            else:
                theta = aim if low < aim < high else (low + high) / 2
        return theta

    @torch.no_grad()
    def pull(self, scores: Tensor, theta: float, tau: float) -> Tensor:
        """d theta / d score where theta solves for a budget, of the shape of `scores`."""
        shares = self.shares(scores, theta, tau)
        _, slope = self._expect(shares, tau)
        spread = shares * (self.cost - (shares * self.cost).sum(1, keepdim=True))
        return spread / (tau * max(slope, 1e-12) * len(scores))

    def decide(self, scores: Tensor, theta: float) -> Tensor:
        """The best version of each unit at `theta`, or none: 0 and 1, float32 of the shape of `scores`."""
        if scores.shape[1] == 1:  # the same, sooner: training decides a dozen times a step
            return ((scores - theta * self.cost > self.nothing) & ~self.barred).float()
        best = self.odds(scores, theta, 1.0).argmax(1, keepdim=True)
        return torch.arange(1, scores.shape[1] + 1, device=scores.device)[:, None, None, None].eq(best).float()

    @torch.no_grad()
    def settle(self, scores: Tensor, budget: float, start: float = 0.0, slack: float = 0.0) -> float:
        """The least theta at which what is decided stays within `budget`, on average over the samples.

        With `slack`, a share of the budget, it is any theta that leaves no more than that of it. The search is short
        where `start` is near.
        """

        def spent(theta: float) -> float:
            return float((self.decide(scores, theta) * self.cost).sum() / len(scores))

        low, high, reach = start, start, 1.0
        while spent(low) <= budget and reach < 1e30:
            high, low, reach = low, low - reach, 2 * reach
        while (taken := spent(high)) > budget and reach < 1e30:
            low, high, reach = high, high + reach, 2 * reach
        while high - low > 1e-6 * max(1.0, abs(high)) and not (slack and taken >= (1 - slack) * budget):
            middle = (low + high) / 2
            now = spent(middle)
            low, high, taken = (middle, high, taken) if now > budget else (low, middle, now)
        return high

    def _expect(self, shares: Tensor, tau: float) -> tuple[float, float]:
        """Bytes that are expected, and how fast they fall as theta rises, both a sample."""
        mean = (shares * self.cost).sum(1)
        spread = (shares * self.cost**2).sum(1) - mean**2
        count = len(shares)
        return float(mean.double().sum()) / count, float(spread.double().sum()) / (tau * count)

"""What masks have in common that keep a unit at random in training, and keep to a budget when they are frozen."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import torch

from ..errors import SelectionError
from .fill import fill_budget
from .hard import HardMask
from .mask import UnitMask
from .scores import StaticScores

if TYPE_CHECKING:
    from torch import Tensor

    from .fill import Total
    from .gate import Choice
    from .grain import Grain


class SampledMask(UnitMask):
    """y = x * z, z in 0..1 drawn for each sample and unit, exactly 0 with a probability that is known.

    So the expected bytes, the sum of P(z > 0) x price, are differentiable without a straight-through estimator.
    """

    def __init__(
        self,
        grain: Grain,
        prices: Tensor,
        budget: float,
        start: float,
        fine: float = 1.0,
        total: Total | None = None,
    ) -> None:
        """`prices` are bytes (groups, rows, columns), `budget` bytes; scores start at N(start, 0.01^2).

        `total` tells the exact bytes of a hard choice, bool (1, groups, rows, columns), where units share some. Raises
        SelectionError where the budget is 0 or less, or prices do not fit the grain.
        """
        super().__init__(grain, StaticScores(1, grain.shape, [start]), fine=fine, prices=prices[None])
        if not budget > 0:
            raise SelectionError(f"a budget of {budget} bytes; choose more than 0")
        self.prices, self.budget, self.total = prices[None].double().cpu().numpy(), budget, total

    @abstractmethod
    def sample(self, logits: Tensor) -> Tensor:
        """z by noise of torch's global generator, of the shape of `logits`."""

    @abstractmethod
    def chance(self, logits: Tensor) -> Tensor:
        """P(z > 0), of the shape of `logits`."""

    def draw(self, image: Tensor) -> Choice:
        """z, float32 (samples or 1, 1, groups, rows, columns), and P(z > 0), the same with 1 for samples.

        In training each sample has noise of its own; in eval mode there is none.
        """
        logits = self.logits(image)
        drawn = self.sample(logits.expand(len(image), -1, -1, -1, -1)) if self.training else self.choose(logits)
        return drawn, self.chance(logits)

    def share(self, choice: Choice) -> Tensor:
        """Expected bytes / dense bytes, a scalar."""
        return super().share(choice[1:])

    @torch.no_grad()
    def decide(self) -> HardMask:
        """The units of the greatest P(z > 0) for their price that fit the budget, each as it is: see `fill_budget`."""
        chances = self.chance(self.scores(None))[0].double().cpu().numpy()
        kept = fill_budget(chances, self.prices, self.budget, self.total)
        return HardMask(self.grain, torch.from_numpy(kept).float().to(self.weights.device))

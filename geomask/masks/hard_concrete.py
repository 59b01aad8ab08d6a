"""Hard-concrete samples under a constraint on the expected bytes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from .sampled import SampledMask

if TYPE_CHECKING:
    from torch import Tensor

    from .fill import Total
    from .gate import Choice
    from .grain import Grain

#: The stretch and the temperature of Louizos, Welling & Kingma (2018).
LOW, HIGH, TEMPERATURE = -0.1, 1.1, 2 / 3


class HardConcreteMask(SampledMask):
    """z = min(1, max(0, s (1.1 + 0.1) - 0.1)), s = sigmoid((log u - log(1 - u) + a) / temperature), u uniform in 0..1.

    Louizos, Welling & Kingma, "Learning Sparse Neural Networks through L0 Regularization" (2018). P(z > 0) =
    sigmoid(a - temperature log(0.1 / 1.1)); in eval mode z = min(1, max(0, 1.2 sigmoid(a) - 0.1)).

    What is added to the loss is multiplier x (expected bytes - budget) / dense bytes. At each training step the
    multiplier ascends on (expected bytes - budget) / dense bytes, at `rate`, and starts anew at 0 where the budget is
    met (Gallego-Posada et al., "Controlled Sparsity via Constrained Optimization", 2022). So there is no lambda to
    choose.
    """

    multiplier: Tensor

    def __init__(
        self,
        grain: Grain,
        prices: Tensor,
        budget: float,
        total: Total | None = None,
        rate: float = 0.1,
        start: float = 3.0,
    ) -> None:
        """See `SampledMask`; `rate` is that of the multiplier a step."""
        super().__init__(grain, prices, budget, start, total=total)
        self.temperature = TEMPERATURE
        self.rate = rate
        self.target = budget / float(prices.double().sum())
        self.register_buffer("multiplier", torch.zeros(()))

    def sample(self, logits: Tensor) -> Tensor:
        """Stretched binary Concrete samples, clipped to 0..1."""
        # Away from 0 and 1, where the noise is infinite.
        uniform = torch.rand_like(logits).clamp(1e-6, 1 - 1e-6)
        return _stretch(((uniform.logit() + logits) / self.temperature).sigmoid())

    def choose(self, logits: Tensor) -> Tensor:
        """Z without noise: between 0 and 1 for units that are undecided."""
        return _stretch(logits.sigmoid())

    def chance(self, logits: Tensor) -> Tensor:
        """P(z > 0)."""
        return (logits - self.temperature * math.log(-LOW / HIGH)).sigmoid()

    def penalty(self, choice: Choice) -> Tensor:
        """Multiplier x (expected bytes - budget) / dense bytes; in training the multiplier then takes its step."""
        excess = self.share(choice) - self.target
        fine = self.multiplier.clone() * excess
        if self.training:
            raised = self.multiplier + self.rate * excess.detach()
            self.multiplier.copy_(torch.where(excess.detach() > 0, raised, 0.0))
        return fine


def _stretch(values: Tensor) -> Tensor:
    return (values * (HIGH - LOW) + LOW).clamp(0, 1)

"""Stochastic gates: clipped Gaussian samples, and a fine on how probable it is that they let something pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .sampled import SampledMask

if TYPE_CHECKING:
    from torch import Tensor

    from .fill import Total
    from .grain import Grain

#: Standard deviation of the noise (Yamada et al. 2020).
DEVIATION = 0.5


class StochasticMask(SampledMask):
    """z = min(1, max(0, mu + 1/2 + sigma e)), e standard normal, sigma = 1/2.

    Yamada, Lindenbaum, Negahban & Kluger, "Feature Selection using Stochastic Gates" (2020). What is added to the loss
    is lambda x the mean over units of P(z > 0) = Phi((mu + 1/2) / sigma), each by its price: expected bytes / dense
    bytes. In eval mode z = min(1, max(0, mu + 1/2)). Scores mu start at 0: half of each unit passes.
    """

    def __init__(
        self, grain: Grain, prices: Tensor, budget: float, total: Total | None = None, fine: float = 1.0
    ) -> None:
        """See `SampledMask`; `fine` is lambda. The budget holds when the mask is frozen; lambda leads towards it."""
        super().__init__(grain, prices, budget, 0.0, fine, total)

    def sample(self, logits: Tensor) -> Tensor:
        """Gaussian samples, clipped to 0..1."""
        return (logits + 0.5 + DEVIATION * torch.randn_like(logits)).clamp(0, 1)

    def choose(self, logits: Tensor) -> Tensor:
        """Z without noise."""
        return (logits + 0.5).clamp(0, 1)

    def chance(self, logits: Tensor) -> Tensor:
        """P(z > 0)."""
        chance: Tensor = torch.special.ndtr((logits + 0.5) / DEVIATION)
        return chance

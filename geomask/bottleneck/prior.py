"""What a latent is taken to be while a bottleneck is trained: a factorised prior, one density for each plane.

The code that is sent has integer tables (`Tables`), counted once the encoder stays as it is; this density only says, in
a way that can be derived, about how many bits they will take.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class FactorisedPrior(nn.Module):
    """A mixture of logistic distributions for each plane of latents, all places alike."""

    def __init__(self, latents: int, parts: int = 3) -> None:
        """`parts` distributions in each mixture."""
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(latents, parts))
        self.centre = nn.Parameter(torch.linspace(-1, 1, parts).repeat(latents, 1) * (parts > 1))
        self.log_scale = nn.Parameter(torch.zeros(latents, parts))

    def forward(self, latents: Tensor) -> Tensor:
        """Bits of each value, the width of a bin being 1: float32 of the shape of latents, (n, latents, y, x)."""
        shape = (1, -1, 1, 1, self.weight.shape[1])
        scale = self.log_scale.exp().clamp(min=1e-2).view(shape)
        middle = (latents[..., None] - self.centre.view(shape)) / scale
        half = 0.5 / scale
        # sigmoid(m + h) - sigmoid(m - h) = sigmoid(h + m) sigmoid(h - m) (1 - exp(-2 h)): of logarithms nothing is lost
        # however far out, so that there too a latent is drawn back.
        bins = functional.logsigmoid(half + middle) + functional.logsigmoid(half - middle)
        bins = bins + (-torch.expm1(-2 * half)).log() + functional.log_softmax(self.weight, 1).view(shape)
        return -bins.logsumexp(-1) / math.log(2)


def soften(latents: Tensor) -> Tensor:
    """Latents with noise in place of rounding, uniform within a bin: what rounding does to them, with a gradient."""
    return latents + torch.rand_like(latents) - 0.5

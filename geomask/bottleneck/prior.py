"""What a latent is taken to be while a bottleneck is trained: a factorised prior, one density for each plane.

The code that is sent has integer tables (`Tables`), counted once the encoder stays as it is; this density only says, in
a way that can be derived, about how many bits they will take.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

#: No bin is less likely: what lies far out must cost much, and still have a gradient.
LEAST = 1e-6


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
        values = latents[..., None]
        shape = (1, -1, 1, 1, self.weight.shape[1])
        scale = self.log_scale.exp().clamp(min=1e-2).view(shape)
        low, high = ((values + side - self.centre.view(shape)) / scale for side in (-0.5, 0.5))
        # Of the two tails the one that is not close to 1: differences there would be rounding.
        sign = -torch.sign(low + high).detach()
        bins = (torch.sigmoid(sign * high) - torch.sigmoid(sign * low)).abs()
        share = (bins * functional.softmax(self.weight, 1).view(shape)).sum(-1)
        return -share.clamp(min=LEAST).log() / math.log(2)


def soften(latents: Tensor) -> Tensor:
    """Latents with noise in place of rounding, uniform within a bin: what rounding does to them, with a gradient."""
    return latents + torch.rand_like(latents) - 0.5

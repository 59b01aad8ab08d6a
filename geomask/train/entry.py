"""Masking channels by a network's first weights: what masking its input gives, for less.

conv(W, m x) = conv(W m, x) where m is a factor a channel. So the input need not be multiplied, and its gradient, which
only the mask would ask for, need not be computed: that of W m has all that it takes. Where the mask differs from sample
to sample the weights do, and the work is the same as for one W; that pays where a sample has more pixels than W has
weights a channel.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..masks.mask import UnitMask
from ..masks.priced import PricedGate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..masks.gate import Choice, Gate


class Entry:
    """The convolution that a network begins with."""

    def __init__(self, conv: nn.Conv2d) -> None:
        """`conv` is a part of the network."""
        self.conv = conv

    @contextmanager
    def masked(self, factors: Tensor) -> Iterator[None]:
        """While it is open the network sees its input times `factors`, (samples or 1, channels)."""
        # Of this one convolution alone, whatever it is a part of.
        vars(self.conv)["forward"] = lambda image: self._forward(image, factors)
        try:
            yield
        finally:
            del vars(self.conv)["forward"]

    def _forward(self, image: Tensor, factors: Tensor) -> Tensor:
        conv = self.conv
        if len(factors) == 1:
            return self._convolve(image, factors[0])
        if conv.kernel_size == (1, 1) and conv.stride == (1, 1) and conv.padding == (0, 0):
            weights = conv.weight[:, :, 0, 0] * factors[:, None]
            passed = torch.bmm(weights, image.flatten(2)).reshape(len(image), -1, *image.shape[2:])
            passed = passed if conv.bias is None else passed + conv.bias[:, None, None]
            return passed.contiguous(memory_format=torch.channels_last)
        # On CPU one after the other takes as long as all at once, and grouped convolutions take half as long again.
        return torch.cat([self._convolve(image[at : at + 1], factor) for at, factor in enumerate(factors)])

    def _convolve(self, image: Tensor, factor: Tensor) -> Tensor:
        conv = self.conv
        weight = conv.weight * factor[:, None, None]
        passed: Tensor = functional.conv2d(image, weight, conv.bias, conv.stride, conv.padding, conv.dilation)
        return passed


def can_enter(gate: Gate) -> bool:
    """Whether a gate's choices may be factors of channels."""
    return isinstance(gate, UnitMask | PricedGate) and not gate.is_spatial


def channel_factors(gate: Gate, choice: Choice) -> Tensor | None:
    """What a choice multiplies each channel by, (samples or 1, channels); None where it does something else."""
    if not isinstance(gate, UnitMask | PricedGate) or gate.is_spatial:
        return None
    passed = gate.passed(choice[0]) if isinstance(gate, UnitMask) else choice[0]
    return gate.grain.spread(passed, (1, 1))[:, 0, :, 0, 0] if passed.shape[1] == 1 else None


@torch.no_grad()
def find_entry(network: nn.Module, channels: int, size: tuple[int, int]) -> Entry | None:
    """The convolution that alone sees a network's input, of `channels` and `size` (rows, columns).

    None where there is none, or masking its weights would take longer. It is tried: masked by its weights and by its
    input, the network has to say the same.
    """
    conv = next((part for part in network.modules() if isinstance(part, nn.Conv2d)), None)
    if conv is None or (conv.in_channels, conv.groups, conv.padding_mode) != (channels, 1, "zeros"):
        return None
    if math.prod(size) < conv.weight[:, 0].numel():
        return None
    entry, generator = Entry(conv), torch.Generator().manual_seed(0)
    image = torch.randn(2, channels, *size, generator=generator).to(conv.weight.device)
    factors = torch.rand(2, channels, generator=generator).to(conv.weight.device)
    network.eval()
    want = network(image * factors[:, :, None, None])
    with entry.masked(factors):
        found = network(image)
    network.train()
    return entry if torch.allclose(found, want, rtol=1e-3, atol=1e-4 * float(want.abs().max())) else None

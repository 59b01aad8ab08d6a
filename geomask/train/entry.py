"""Masking by a network's first convolution: what masking its input gives, for less.

conv(W, m x) = conv(W m, x) where m is a factor a channel. So the input need not be multiplied, and its gradient, which
only the mask would ask for, need not be computed: that of W m has all that it takes. Where the mask differs from sample
to sample the weights do, and the work is the same as for one W; that pays where a sample has more pixels than W has
weights a channel.

conv(W, m x) = m conv(W, x) where m is a factor a pixel, of all channels alike, and W of one pixel.
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
        """While it is open the network sees its input times `factors` (`entry_factors`)."""
        # Of this one convolution alone, whatever it is a part of.
        vars(self.conv)["forward"] = lambda image: self._forward(image, factors)
        try:
            yield
        finally:
            del vars(self.conv)["forward"]

    def _forward(self, image: Tensor, factors: Tensor) -> Tensor:
        conv = self.conv
        if factors.shape[2:] != (1, 1):
            passed = functional.conv2d(image, conv.weight) * factors
            return passed if conv.bias is None else passed + conv.bias[:, None, None]
        if len(factors) == 1:
            return self._convolve(image, factors[0])
        if _is_pointwise(conv):
            passed = torch.bmm(conv.weight[:, :, 0, 0] * factors[:, None, :, 0, 0], image.flatten(2))
            passed = passed.reshape(len(image), -1, *image.shape[2:])
            passed = passed if conv.bias is None else passed + conv.bias[:, None, None]
            return passed.contiguous(memory_format=torch.channels_last)
        # On CPU one after the other takes as long as all at once, and grouped convolutions take half as long again.
        return torch.cat([self._convolve(image[at : at + 1], factor) for at, factor in enumerate(factors)])

    def _convolve(self, image: Tensor, factor: Tensor) -> Tensor:
        conv = self.conv
        weight = conv.weight * factor
        passed: Tensor = functional.conv2d(image, weight, conv.bias, conv.stride, conv.padding, conv.dilation)
        return passed


def can_enter(gate: Gate) -> bool:
    """Whether a gate's choices may be factors of channels, or of pixels of all channels alike."""
    return isinstance(gate, UnitMask | PricedGate) and (not gate.is_spatial or gate.grain.shape[0] == 1)


def entry_factors(gate: Gate, choice: Choice, size: tuple[int, int]) -> Tensor | None:
    """What a choice multiplies an input of `size` (rows, columns) by; None where it does something else.

    (samples or 1, channels, 1, 1), or (samples or 1, 1, rows, columns).
    """
    if not isinstance(gate, UnitMask | PricedGate) or not can_enter(gate):
        return None
    passed = gate.passed(choice[0]) if isinstance(gate, UnitMask) else choice[0]
    return gate.grain.spread(passed, size if gate.is_spatial else (1, 1))[:, 0] if passed.shape[1] == 1 else None


@torch.no_grad()
def find_entry(network: nn.Module, gate: Gate, size: tuple[int, int]) -> Entry | None:
    """The convolution that alone sees a network's input, of the gate's heads and `size` (rows, columns).

    None where there is none, the gate cannot mask by it, or that would take longer. It is tried: masked by its
    convolution and by its input, the network has to say the same.
    """
    conv = next((part for part in network.modules() if isinstance(part, nn.Conv2d)), None)
    if not can_enter(gate) or conv is None or (conv.groups, conv.padding_mode) != (1, "zeros"):
        return None
    pays = _is_pointwise(conv) if gate.is_spatial else math.prod(size) >= conv.weight[:, 0].numel()
    if conv.in_channels != gate.heads or not pays:
        return None
    entry, generator = Entry(conv), torch.Generator().manual_seed(0)
    image = torch.randn(2, gate.heads, *size, generator=generator).to(conv.weight.device)
    shape = (2, 1, *size) if gate.is_spatial else (2, gate.heads, 1, 1)
    factors = torch.rand(shape, generator=generator).to(conv.weight.device)
    network.eval()
    want = network(image * factors)
    try:
        with entry.masked(factors):
            found = network(image)
    except RuntimeError:  # what it sees has other pixels than the input: it was padded or pooled before
        return None
    finally:
        network.train()
    return entry if torch.allclose(found, want, rtol=1e-3, atol=1e-4 * float(want.abs().max())) else None


def _is_pointwise(conv: nn.Conv2d) -> bool:
    """Whether each output is of one pixel, its own."""
    return (conv.kernel_size, conv.stride, conv.padding) == ((1, 1), (1, 1), (0, 0))

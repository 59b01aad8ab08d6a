"""Gates: what stands between a model's input channels and its network.

A gate maps (samples, channels, rows, columns) to (samples, heads, rows, columns).
"""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from ..errors import SelectionError
from .fixed import spaced_centres


class HardGate(nn.Module):
    """Passes the chosen channels and nothing else: y_j = x[channels_j]."""

    channels: Tensor

    def __init__(self, channels: list[int]) -> None:
        """`channels` are positions in the input, one a head, 0-based."""
        super().__init__()
        self.register_buffer("channels", torch.tensor(channels, dtype=torch.int64))

    def forward(self, image: Tensor) -> Tensor:
        """(samples, channels, rows, columns) to (samples, heads, rows, columns)."""
        return image.index_select(1, self.channels)


class ConcreteSelector(nn.Module):
    """k softmax heads over U channels, sharpened until each picks one.

    Head j mixes the channels with weights m_j = softmax((a_j + g_j) / temperature), g_j Gumbel(0, 1) noise in training:
    a sample of the Concrete distribution (Maddison, Mnih & Teh 2017; Jang, Gu & Poole 2017) as a feature selector
    (Balin, Abid & Zou, "Concrete Autoencoders", 2019). At temperature 0 a sample is one channel, drawn with
    probability softmax(a_j).

    The heads start evenly spaced over the channels, which are ordered by slot, then band:
    a_j(u) = max(-(u - c_j)^2 / (2 (U/k)^2), -3), c_j = (j + 0.5) U/k - 0.5. So what is not learned stays uniform
    spacing, the strongest choice that learns nothing.

    Identity: where each a_j has one entry far above the rest, and those differ between heads, the gate equals
    ``HardGate(self.freeze())`` at temperature 0.
    """

    def __init__(self, count: int, heads: int, generator: torch.Generator) -> None:
        """`count` channels in, `heads` out, 1 <= heads <= count; `generator` draws the noise. Raises SelectionError."""
        super().__init__()
        if not 1 <= heads <= count:
            raise SelectionError(f"{heads} heads cannot pick distinct ones of {count} channels; choose 1 to {count}")
        centres = torch.from_numpy(spaced_centres(count, heads)).float()
        distance = torch.arange(count) - centres[:, None]
        start = (-(distance**2) / (2 * (count / heads) ** 2)).clamp(min=-3)
        self.logits = nn.Parameter(start)
        self.temperature = 1.0
        self._generator = generator

    def forward(self, image: Tensor) -> Tensor:
        """(samples, channels, rows, columns) to (samples, heads, rows, columns)."""
        scores: Tensor = self.logits.expand(len(image), -1, -1)
        if self.training:
            # Noise of its own for each sample: as many draws of the gate in a step, at no cost.
            uniform = torch.rand(scores.shape, generator=self._generator)
            # Away from 0 and 1, where the noise is infinite.
            scores = scores - (-uniform.clamp(1e-9, 1 - 1e-7).log()).log()
        weights = (scores / self.temperature).softmax(2)
        return torch.einsum("nku,nuyx->nkyx", weights, image)

    @torch.no_grad()
    def freeze(self) -> list[int]:
        """The distinct channels, one a head, of the greatest joint probability (Hungarian assignment)."""
        _, channels = linear_sum_assignment(self.logits.log_softmax(1).numpy(), maximize=True)
        return [int(channel) for channel in channels]

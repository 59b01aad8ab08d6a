"""The Concrete selector: as many heads as channels are wanted, each of which learns to pick one."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from ..errors import SelectionError
from .fixed import spaced_centres
from .gate import Choice, Gate
from .hard import HardGate


class ConcreteSelector(Gate):
    """k softmax heads over U channels, sharpened until each picks one.

    Head j mixes the channels with weights m_j = softmax((a_j + g_j) / temperature), g_j Gumbel(0, 1) noise in training:
    a sample of the Concrete distribution (Maddison, Mnih & Teh 2017; Jang, Gu & Poole 2017) as a feature selector
    (Balin, Abid & Zou, "Concrete Autoencoders", 2019). At temperature 0 a sample is one channel, drawn with
    probability softmax(a_j).

    The heads start evenly spaced over the channels, which are ordered by slot, then band:
    a_j(u) = max(-(u - c_j)^2 / (2 (U/k)^2), -3), c_j = (j + 0.5) U/k - 0.5. So what is not learned stays uniform
    spacing, the strongest choice that learns nothing.

    Identity: where each a_j has one entry far above the rest, and those differ between heads, the gate equals
    ``self.freeze()`` at temperature 0.
    """

    def __init__(self, count: int, heads: int) -> None:
        """`count` channels in, `heads` out, 1 <= heads <= count. Raises SelectionError."""
        super().__init__()
        if not 1 <= heads <= count:
            raise SelectionError(f"{heads} heads cannot pick distinct ones of {count} channels; choose 1 to {count}")
        centres = torch.from_numpy(spaced_centres(count, heads)).float()
        distance = torch.arange(count) - centres[:, None]
        start = (-(distance**2) / (2 * (count / heads) ** 2)).clamp(min=-3)
        self.logits = nn.Parameter(start)
        self.temperature = 1.0

    @property
    def heads(self) -> int:
        """As many as channels are to be chosen."""
        return len(self.logits)

    def draw(self, image: Tensor) -> Choice:
        """The weights of the channels in each head, float32 (samples, heads, channels)."""
        scores: Tensor = self.logits.expand(len(image), -1, -1)
        if self.training:
            # Noise of its own for each sample: as many draws of the gate in a step, at no cost.
            uniform = torch.rand(scores.shape, device=scores.device)
            # Away from 0 and 1, where the noise is infinite.
            scores = scores - (-uniform.clamp(1e-9, 1 - 1e-7).log()).log()
        return ((scores / self.temperature).softmax(2),)

    def apply_choice(self, image: Tensor, choice: Choice) -> Tensor:
        """(samples, channels, rows, columns) to (samples, heads, rows, columns)."""
        return torch.einsum("nku,nuyx->nkyx", choice[0], image)

    def anneal(self, progress: float) -> None:
        """Lower the temperature geometrically, from 10 to 0.05 (Balin, Abid & Zou 2019)."""
        self.temperature = 10.0 * 0.005**progress

    @torch.no_grad()
    def freeze(self) -> HardGate:
        """The gate of distinct channels, one a head, of the greatest joint probability (Hungarian assignment)."""
        _, channels = linear_sum_assignment(self.logits.log_softmax(1).numpy(), maximize=True)
        return HardGate([int(channel) for channel in channels])

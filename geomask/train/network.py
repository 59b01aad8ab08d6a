"""The frame that any network is put in: standardise, gate, network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .networks import SmallNet as SmallNet
from .objective import Objective

if TYPE_CHECKING:
    import numpy as np

    from ..masks.gate import Gate
    from .entry import Entry


class MaskedNetwork(nn.Module):
    """Standardise, gate, classify: outputs of stored pixel values and their validity.

    x = valid * (image - mean) / deviation, so an empty channel is the mean, never a zero passed as data.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, mean: Tensor, deviation: Tensor, gate: Gate, network: nn.Module, objective: Objective | None = None
    ) -> None:
        """`mean` and `deviation` are float32 ([versions,] channels); `gate` and `network` map as their names say.

        `objective` says what the outputs are; None: classes of pixels.
        """
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)
        self.gate: Gate = gate
        self.network = network
        self.objective = objective or Objective()
        self.entry: Entry | None = None
        """Where the gate may mask by weights while it is trained (`find_entry`)."""

    def standardise(self, image: Tensor, valid: Tensor) -> Tensor:
        """Float32 (n, [versions,] channels, y, x), 0 where not valid."""
        return valid * (image - self.mean[..., None, None]) / self.deviation[..., None, None]

    def forward(self, image: Tensor, valid: Tensor) -> Tensor:
        """Outputs (n, classes, y, x), or as the network gives them.

        `image` is float32 (n, [versions,] channels, y, x), `valid` bool of the same shape.
        """
        outputs: Tensor = self.network(self.gate(self.standardise(image, valid)))
        return outputs


def channel_statistics(image: np.ndarray, valid: np.ndarray) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over its valid pixels, float32 ([versions,] channels).

    They are 0 and 1 where a channel has none. `image` is float32 (n, [versions,] channels, y, x).
    """
    pixels, seen = torch.from_numpy(image).double(), torch.from_numpy(valid).double()
    over = (0, -2, -1)
    count = seen.sum(over).clamp(min=1)
    mean = (pixels * seen).sum(over) / count
    spread = ((pixels - mean[..., None, None]) ** 2 * seen).sum(over) / count
    # A constant channel says nothing; dividing by 1 leaves it at 0 instead of NaN.
    deviation = torch.where(spread > 0, spread.sqrt(), torch.ones_like(spread))
    return mean.float(), deviation.float()

"""Networks: the small one that geomask trains by default, and the frame that any network is put in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..masks.hard import HardGate

if TYPE_CHECKING:
    import numpy as np

    from ..masks.gate import Gate


class SmallNet(nn.Sequential):
    """A fully convolutional classifier of pixels, a few thousand weights: (n, channels, y, x) to (n, classes, y, x).

    A 1 x 1 convolution mixes channels, two 3 x 3 ones look around; the receptive field is 5 x 5 pixels.
    """

    def __init__(self, channels: int, classes: int, width: int, dropout: float) -> None:
        """`width` features between the layers; `dropout` is the share of features that are dropped in training."""
        super().__init__(
            nn.Conv2d(channels, width, 1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Dropout2d(dropout),
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Dropout2d(dropout),
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, classes, 1),
        )


class MaskedNetwork(nn.Module):
    """Standardise, gate, classify: logits of stored pixel values and their validity.

    x = valid * (image - mean) / deviation, so an empty channel is the mean, never a zero passed as data.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Tensor, deviation: Tensor, gate: Gate, network: nn.Module) -> None:
        """`mean` and `deviation` are float32 (channels,); `gate` and `network` map as their names say."""
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)
        self.gate: Gate = gate
        self.network = network

    def standardise(self, image: Tensor, valid: Tensor) -> Tensor:
        """Float32 (n, channels, y, x), 0 where not valid."""
        return valid * (image - self.mean[:, None, None]) / self.deviation[:, None, None]

    def forward(self, image: Tensor, valid: Tensor) -> Tensor:
        """Logits (n, classes, y, x) of `image`, float32 (n, channels, y, x), and `valid`, bool of the same shape."""
        logits: Tensor = self.network(self.gate(self.standardise(image, valid)))
        return logits


def channel_statistics(image: np.ndarray, valid: np.ndarray) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over its valid pixels, float32 (channels,).

    They are 0 and 1 where a channel has none. `image` is float32 (n, channels, y, x).
    """
    pixels, seen = torch.from_numpy(image).double(), torch.from_numpy(valid).double()
    count = seen.sum((0, 2, 3)).clamp(min=1)
    mean = (pixels * seen).sum((0, 2, 3)) / count
    spread = ((pixels - mean[:, None, None]) ** 2 * seen).sum((0, 2, 3)) / count
    # A constant channel says nothing; dividing by 1 leaves it at 0 instead of NaN.
    deviation = torch.where(spread > 0, spread.sqrt(), torch.ones_like(spread))
    return mean.float(), deviation.float()


def fold(model: MaskedNetwork) -> tuple[list[int], MaskedNetwork]:
    """The channels that a hard-gated network uses, in ascending order, and the network that takes only those.

    For any image, ``folded(image[:, channels], valid[:, channels])`` equals ``model(image, valid)`` in eval mode, to
    the bit: the same numbers meet the same weights.
    """
    if not isinstance(model.gate, HardGate):
        raise TypeError(f"only a hard gate can be folded, not {type(model.gate).__name__}; freeze it first")
    used = model.gate.channels
    channels = sorted(set(used.tolist()))
    order = [channels.index(channel) for channel in used.tolist()]
    at = torch.tensor(channels, dtype=torch.int64)
    return channels, MaskedNetwork(model.mean[at], model.deviation[at], HardGate(order), model.network)

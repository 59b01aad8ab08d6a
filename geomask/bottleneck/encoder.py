"""The two networks of a bottleneck: an encoder that may run beside the data, and a decoder at the other end of a link.

::

    channels --1 x 1--> width --[2 x 2, stride 2]--> .. --residual blocks--> --1 x 1--> latents   Encoder
    latents --1 x 1--> width --residual blocks--> [x 2 | / 2] .. --1 x 1--> features of a teacher  Decoder

A stem of 1 x 1 pixel mixes dates and bands, which say most of each other. Where labels are of pixels nothing is halved;
of scenes two or three halvings take what neighbours share.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor, nn

from ..errors import SelectionError

#: Weights of an encoder at most: it has to run on small machines.
MOST_WEIGHTS = 200_000
#: Blocks at most, and halvings: a container has one byte for the stride.
MOST_BLOCKS, MOST_HALVINGS = 64, 7


@dataclass(frozen=True, slots=True)
class Design:
    """How large a bottleneck is."""

    channels: int
    """That the encoder sees."""
    latents: int = 8
    """Planes that are sent."""
    width: int = 32
    """Features between the layers."""
    blocks: int = 2
    """Residual blocks, in each of the two networks."""
    around: int = 1
    """Rows and columns that a block looks at: 1, each pixel by itself; or 3."""
    halvings: int = 0
    """How often rows and columns are halved."""

    def __post_init__(self) -> None:
        """Refuse what is no network. Raises SelectionError."""
        if min(self.channels, self.latents, self.width) < 1 or min(self.blocks, self.halvings) < 0:
            raise SelectionError(f"{self} is no bottleneck; channels, latents and width are 1 or more, the rest 0")
        if self.around % 2 == 0 or self.around < 1:
            raise SelectionError(f"a block looks at an odd number of pixels, such as 1 or 3, not {self.around}")
        if self.blocks > MOST_BLOCKS or self.halvings > MOST_HALVINGS:
            raise SelectionError(f"{self} is too deep; {MOST_BLOCKS} blocks and {MOST_HALVINGS} halvings are the most")

    @property
    def stride(self) -> int:
        """Pixels to a side of a latent."""
        return 1 << self.halvings

    @property
    def encoder_weights(self) -> int:
        """Numbers that an encoder learns, without making one."""
        width = self.width
        ends = (self.channels + 3) * width + (width + 1) * self.latents
        return ends + self.halvings * (4 * width + 3) * width + self._block_weights

    def decoder_weights(self, features: int, stride: int) -> int:
        """Numbers that a `Decoder` of these arguments learns, without making one."""
        width, further = self.width, stride.bit_length() - 1 - self.halvings
        ends = (self.latents + 1) * width + (width + 1) * features
        return ends + abs(further) * (4 * width + (3 if further > 0 else 1)) * width + self._block_weights

    @property
    def _block_weights(self) -> int:
        return self.blocks * ((self.around**2 + 1) * self.width + 4) * self.width


class Residual(nn.Module):
    """x + f(x), f of two convolutions: (n, width, y, x) to the same."""

    def __init__(self, width: int, around: int) -> None:
        """`around` pixels to a side are looked at by each convolution."""
        super().__init__()
        parts = (nn.ReLU(), nn.Conv2d(width, width, around, padding=around // 2), nn.BatchNorm2d(width))
        last = (nn.ReLU(), nn.Conv2d(width, width, 1))
        self.change = nn.Sequential(*parts, *last)

    def forward(self, features: Tensor) -> Tensor:
        """As the class says."""
        changed: Tensor = features + self.change(features)
        return changed


class Encoder(nn.Sequential):
    """Standardised pixels (n, channels, y, x) to latents (n, latents, y / stride, x / stride), not yet rounded.

    Rows and columns have to be multiples of the stride. Raises SelectionError where it would have more than
    `MOST_WEIGHTS` weights.
    """

    def __init__(self, design: Design) -> None:
        if (count := design.encoder_weights) > MOST_WEIGHTS:
            raise SelectionError(f"an encoder of {count:,} weights; {MOST_WEIGHTS:,} at most: make it narrower")
        width = design.width
        parts: OrderedDict[str, nn.Module] = OrderedDict(stem=nn.Conv2d(design.channels, width, 1))
        parts["norm"] = nn.BatchNorm2d(width)
        for number in range(design.halvings):
            parts[f"halve{number}"] = _halve(width)
        for number in range(design.blocks):
            parts[f"block{number}"] = Residual(width, design.around)
        parts["out"] = nn.Conv2d(width, design.latents, 1)
        super().__init__(parts)


class Decoder(nn.Sequential):
    """Latents (n, latents, y, x) to a teacher's features (n, features, y * stride / theirs, x * stride / theirs)."""

    def __init__(self, design: Design, features: int, stride: int) -> None:
        """`features` are planes of the teacher's, of which each has `stride` pixels to a side, a power of two."""
        width, halvings = design.width, stride.bit_length() - 1
        parts: OrderedDict[str, nn.Module] = OrderedDict(stem=nn.Conv2d(design.latents, width, 1))
        for number in range(design.blocks):
            parts[f"block{number}"] = Residual(width, design.around)
        for number in range(halvings, design.halvings):
            parts[f"double{number}"] = nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(width, width, 2, stride=2))
        for number in range(design.halvings, halvings):
            parts[f"halve{number}"] = _halve(width)
        parts["act"] = nn.ReLU()
        parts["out"] = nn.Conv2d(width, features, 1)
        super().__init__(parts)


def _halve(width: int) -> nn.Module:
    """Half the rows and columns, each from four pixels of its own: what is halved leaves no seams."""
    return nn.Sequential(nn.ReLU(), nn.Conv2d(width, width, 2, stride=2), nn.BatchNorm2d(width))


def count_weights(network: nn.Module) -> int:
    """Numbers that a network learns."""
    return sum(weight.numel() for weight in network.parameters())

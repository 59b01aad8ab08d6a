"""A frozen network cut in two: the first stages, which a bottleneck stands in for, and the rest."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import SelectionError

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = "small, timm's ResNet, ConvNeXt or Swin, torchgeo's of these kinds and fcn, or a torch.nn.Sequential"
#: What a layer of a sequence does that ends its first stage.
ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.ELU)


class Cut(NamedTuple):
    """The first stages of a network."""

    parts: tuple[str, ...]
    """Their names, one after the other."""
    planes_last: bool
    """Whether features are (n, y, x, planes)."""

    def of(self, network: nn.Module) -> tuple[nn.Module, nn.Module]:
        """Copies of the first stages, and of the network with nothing in their places; features are (n, planes, y, x).

        Raises SelectionError where the network has no such parts.
        """
        tail = copy.deepcopy(network)
        if not all(self.parts) or not self.parts:
            raise SelectionError(f"a {type(network).__name__} cannot be cut after {list(self.parts)}; name its parts")
        try:
            parts = [copy.deepcopy(network.get_submodule(name)) for name in self.parts]
            for name in self.parts:
                tail.set_submodule(name, nn.Identity())
        except AttributeError as error:
            raise SelectionError(f"a {type(network).__name__} cannot be cut after {self.parts[-1]}: {error}") from error
        if not self.planes_last:
            return nn.Sequential(*parts), tail
        return nn.Sequential(*parts, _PlanesFirst()), nn.Sequential(_PlanesLast(), tail)


#: ResNet, ConvNeXt and Swin of timm, and so torchgeo's; torchgeo's fully convolutional network.
CUTS = (
    Cut(("conv1", "bn1", "act1", "maxpool", "layer1"), planes_last=False),
    Cut(("stem", "stages.0"), planes_last=False),
    Cut(("patch_embed", "layers.0"), planes_last=True),
    Cut(("backbone.0", "backbone.1"), planes_last=False),
)


@dataclass(frozen=True)
class Teacher:
    """A network in eval mode: ``tail(head(x)) == network(x)``. Its weights are copies."""

    head: nn.Module
    """(n, channels, y, x) to features (n, features, y / stride, x / stride). Frozen."""
    tail: nn.Module
    """Features to outputs."""
    features: int
    """Planes of the features."""
    stride: int
    """Pixels to a side of a feature, a power of two."""
    cut: Cut
    """Where it was cut."""

    @classmethod
    def of(cls, network: nn.Module, channels: int, size: tuple[int, int]) -> Teacher:
        """Cut a network after its first stages; `size` is one that it takes, in rows and columns.

        Raises SelectionError where no cut is known for its kind, or it does not go through its parts in their order.
        """
        network = copy.deepcopy(network).eval()
        device = next((weight.device for weight in network.parameters()), torch.device("cpu"))
        image = torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(0)).to(device)
        with torch.no_grad():
            wanted = network(image)
            for cut in _known_cuts(network):
                head, tail = cut.of(network)
                try:
                    found = head(image)
                    agrees = found.ndim == 4 and torch.allclose(tail(found), wanted, rtol=1e-4, atol=1e-5)
                except (RuntimeError, TypeError, AssertionError):  # its parts do not follow each other
                    continue
                if agrees:
                    stride = 1 << round(math.log2(size[0] / found.shape[-2]))  # of odd sizes some round up
                    frozen = head.eval().requires_grad_(requires_grad=False)
                    return cls(frozen, tail.eval(), found.shape[1], stride, cut)
        raise SelectionError(f"no place is known where to cut a {type(network).__name__}; take {KINDS}")


class _PlanesFirst(nn.Module):
    """(n, y, x, planes) to (n, planes, y, x)."""

    def forward(self, features: Tensor) -> Tensor:
        return features.movedim(-1, 1)


class _PlanesLast(nn.Module):
    """(n, planes, y, x) to (n, y, x, planes)."""

    def forward(self, features: Tensor) -> Tensor:
        return features.movedim(1, -1)


def _known_cuts(network: nn.Module) -> Iterator[Cut]:
    """The cuts that a network of these parts may have."""
    there = {name for name, _ in network.named_modules()}
    yield from (cut for cut in CUTS if there.issuperset(cut.parts))
    if isinstance(network, nn.Sequential):
        names = [name for name, _ in network.named_children()]
        ends = [at for at, part in enumerate(network) if isinstance(part, ACTIVATIONS)]
        if ends and ends[0] + 1 < len(names):
            yield Cut(tuple(names[: ends[0] + 1]), planes_last=False)

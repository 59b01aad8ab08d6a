"""A network with a link in its middle: what is computed beside the data, what crosses, and what is made of it.

::

    pixels --near--> Encoder, rounded --link--> latents --\
    pixels --far------------------------------> pixels ----> body --> outputs

Of a plain bottleneck nothing is read at the far end, and the body is a decoder and the rest of a teacher. Where bands
are read too, the body is a network of both, each latent one more channel of it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..masks.hard import HardGate
from ..train.network import MaskedNetwork
from .tables import Tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .encoder import Encoder


class NearSide(nn.Module):
    """What runs beside the data: standardised pixels (n, channels, y, x) to symbols, float32 of whole numbers.

    Symbols are (n, latents, y / stride, x / stride), rounded up: what is missing of the last row and column is 0.
    """

    lows: Tensor
    highs: Tensor

    def __init__(self, encoder: Encoder, tables: Tables, stride: int) -> None:
        """`tables` say which symbols there are; `stride` is the encoder's."""
        super().__init__()
        self.encoder, self.stride = encoder, stride
        for name, bounds in (("lows", tables.lows), ("highs", tables.highs)):
            self.register_buffer(name, torch.from_numpy(bounds.astype(np.float32))[:, None, None])

    def forward(self, image: Tensor) -> Tensor:
        """As the class says."""
        return self.clip(self.latents(image).round())

    def latents(self, image: Tensor) -> Tensor:
        """Before they are rounded and cut off."""
        below, right = (-side % self.stride for side in image.shape[-2:])
        latents: Tensor = self.encoder(functional.pad(image, (0, right, 0, below)) if below or right else image)
        return latents

    def clip(self, latents: Tensor) -> Tensor:
        """Each latent, or the nearest symbol that its table has."""
        return torch.minimum(torch.maximum(latents, self.lows), self.highs)


class FarSide(nn.Module):
    """What is made of what has come: planes (n, pixels + latents, y, x) to outputs, each latent over its pixels."""

    def __init__(self, body: nn.Module, stride: int, *, spread: bool) -> None:
        """`body` takes all planes in full where they are `spread`, else latents alone, one value each."""
        super().__init__()
        self.body, self.stride, self.spread = body, stride, spread

    def forward(self, planes: Tensor) -> Tensor:
        """As the class says."""
        rows, columns = planes.shape[-2:]
        outputs: Tensor = self.body(planes if self.spread else planes[..., :: self.stride, :: self.stride])
        return outputs[..., :rows, :columns] if outputs.ndim == 4 else outputs


class Transfer(nn.Module):
    """Both sides in one pass, as a map is made where everything is at hand: it says what they say apart."""

    near: Tensor
    far: Tensor
    centre: Tensor
    spread: Tensor
    lows: Tensor
    counts: Tensor
    cuts: Tensor

    def __init__(
        self,
        encoder: Encoder,
        tables: Tables,
        body: nn.Module,
        stride: int,
        near: Sequence[int],
        far: Sequence[int] = (),
        standard: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        """`near` and `far` are the channels that either side sees, by their places in the input.

        `standard`: mean and deviation of the latents, float32 (latents,), where the body takes them as channels of
        pixels, standardised; None: where it is a decoder, which takes them as they are, one for each place.
        """
        super().__init__()
        self.near_side = NearSide(encoder, tables, stride)
        self.far_side = FarSide(body, stride, spread=standard is not None)
        self.register_buffer("near", torch.tensor(near, dtype=torch.int64))
        self.register_buffer("far", torch.tensor(far, dtype=torch.int64))
        centre, spread = standard or (torch.zeros(tables.latents), torch.ones(tables.latents))
        self.register_buffer("centre", centre)
        self.register_buffer("spread", spread)
        for name in ("lows", "counts", "cuts"):
            self.register_buffer(name, torch.from_numpy(getattr(tables, name).copy()))

    @property
    def stride(self) -> int:
        """Pixels to a side of a latent."""
        return self.near_side.stride

    @property
    def tables(self) -> Tables:
        """What the latents are coded by. Raises RunError where they cannot be such."""
        return Tables(*(getattr(self, name).cpu().numpy() for name in ("lows", "counts", "cuts")))

    def forward(self, image: Tensor) -> Tensor:
        """Standardised pixels (n, channels, y, x), 0 where not valid, to outputs.

        A pixel all of whose channels are 0 was not seen: another would have to be the mean in each of them, to the bit.
        """
        shown = image.index_select(1, self.near)
        seen = seen_cells((shown != 0).any(1, keepdim=True), self.stride)
        latents = (self.near_side(shown) - self.centre[:, None, None]) / self.spread[:, None, None] * seen
        planes = spread_cells(latents, self.stride, (image.shape[-2], image.shape[-1]))
        outputs: Tensor = self.far_side(torch.cat([image.index_select(1, self.far), planes], 1))
        return outputs


def seen_cells(seen: Tensor, stride: int) -> Tensor:
    """Whether anything of a latent was seen: bool (n, 1, y, x) to (n, 1, y / stride, x / stride), rounded up."""
    if stride == 1:
        return seen
    below, right = (-side % stride for side in seen.shape[-2:])
    return functional.max_pool2d(functional.pad(seen.float(), (0, right, 0, below)), stride) > 0


def spread_cells(values: Tensor, stride: int, size: tuple[int, int]) -> Tensor:
    """Each value over its stride x stride pixels, of an image of `size`, (rows, columns): (n, planes, *size)."""
    if stride > 1:
        values = values.repeat_interleave(stride, -2).repeat_interleave(stride, -1)
    return values[..., : size[0], : size[1]]


def transfer_of(model: MaskedNetwork) -> Transfer | None:
    """The link in a network's middle; None where it has none."""
    return model.network if isinstance(model.network, Transfer) else None


def near_model(model: MaskedNetwork) -> MaskedNetwork:
    """What runs beside the data: stored values of the `near` channels, and their validity, to symbols (`NearSide`).

    Raises TypeError where the network has no link.
    """
    link = _link(model)
    mean, deviation = model.mean[link.near], model.deviation[link.near]
    return MaskedNetwork(mean, deviation, HardGate(range(len(link.near))), link.near_side, model.objective).eval()


def far_model(model: MaskedNetwork) -> MaskedNetwork:
    """What runs at the other end: the `far` channels as stored, then symbols over their pixels, to outputs.

    A symbol is valid where anything of it was seen. Raises TypeError where the network has no link.
    """
    link = _link(model)
    mean = torch.cat([model.mean[link.far], link.centre])
    deviation = torch.cat([model.deviation[link.far], link.spread])
    return MaskedNetwork(mean, deviation, HardGate(range(len(mean))), link.far_side, model.objective).eval()


def encoder_digest(model: MaskedNetwork) -> str:
    """SHA-256, hexadecimal, of all that decides what symbols are: the near side, and how its channels are standardised.

    Networks of several teachers that share an encoder share it.
    """
    near, digest = near_model(model), hashlib.sha256()
    for name, tensor in sorted(near.state_dict().items()):
        values = tensor.detach().cpu().contiguous().numpy()
        digest.update(f"{name} {values.dtype.str} {values.shape}\n".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def _link(model: MaskedNetwork) -> Transfer:
    link = transfer_of(model)
    if link is None:
        raise TypeError(f"a network of type {type(model.network).__name__} has no link in its middle")
    return link

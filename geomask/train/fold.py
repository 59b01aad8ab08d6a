"""Folding: a hard-gated network becomes one that takes only what the gate passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..masks.gate import Choice, Gate
from ..masks.grain import Grain
from ..masks.hard import EMPTY, HardGate, HardMask
from .network import MaskedNetwork

if TYPE_CHECKING:
    from collections.abc import Sequence


class FoldedMask(Gate):
    """A hard mask over the planes that it passes anything of: head h gets the sum of its planes x their blocks."""

    at: Tensor
    blocks: Tensor
    count: Tensor

    def __init__(self, at: Sequence[int], blocks: Tensor, heads: int) -> None:
        """Plane p goes to head `at`[p] of `heads`, times `blocks`[p], float32 (planes, rows, columns of blocks)."""
        super().__init__()
        self.register_buffer("at", torch.tensor(at, dtype=torch.int64))
        self.register_buffer("blocks", blocks)
        self.register_buffer("count", torch.tensor(heads))

    @classmethod
    def of_planes(cls, versions: int, channels: int) -> FoldedMask:
        """All planes, each to the head of its channel: what is not to pass must not be valid."""
        planes = versions * channels
        return cls([plane % channels for plane in range(planes)], torch.ones(planes, 1, 1), channels)

    @property
    def is_open(self) -> bool:
        """Whether every plane passes whole, so that it decides nothing. No mask that decides folds to that."""
        return self.blocks.shape[1:].numel() == 1 and bool((self.blocks == 1).all())

    @property
    def heads(self) -> int:
        """Those of the mask that was folded: heads that nothing fills are 0."""
        return int(self.count)

    def draw(self, image: Tensor) -> Choice:
        """What each plane is multiplied by, float32 (planes, rows, columns of blocks)."""
        return (self.blocks,)

    def apply_choice(self, image: Tensor, choice: Choice) -> Tensor:
        """(samples, planes, rows, columns) to (samples, heads, rows, columns)."""
        grain = Grain(tuple(range(max(1, len(self.at)))), *self.blocks.shape[1:])  # a mask may pass nothing
        passed = image * grain.spread(choice[0], (image.shape[-2], image.shape[-1]))
        heads = passed.new_zeros((len(passed), self.heads, *passed.shape[2:]))
        return heads.index_add(1, self.at, passed)

    def freeze(self) -> FoldedMask:
        """Itself."""
        return self

    @property
    def is_hard(self) -> bool:
        """Always."""
        return True

    @property
    def is_spatial(self) -> bool:
        """Whether its units are blocks or pixels."""
        return self.blocks.shape[1:].numel() > 1


def fold(model: MaskedNetwork) -> tuple[list[int], MaskedNetwork]:
    """The planes of its input that a hard-gated network uses, and the network that takes only those.

    A plane is a version of a channel: of an image (n, [versions, ...,] channels, y, x) plane p is
    ``image.flatten(1, -3)[:, p]``, so without versions planes are channels. They are ordered by channel, then version.
    For any image, ``folded(image.flatten(1, -3)[:, planes], valid.flatten(1, -3)[:, planes])`` equals
    ``model(image, valid)`` in eval mode, to the bit: the same numbers meet the same weights.

    Raises TypeError where the gate is not hard, or decides anew for each sample.
    """
    if isinstance(model.gate, HardGate):
        used = model.gate.channels.tolist()
        count = model.mean.shape[-1]
        planes = sorted({plane for plane in used if plane != EMPTY}, key=lambda plane: (plane % count, plane))
        gate: Gate = HardGate([EMPTY if channel == EMPTY else planes.index(channel) for channel in used])
    elif isinstance(model.gate, HardMask):
        planes, gate = _fold_mask(model.gate)
    elif isinstance(model.gate, FoldedMask):
        return list(range(len(model.mean))), model
    else:
        raise TypeError(f"only a hard gate can be folded, not {type(model.gate).__name__}; freeze it first")
    at = torch.tensor(planes, dtype=torch.int64, device=model.mean.device)
    mean, deviation = (values.flatten()[at] for values in (model.mean, model.deviation))
    return planes, MaskedNetwork(mean, deviation, gate.to(at.device), model.network, model.objective)


def take_planes(model: MaskedNetwork) -> MaskedNetwork:
    """A network behind a gate that decides anew for each image, as one that leaves the choice to whoever reads.

    It takes all planes (`fold`), as ``image.flatten(1, -3)``. Where valid is masked by what the gate chooses of an
    image, it gives what the gated network gives in eval mode: what is left out is 0 in both.
    """
    versions = model.mean.numel() // model.mean.shape[-1]
    gate = FoldedMask.of_planes(versions, model.mean.shape[-1]).to(model.mean.device)
    mean, deviation = model.mean.flatten(), model.deviation.flatten()
    return MaskedNetwork(mean, deviation, gate, model.network, model.objective)


def can_fold(gate: Gate) -> bool:
    """Whether what passes is known before any image is."""
    return isinstance(gate, HardGate | HardMask | FoldedMask)


def _fold_mask(mask: HardMask) -> tuple[list[int], Gate]:
    """The planes, and a gate of whole channels where that is all that the mask decides."""
    groups = torch.tensor(mask.grain.groups, device=mask.choice.device)
    every = mask.choice[0].flatten(0, -4)[:, groups]  # (versions, channels, rows, columns)
    versions, channels = (every != 0).flatten(2).any(2).nonzero(as_tuple=True)
    order = (channels * len(every) + versions).argsort()
    versions, channels = versions[order], channels[order]
    planes, blocks = (versions * len(groups) + channels).tolist(), every[versions, channels]
    whole = blocks.shape[1:].numel() == 1 and bool((blocks == 1).all())
    if not whole or len(set(channels.tolist())) < len(channels):
        return planes, FoldedMask(channels.tolist(), blocks, len(groups))
    heads = torch.full((len(groups),), EMPTY)
    heads[channels.cpu()] = torch.arange(len(planes))
    return planes, HardGate(heads.tolist())

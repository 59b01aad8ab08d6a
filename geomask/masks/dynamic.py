"""Scores that are predicted from a preview of each chip, beside those that are the same for all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import SelectionError
from .models import mask_model
from .scores import Scores

if TYPE_CHECKING:
    from collections.abc import Sequence


class DynamicScores(Scores):
    """score(unit, version; chip) = static(unit, version) + model(preview of the chip)(unit, version).

    Dynamic masks of Oehmcke & Gieseke, "Input Selection for Bandwidth-Limited Neural Network Inference" (SDM 2022). The
    preview and the grid of blocks may be of any size, square or not: what the model gives is averaged where it has more
    rows or columns than there are blocks, and repeated where it has fewer.

    Identity: before the first step the model gives exactly 0, so the scores are the static ones.
    """

    def __init__(
        self,
        model: str | nn.Module,
        preview: tuple[int, int, int],
        versions: int,
        shape: tuple[int, int, int],
        starts: Sequence[float] | Tensor,
        *,
        learn_static: bool = True,
        learn_dynamic: bool = True,
    ) -> None:
        """`model` is one of `MODELS`, for a preview of (channels, rows, columns), or a module of the caller's own.

        Such a module maps float32 (samples, channels, rows, columns) to (samples, versions x groups, rows, columns) of
        any size. `shape` is (groups, rows, columns), that of a `Grain`. `starts` are the static scores: a number a
        version, or a tensor (versions, groups, rows, columns), such as those that a static mask learned. They are a
        parameter where `learn_static`, else fixed. Without `learn_dynamic` the model stays as it is. Raises
        SelectionError for starts of another shape, and where nothing is left to learn.
        """
        super().__init__(versions, shape)
        if not (learn_static or learn_dynamic):
            raise SelectionError("neither the static nor the dynamic part would learn; choose one of them, or both")
        self.static = nn.Parameter(_starts(starts, (versions, *shape)), requires_grad=learn_static)
        self.name = model if isinstance(model, str) else None
        """Of the model, where it is one of `MODELS`."""
        self.model = mask_model(model, preview, versions, shape) if isinstance(model, str) else model
        self.model.requires_grad_(learn_dynamic)

    def forward(self, preview: Tensor | None) -> Tensor:
        """Float32 (samples, versions, groups, rows, columns). Raises SelectionError where there is no preview."""
        if preview is None:
            raise SelectionError("dynamic scores need a preview; give the mask one")
        found = resize(self.model(preview), self.shape[1:])
        return self.static + found.reshape(-1, self.versions, *self.shape)

    @property
    def is_static(self) -> bool:
        """Never."""
        return False


def _starts(starts: Sequence[float] | Tensor, shape: tuple[int, ...]) -> Tensor:
    """A copy of the static scores, float32 of `shape`."""
    given = torch.as_tensor(starts, dtype=torch.float32).detach()
    if given.shape not in (shape[:1], shape):
        raise SelectionError(f"starts of the shape {tuple(given.shape)}; give {shape[:1]} or {shape}")
    return (given[:, None, None, None] if given.ndim == 1 else given).expand(shape).clone()


def resize(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """(..., rows, columns) to `size`: averaged along an axis that is longer, repeated along one that is shorter."""
    if scores.shape[-2:] == size:
        return scores
    shorter = (min(scores.shape[-2], size[0]), min(scores.shape[-1], size[1]))
    return functional.interpolate(functional.adaptive_avg_pool2d(scores, shorter), size, mode="nearest")

"""Where a teacher looks: a class-activation map of its shallow features, computed once for the chips to learn from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from .teacher import Teacher

#: Chips that are looked at once.
AT_ONCE = 256


def saliency_maps(teacher: Teacher, pixels: Tensor) -> Tensor:
    """How much each feature says, float32 (n, y / stride, x / stride), of mean 1 in each chip.

    Grad-CAM (Selvaraju et al., 2017): relu(sum_c g_c F_c), F the features and g_c the mean gradient over a chip of what
    the teacher says most strongly of each place. `pixels` are standardised, (n, channels, y, x). 1 everywhere in a chip
    of which nothing speaks for anything.
    """
    parts = [_maps(teacher, part) for part in torch.split(pixels, AT_ONCE)]
    return torch.cat(parts)


def _maps(teacher: Teacher, pixels: Tensor) -> Tensor:
    features = teacher.head(pixels).detach().requires_grad_()
    said = teacher.tail(features)
    said = said if said.shape[1] == 1 else said.amax(1)
    (gradient,) = torch.autograd.grad(said.sum(), features)
    weights = gradient.mean((2, 3), keepdim=True)
    maps = functional.relu((weights * features).sum(1)).detach()
    mean = maps.mean((1, 2), keepdim=True)
    return torch.where(mean > 0, maps / mean.clamp(min=torch.finfo(maps.dtype).tiny), torch.ones_like(maps))

"""What a trained network says of chips, and how well it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from ..chips.store import Chips
    from .network import MaskedNetwork


@torch.no_grad()
def predict(model: MaskedNetwork, image: Tensor, valid: Tensor, batch: int | None = None) -> Tensor:
    """The class of each pixel, int64 (n, y, x), of float32 and bool (n, [versions,] channels, y, x).

    Or what else the model's objective is: float32 values, or (n,) of chips. `batch` chips are passed at a time; None:
    all. The answer lies on the CPU.
    """
    model.eval()
    device, size = model.mean.device, batch or max(1, len(image))
    said = []
    for start in range(0, max(1, len(image)), size):
        part, seen = (values[start : start + size].to(device) for values in (image, valid))
        said.append(model.objective.decide(model(part, seen)).cpu())
    return torch.cat(said)


def score(model: MaskedNetwork, chips: Chips, cells: Sequence[int], batch: int | None = None) -> float:
    """How well a network does on these chips, a fraction: overall accuracy, or R2 (`Objective`)."""
    part = chips.take(cells)
    said = predict(model, torch.from_numpy(part.image), torch.from_numpy(part.valid), batch)
    return model.objective.score(said.numpy(), part.labels)

"""Which chips a step sees, and which way up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from ..masks.gate import Gate


def draw_batch(pixels: Tensor, labels: Tensor, batch: int | None, step: int, seed: int) -> tuple[Tensor, Tensor]:
    """The chips of `step`, 0-based: `batch` of them, or all where there are no more, or `batch` is None.

    Every epoch has an order of its own, and what does not fill its last batch is left out. The order depends on seed
    and epoch alone, so that a training can go on at any step.
    """
    count = len(pixels)
    if batch is None or batch >= count:
        return pixels, labels
    epoch, place = divmod(step, count // batch)
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order = torch.randperm(count, generator=generator)[place * batch : (place + 1) * batch]
    at = order.to(pixels.device)
    return pixels[at], labels[at]


def turned(pixels: Tensor, labels: Tensor, gate: Gate) -> tuple[Tensor, Tensor]:
    """Pixels (n, ..., y, x) and labels (n[, y, x]) under one random symmetry of the square.

    Only half turns and flips where chips are oblong. None where the gate decides by place: its units stay where they
    are.
    """
    if gate.is_spatial:
        return pixels, labels
    square = pixels.shape[-1] == pixels.shape[-2]
    turns, flip = torch.randint(4, (2,)).tolist()
    turns = turns if square else turns // 2 * 2
    pixels = _turn(pixels, turns, flip % 2 == 1)
    return pixels, labels if labels.ndim == 1 else _turn(labels, turns, flip % 2 == 1)


def _turn(values: Tensor, turns: int, flip: bool) -> Tensor:
    values = values.rot90(turns, (-2, -1))
    return values.flip(-1) if flip else values

"""Straight-through choices: hard going forward, and the gradient of the soft ones going back.

The estimator of Bengio, Léonard & Courville (2013) without noise, as Oehmcke & Gieseke (2022) train masks: what a
training sees is what is read in the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """The value of `hard`, to the bit, with the gradient of `soft`; both of one shape."""
    return hard + (soft - soft.detach())


def keep_or_drop(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """1 where sigmoid(logits / temperature) > 1/2, else 0; of the shape of `logits`.

    The gradient is that of the sigmoid. It vanishes with |logits| / temperature: a low temperature lets only units
    learn that are undecided.
    """
    soft = (logits / temperature).sigmoid()
    return straight_through(soft.round(), soft)  # 1/2 rounds to the even number, 0


def choose_one(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """1 at the greatest of axis 1, else 0, of ties at the first; of the shape of `logits`, (n, versions, ...).

    The gradient is that of softmax(logits / temperature) over axis 1.
    """
    soft = (logits / temperature).softmax(1)
    hard = torch.zeros_like(soft).scatter_(1, soft.argmax(1, keepdim=True), 1.0)
    return straight_through(hard, soft)

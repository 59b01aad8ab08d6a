"""Scores that learn nothing: a ranking of the units, of which the last are dropped on a schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..errors import SelectionError
from .scores import Scores

if TYPE_CHECKING:
    from typing import Self

    from torch import Tensor


class RankedScores(Scores):
    """+1 for units that are kept, -1 for those that are dropped, by importance (Oehmcke & Gieseke 2022, "given").

    After t training steps the ``drop * floor(t / every)`` least important units are dropped, but `least` are kept. A
    step is a forward in training mode.
    """

    ranks: Tensor
    steps: Tensor

    def __init__(self, importance: Tensor, drop: int, every: int, least: int = 1) -> None:
        """`importance` is (groups, rows, columns), such as a random forest's; of ties the first in order is better.

        `drop` units are dropped every `every` steps, until `least` are left. Raises SelectionError.
        """
        if importance.ndim != 3:
            raise SelectionError(f"importance of {tuple(importance.shape)}; it has to be (groups, rows, columns)")
        groups, rows, columns = importance.shape
        super().__init__(1, (groups, rows, columns))
        if drop < 0 or every < 1 or not 0 <= least <= importance.numel():
            raise SelectionError(
                f"a schedule of drop={drop}, every={every}, least={least} for {importance.numel()} units; "
                "choose drop >= 0, every >= 1 and least of at most as many as there are"
            )
        self.drop, self.every, self.least = drop, every, least
        ranks = importance.flatten().argsort(descending=True, stable=True).argsort()
        self.register_buffer("ranks", ranks.reshape(1, 1, *importance.shape))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @classmethod
    def at_random(cls, shape: tuple[int, int, int], drop: int, every: int, seed: int, least: int = 1) -> Self:
        """Units of `shape`, (groups, rows, columns), in a random order, that of the seed."""
        order = torch.randperm(shape[0] * shape[1] * shape[2], generator=torch.Generator().manual_seed(seed))
        return cls(order.reshape(shape), drop, every, least)

    @property
    def kept(self) -> Tensor:
        """How many units are kept now, int64 scalar."""
        return (self.ranks.numel() - self.drop * (self.steps // self.every)).clamp(min=self.least)

    def forward(self, preview: Tensor | None = None) -> Tensor:
        """Float32 (1, 1, groups, rows, columns)."""
        if self.training:
            self.steps += 1
        return torch.where(self.ranks < self.kept, 1.0, -1.0)

"""What masks have in common: a share of the dense input that they let pass, and a fine on it.

Oehmcke & Gieseke, "Input Selection for Bandwidth-Limited Deep Neural Network Inference" (SDM 2022): the loss is that of
the task + lambda Q, Q the mean over units and samples of what each unit's choice weighs, 1 for the dense input.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from ..errors import SelectionError
from .gate import Choice, Gate
from .hard import HardMask
from .versions import pass_chosen

if TYPE_CHECKING:
    from collections.abc import Callable

    from .grain import Grain
    from .scores import Scores


class Mask(Gate):
    """The base of all masks that are fined for what they let pass."""

    grain: Grain
    """Its units; of masks in sequence the finest."""

    def __init__(self, fine: float) -> None:
        """`fine` is lambda, which whoever trains may change: what reading all costs, in units of the task's loss."""
        super().__init__()
        self.fine = fine
        self._is_decided = False

    @property
    def heads(self) -> int:
        """All channels: what does not pass is 0."""
        return len(self.grain.groups)

    @property
    @abstractmethod
    def is_static(self) -> bool:
        """Whether the choice is the same for all samples."""

    @abstractmethod
    def share(self, choice: Choice) -> Tensor:
        """Q: the part of the dense input that a choice lets pass, a scalar; of bytes where there are prices."""

    @abstractmethod
    def decide(self) -> HardMask:
        """The hard mask of a static choice."""

    def penalty(self, choice: Choice) -> Tensor:
        """Lambda Q."""
        return self.fine * self.share(choice)

    def spent(self, choice: Choice) -> Tensor:
        """Q, without a gradient."""
        return self.share(choice).detach()

    @torch.no_grad()
    def freeze(self) -> Gate:
        """The hard mask of what was learned; of a dynamic mask a copy that learns no more and stays in eval mode."""
        if self.is_static:
            return self.decide()
        if self._is_decided:
            return self
        frozen = copy.deepcopy(self).requires_grad_(False).eval()
        frozen._is_decided = True
        return frozen

    def train(self, mode: bool = True) -> Self:
        """As for any module; what is frozen stays in eval mode."""
        return super().train(mode and not self._is_decided)

    @property
    def is_hard(self) -> bool:
        """Whether it was frozen."""
        return self._is_decided

    @property
    def is_spatial(self) -> bool:
        """Whether its units are blocks or pixels."""
        return self.grain.rows * self.grain.columns > 1


class UnitMask(Mask):
    """The base of masks over the units of one grain: they score the units, and make a choice of the scores."""

    weights: Tensor

    def __init__(
        self,
        grain: Grain,
        scores: Scores,
        preview: Callable[[Tensor], Tensor] | None = None,
        fine: float = 1.0,
        prices: Tensor | None = None,
    ) -> None:
        """`preview` makes of an image what the scores look at, as `Preview` does; None for scores that look at nothing.

        `prices` are float (versions, groups, rows, columns), bytes, the first version that of the dense input; None:
        all alike. Raises SelectionError where they, or the scores, do not fit the grain.
        """
        super().__init__(fine)
        self.grain, self.scores, self.preview = grain, scores, preview
        self.temperature = 1.0
        if scores.shape != grain.shape:
            raise SelectionError(f"scores of {scores.shape} units for a grain of {grain.shape}; they have to be alike")
        shape = (scores.versions, *grain.shape)
        weights = torch.ones(shape) if prices is None else weigh_prices(prices, shape)
        self.register_buffer("weights", weights, persistent=False)

    @property
    def is_static(self) -> bool:
        """Whether the scores are."""
        return self.scores.is_static

    def logits(self, image: Tensor) -> Tensor:
        """Scores of the units, float32 (samples or 1, versions, groups, rows, columns)."""
        logits: Tensor = self.scores(None if self.preview is None else self.preview(image))
        return logits

    @abstractmethod
    def choose(self, logits: Tensor) -> Tensor:
        """A choice by the scores, of their shape."""

    def draw(self, image: Tensor) -> Choice:
        """One choice, float32 (samples or 1, versions, groups, rows, columns)."""
        return (self.choose(self.logits(image)),)

    def passed(self, choice: Tensor) -> Tensor:
        """What the units are multiplied by for a choice, of its shape."""
        return choice

    def apply_choice(self, image: Tensor, choice: Choice) -> Tensor:
        """See `pass_chosen`."""
        return pass_chosen(image, self.passed(choice[0]), self.grain)

    def share(self, choice: Choice) -> Tensor:
        """Q = mean over samples and units of sum_v choice_v weight_v."""
        return (choice[0] * self.weights).sum(1).mean()

    def decide(self) -> HardMask:
        """The choice of the scores as they are."""
        mode = self.training
        choice = self.eval().passed(self.choose(self.scores(None)))
        self.train(mode)
        return HardMask(self.grain, choice[0])


def weigh_prices(prices: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Prices in bytes as weights whose mean over the units of the first version, the dense input, is 1; float32.

    Then the mean over units of what a choice weighs is its bytes / dense bytes. Raises SelectionError where the prices
    are not of `shape`, (versions, ..., groups, rows, columns), negative, no numbers, or 0 in total.
    """
    if tuple(prices.shape) != shape:
        raise SelectionError(f"prices of {tuple(prices.shape)} for {shape} versions and units; they have to be alike")
    if not (prices.isfinite() & (prices >= 0)).all():
        raise SelectionError("prices are bytes: finite numbers from 0")
    dense = prices.double().flatten(0, -4)[0].mean()
    if dense == 0:
        raise SelectionError("the dense input costs nothing: then there is nothing to save; give prices, or none")
    return (prices.double() / dense).float()

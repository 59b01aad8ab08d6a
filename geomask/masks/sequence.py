"""Masks one after the other: a version for each date, then channels, then blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from ..errors import SelectionError
from .any import AnyMask
from .grain import Grain
from .hard import HardMask
from .mask import Mask, weigh_prices
from .xor import XorMask

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from .gate import Choice


class MaskSequence(Mask):
    """y = mask_k(... mask_2(mask_1(x))), each drawn from x itself (Oehmcke & Gieseke 2022).

    Its Q is the product of what each mask's choice weighs, spread to the finest blocks of all, in the mean over
    channels, blocks and samples:  Q = mean prod_k sum_v choice_kv weight_kv. A mask's own `fine` does not count.

    Identity: a sequence of static masks equals ``self.freeze()``, which is a single hard mask, to the bit.
    """

    weights: Tensor

    def __init__(self, *masks: AnyMask | XorMask, fine: float = 1.0, prices: Tensor | None = None) -> None:
        """The first xor merges the first version axis, and so on.

        `prices` are bytes of each combination, (versions of each xor, ..., groups or channels, rows, columns of the
        finest blocks), the first of all versions that of the dense input; None: the product of the masks' own weights,
        which is exact where a mask's prices scale all of another's alike. Raises SelectionError where masks are of
        different channels, where the blocks of one do not divide the finest, or where prices have another shape.
        """
        super().__init__(fine)
        if not masks or not all(isinstance(mask, AnyMask | XorMask) for mask in masks):
            kinds = ", ".join(type(mask).__name__ for mask in masks) or "nothing"
            raise SelectionError(f"a sequence is of AnyMask and XorMask, one or more, not of {kinds}")
        self.masks = nn.ModuleList(masks)
        self.grain = finest_grain([mask.grain for mask in masks])
        weights = self.join([mask.weights[None] for mask in masks])
        if prices is not None:
            weights = weigh_prices(prices, tuple(weights.shape[1:]))[None]
        self.register_buffer("weights", weights, persistent=False)

    def __iter__(self) -> Iterator[AnyMask | XorMask]:
        return iter(self.masks)  # type: ignore[arg-type]  # nn.ModuleList does not say of what

    @property
    def is_static(self) -> bool:
        """Whether all masks are."""
        return all(mask.is_static for mask in self)

    @property
    def temperature(self) -> float:
        """Of all masks; that of the first where they differ."""
        return next(iter(self)).temperature

    @temperature.setter
    def temperature(self, value: float) -> None:
        for mask in self:
            mask.temperature = value

    def draw(self, image: Tensor) -> Choice:
        """The choice of each mask."""
        return tuple(mask.draw(image)[0] for mask in self)

    def apply_choice(self, image: Tensor, choice: Choice) -> Tensor:
        """Each mask on what the one before it left."""
        for mask, drawn in zip(self, choice, strict=True):
            image = mask.apply_choice(image, (drawn,))
        return image

    def join(self, tensors: Sequence[Tensor]) -> Tensor:
        """The product of what the masks say of each unit, over the finest blocks and all combinations of versions.

        Each of `tensors` is (samples or 1, versions, groups, rows, columns) over the units of its mask; the product
        (samples or 1, versions of each xor, ..., groups, rows, columns), one axis of a single version without any xor.
        """
        size = (self.grain.rows, self.grain.columns)
        joined, axes = torch.ones((1, 1, 1, 1), device=tensors[0].device), 0
        for mask, tensor in zip(self, tensors, strict=True):
            tensor = mask.grain.spread(tensor, size)
            if tensor.shape[1] > 1:
                joined, axes = joined.unsqueeze(-4), axes + 1
            else:
                tensor = tensor.squeeze(1)
            lead = (1,) * (joined.ndim - tensor.ndim)
            joined = joined * tensor.reshape(len(tensor), *lead, *tensor.shape[1:])
        joined = joined if axes else joined[:, None]
        return joined.expand(*joined.shape[:-3], *self.grain.shape)

    def share(self, choice: Choice) -> Tensor:
        """Q, a scalar."""
        weighed = self.join(choice) * self.weights
        return weighed.flatten(1, -4).sum(1).mean()

    def anneal(self, progress: float) -> None:
        """Anneal each mask."""
        for mask in self:
            mask.anneal(progress)

    def decide(self) -> HardMask:
        """The masks as one."""
        mode = self.training
        self.eval()
        passed = self.join([mask.passed(mask.choose(mask.scores(None))) for mask in self])
        self.train(mode)
        return HardMask(self.grain, passed[0])


def finest_grain(grains: Sequence[Grain]) -> Grain:
    """The grain whose units lie within a unit of each: every channel by itself, unless all are as one in each.

    Raises SelectionError for grains over different numbers of channels, and where the rows or columns of blocks of one
    do not divide the most.
    """
    groups = grains[0].groups
    if any(len(grain.groups) != len(groups) for grain in grains):
        raise SelectionError(
            f"masks over {[len(grain.groups) for grain in grains]} channels; all have to be of one input"
        )
    if any(max(grain.groups) for grain in grains):
        groups = tuple(range(len(groups)))
    rows, columns = max(grain.rows for grain in grains), max(grain.columns for grain in grains)
    for grain in grains:
        if rows % grain.rows or columns % grain.columns:
            raise SelectionError(
                f"{grain.rows} x {grain.columns} blocks do not divide {rows} x {columns}; choose grids that do"
            )
    return Grain(groups, rows, columns)

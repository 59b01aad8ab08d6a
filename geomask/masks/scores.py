"""What each unit of a mask is scored: where the logits of a mask come from.

How they are made (learned once for all, predicted from a preview, or given by a ranking) is one question; what a mask
makes of them (any, xor, priced) is another. So any scores go with any mask.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..errors import SelectionError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Scores(nn.Module, ABC):
    """The base of all scores: a logit for every version of every unit."""

    def __init__(self, versions: int, shape: tuple[int, int, int]) -> None:
        """`shape` is (groups, rows, columns), that of a `Grain`; `versions` is 1 where a unit is kept or not.

        Raises SelectionError where either is below 1.
        """
        super().__init__()
        if min(versions, *shape) < 1:
            raise SelectionError(f"scores of {versions} versions of {shape} units; each number has to be 1 or more")
        self.versions = versions
        self.shape = shape

    @abstractmethod
    def forward(self, preview: Tensor | None) -> Tensor:
        """Logits, float32 (samples or 1, versions, groups, rows, columns); 1 where they are the same for all samples.

        `preview` is float32 (samples, channels, rows, columns), None for scores that look at nothing.
        """

    @property
    def is_static(self) -> bool:
        """Whether they are the same for all samples, so that a choice by them can be frozen."""
        return True


class StaticScores(Scores):
    """A parameter for every version of every unit (Oehmcke & Gieseke 2022).

    Those of version v start at N(starts[v], deviation^2).
    """

    def __init__(
        self, versions: int, shape: tuple[int, int, int], starts: Sequence[float], deviation: float = 0.01
    ) -> None:
        """`starts` has one number a version; noise is of torch's global generator. Raises SelectionError."""
        super().__init__(versions, shape)
        if len(starts) != versions:
            raise SelectionError(f"{len(starts)} starts for {versions} versions; give one for each")
        mean = torch.tensor(starts, dtype=torch.float32)[None, :, None, None, None]
        self.logits = nn.Parameter(mean + deviation * torch.randn(1, versions, *shape))

    def forward(self, preview: Tensor | None = None) -> Tensor:
        """Float32 (1, versions, groups, rows, columns)."""
        return self.logits

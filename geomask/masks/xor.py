"""*Xor*: of each unit of the input one version is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..errors import SelectionError
from .mask import UnitMask
from .scores import StaticScores
from .straight import choose_one

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from .grain import Grain
    from .scores import Scores


class XorMask(UnitMask):
    """y = sum_v x_v * m_v, m one-hot at the greatest of softmax_v(logit / temperature) (Oehmcke & Gieseke 2022).

    x is (samples, versions, [versions, ...,] channels, rows, columns); the first version axis is merged. Gradients are
    straight-through: those of the softmax.

    Identity: where the logits of version v are the greatest everywhere it passes x_v, to the bit; it equals
    ``self.freeze()`` where its scores are static.
    """

    def __init__(
        self,
        grain: Grain,
        weights: Sequence[float],
        scores: Scores | None = None,
        preview: Callable[[Tensor], Tensor] | None = None,
        fine: float = 1.0,
        prices: Tensor | None = None,
    ) -> None:
        """`weights` are what a unit costs in each version, as a share of the dense input: 1 for the original.

        Without `scores` they are static, and those of version v start at N(weights[v]^2 V, 0.01^2) for V versions: at
        the dearest. `prices`, bytes (versions, groups, rows, columns), count in place of the weights. Raises
        SelectionError for fewer than two versions, and as `UnitMask` does.
        """
        count = len(weights)
        if count < 2 or not all(0 <= weight <= 1 for weight in weights):
            raise SelectionError(f"weights of versions are two or more shares from 0 to 1, not {list(weights)}")
        starts = [weight**2 * count for weight in weights]
        scores = StaticScores(count, grain.shape, starts) if scores is None else scores
        if scores.versions != count:
            raise SelectionError(f"scores of {scores.versions} versions for {count} weights; give one for each")
        super().__init__(grain, scores, preview, fine, prices)
        if prices is None:
            self.weights = torch.tensor(weights)[:, None, None, None].expand(count, *grain.shape).contiguous()

    def choose(self, logits: Tensor) -> Tensor:
        """1 at the version of each unit that is taken."""
        return choose_one(logits, self.temperature)

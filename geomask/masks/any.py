"""*Any*: each unit of the input is kept or left out by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .mask import UnitMask
from .scores import StaticScores
from .straight import keep_or_drop

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from .grain import Grain
    from .scores import Scores

#: Where units of an *any* mask start: sigmoid(3) = .95, so all are kept.
START = 3.0


class AnyMask(UnitMask):
    """y = x * m, m = 1 where sigmoid(logit / temperature) > 1/2, else 0 (Oehmcke & Gieseke 2022).

    x is (samples, [versions,] channels, rows, columns), m lies over it by the grain. Gradients are straight-through:
    those of the sigmoid.

    Identity: with all logits above 0 it passes its input, to the bit; it equals ``self.freeze()`` where its scores are
    static.
    """

    def __init__(
        self,
        grain: Grain,
        scores: Scores | None = None,
        preview: Callable[[Tensor], Tensor] | None = None,
        fine: float = 1.0,
        prices: Tensor | None = None,
        rescale: bool = False,
    ) -> None:
        """Without `scores` they are static and start at N(3, 0.01^2). `prices` are bytes, (groups, rows, columns).

        `rescale` divides by the kept share of each sample's units, as dropout does: not before a batch norm, which does
        it anyway. Raises SelectionError as `UnitMask` does.
        """
        scores = StaticScores(1, grain.shape, [START]) if scores is None else scores
        super().__init__(grain, scores, preview, fine, prices[None] if prices is not None else None)
        self.rescale = rescale

    def choose(self, logits: Tensor) -> Tensor:
        """1 where a unit is kept."""
        return keep_or_drop(logits, self.temperature)

    def passed(self, choice: Tensor) -> Tensor:
        """The choice, or with `rescale` the choice / share of kept units."""
        if not self.rescale:
            return choice
        kept = choice.detach().mean((1, 2, 3, 4), keepdim=True)
        return choice / kept.clamp(min=1 / self.grain.units)  # nothing kept: 0, not 0 / 0

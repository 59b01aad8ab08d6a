"""The best that a training came to, for each share of the input that its mask let pass on the way."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor, nn

    from ..masks.mask import Mask


@dataclass(frozen=True)
class Checkpoint:
    """A mask and its network at the end of an epoch."""

    kept: float
    """Q on the validation samples: the part of the dense input that passes."""
    score: float
    """On the validation samples."""
    epoch: int
    """0-based."""
    mask: dict[str, Tensor]
    network: dict[str, Tensor]

    def restore(self, mask: Mask, network: nn.Module) -> None:
        """Put the weights back in place."""
        mask.load_state_dict(self.mask)
        network.load_state_dict(self.network)


class Checkpoints:
    """The best by validation score for each interval of Q; of equals the later one."""

    def __init__(self, interval: float, budgets: Sequence[float] = ()) -> None:
        """Intervals are `interval` wide, cut once more at each of `budgets`, and closed above."""
        steps = (interval * step for step in range(1, math.ceil(1 / interval)))
        self._edges = sorted({round(edge, 9) for edge in (*steps, *budgets, 1.0)})
        self._best: dict[float, Checkpoint] = {}

    def __iter__(self) -> Iterator[Checkpoint]:
        """Those of least Q first."""
        return (self._best[edge] for edge in self._edges if edge in self._best)

    def offer(self, kept: float, score: float, epoch: int, mask: nn.Module, network: nn.Module) -> None:
        """Keep a copy of the weights where they are the best of their interval."""
        edge = next((edge for edge in self._edges if kept <= edge + 1e-9), self._edges[-1])
        if edge not in self._best or score >= self._best[edge].score:
            weights = (copy.deepcopy(module.state_dict()) for module in (mask, network))
            self._best[edge] = Checkpoint(kept, score, epoch, *weights)

    def within(self, budget: float) -> Checkpoint | None:
        """The best with Q of at most `budget`; None where the training never got there."""
        return max(
            (found for found in self if found.kept <= budget + 1e-9), key=lambda found: found.score, default=None
        )

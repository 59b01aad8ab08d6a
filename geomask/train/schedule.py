"""How the learning rate goes over a training."""

from __future__ import annotations

import math

#: Steps over which the learning rate rises from 0: the first gradients of a fresh network are large.
WARM_UP = 10


def learning_rate(step: int, steps: int, turn: int) -> float:
    """Share of the full learning rate at `step` of `steps`, 0-based: flat up to `turn`, then half a cosine to 0.02.

    The turn is where a selector is frozen: the network must be able to adapt to the channels that are left.
    """
    rise = min(1.0, (step + 1) / WARM_UP)
    if step < turn:
        return rise
    return rise * (0.02 + 0.49 * (1 + math.cos(math.pi * (step - turn) / max(1, steps - turn))))

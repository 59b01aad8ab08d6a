"""Samples of nothing or a version of each unit, soft ones that nonetheless reach 0 and 1."""

from __future__ import annotations

import torch
from torch import Tensor

#: Temperature of a sample, and how far it is stretched beyond 0 and 1, as Louizos, Welling & Kingma (2018) have them.
BETA, STRETCH = 2 / 3, 0.1


def hard_concrete(odds: Tensor, samples: int) -> Tensor:
    """How much of each version passes: 0..1, float32 (samples, versions, ...).

    `odds` are logits of nothing and the versions, (samples or 1, 1 + versions, groups, rows, columns).
    """
    soft = _binary(odds, samples) if odds.shape[1] == 2 else _multiple(odds, samples)
    return ((1 + 2 * STRETCH) * soft - STRETCH).clamp(0, 1)


def gumbel(like: Tensor) -> Tensor:
    """Gumbel(0, 1) noise of the shape of `like`."""
    return -torch.empty_like(like).exponential_().clamp(min=1e-20).log()


def _binary(odds: Tensor, samples: int) -> Tensor:
    """Binary Concrete samples of logits (samples or 1, nothing and one version, ...), (samples, 1, ...)."""
    logit = (odds[:, 1:] - odds[:, :1]).expand(samples, -1, -1, -1, -1)
    # Away from 0 and 1, where the noise is infinite.
    uniform = torch.rand_like(logit).clamp(1e-6, 1 - 1e-6)
    return ((logit + uniform.logit()) / BETA).sigmoid()


def _multiple(odds: Tensor, samples: int) -> Tensor:
    """Concrete samples of logits (samples or 1, nothing and versions, ...), without that of nothing."""
    odds = odds.expand(samples, -1, -1, -1, -1)
    return ((odds + gumbel(odds)) / BETA).softmax(1)[:, 1:]

"""The priced gate: what is kept is worth its bytes, and all that is kept meets a budget."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from torch import Tensor

from ..errors import SelectionError
from .concrete import gumbel, hard_concrete
from .fill import fill_budget
from .gate import Choice, Gate
from .hard import HardMask
from .market import Market
from .scores import StaticScores
from .straight import straight_through
from .versions import pass_chosen

if TYPE_CHECKING:
    from .fill import Total
    from .grain import Grain
    from .preview import Preview
    from .scores import Scores

#: Share of the schedule over which the budget comes down; the rest is for what is left to be decided.
DESCENT = 0.7
#: tau at the end of the schedule; at the start it is 1.
LAST_TAU = 0.1
#: Share of all bytes that no expectation goes beyond: certainty for all takes a theta of minus infinity.
FULL = 0.99
#: Of hard samples: tau, at which units far from theta learn too, and the share of the budget that a batch may leave.
WIDE, SLACK = 1.0, 0.005
#: Batches whose previews are kept to settle theta by, for dynamic scores.
KEPT = 32


class PricedGate(Gate):
    """Of each unit nothing or one of its versions, so that the expected bytes are the budget.

    p(unit, version) = softmax over {nothing: 0} and versions of (score - theta * price) / tau: *any* where a unit has
    one version, *xor* where it has several. theta, what a byte has to be worth, is not learned but solved for, so that
    the sum of p * price is the budget: for all samples alike (static scores), or on average over a batch (dynamic
    ones). The gradient goes through theta: what raises p of one unit lowers those of others, by as many bytes in all.

    Samples are hard-concrete (Louizos, Welling & Kingma 2018), here over versions and nothing:
    z = clip(1.2 softmax((log p + g) / (2 / 3)) - 0.1, 0, 1), g Gumbel(0, 1) noise of each sample's own. `anneal` lowers
    the budget geometrically from all bytes to the target, and tau from 1 to `LAST_TAU`.

    Once the budget is down, samples of dynamic scores are hard: of each unit nothing or a version, by its p at a tau of
    `WIDE`, at the theta at which those of the batch meet the budget, with the gradient of p (straight-through). Which
    units are open tells of a chip by itself, and a network learns to rely on that only where none is half open. Soft
    samples come first: hard ones tell little of scores that are nearly equal.

    A unit of price 0 is always kept, one of infinite price never. Evaluation and `freeze` choose hard: static scores by
    `fill_budget`, never above the budget; dynamic ones by score > theta * price, at the theta at which the choices for
    what was last seen in training are within the budget on average.

    Identity: where each p is 0 or 1, the gate equals ``self.freeze()``, in training too.
    """

    def __init__(
        self,
        grain: Grain,
        prices: np.ndarray | Tensor,
        budget: float,
        scores: Scores | None = None,
        preview: Preview | None = None,
        total: Total | None = None,
        first: float | None = None,
    ) -> None:
        """`prices` are bytes, (versions, groups, rows, columns) of `grain`, infinite for what cannot be had.

        `budget` is in bytes: where scores are dynamic, those of a chip on average, without those of the `preview` that
        they are predicted from. `scores` are a `StaticScores` from 0 unless given. `total` tells the exact bytes of a
        choice whose units share some, of static scores. `first` is the budget at the start of the schedule, where
        scores have learned a larger one already; None: all bytes.

        Raises SelectionError where shapes differ, a price is negative or NaN, or the budget is below every price and
        the scores static.
        """
        super().__init__()
        prices = np.asarray(prices, np.float64)
        if prices.shape[1:] != grain.shape:
            raise SelectionError(
                f"prices of {prices.shape}; give (versions, groups, rows, columns), here of a grain of {grain.shape}"
            )
        self.grain, self.preview, self.budget = grain, preview, budget
        self.market = Market(prices)
        starts = [0.0] * len(prices)
        # No noise at the start, or it would depend on what was drawn before; samples differ anyway.
        self.scores: Scores = StaticScores(len(prices), grain.shape, starts, 0.0) if scores is None else scores
        least = prices.min() if self.scores.is_static else 0.0  # on average less than one unit may be taken
        if not budget >= least:
            raise SelectionError(f"a budget of {budget:,.0f} bytes is below the cheapest unit's {least:,.0f}")
        if (self.scores.versions, *self.scores.shape) != prices.shape:
            raise SelectionError(f"scores of {(self.scores.versions, *self.scores.shape)} for prices of {prices.shape}")
        self._total, self._first = total, first
        self._theta, self._seen = 0.0, deque[Tensor](maxlen=KEPT)
        self.anneal(0.0)

    @property
    def heads(self) -> int:
        """As many as the input has channels: of what is left out there is 0."""
        return len(self.grain.groups)

    def anneal(self, progress: float) -> None:
        """Lower the budget from all bytes to the target, and tau."""
        full = FULL * self.market.dense
        first = full if self._first is None else min(full, self._first / self.market.unit)
        last = min(full, self.budget / self.market.unit)
        self._spend = first * (last / first) ** min(1.0, progress / DESCENT) if first else 0.0
        self._tau, self._is_down = LAST_TAU**progress, progress > DESCENT

    def draw(self, image: Tensor) -> Choice:
        """How much of each version of each unit passes: 0..1, float32 (samples, versions, groups, rows, columns).

        1 sample where it is the same for all.
        """
        scores = _score(self, image)
        if not self.training:
            return (self._decide(scores),)
        if self.preview is not None:
            self._seen.append(self.preview(image).detach())
        if self._is_down and not self.scores.is_static:
            return (self._choose(scores),)
        return (hard_concrete(self._odds(scores), len(image)),)

    def apply_choice(self, image: Tensor, choice: Choice) -> Tensor:
        """See `pass_chosen`."""
        return pass_chosen(image, choice[0], self.grain)

    @torch.no_grad()
    def spent(self, choice: Choice) -> Tensor:
        """What the choice takes on average, as a share of all units at their dearest versions, a scalar."""
        return (choice[0] * self.market.cost).sum() / (len(choice[0]) * (self.market.dense or 1.0))

    @property
    def is_spatial(self) -> bool:
        """Whether its grain has several blocks."""
        return self.grain.rows * self.grain.columns > 1

    @torch.no_grad()
    def probabilities(self, image: Tensor) -> Tensor:
        """p(unit, version), float32 (samples, versions, groups, rows, columns); 1 sample where it is that of all."""
        scores = _score(self, image)
        return self.market.shares(scores, self._solve(scores), self._tau)

    @torch.no_grad()
    def freeze(self) -> Gate:
        """The hard gate: a `HardMask` of what fits where scores are static, else a `PricedPolicy` of their own."""
        if self.scores.is_static:
            return HardMask(self.grain, self._decide(self.scores(None))[0])
        return PricedPolicy(self)

    @torch.no_grad()
    def settle(self) -> float:
        """theta of dynamic scores as they are, by the last batches in training. Raises SelectionError without any."""
        if not self._seen:
            raise SelectionError("theta of dynamic scores is settled on training data; draw in training first")
        mode = self.scores.training
        self.scores.eval()  # as they will be used
        scores = torch.cat([self.scores(preview.to(self.market.cost.device)) for preview in self._seen])
        self.scores.train(mode)
        return self.market.settle(scores, self.budget / self.market.unit)

    def _solve(self, scores: Tensor) -> float:
        if self.market.dense:  # else all is free
            self._theta = self.market.solve(scores, self._spend, self._tau, self._theta)
        return self._theta

    def _odds(self, scores: Tensor) -> Tensor:
        """Logits of nothing and the versions, with a gradient through theta."""
        return self._odds_at(self._solve(scores.detach()), scores, self._tau)

    def _choose(self, scores: Tensor) -> Tensor:
        """Hard samples, within the budget on average over the batch, with the gradient of p at a tau of `WIDE`."""
        nothing, versions = gumbel(scores[:, :1]), gumbel(scores)
        drawn = scores.detach() + WIDE * (versions - nothing)
        self._theta = self.market.settle(drawn, self._spend, self._theta, SLACK)
        soft = self._odds_at(self._theta, scores, WIDE).softmax(1)[:, 1:]
        return straight_through(self.market.decide(drawn, self._theta), soft)

    def _odds_at(self, theta: float, scores: Tensor, tau: float) -> Tensor:
        still = scores.detach()  # theta is an implicit function of the scores: its value, and its gradient
        moving = theta + (self.market.pull(still, theta, tau) * (scores - still)).sum()
        return self.market.odds(scores, moving, tau)

    @torch.no_grad()
    def _decide(self, scores: Tensor) -> Tensor:
        if not self.scores.is_static:
            return self.market.decide(scores, self.settle())
        chosen = fill_budget(scores[0].cpu().numpy(), self.market.prices, self.budget, self._total)
        return torch.from_numpy(chosen).float()[None].to(scores.device)


class PricedPolicy(Gate):
    """The hard gate of dynamic scores: of each unit the version of most score - theta * price, if that is above 0.

    What it takes differs from chip to chip, and is within the budget on average over the chips that theta was settled
    on: those of training at first. Chips of another place may look so different that theirs are not; `settle` mends it.
    """

    def __init__(self, gate: PricedGate) -> None:
        """Its scores learn no more."""
        super().__init__()
        self.grain, self.preview, self.market, self.budget = gate.grain, gate.preview, gate.market, gate.budget
        self.scores = gate.scores.requires_grad_(requires_grad=False).eval()
        self.theta = gate.settle()

    @property
    def heads(self) -> int:
        """As many as the input has channels."""
        return len(self.grain.groups)

    @torch.no_grad()
    def settle(self, image: Tensor) -> None:
        """Set theta anew, so that the choices for these images are within the budget on average. It needs no labels."""
        self.theta = self.market.settle(_score(self, image), self.budget / self.market.unit)

    @torch.no_grad()
    def draw(self, image: Tensor) -> Choice:
        """0 and 1, float32 (samples, versions, groups, rows, columns)."""
        return (self.market.decide(_score(self, image), self.theta),)

    def apply_choice(self, image: Tensor, choice: Choice) -> Tensor:
        """See `pass_chosen`."""
        return pass_chosen(image, choice[0], self.grain)

    def train(self, mode: bool = True) -> Self:
        """As for any module; the scores stay in eval mode."""
        super().train(mode)
        self.scores.eval()
        return self

    def freeze(self) -> PricedPolicy:
        """Itself."""
        return self

    @property
    def is_hard(self) -> bool:
        """Always."""
        return True

    @property
    def is_spatial(self) -> bool:
        """Whether its grain has several blocks."""
        return self.grain.rows * self.grain.columns > 1


def _score(gate: PricedGate | PricedPolicy, image: Tensor) -> Tensor:
    """Float32 (samples or 1, versions, groups, rows, columns)."""
    scores: Tensor = gate.scores(None if gate.preview is None else gate.preview(image))
    return scores

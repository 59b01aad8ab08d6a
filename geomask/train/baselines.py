"""Ways to a hard gate within a budget of bytes: learned, and what it is held against."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch

from ..errors import SelectionError
from ..masks.fixed import random_channels, uniform_channels
from ..masks.grain import Grain
from ..masks.hard import HardGate
from ..masks.hard_concrete import HardConcreteMask
from ..masks.priced import PricedGate
from ..masks.rankings import decorrelated_order, forest_order, information_order, mrmr_order
from ..masks.selector import ConcreteSelector
from ..masks.stochastic import StochasticMask
from .candidates import sample_pixels, train_candidates
from .oehmcke import train_channels
from .shop import Shop
from .step import Settings, Trained, Training
from .versions import Versions

if TYPE_CHECKING:
    from ..chips.split import Split
    from ..chips.store import Chips
    from ..masks.sampled import SampledMask
    from ..masks.scores import Scores
    from ..plan.cost import Cost

Method = Literal[
    "dense",
    "learned",
    "uniform",
    "random",
    "forest",
    "decorrelated",
    "information",
    "mrmr",
    "concrete",
    "priced",
    "hard-concrete",
    "stochastic",
    "oehmcke2022",
]
METHODS: tuple[Method, ...] = get_args(Method)
#: What a comparison trains unless it is asked for more.
CONTENDERS: tuple[Method, ...] = ("dense", "learned", "uniform", "random")

#: What is kept or left out as one.
GRAINS = ("channel", "band", "slot")
#: By what training samples say of each channel: down the ranking whatever fits is taken.
RANKINGS: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
    "forest": forest_order,
    "decorrelated": lambda features, labels, seed: decorrelated_order(features, forest_order(features, labels, seed)),
    "information": information_order,
    "mrmr": mrmr_order,
}
#: Other estimators, which know no versions.
SAMPLED: dict[str, type[HardConcreteMask | StochasticMask]] = {
    "hard-concrete": HardConcreteMask,
    "stochastic": StochasticMask,
}
#: Selections to find the number of heads; the first guess is most often off by one or two.
TRIES = 4


def train_method(
    method: Method,
    chips: Chips,
    split: Split,
    cost: Cost,
    budget: int,
    settings: Settings,
    seed: int,
    on_step: Callable[[], object] | None = None,
    *,
    versions: Versions | None = None,
    grain: str = "channel",
) -> Trained:
    """Train by a method: all channels, or what `budget` bytes allow; `on_step` is called at each step.

    ``learned`` is one of several candidates, by validation (`train_candidates`), also over `versions`, whose chips
    have an axis of their own. It is ``priced`` where channels are chosen by another `grain` (`make_priced_gate`), and
    where the network has a warm start: that takes all channels, also those that are 0. All others take channels at full
    resolution: as a gate of that name chooses them (docs/masks.md), as a ranking does, or as the published training,
    `oehmcke2022`. Raises SelectionError for a method that is unknown or a budget below every channel's cost.
    """
    if method == "learned" and grain == "channel" and settings.warm_start is None:
        return train_candidates(chips, split, Shop.of(cost, budget, versions), settings, seed, on_step)
    if method == "learned":
        method = "priced"
    if method == "priced":
        priced = make_priced_gate(cost, budget, versions, grain=grain)
        return Training(chips, split, priced, settings, seed, on_step).finish()
    chips = full_resolution(chips)
    if method == "concrete":
        return train_within(chips, split, cost, budget, settings, seed, on_step)
    if method == "oehmcke2022":
        return train_channels(chips, split, cost, budget, settings, seed, on_step)
    if method in SAMPLED:
        return Training(chips, split, make_sampled_mask(method, cost, budget), settings, seed, on_step).finish()
    gate = HardGate(choose_channels(method, chips, split, cost, budget, seed))
    return Training(chips, split, gate, settings, seed, on_step).finish()


def choose_channels(method: Method, chips: Chips, split: Split, cost: Cost, budget: int, seed: int) -> list[int]:
    """The channels of a method that trains no gate, ascending. Raises SelectionError for one that is unknown."""
    if method == "dense":
        return list(range(len(cost.alone)))
    if method == "uniform":
        return uniform_channels(cost, budget)
    if method == "random":
        return random_channels(cost, budget, seed)
    if method not in RANKINGS:
        raise SelectionError(f"no method {method!r}; choose one of {', '.join(METHODS)}")
    shop = Shop.of(cost, budget)
    features, labels, _ = sample_pixels(chips.take(split.train), shop.planes, seed)
    order = RANKINGS[method](features, labels, seed)
    return [channel for _, channel in shop.fill(shop.planes[number] for number in order.tolist())]


def make_sampled_mask(method: Method, cost: Cost, budget: float) -> SampledMask:
    """One of `SAMPLED` over channels: what it ends as costs what its plan does, to the byte."""
    units = Grain(tuple(range(len(cost.alone))))

    def total(choice: np.ndarray) -> int:
        return cost.total(np.flatnonzero(choice).tolist())

    prices = torch.from_numpy(cost.alone.astype(np.float64))[:, None, None]
    return SAMPLED[method](units, prices, budget, total=total)


def full_resolution(chips: Chips) -> Chips:
    """Chips without an axis for versions: the first of them."""
    return chips if chips.image.ndim == 4 else replace(chips, image=chips.image[:, 0], valid=chips.valid[:, 0])


def make_priced_gate(
    cost: Cost,
    budget: float,
    versions: Versions | None = None,
    scores: Scores | None = None,
    first: float | None = None,
    grain: str = "channel",
) -> PricedGate:
    """The priced gate of channels, and of their versions: a hard choice costs what its plan does, to the byte.

    `scores` and `first` are those of `PricedGate`. `grain` is ``channel``, or ``band`` or ``slot`` for those that are
    kept or left out as one. Raises SelectionError as the gate does, and for another grain: where a chip lies differs,
    and so what its blocks cost.
    """
    if grain not in GRAINS:
        raise SelectionError(f"no grain {grain!r} for what is read of files; choose one of {', '.join(GRAINS)}")
    versions = versions or Versions(cost.selection, (cost.selection.channels,))
    slots, count = len(cost.selection.slots), len(cost.selection.channels)
    units = Grain.of(grain, slots, count // slots, (1, 1))

    def total(choice: np.ndarray) -> int:
        planes = np.argwhere(choice.reshape(len(choice), -1)[:, list(units.groups)]).tolist()
        return cost.total_of(versions.choose((version, channel) for version, channel in planes))

    return PricedGate(units, versions.prices(cost, units.groups), budget, scores, total=total, first=first)


def train_within(
    chips: Chips,
    split: Split,
    cost: Cost,
    budget: int,
    settings: Settings,
    seed: int,
    on_step: Callable[[], object] | None = None,
) -> Trained:
    """Train a selector of the most heads, of those tried, whose frozen channels stay within `budget` bytes.

    Which channels a number of heads ends with, and so what they cost, is known only once they are frozen. So the number
    is scaled by budget / cost between what fits and what does not, until they are neighbours or after `TRIES`
    selections; if none fits by then, it is lowered one by one. Cost need not rise with the number, so a larger
    one might fit too. The network is tuned for the number that is kept alone. Raises SelectionError where a single head
    does not fit.
    """
    count = len(cost.alone)
    # low heads fit, high heads do not, as far as is known
    low, high = 0, min(count, _most(cost, budget)) + 1
    heads = budget / max(1.0, float(cost.alone.mean()))
    best: Training | None = None
    for attempt in itertools.count():
        if high - low <= 1 or (best and attempt >= TRIES):
            break
        number = min(high - 1, max(low + 1, int(heads))) if attempt < TRIES else high - 1
        training = Training(chips, split, ConcreteSelector(count, number), settings, seed, on_step)
        spent = cost.total(training.freeze())
        if spent <= budget:
            low, best = number, training
        else:
            high = number
        heads = number * budget / max(1, spent)  # channels that no item fills cost nothing
    if best is None:
        raise SelectionError(f"a budget of {budget:,} bytes is below the cost of a single learned channel")
    return best.finish()


def _most(cost: Cost, budget: int) -> int:
    """No more channels than these fit, whichever they are: where none shares a byte with another."""
    shares = int(cost.alone.sum()) > cost.dense
    return len(cost.alone) if shares else int(np.searchsorted(np.cumsum(np.sort(cost.alone)), budget, "right"))

"""Ways to a hard gate within a budget of bytes: learned, and what it is held against."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from ..chips.labels import IGNORE
from ..errors import SelectionError
from ..masks.fixed import random_channels, uniform_channels
from ..masks.hard import HardGate
from ..masks.selector import ConcreteSelector
from .step import Settings, Trained, Training

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..chips.split import Split
    from ..chips.store import Chips
    from ..plan.cost import Cost

Method = Literal["dense", "learned", "uniform", "random"]
METHODS: tuple[Method, ...] = get_args(Method)

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
) -> Trained:
    """Train by a method: all channels, or as many as `budget` bytes allow; `on_step` is called at each step.

    Raises SelectionError for a method that is unknown or a budget below every channel's cost.
    """
    if method == "learned":
        return train_within(chips, split, cost, budget, settings, seed, on_step)
    if method == "dense":
        channels = list(range(len(cost.alone)))
    elif method == "uniform":
        channels = uniform_channels(cost, budget)
    elif method == "random":
        channels = random_channels(cost, budget, seed)
    else:
        raise SelectionError(f"no method {method!r}; choose one of {', '.join(METHODS)}")
    return Training(chips, split, HardGate(channels), settings, seed, on_step).finish()


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
    low, high = 0, count + 1  # low heads fit, high heads do not, as far as is known
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


def majority_score(chips: Chips, split: Split) -> float:
    """Accuracy, on the test chips, of always saying the most frequent class of the training chips."""
    train_labels, test_labels = (chips.take(cells).labels for cells in (split.train, split.test))
    majority = np.bincount(train_labels[train_labels != IGNORE]).argmax()
    return float((test_labels[test_labels != IGNORE] == majority).mean())

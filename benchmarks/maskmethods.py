"""Ways to choose channels within a budget: those that masks are held against, and every estimator of geomask."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from lassorank import LassoNet
from maskdata import MaskSet

from geomask.errors import GeomaskError, SelectionError
from geomask.masks.gate import Gate
from geomask.masks.grain import Grain
from geomask.masks.hard_concrete import HardConcreteMask
from geomask.masks.priced import PricedGate
from geomask.masks.rankings import decorrelated_order, forest_order, information_order, mrmr_order
from geomask.masks.selector import ConcreteSelector
from geomask.masks.stochastic import StochasticMask
from geomask.plan.cost import Cost
from geomask.train.baselines import full_resolution
from geomask.train.candidates import sample_pixels, train_candidates, train_planes
from geomask.train.oehmcke import train_channel_curve
from geomask.train.shop import Plane, Shop, space_planes
from geomask.train.step import Trained, Training, score

#: Added to the seed of what is trained anew, so that it starts from other weights.
ANEW = 1000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one contender came to on one split."""

    contender: str
    case: str
    fold: int
    score: float | None
    """On the test cells, a fraction; None where there is none."""
    price: float = 0.0
    """Bytes, or channels where all cost the same."""
    seconds: float = 0.0
    """Of processors: choosing and training. Rankings serve several budgets, and count where they are made."""
    note: str | None = None
    """Why there is none."""
    detail: str = ""
    """What the contender says of itself."""


class Bout:
    """One split of one set, on which all contenders choose and train in turn."""

    def __init__(self, of: MaskSet, fold: int, lassonet: LassoNet | None = None) -> None:
        self._set, self._fold, self._split, self._lassonet = of, fold, of.splits[fold], lassonet
        self._dense_only = replace(of, chips=full_resolution(of.chips), prices=of.prices[:1])
        self._curve: dict[int, Trained | None] | None = None
        self._curve_seconds = 0.0

    def dense(self) -> Iterator[Outcome]:
        """All channels at full resolution; the same for every budget."""
        case = f"{self._set.name}/100%"
        started = _clock()
        every = [(0, channel) for channel in range(self._set.prices.shape[1])]
        yield self._outcome("dense", case, self._train(every), started)

    def measure(self, name: str, percent: float, percents: Sequence[float]) -> Iterator[Outcome]:
        """A contender at a budget, one of `percents`; a failure is an outcome too."""
        case, started = f"{self._set.name}/{percent:g}%", _clock()
        try:
            if name in RANKINGS:
                yield self._outcome(f"{name}/retrained", case, self._train(self._ranked(name, percent)), started)
                return
            if name == "oehmcke2022":
                trained, started = self._published(percent, percents)
            else:
                trained = self._learn(name, percent)
            yield self._outcome(f"{name}/joint", case, trained, started)
            again = self._train(sorted(trained.planes, key=lambda plane: plane[1]), ANEW)
            yield self._outcome(f"{name}/retrained", case, again, started)
        except (GeomaskError, LookupError) as error:
            for kind in ("retrained",) if name in RANKINGS else ("joint", "retrained"):
                yield Outcome(f"{name}/{kind}", case, self._fold, None, note=str(error))

    def _ranked(self, name: str, percent: float) -> list[Plane]:
        shop = self._shop(percent)
        if name == "uniform":
            return space_planes(shop)
        if name == "random":
            order = np.random.default_rng(self._fold).permutation(self._set.prices.shape[1])
            return shop.fill((0, int(channel)) for channel in order)
        return shop.fill(shop.planes[number] for number in self._orders[name].tolist())

    @cached_property
    def _orders(self) -> _Orders:
        train = self._set.chips.take(self._split.train)
        return _Orders(sample_pixels(train, self._shop(100).planes, 0), self._lassonet)

    def _learn(self, name: str, percent: float) -> Trained:
        shop = self._shop(percent)
        if name == "default":
            settings, network = self._set.settings, self._set.network
            return train_candidates(self._set.chips, self._split, shop, settings, self._fold, network=network)
        gate, of = self._gate(name, shop), self._set if name == "priced" else self._dense_only
        return Training(of.chips, self._split, gate, of.settings, self._fold, network=of.network).finish()

    def _gate(self, name: str, shop: Shop) -> Gate:
        count = shop.prices.shape[1]
        grain, prices = Grain(tuple(range(count))), shop.prices[:, :, None, None]
        if name == "priced":
            return PricedGate(grain, prices, shop.budget)
        if name == "concrete":
            if not shop.is_flat:
                raise SelectionError("its heads are for channels of equal cost")
            return ConcreteSelector(count, int(shop.budget // shop.prices[0, 0]))
        kind = {"hard-concrete": HardConcreteMask, "stochastic": StochasticMask}[name]
        return kind(grain, torch.from_numpy(prices[0]), shop.budget)

    def _published(self, percent: float, percents: Sequence[float]) -> tuple[Trained, float]:
        """The published training is one for all budgets; its time is shared out among them."""
        of = self._dense_only
        budgets = {one: round(self._set.budget(one)) for one in percents}
        if self._curve is None:
            started = _clock()
            settings = replace(of.settings, network=cast(Any, of.network))
            cost = cast(Cost, _FlatCost(of.prices[0]))
            self._curve = train_channel_curve(of.chips, self._split, cost, list(budgets.values()), settings, self._fold)
            self._curve_seconds = (_clock() - started) / len(budgets)
        trained = self._curve[budgets[percent]]
        if trained is None:
            raise SelectionError("never came within the budget")
        return trained, _clock() - self._curve_seconds

    def _shop(self, percent: float) -> Shop:
        return Shop(self._set.prices, self._set.budget(percent))

    def _train(self, planes: Sequence[Plane], seed: int = 0) -> Trained:
        of = self._set
        return train_planes(of.chips, self._split, planes, of.settings, self._fold + seed, network=of.network)

    def _outcome(self, contender: str, case: str, trained: Trained, started: float) -> Outcome:
        seconds = _clock() - started
        of = self._set if trained.model.mean.ndim == self._set.chips.image.ndim - 3 else self._dense_only
        right = score(trained.model, of.chips, self._split.test, of.settings.batch)
        price = float(sum(self._set.prices[plane] for plane in trained.planes))
        return Outcome(contender, case, self._fold, right, price, seconds, detail=trained.won or "")


def _clock() -> float:
    """Processor seconds of this process and of those that it has started."""
    return sum(os.times()[:4])


class _Orders(dict[str, np.ndarray]):
    """Rankings of planes by the training pixels, each made when it is first asked for."""

    def __init__(self, sample: tuple[np.ndarray, np.ndarray, np.ndarray], lassonet: LassoNet | None) -> None:
        super().__init__()
        self._features, self._labels, _ = sample
        self._lassonet = lassonet

    def __missing__(self, name: str) -> np.ndarray:
        makers: dict[str, Callable[[], np.ndarray]] = {
            "forest": lambda: forest_order(self._features, self._labels),
            "decorrelated": lambda: decorrelated_order(self._features, self["forest"]),
            "information": lambda: information_order(self._features, self._labels),
            "mrmr": lambda: mrmr_order(self._features, self._labels),
            "lassonet": self._by_lassonet,
        }
        self[name] = makers[name]()
        return self[name]

    def _by_lassonet(self) -> np.ndarray:
        if self._lassonet is None:
            raise LookupError("no environment for lassonet")
        return self._lassonet.order(self._features, self._labels)


class _FlatCost:
    """What the published training asks of a `Cost`, of channels that share no bytes."""

    def __init__(self, prices: np.ndarray) -> None:
        self.alone, self.dense = prices, float(prices.sum())

    def total(self, channels: Sequence[int]) -> float:
        return float(self.alone[list(channels)].sum())


#: Contenders that choose first and train then; the others do both at once, and are trained anew for comparison.
RANKINGS = ("random", "uniform", "forest", "decorrelated", "information", "mrmr", "lassonet")
ESTIMATORS = ("oehmcke2022", "default", "concrete", "priced", "hard-concrete", "stochastic")
CONTENDERS = ("dense", *RANKINGS, *ESTIMATORS)

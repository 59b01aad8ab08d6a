"""Pixel masks on MNIST: the published ones by the published training, rankings, and ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from mnist import Digits, LeNet
from ours import Found, Ours, examine

from geomask.masks.any import START, AnyMask
from geomask.masks.dynamic import DynamicScores
from geomask.masks.grain import Grain
from geomask.masks.preview import Preview
from geomask.masks.priced import PricedGate
from geomask.masks.ranked import RankedScores
from geomask.train.objective import Objective
from geomask.train.recipe import OEHMCKE2022, Recipe, train_oehmcke2022
from geomask.train.shares import Checkpoint

SIZE = (28, 28)
PIXELS = Grain.of("pixel", 1, 1, SIZE)
#: What a dynamic mask looks at: the whole image, for free, as in the paper.
WHOLE = Preview((0,), 1)
#: Shares of the pixels.
BUDGETS = (0.05, 0.024)

TASK = Objective("classification", 10)

CONTENDERS = ("oehmcke2022/static", "oehmcke2022/dynamic", "given", "random", "default/static", "default/dynamic")


@dataclass(frozen=True, slots=True)
class Effort:
    """How long each contender trains, in epochs of all images to train on."""

    warm: float
    """The network alone, which all masks that learn start from."""
    published: Recipe
    """`oehmcke2022`, static and dynamic."""
    ranked: Recipe
    """The network under a ranking."""
    every: int
    """Steps after which a ranking drops a pixel."""
    ours: Ours
    ours_dynamic: Ours
    """Slower at choosing: each score is a sum over 784 pixels, whose weights all move at once. Not tuned: on validation
    that gains nothing after so many epochs at the last budget."""


PAPER = OEHMCKE2022["pixel"]
#: As the paper has it, 400 epochs; a ranking is down to 11 pixels after 441 of these 55,000 images.
FULL = Effort(
    3,
    PAPER,
    replace(PAPER, epochs=445),
    every=245,
    ours=Ours(40, 20),
    ours_dynamic=Ours(10, 0, select_rate=0.02, model_rate=0.003, joint=40),
)
#: Lambda starts near where it begins to tell: from the paper's start it takes most of these few steps to get there.
HASTY = replace(PAPER, fine=0.05).hastened(8)
QUICK = Effort(
    3,
    HASTY,
    replace(HASTY, epochs=720),
    every=48,
    ours=Ours(8, 6),
    ours_dynamic=Ours(3, 0, select_rate=0.02, model_rate=0.003, joint=6),
)


@dataclass
class Study:
    """Six ways to a few pixels of an image, from one seed."""

    digits: Digits
    effort: Effort
    seed: int
    tell: Callable[[str], object] = print
    """Called with a line on each epoch."""
    epochs: dict[str, float] = field(default_factory=dict)
    """Passes over the images to train on that each contender took, without the network's own training."""

    def run(self, contender: str) -> dict[float, Found | None]:
        """What the contender comes to within each of `BUDGETS`; None where it never got there."""
        kind, _, how = contender.partition("/")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            if kind == "default":
                return {budget: self._ours(how == "dynamic", budget) for budget in BUDGETS}
            mask = self._mask(contender)
            network = self._warm() if kind == "oehmcke2022" else LeNet()
        recipe = self.effort.published if kind == "oehmcke2022" else self.effort.ranked
        data = self.digits.train, self.digits.validation

        def note(epoch: int, fine: float, share: float, score: float) -> None:
            self.epochs[contender] = (epoch + 1) * recipe.passes
            self.tell(f"{contender} {self.epochs[contender]:.2f} lambda {fine:.4g} score {score:.4f} of {share:.4f}")

        end = 0.6 * min(BUDGETS)
        found = train_oehmcke2022(
            mask, network, *data, recipe, self.seed, TASK, budgets=BUDGETS, until=end, on_epoch=note
        )
        return {budget: self._test(mask, network, found.within(budget)) for budget in BUDGETS}

    def _mask(self, contender: str) -> AnyMask:
        shape, steps = PIXELS.shape, {"drop": 1, "every": self.effort.every}
        if contender == "oehmcke2022/static":
            return AnyMask(PIXELS)
        if contender == "oehmcke2022/dynamic":
            return AnyMask(PIXELS, self._linear([START], learn_static=False), WHOLE)
        if contender == "given":
            return AnyMask(PIXELS, RankedScores(torch.from_numpy(self._importance).reshape(shape), **steps))
        return AnyMask(PIXELS, RankedScores.at_random(shape, seed=self.seed, **steps))

    def _linear(self, starts: list[float], *, learn_static: bool) -> DynamicScores:
        return DynamicScores("linear", WHOLE.size(SIZE), 1, PIXELS.shape, starts, learn_static=learn_static)

    @cached_property
    def _importance(self) -> np.ndarray:
        """Of each pixel in a random forest, float64 (784,)."""
        from sklearn.ensemble import RandomForestClassifier

        image, labels = self.digits.train
        forest = RandomForestClassifier(100, random_state=self.seed)
        importance: np.ndarray = forest.fit(image.flatten(1).numpy(), labels.numpy()).feature_importances_
        return importance

    def _ours(self, dynamic: bool, budget: float) -> Found:
        scores = self._linear([0.0], learn_static=True) if dynamic else None
        gate = PricedGate(
            PIXELS, np.ones((1, *PIXELS.shape)), budget * PIXELS.units, scores, WHOLE if dynamic else None
        )
        network = self._warm()
        ours = self.effort.ours_dynamic if dynamic else self.effort.ours
        frozen = ours.train(gate, network, self.digits.train)
        return examine(frozen, network, self.digits.test, lambda choice: choice[0].mean())

    def _warm(self) -> LeNet:
        """The network, trained on whole images; a new copy each time."""
        network = LeNet()
        network.load_state_dict(self.trained)
        return network

    @cached_property
    def trained(self) -> dict[str, torch.Tensor]:
        """Weights of the network that was trained on whole images."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = LeNet()
            self.effort.ours.fit(network, self.digits.train, self.effort.warm)
            return network.state_dict()

    def _test(self, mask: AnyMask, network: LeNet, checkpoint: Checkpoint | None) -> Found | None:
        if checkpoint is None:
            return None
        checkpoint.restore(mask, network)
        return examine(mask, network, self.digits.test, mask.share)

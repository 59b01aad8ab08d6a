"""Trainings of benchmarks/places.py: a network that names the object of a chip, and masks that save it most of it."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from functools import partial
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import torch
from ships import ALONG, CHIP, KINDS, NAMES, PREVIEW, PREVIEW_LEVEL, Acquisition
from torch import Tensor, nn
from torch.nn import functional

from geomask.masks.dynamic import DynamicScores
from geomask.masks.grain import Grain
from geomask.masks.hard import HardMask
from geomask.masks.policy import Policy
from geomask.masks.priced import PricedGate, PricedPolicy
from geomask.masks.scores import Scores, StaticScores
from geomask.masks.versions import pass_chosen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from geomask.masks.gate import Gate

BATCH = 8


@dataclass(frozen=True)
class Plan:
    """How long and how fast is trained."""

    dense_epochs: int = 16
    select_epochs: int = 7
    tune_epochs: int = 2
    rate: float = 4e-3
    """Of the dense network; a masked one, which starts from it, has a third."""
    static_rate: float = 0.1
    dynamic_rate: float = 1e-2
    model: str = "convatt"
    """The mask model of dynamic masks."""


class Part:
    """Chips of some places in all acquisitions, standardised."""

    def __init__(
        self, acquisitions: Sequence[Acquisition], at: Sequence[int], mean: np.ndarray, deviation: np.ndarray
    ) -> None:
        """`at` are positions of places; `mean` and `deviation` are of each band."""
        self.acquisitions, self.at = acquisitions, at
        image = np.concatenate([one.image[at] for one in acquisitions])
        image = (image - mean[:, None, None]) / deviation[:, None, None]
        self.image = torch.from_numpy(image).contiguous(memory_format=torch.channels_last)
        """Float32 (chips, bands, rows, columns), by acquisition."""
        self.labels = torch.from_numpy(np.concatenate([one.labels[at] for one in acquisitions]))
        """int64 (chips,)."""

    def nbytes(self, chosen: np.ndarray, preview: bool) -> float:
        """Planned bytes of a chip on average; `chosen` is bool (chips, groups, rows, columns)."""
        parts = np.split(chosen, len(self.acquisitions))
        pairs = zip(self.acquisitions, parts, strict=True)
        return sum(one.nbytes(self.at, part, preview) for one, part in pairs) / len(self.labels)


@dataclass(frozen=True)
class Outcome:
    """What the network comes to behind one mask."""

    validation: float
    """Share of the chips whose object is named."""
    test: float
    """Likewise, of test chips."""
    validation_nbytes: float
    """Of a validation chip on average: headers, blocks, and the preview of a dynamic mask."""
    nbytes: float
    """Of a test chip on average."""
    dense_nbytes: float
    """Of a test chip that is read whole."""
    seconds: float
    """Of training."""


class Fold:
    """One split by place: five of the 25 places for the test, no two in a row or a column, five for validation."""

    def __init__(self, acquisitions: Sequence[Acquisition], number: int, plan: Plan) -> None:
        """`number` is 0 to 4; each place is tested in one of the five."""
        row, column = np.divmod(np.arange(ALONG**2), ALONG)
        of = (row + 2 * column - number) % ALONG
        test, validation, train = (np.flatnonzero(chips).tolist() for chips in (of == 0, of == 1, of > 1))
        pixels = np.stack([one.image[train] for one in acquisitions])
        self.mean, self.deviation = pixels.mean((0, 1, 3, 4)), pixels.std((0, 1, 3, 4))
        self.train, self.validation, self.test = (
            Part(acquisitions, at, self.mean, self.deviation) for at in (train, validation, test)
        )
        self.prices = np.mean([one.prices[train] for one in acquisitions], (0, 1))
        self.overhead = np.mean([one.overhead for one in acquisitions], 0)
        self.seed, self.plan = number, plan

    def dense(self) -> tuple[nn.Module, Outcome]:
        """The network that sees all, and how well it does."""
        start = time.perf_counter()
        torch.manual_seed(self.seed)
        network = make_network()
        everything = HardMask(Grain((0,) * len(NAMES)), torch.ones(1, 1, 1, 1))
        train(network, everything, self.train, self.plan.dense_epochs, self.plan.rate, 0.0)
        seconds = time.perf_counter() - start
        return network, self._judge(network, everything, seconds)

    def curve(self, network: nn.Module, kind: str, grain: Grain, shares: Sequence[float]) -> Iterator[Outcome]:
        """A mask for each share of the dense bytes, in descending order, each started from the one before.

        `kind` is static or dynamic.
        """
        torch.manual_seed(self.seed)
        network, plan = copy.deepcopy(network), self.plan
        scores = make_scores(kind, grain, plan.model)
        prices, before = spread_prices(self.prices, grain), None
        dense = self.prices.sum() + self.overhead[0]
        for share in shares:
            start = time.perf_counter()
            budget = share * dense - self.overhead[int(kind == "dynamic")]
            total = partial(touched_nbytes, self.prices, grain)
            gate = PricedGate(
                grain, prices, budget, scores, PREVIEW if kind == "dynamic" else None, total, first=before
            )
            rate = plan.static_rate if kind == "static" else plan.dynamic_rate
            train(network, gate, self.train, plan.select_epochs, plan.rate / 3, rate)
            scores, before = copy.deepcopy(gate.scores), budget
            frozen = gate.freeze()
            if isinstance(frozen, PricedPolicy):
                # Over more ground than what was trained on: elsewhere a mask is less sure of where to look.
                known = torch.cat([PREVIEW(part.image) for part in (self.train, self.validation)])
                frozen.theta = settle(frozen, known, total, budget)
            train(network, frozen, self.train, plan.tune_epochs, plan.rate / 3, 0.0)
            yield self._judge(network, frozen, time.perf_counter() - start)

    def _judge(self, network: nn.Module, gate: Gate, seconds: float) -> Outcome:
        parts = (self.validation, self.test)
        choices = [self._choose(gate, part) for part in parts]
        scores = [accuracy(network, part, choice) for part, choice in zip(parts, choices, strict=True)]
        nbytes = [
            part.nbytes(choice[:, 0].bool().numpy(), isinstance(gate, PricedPolicy))
            for part, choice in zip(parts, choices, strict=True)
        ]
        whole = self.test.nbytes(np.ones((len(self.test.labels), 1, 1, 1), bool), preview=False)
        return Outcome(*scores, *nbytes, whole, seconds)

    def _choose(self, gate: Gate, part: Part) -> Tensor:
        """What is read of each chip, float32 (chips, 1, groups, rows, columns): of a dynamic mask by its saved policy,
        from the overviews as they were read."""
        if not isinstance(gate, PricedPolicy):
            return gate.draw(part.image)[0].expand(len(part.image), -1, -1, -1, -1)
        shown = list(PREVIEW.channels)
        policy = Policy.of(
            gate, part.acquisitions[0].selection, (CHIP, CHIP), PREVIEW_LEVEL, self.mean[shown], self.deviation[shown]
        )
        with TemporaryDirectory() as folder:
            policy.save(folder)
            policy = Policy.load(folder)
        shown_at = ((one.overview.image[part.at], one.overview.valid[part.at]) for one in part.acquisitions)
        found = [policy.choose(policy.show(image, valid)) for image, valid in shown_at]
        return torch.from_numpy(np.concatenate(found)).float()


def make_network() -> nn.Module:
    """A few convolutions, then the maximum over all places: what is to be named lies in one of them."""
    layers = [(len(NAMES), 16, 4), (16, 32, 3), (32, 32, 3)]
    strides = (2, 2, 1)
    body = [
        layer
        for (inputs, outputs, kernel), stride in zip(layers, strides, strict=True)
        for layer in (
            nn.Conv2d(inputs, outputs, kernel, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )
    ]
    head = (nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(32, len(KINDS)))
    return nn.Sequential(*body, *head).to(memory_format=torch.channels_last)


def make_scores(kind: str, grain: Grain, model: str) -> Scores:
    """Scores that are the same for all chips, or predicted from the preview of each."""
    if kind == "static":
        return StaticScores(1, grain.shape, [0.0])
    return DynamicScores(model, PREVIEW.size((CHIP, CHIP)), 1, grain.shape, [0.0])


def train(network: nn.Module, gate: Gate, part: Part, epochs: int, rate: float, gate_rate: float) -> None:
    """Train both in place: AdamW, one cycle, chips turned before the gate sees them."""
    masks = [weight for weight in gate.parameters() if weight.requires_grad]
    groups = [
        {"params": list(network.parameters()), "weight_decay": 1e-2, "max": rate},
        *([{"params": masks, "weight_decay": 0.0, "max": gate_rate}] if masks else []),
    ]
    optimizer = torch.optim.AdamW(groups)
    steps = epochs * (len(part.labels) // BATCH)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, [group["max"] for group in groups], steps)
    network.train()
    gate.train()
    for step, (image, labels) in enumerate(batches(part, epochs)):
        gate.anneal(step / max(1, steps - 1))
        loss = functional.cross_entropy(network(gate(image)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        cycle.step()


def batches(part: Part, epochs: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Images, each batch under one symmetry of the square, and labels; what fills no batch is left out.

    The light of each chip is drawn anew, so that neither network nor mask goes by how bright the ground is.
    """
    for _ in range(epochs):
        for chips in torch.randperm(len(part.labels)).split(BATCH):
            if len(chips) == BATCH:
                turns, flip = torch.randint(4, (2,)).tolist()
                image = part.image[chips].rot90(turns, (2, 3))
                gain, shift = torch.randn(2, len(chips), 1, 1, 1)
                image = image * (0.15 * gain).exp() + 0.7 * shift
                yield image.flip(3) if flip % 2 else image, part.labels[chips]


@torch.no_grad()
def accuracy(network: nn.Module, part: Part, choice: Tensor) -> float:
    """Share of the chips whose object is named; `choice` is float32 (chips or 1, 1, groups, rows, columns)."""
    network.eval()
    grain = grain_of(choice)
    right = 0
    for chips in torch.arange(len(part.labels)).split(BATCH):
        mask = choice if len(choice) == 1 else choice[chips]
        classes = network(pass_chosen(part.image[chips], mask, grain)).argmax(1)
        right += int((classes == part.labels[chips]).sum())
    return right / len(part.labels)


def grain_of(choice: Tensor) -> Grain:
    """Of a choice of all bands as one, or of each."""
    groups, rows, columns = choice.shape[2:]
    return Grain((0,) * len(NAMES) if groups == 1 else tuple(range(len(NAMES))), rows, columns)


def spread_prices(prices: np.ndarray, grain: Grain) -> np.ndarray:
    """Bytes of each unit, float64 (1, groups, rows, columns), of those of GeoTIFF tiles (bands, rows, columns).

    A block that is smaller than a tile has its share of it.
    """
    groups, rows, _ = grain.shape
    of_groups = prices.sum(0, keepdims=True) if groups == 1 else prices
    parts = max(1, rows // prices.shape[1])
    return of_groups.repeat(parts, 1).repeat(parts, 2)[None] / parts**2


def touched_nbytes(prices: np.ndarray, grain: Grain, chosen: np.ndarray) -> float:
    """Bytes of the GeoTIFF tiles that blocks lie in; `chosen` is bool (1, groups, rows, columns)."""
    side = prices.shape[1]
    tiles = chosen[0].reshape(chosen.shape[1], side, chosen.shape[2] // side, side, -1).any((2, 4))
    return float((tiles * prices).sum())


def settle(gate: PricedPolicy, preview: Tensor, total: Callable[[np.ndarray], float], budget: float) -> float:
    """The least theta at which the chips of a `preview` take at most `budget` bytes on average, by `total`."""
    with torch.no_grad():
        scores = torch.cat([gate.scores(chips) for chips in preview.split(BATCH)])
    low, high = -100.0, 100.0
    for _ in range(24):
        theta = (low + high) / 2
        chosen = gate.market.decide(scores, theta).bool().numpy()
        low, high = (theta, high) if np.mean([total(chip) for chip in chosen]) > budget else (low, theta)
    return high

"""Our way to a budget, without chips: a gate is learned while its budget comes down, frozen, and its network tuned."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from geomask.train.recipe import Samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn

    from geomask.masks.gate import Choice, Gate
    from geomask.masks.priced import PricedGate


#: Scores that are the same for all samples, and learn faster than a model's weights, which all move each score at once.
ALIKE = ("scores.logits", "scores.static")


@dataclass(frozen=True, slots=True)
class Ours:
    """How long, in epochs of all samples to train on, and how fast."""

    select: float
    """Gate and network at once, until the gate is frozen."""
    tune: float
    """The network alone; 0: not at all."""
    batch: int = 128
    rate: float = 1e-3
    """Learning rate of the network."""
    select_rate: float = 0.05
    """Learning rate of the gate's scores that are the same for all samples."""
    model_rate: float = 0.05
    """Of the weights that dynamic scores are predicted by."""
    joint: float = 0.0
    """Epochs between choosing and tuning: gate and network at once, at the last budget, while both rates fall."""
    joint_rate: float = 0.01
    """Of the weights that dynamic scores are predicted by, then."""

    @property
    def epochs(self) -> float:
        """In all."""
        return self.select + self.joint + self.tune

    def train(self, gate: PricedGate, network: nn.Module, samples: Samples) -> Gate:
        """Train both in place; the frozen gate that the network was tuned behind."""
        frozen = self.choose(gate, network, samples)
        if self.tune:
            self.fit(network, samples, self.tune, frozen)
        return frozen

    def choose(self, gate: PricedGate, network: nn.Module, samples: Samples) -> Gate:
        """Train both while the budget comes down, then at the last one, and freeze the gate."""
        alike = [weights for name, weights in gate.named_parameters() if name in ALIKE]
        model = [weights for name, weights in gate.named_parameters() if name not in ALIKE]
        optimizer = torch.optim.AdamW(network.parameters(), self.rate, fused=True)
        choice = torch.optim.Adam([{"params": alike}, {"params": model}], fused=True)
        steps, joint = self._steps(self.select, samples), round(self.joint * len(samples.image) / self.batch)
        gate.train()
        for step, (image, labels) in enumerate(self._batches(steps + joint, samples)):
            progress = min(1.0, step / max(1, steps - 1))
            gate.anneal(progress)
            if step < steps:
                # Slower at the end: what is frozen is what the network has seen.
                rates, share = (self.select_rate, self.model_rate), min(1.0, 4 * (1 - progress) + 0.02)
            else:
                rates, share = (self.joint_rate, self.joint_rate), _half_cosine((step - steps) / joint)
                optimizer.param_groups[0]["lr"] = self.rate * share
            for group, rate in zip(choice.param_groups, rates, strict=True):
                group["lr"] = rate * share
            choice.zero_grad()
            _update(network, gate(image), labels, optimizer)
            choice.step()
        return gate.freeze()

    def fit(self, network: nn.Module, samples: Samples, epochs: float, gate: Gate | None = None) -> None:
        """Train a network behind a hard gate, or on all there is, its rate falling to nothing by half a cosine."""
        steps = self._steps(epochs, samples)
        optimizer = torch.optim.AdamW(network.parameters(), self.rate, fused=True)
        for step, (image, labels) in enumerate(self._batches(steps, samples)):
            optimizer.param_groups[0]["lr"] = self.rate * _half_cosine(step / steps)
            with torch.no_grad():
                passed = image if gate is None else gate.eval()(image)
            _update(network, passed, labels, optimizer)

    def _steps(self, epochs: float, samples: Samples) -> int:
        return max(1, round(epochs * len(samples.image) / self.batch))

    def _batches(self, steps: int, samples: Samples) -> Iterator[Samples]:
        """So many batches, each sample once before any comes again."""
        order = torch.empty(0, dtype=torch.int64)
        for _ in range(steps):
            if len(order) < min(self.batch, len(samples.image)):
                order = torch.randperm(len(samples.image))
            at, order = order[: self.batch], order[self.batch :]
            yield Samples(samples.image[at], samples.labels[at])


@dataclass(frozen=True, slots=True)
class Found:
    """What a contender came to."""

    score: float
    """Share of the test images that are told right."""
    share: float
    """Of the bytes of all that there is, in the mean over the test images."""


@torch.no_grad()
def examine(gate: Gate, network: nn.Module, samples: Samples, share: Callable[[Choice], Tensor]) -> Found:
    """Score and share of what a gate passes; `share` says the share of a choice."""
    gate.eval()
    network.eval()
    right, kept = 0, 0.0
    for image, labels in zip(torch.split(samples.image, 500), torch.split(samples.labels, 500), strict=True):
        choice = gate.draw(image)
        right += int((network(gate.apply_choice(image, choice)).argmax(1) == labels).sum())
        kept += float(share(choice)) * len(image)
    return Found(right / len(samples.image), kept / len(samples.image))


def _half_cosine(done: float) -> float:
    """From 1 to 0."""
    return (1 + math.cos(math.pi * done)) / 2


def _update(network: nn.Module, image: Tensor, labels: Tensor, optimizer: torch.optim.Optimizer) -> None:
    network.train()
    loss = functional.cross_entropy(network(image), labels)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()

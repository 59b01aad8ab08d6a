"""One training: a network behind a gate, on chips that are in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from ..chips.labels import IGNORE
from ..masks.gates import ConcreteSelector, HardGate
from .network import MaskedNetwork, SmallNet, channel_statistics, fold
from .schedule import learning_rate, temperature

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..chips.split import Split
    from ..chips.store import Chips


@dataclass(frozen=True, slots=True)
class Settings:
    """How a network is trained; chosen on validation cells of the demo's data, see docs/training.md."""

    steps: int = 600
    """Updates, each on all training chips."""
    select_share: float = 0.75
    """Share of the steps after which the selector is frozen and the network tuned."""
    width: int = 32
    """Features of the network."""
    dropout: float = 0.4
    rate: float = 3e-3
    """Learning rate of the network's weights."""
    selector_rate: float = 0.1
    """Learning rate of the selector's scores."""
    decay: float = 1e-2
    """Weight decay of the network; the selector has none."""
    smoothing: float = 0.05
    """Label smoothing."""
    check_every: int = 25
    """Steps between scores on the validation chips."""

    @property
    def turn(self) -> int:
        """The step at which a selector is frozen."""
        return round(self.select_share * self.steps)


@dataclass(frozen=True)
class Trained:
    """A trained, hard-gated network and how it came about."""

    model: MaskedNetwork
    curve: tuple[tuple[int, float], ...]
    """(step, validation score), from the moment the gate is hard."""

    @property
    def channels(self) -> list[int]:
        """The channels that the gate passes, ascending."""
        return fold(self.model)[0]


def train(chips: Chips, split: Split, gate: Sequence[int] | int, settings: Settings, seed: int) -> Trained:
    """Train a network on the training chips, behind a hard gate (channels) or a selector of so many heads.

    Full-batch, AdamW, one of the eight symmetries of the square drawn at each step. Nothing is chosen by the validation
    score; it is recorded to show the plateau. The test chips are not touched. Results depend on `seed` and on the
    number of torch's threads alone.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    part = chips.take(split.train)
    model = _model(part, int(chips.labels.max()) + 1, gate, settings, generator)
    optimizer = _optimizer(model, settings)
    pixels = model.standardise(torch.from_numpy(part.image), torch.from_numpy(part.valid))
    labels, curve = torch.from_numpy(part.labels), []
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = group["full_rate"] * learning_rate(step, settings.steps, settings.turn)
        if isinstance(model.gate, ConcreteSelector):
            if step < settings.turn:
                model.gate.temperature = temperature(step, settings.turn)
            else:
                model.gate = HardGate(model.gate.freeze())
        model.train()
        _update(model, optimizer, *_turned(pixels, labels, generator), settings.smoothing)
        if isinstance(model.gate, HardGate) and (step + 1) % settings.check_every == 0:
            curve.append((step + 1, score(model, chips, split.validation)))
    return Trained(model.eval(), tuple(curve))


def _model(
    chips: Chips, classes: int, gate: Sequence[int] | int, settings: Settings, generator: torch.Generator
) -> MaskedNetwork:
    mean, deviation = channel_statistics(chips.image, chips.valid)
    heads = gate if isinstance(gate, int) else len(gate)
    network = SmallNet(heads, classes, settings.width, settings.dropout)
    front = ConcreteSelector(len(mean), gate, generator) if isinstance(gate, int) else HardGate(list(gate))
    return MaskedNetwork(mean, deviation, front, network)


def _optimizer(model: MaskedNetwork, settings: Settings) -> torch.optim.Optimizer:
    network = {"params": model.network.parameters(), "full_rate": settings.rate, "weight_decay": settings.decay}
    gate = {"params": model.gate.parameters(), "full_rate": settings.selector_rate, "weight_decay": 0.0}
    return torch.optim.AdamW([network, gate] if list(model.gate.parameters()) else [network])


def _update(
    model: MaskedNetwork, optimizer: torch.optim.Optimizer, pixels: Tensor, labels: Tensor, smooth: float
) -> None:
    logits = model.network(model.gate(pixels))
    loss = functional.cross_entropy(logits, labels, ignore_index=IGNORE, label_smoothing=smooth)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _turned(pixels: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pixels and labels under one random symmetry of the square; only half turns and flips where chips are oblong."""
    square = pixels.shape[-1] == pixels.shape[-2]
    turns, flip = torch.randint(4, (2,), generator=generator).tolist()
    turns = turns if square else turns // 2 * 2
    pixels, labels = pixels.rot90(turns, (2, 3)), labels.rot90(turns, (1, 2))
    return (pixels.flip(3), labels.flip(2)) if flip % 2 else (pixels, labels)


@torch.no_grad()
def predict(model: MaskedNetwork, image: Tensor, valid: Tensor) -> Tensor:
    """The class of each pixel, int64 (n, y, x), of float32 and bool (n, channels, y, x)."""
    model.eval()
    classes: Tensor = model(image, valid).argmax(1)
    return classes


def score(model: MaskedNetwork, chips: Chips, cells: Sequence[int]) -> float:
    """Share of the labelled pixels of these chips whose class is right (overall accuracy, 0..1)."""
    part = chips.take(cells)
    classes = predict(model, torch.from_numpy(part.image), torch.from_numpy(part.valid)).numpy()
    known = part.labels != IGNORE
    return float((classes == part.labels)[known].mean())

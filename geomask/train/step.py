"""One training: a network behind a gate, on chips that are in memory."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from ..chips.labels import IGNORE
from .network import MaskedNetwork, SmallNet, channel_statistics, fold
from .schedule import learning_rate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..chips.split import Split
    from ..chips.store import Chips
    from ..masks.gate import Gate


@dataclass(frozen=True, slots=True)
class Settings:
    """How a network is trained; docs/demo.md says what the values were chosen by."""

    steps: int = 500
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


class Training:
    """A training under way: advance it to a step, freeze its selector, finish it.

    Full-batch, AdamW, one of the eight symmetries of the square drawn at each step. Nothing is chosen by the validation
    score; it is recorded to show the plateau. The test chips are not touched. Results depend on `seed` and on the
    number of torch's threads alone, not on what else is trained in between.
    """

    def __init__(
        self,
        chips: Chips,
        split: Split,
        gate: Gate,
        settings: Settings,
        seed: int,
        on_step: Callable[[], object] | None = None,
    ) -> None:
        """`gate` is trained in place; `on_step` is called at each step."""
        self._on_step = on_step
        self._chips, self._split, self._settings, self._seed = chips, split, settings, seed
        self._step = 0
        part = chips.take(split.train)
        with self._leg():
            self.model = _model(part, gate, settings)
        self._optimizer = _optimizer(self.model, settings)
        self._pixels = self.model.standardise(torch.from_numpy(part.image), torch.from_numpy(part.valid))
        self._labels = torch.from_numpy(part.labels)
        self._curve: list[tuple[int, float]] = []

    def freeze(self) -> list[int]:
        """Advance to the turn, make a selector a hard gate of distinct channels, and return those, ascending."""
        self._advance(self._settings.turn)
        self.model.gate = self.model.gate.freeze()
        return fold(self.model)[0]

    def finish(self) -> Trained:
        """Freeze, and tune the network on what is left for the rest of the steps."""
        self.freeze()
        self._advance(self._settings.steps)
        # Weights lie as a run's file holds them, so that the network says the same after it was loaded.
        model = self.model.eval().to(memory_format=torch.contiguous_format)
        return Trained(model, tuple(self._curve))

    def _advance(self, until: int) -> None:
        with self._leg():
            while self._step < until:
                self._update()
                self._step += 1
                if self._on_step:
                    self._on_step()
                if self.model.gate.is_hard and self._step % self._settings.check_every == 0:
                    self._curve.append((self._step, score(self.model, self._chips, self._split.validation)))

    @contextmanager
    def _leg(self) -> Iterator[None]:
        """Random numbers of its own for each leg of the way: dropout draws from torch's global generator."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed * 1_000_003 + self._step)
            yield

    def _update(self) -> None:
        settings, gate = self._settings, self.model.gate
        for group in self._optimizer.param_groups:
            group["lr"] = group["full_rate"] * learning_rate(self._step, settings.steps, settings.turn)
        gate.anneal(self._step / max(1, settings.turn - 1))
        pixels, labels = _turned(self._pixels, self._labels)
        self.model.train()
        choice = gate.draw(pixels)
        logits = self.model.network(gate.apply_choice(pixels, choice))
        task = functional.cross_entropy(logits, labels, ignore_index=IGNORE, label_smoothing=settings.smoothing)
        loss = task + gate.penalty(choice)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()


def _model(chips: Chips, gate: Gate, settings: Settings) -> MaskedNetwork:
    mean, deviation = channel_statistics(chips.image, chips.valid)
    network = SmallNet(gate.heads, chips.classes, settings.width, settings.dropout)
    # Channels last: a fifth less time a step on CPU.
    return MaskedNetwork(mean, deviation, gate, network.to(memory_format=torch.channels_last))


def _optimizer(model: MaskedNetwork, settings: Settings) -> torch.optim.Optimizer:
    network = {"params": model.network.parameters(), "full_rate": settings.rate, "weight_decay": settings.decay}
    gate = {"params": model.gate.parameters(), "full_rate": settings.selector_rate, "weight_decay": 0.0}
    return torch.optim.AdamW([network, gate] if list(model.gate.parameters()) else [network], fused=True)


def _turned(pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels and labels under one random symmetry of the square; only half turns and flips where chips are oblong."""
    square = pixels.shape[-1] == pixels.shape[-2]
    turns, flip = torch.randint(4, (2,)).tolist()
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

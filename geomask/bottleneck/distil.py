"""Training a bottleneck: its decoder learns what a teacher's first stages say, and each bit of the latents is fined.

    loss = mean w (F' - F)^2 / var F + lambda * bits of a place

F are the teacher's features and F' the decoder's. The weights w, of mean 1, are one half the same everywhere and one
half a class-activation map of the teacher ("FrankenSplit", section 4). Both terms are means over chips and places, so
lambda does not depend on the batch, and the first is a share of what the features vary by, so it depends little on the
teacher. Two stages: with noise in place of rounding all parts learn; then the encoder stays, latents are rounded, and
the decoder learns what they became. `tune` goes on with the task's own loss, for decoder and tail.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..errors import SelectionError
from .encoder import Decoder, Design, Encoder
from .prior import FactorisedPrior, soften
from .saliency import saliency_maps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ..train.objective import Objective
    from .teacher import Teacher


@dataclass(frozen=True, slots=True)
class Lesson:
    """How a bottleneck is trained."""

    rate_weight: float = 0.02
    """Lambda: what a bit of a place costs, as a share of what features vary by."""
    steps: int = 1500
    """Updates of the first stage."""
    settling: int = 500
    """Updates of the second."""
    tuning: int = 500
    """Updates of `tune`."""
    saliency: float = 0.5
    """Share of the weights that is the activation map; 0: all places count alike."""
    batch: int | None = 256
    """Chips in a step; None: all of them."""
    learning_rate: float = 3e-3
    """Of AdamW; it falls by a cosine to a fiftieth."""
    decay: float = 1e-2


@dataclass(frozen=True)
class Distilled:
    """What `distil` came to, in eval mode."""

    design: Design
    encoder: Encoder
    decoder: Decoder
    prior: FactorisedPrior


def distil(
    teacher: Teacher,
    pixels: Tensor,
    design: Design,
    lesson: Lesson,
    seed: int,
    *,
    encoder: Encoder | None = None,
    start: Distilled | None = None,
    maps: Tensor | None = None,
    on_step: Callable[[], object] | None = None,
) -> Distilled:
    """Train a bottleneck for a teacher, on standardised pixels, float32 (n, channels, y, x).

    `encoder` is one that stays as it is: this teacher gets a decoder of its own, by the second stage alone. `start` is
    a bottleneck of the same design and teacher, such as one of another lambda, whose weights are begun with. `maps` are
    `saliency_maps` of these pixels, where they are there already. Raises SelectionError where chips of that size have
    no whole number of features or latents.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        learner = _Learner(teacher, pixels, design, lesson, maps, on_step)
        if start is not None:
            learner.take_up(start)
        if encoder is None:
            learner.learn_all()
        else:
            learner.encoder.load_state_dict(encoder.state_dict())
        learner.settle()
    return Distilled(design, learner.encoder.eval(), learner.decoder.eval(), learner.prior.eval())


class _Learner:
    """The parts of a bottleneck while they learn."""

    def __init__(
        self,
        teacher: Teacher,
        pixels: Tensor,
        design: Design,
        lesson: Lesson,
        maps: Tensor | None,
        on_step: Callable[[], object] | None,
    ) -> None:
        self.encoder, self.prior = Encoder(design), FactorisedPrior(design.latents)
        self.decoder = Decoder(design, teacher.features, teacher.stride)
        self._teacher, self._pixels, self._lesson, self._on_step = teacher, pixels, lesson, on_step
        self._weights = torch.ones(len(pixels), 1, 1)
        if share := lesson.saliency:
            maps = saliency_maps(teacher, pixels) if maps is None else maps
            self._weights = share * maps + (1 - share)
        with torch.no_grad():
            features = torch.cat([teacher.head(part) for part in torch.split(pixels, 1024)])
            said = self.decoder.eval()(self.encoder.eval()(pixels[:1]))
        if said.shape[1:] != features.shape[1:]:
            rows, columns = pixels.shape[-2:]
            most = max(design.stride, teacher.stride)
            raise SelectionError(f"chips of {rows} x {columns} pixels; of this bottleneck take multiples of {most}")
        self._variance = features.var((0, 2, 3), correction=0).clamp(min=1e-6)[:, None, None]
        # A feature that never speaks has nothing to say of how well others are met.
        self._speaks = (features.var((0, 2, 3), correction=0) > 1e-6).float()[:, None, None]

    def take_up(self, start: Distilled) -> None:
        """Begin with the weights of another bottleneck."""
        for mine, theirs in ((self.encoder, start.encoder), (self.decoder, start.decoder), (self.prior, start.prior)):
            mine.load_state_dict(theirs.state_dict())

    def learn_all(self) -> None:
        """The first stage."""
        parts = nn.ModuleList([self.encoder, self.decoder, self.prior])
        for pixels, features, weights in self._batches(parts, self._lesson.steps):
            latents = soften(self.encoder(pixels))
            bits = self.prior(latents).sum(1).mean()
            loss = self._distance(latents, features, weights) + self._lesson.rate_weight * bits
            loss.backward()

    def settle(self) -> None:
        """The second stage."""
        self.encoder.eval()
        for pixels, features, weights in self._batches(nn.ModuleList([self.decoder]), self._lesson.settling):
            with torch.no_grad():
                latents = self.encoder(pixels).round()
            self._distance(latents, features, weights).backward()  # type: ignore[no-untyped-call]

    def _distance(self, latents: Tensor, features: Tensor, weights: Tensor) -> Tensor:
        """The weighted mean of squared differences, each in units of its feature's variance."""
        apart: Tensor = (self.decoder(latents) - features) ** 2 / self._variance * self._speaks
        return (weights[:, None] * apart).mean() / self._speaks.mean().clamp(min=1e-6)

    def _batches(self, parts: nn.Module, steps: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Pixels, features and weights of each step, each one under a symmetry of the square."""
        lesson = self._lesson
        for at in steps_of(parts, steps, len(self._pixels), lesson, self._on_step):
            pixels, weights = symmetric((self._pixels[at], self._weights[at]))
            with torch.no_grad():
                features = self._teacher.head(pixels)
            yield pixels, features, weights


def tune(
    distilled: Distilled,
    teacher: Teacher,
    pixels: Tensor,
    labels: Tensor,
    objective: Objective,
    lesson: Lesson,
    seed: int,
    on_step: Callable[[], object] | None = None,
) -> tuple[Decoder, nn.Module]:
    """Decoder and tail after some steps of the task, on rounded latents of a frozen encoder; copies, in eval mode.

    `labels` are what the objective learns of each chip (`Objective.targets`).
    """
    decoder, tail = copy.deepcopy(distilled.decoder), copy.deepcopy(teacher.tail).requires_grad_()
    both = nn.Sequential(decoder, tail)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for at in steps_of(both, lesson.tuning, len(pixels), lesson, on_step):
            turned, wanted = symmetric((pixels[at], labels[at]))
            with torch.no_grad():
                latents = distilled.encoder(turned).round()
            objective.loss(both(latents), wanted).backward()  # type: ignore[no-untyped-call]
    return decoder.eval(), tail.eval()


def steps_of(
    parts: nn.Module, steps: int, count: int, lesson: Lesson, on_step: Callable[[], object] | None = None
) -> Iterator[Tensor]:
    """Which of `count` chips each step sees, int64; after each, what was derived by then moves the weights."""
    optimizer = torch.optim.AdamW(parts.parameters(), lesson.learning_rate, weight_decay=lesson.decay, fused=True)
    batch = min(count, lesson.batch or count)
    for step in range(steps):
        parts.train()
        for group in optimizer.param_groups:
            group["lr"] = lesson.learning_rate * (0.02 + 0.49 * (1 + math.cos(math.pi * step / steps)))
        optimizer.zero_grad()
        yield torch.randint(count, (batch,)) if batch < count else torch.arange(count)
        optimizer.step()
        if on_step:
            on_step()
    parts.eval()


def symmetric(values: Iterable[Tensor]) -> list[Tensor]:
    """Tensors (n, ..., y, x) under the same random symmetry of the square; (n,) as they are."""
    turns, flip = torch.randint(4, (2,)).tolist()

    def turn(value: Tensor) -> Tensor:
        if value.ndim == 1:
            return value
        square = value.shape[-1] == value.shape[-2]
        value = value.rot90(turns if square else turns // 2 * 2, (-2, -1))
        return value.flip(-1) if flip % 2 else value

    return [turn(value) for value in values]

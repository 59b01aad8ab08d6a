"""One teacher's bottlenecks from fine to coarse: what each takes on the link, and how well its other end does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import SelectionError
from ..masks.hard import HardGate
from ..train.fold import fold
from ..train.network import MaskedNetwork
from .container import OVERHEAD
from .distil import Distilled, Lesson, distil, tune
from .encoder import Design
from .saliency import saliency_maps
from .tables import Tables
from .teacher import Teacher
from .transfer import Transfer, seen_cells

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..chips.memory import Chips
    from ..chips.split import Split
    from ..train.step import Trained

#: Lambdas that are tried, finest first.
RATES = (0.003, 0.01, 0.03, 0.1)
#: Planes that are sent; lambda leaves those empty that say too little.
LATENTS = 6
#: How often the rows and columns of scenes are halved.
HALVINGS = 3
#: Share of the steps of every lambda but the first: it starts from the weights of the one before.
LATER = 0.4
#: Rows and columns of what is sent in one container, for what its header takes.
SIDE = 1024


@dataclass(frozen=True)
class Pupil:
    """A trained network that a bottleneck learns from, and what it learns on."""

    teacher: Teacher
    model: MaskedNetwork
    """The network, folded: it takes the `planes` of the chips."""
    planes: tuple[int, ...]
    """Channels of the chips that it takes, ascending."""
    pixels: Tensor
    """Those of the training chips, standardised, float32 (n, channels, y, x); 0 where not valid."""
    targets: Tensor
    """What is learned of them (`Objective.targets`)."""
    step: int
    """Pixels to a side that always have the same label; 1 where they do not, 0 where a chip has one."""

    @classmethod
    def of(cls, trained: Trained, chips: Chips, split: Split) -> Pupil:
        """Of a network behind a hard gate. Raises SelectionError where it cannot be cut, or chips do not fit that."""
        planes, model = fold(trained.model)
        part, objective = chips.take(split.train), model.objective
        pixels = standardised(model, part, planes)
        with torch.no_grad():
            shown = model.gate(pixels[:2])
        size = (pixels.shape[-2], pixels.shape[-1])
        teacher = Teacher.of(model.network, shown.shape[1], size)
        # What the gate passes in another order, or leaves empty, is a part of what the bottleneck stands in for.
        teacher = replace(teacher, head=nn.Sequential(model.gate, teacher.head))
        if any(side % teacher.stride for side in size):
            raise SelectionError(
                f"chips of {size[0]} x {size[1]} pixels and features of {teacher.stride} pixels to a side; take chips "
                f"of a multiple of {teacher.stride}"
            )
        targets = objective.targets(torch.from_numpy(part.labels))
        step = 0 if targets.ndim == 1 else label_step(part.labels, size)
        return cls(teacher, model, tuple(planes), pixels, targets, step)

    def design(self, latents: int = LATENTS) -> Design:
        """What suits the task: latents as coarse as labels are, each by itself; of scenes `HALVINGS`, and around."""
        halvings = HALVINGS if not self.step else self.step.bit_length() - 1
        while any(side % (1 << halvings) for side in self.pixels.shape[-2:]):
            halvings -= 1
        return Design(len(self.planes), latents, around=1 if self.step else 3, halvings=halvings)


@dataclass(frozen=True)
class Rate:
    """A bottleneck of one lambda."""

    rate_weight: float
    distilled: Distilled
    tables: Tables
    tuned: nn.Sequential
    """Decoder and tail after some steps of the task."""

    def model(self, pupil: Pupil, *, is_tuned: bool) -> MaskedNetwork:
        """Both sides behind a gate that passes the pupil's channels, in eval mode."""
        plain = nn.Sequential(self.distilled.decoder, pupil.teacher.tail)
        design, taken = self.distilled.design, pupil.model
        body = self.tuned if is_tuned else plain
        link = Transfer(self.distilled.encoder, self.tables, body, design.stride, range(design.channels))
        gate = HardGate(range(design.channels))
        return MaskedNetwork(taken.mean, taken.deviation, gate, link, taken.objective).eval()

    def symbols(self, pupil: Pupil, chips: Chips) -> tuple[np.ndarray, np.ndarray]:
        """Latents of chips, int32 (n, latents, y / stride, x / stride), and whether each was seen, bool (n, y, x)."""
        return symbols_of(self.distilled, pupil, chips, self.tables)

    def bits(self, pupil: Pupil, chips: Chips) -> np.ndarray:
        """Bits of each latent, float64 (latents,), for a pixel of some chips: what coding them takes."""
        latents, seen = self.symbols(pupil, chips)
        pairs = zip(latents, seen, strict=True)
        total = np.sum([self.tables.bits(one, there) for one, there in pairs], axis=0)
        pixels: np.ndarray = total / (len(latents) * chips.image.shape[-2] * chips.image.shape[-1])
        return pixels


def make_rates(
    pupil: Pupil,
    chips: Chips,
    split: Split,
    design: Design,
    lesson: Lesson,
    seed: int,
    rates: Sequence[float] = RATES,
    on_step: Callable[[], object] | None = None,
) -> Iterator[Rate]:
    """A bottleneck for each lambda, finest first, each starting from the one before; all share one activation map."""
    maps = saliency_maps(pupil.teacher, pupil.pixels) if lesson.saliency else None
    train, before = chips.take(split.train), None
    for number, rate in enumerate(rates):
        own = replace(lesson, rate_weight=rate, steps=lesson.steps if not number else round(LATER * lesson.steps))
        before = distil(pupil.teacher, pupil.pixels, design, own, seed, start=before, maps=maps, on_step=on_step)
        latents, seen = symbols_of(before, pupil, train)
        tables = Tables.fit(list(latents), list(seen))
        decoder, tail = tune(
            before, pupil.teacher, pupil.pixels, pupil.targets, pupil.model.objective, own, seed, on_step
        )
        yield Rate(rate, before, tables, nn.Sequential(decoder, tail))


def label_step(labels: np.ndarray, size: tuple[int, int]) -> int:
    """Pixels to a side, a power of two, that always have the same label.

    `labels` are (n, rows, columns), of chips of `size` pixels, of which each label may cover several.
    """
    covered = min(size[0] // labels.shape[1], size[1] // labels.shape[2])
    step, part = 1, labels
    while 2 * step <= covered:
        step *= 2
    while not any(side % 2 for side in part.shape[1:]):
        quarters = [part[:, row::2, col::2] for row in (0, 1) for col in (0, 1)]
        if any(not np.array_equal(quarters[0], other, equal_nan=part.dtype.kind == "f") for other in quarters[1:]):
            break
        step, part = 2 * step, quarters[0]
    return step


def feature_nbytes(bits: float, area: int) -> int:
    """Bytes of the features of so many pixels at so many bits a pixel: their code, and the headers of containers."""
    return round(bits * area / 8) + OVERHEAD * -(-area // SIDE**2)


@torch.no_grad()
def symbols_of(
    distilled: Distilled, pupil: Pupil, chips: Chips, tables: Tables | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """What a bottleneck sends of chips, as `Rate.symbols` has it; not clipped where there are no tables yet."""
    stride = distilled.design.stride
    pixels = standardised(pupil.model, chips, pupil.planes)
    latents = torch.cat([distilled.encoder(part).round() for part in torch.split(pixels, 1024)]).numpy()
    seen = seen_cells((pixels != 0).any(1, keepdim=True), stride)[:, 0].numpy()
    symbols = latents.astype(np.int32) if tables is None else tables.clip(latents)
    return symbols, seen


def standardised(model: MaskedNetwork, chips: Chips, planes: Sequence[int]) -> Tensor:
    """Channels of chips as a folded network's gate sees them, float32 (n, channels, y, x); 0 where not valid."""
    at = list(planes)
    image, valid = (torch.from_numpy(values[:, at]) for values in (chips.image, chips.valid))
    return model.standardise(image, valid)

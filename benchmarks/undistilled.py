"""A bottleneck without a teacher: encoder, decoder and network learn the task and the bits at once, from nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import nn

from geomask.bottleneck.distil import Distilled, Lesson, steps_of, symmetric
from geomask.bottleneck.encoder import Decoder, Encoder
from geomask.bottleneck.prior import FactorisedPrior, soften
from geomask.bottleneck.rates import LATER, Pupil, Rate, symbols_of
from geomask.bottleneck.tables import Tables
from geomask.chips.memory import Chips
from geomask.chips.split import Split


def learn_rates(
    pupil: Pupil,
    chips: Chips,
    split: Split,
    network: Callable[[int, int], nn.Module],
    lesson: Lesson,
    seed: int,
    rates: Sequence[float],
) -> Iterator[Rate]:
    """For each lambda, finest first and each from the one before: loss = task + lambda * bits of a place.

    The parts, their sizes and the steps are those of `make_rates`; the rest of the network is fresh, cut where the
    pupil's was. Then the encoder stays, and the others learn what rounding makes of its latents.
    """
    torch.manual_seed(seed)
    teacher, objective, design = pupil.teacher, pupil.model.objective, pupil.design()
    decoder = Decoder(design, teacher.features, teacher.stride)
    tail = teacher.cut.of(network(design.channels, objective.outputs))[1]
    encoder, prior, far = Encoder(design), FactorisedPrior(design.latents), nn.Sequential(decoder, tail)
    parts = nn.ModuleList([encoder, far, prior])
    for number, rate in enumerate(rates):
        steps = lesson.steps if not number else round(LATER * lesson.steps)
        for at in steps_of(parts, steps, len(pupil.pixels), lesson):
            pixels, wanted = symmetric((pupil.pixels[at], pupil.targets[at]))
            latents = soften(encoder(pixels))
            loss = objective.loss(far(latents), wanted) + rate * prior(latents).sum(1).mean()
            loss.backward()
        encoder.eval()
        for at in steps_of(far, lesson.settling + lesson.tuning, len(pupil.pixels), lesson):
            pixels, wanted = symmetric((pupil.pixels[at], pupil.targets[at]))
            with torch.no_grad():
                latents = encoder(pixels).round()
            objective.loss(far(latents), wanted).backward()
        yield _snapshot(pupil, chips.take(split.train), Distilled(design, encoder, decoder, prior), far, rate)


def _snapshot(pupil: Pupil, train: Chips, parts: Distilled, far: nn.Sequential, rate: float) -> Rate:
    """What was learned by now, as copies, with tables of the training chips."""
    distilled = Distilled(
        parts.design, *(copy.deepcopy(part).eval() for part in (parts.encoder, parts.decoder, parts.prior))
    )
    latents, seen = symbols_of(distilled, pupil, train)
    return Rate(rate, distilled, Tables.fit(list(latents), list(seen)), copy.deepcopy(far).eval())

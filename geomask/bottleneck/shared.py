"""One encoder for several networks: that of a run stays as it is, and another network gets a decoder of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import torch
from torch import nn

from ..errors import RunError, SelectionError
from ..masks.hard import HardGate
from ..train.step import Training
from .distil import distil, tune
from .encoder import Design
from .rates import Pupil, Rate
from .run import load_blueprint, open_run
from .transfer import Transfer, transfer_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from ..train.run import Run
    from ..train.settings import Settings
    from ..train.task import Task
    from .distil import Lesson

#: Statistics of chips that differ by less are of the same ones, summed in another order.
ALIKE = 1e-5


@dataclass(frozen=True)
class SharedEncoder:
    """The near side of a run."""

    run: Run
    link: Transfer
    design: Design

    @classmethod
    def load(cls, folder: str | Path, network: str | None = None) -> Self:
        """Of a run's folder; `network` as in `open_run`. Raises RunError where the run sends no features."""
        run = open_run(folder, network)
        link = transfer_of(run.model)
        if link is None:
            raise RunError(f"{folder} sends no features, so it has no encoder to share; name another run")
        return cls(run, link, load_blueprint(folder, run.selection).design)

    def channels(self, task: Task) -> list[int]:
        """Places in a task's selection of the channels that it sees. Raises SelectionError where one is not there."""
        ours, theirs = self.run.selection, task.selection
        at = {(theirs.slots[c.slot], theirs.bands[c.band].name): place for place, c in enumerate(theirs.channels)}
        try:
            near = [ours.channels[place] for place in self.link.near.tolist()]
            return [at[ours.slots[c.slot], ours.bands[c.band].name] for c in near]
        except KeyError as error:
            slot, band = error.args[0]
            raise SelectionError(f"the encoder sees {slot.name}/{band}, which is not there to train on") from error

    def teach(
        self,
        task: Task,
        fold: int,
        seed: int,
        settings: Settings,
        lesson: Lesson,
        on_step: Callable[[], object] | None = None,
    ) -> tuple[Pupil, Rate]:
        """Train a network on the encoder's channels, and a decoder for it. Raises SelectionError for other chips."""
        channels, split = self.channels(task), task.splits[fold]
        trained = Training(task.chips, split, HardGate(channels), settings, seed, on_step).finish()
        pupil = self._standardised_as_here(Pupil.of(trained, task.chips, split), channels)
        distilled = distil(
            pupil.teacher,
            pupil.pixels,
            self.design,
            lesson,
            seed,
            encoder=self.link.near_side.encoder,
            on_step=on_step,
        )
        decoder, tail = tune(
            distilled, pupil.teacher, pupil.pixels, pupil.targets, pupil.model.objective, lesson, seed, on_step
        )
        # Lambda is what the encoder was trained with; nobody asks it again.
        return pupil, Rate(0.0, distilled, self.link.tables, nn.Sequential(decoder, tail))

    def _standardised_as_here(self, pupil: Pupil, channels: list[int]) -> Pupil:
        """The pupil with the encoder's mean and deviation, to the bit. Raises SelectionError where they are others."""
        if list(pupil.planes) != channels:
            raise SelectionError("the encoder sees its channels in another order than they are there to train on")
        model, near = pupil.model, self.link.near
        mean, deviation = self.run.model.mean[near], self.run.model.deviation[near]
        if not (_alike(mean, model.mean) and _alike(deviation, model.deviation)):
            raise SelectionError("the encoder learned on other chips; take those, and the same --fold and --folds")
        model = type(model)(mean, deviation, model.gate, model.network, model.objective).eval()
        return replace(pupil, model=model)


def _alike(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=ALIKE)

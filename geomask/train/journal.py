"""What a run writes while it is trained: checkpoints, and a log."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .checkpoint import fingerprint_of, load_checkpoint, save_checkpoint
from .logs import Log, Row

if TYPE_CHECKING:
    from collections.abc import Callable

    from .step import Training
    from .update import Step


class Journal:
    """Follows the trainings of one run, each in its turn, and keeps them in the run's folder.

    It is passed as `on_step` to whatever trains. The same calls in the same order find what an interrupted process left
    behind and go on there, so a run that was resumed equals, to the bit, one that was not interrupted.

    ::

        RUN/checkpoints/0000.safetensors   the first training, as it was last kept
        RUN/metrics.csv                    a row every `Settings.check_every` steps, and at the end of a leg
        RUN/tensorboard/0000/              the same, where it is asked for
    """

    def __init__(
        self,
        folder: str | Path,
        on_step: Callable[[], object] | None = None,
        *,
        resume: bool = False,
        every: int = 100,
        tensorboard: bool = False,
    ) -> None:
        """`on_step` is called at each step, and at once for each that was made before; a checkpoint is kept `every` so
        many steps and at the end of each leg. Without `resume` what an earlier run left is removed at the first step.

        Raises RunError where TensorBoard is asked for and not installed.
        """
        self.folder, self.every = Path(folder), every
        self.log = Log(self.folder, tensorboard=tensorboard)
        self._on_step, self._resume, self._count = on_step, resume, 0

    def __call__(self) -> None:
        """A step was made."""
        if self._on_step:
            self._on_step()

    def enter(self, training: Training) -> Page:
        """A training begins, or goes on where its checkpoint says. Raises RunError where that is of another one."""
        if self._count == 0:
            self._begin()
        page = Page(self, self._count, fingerprint_of(training))
        self._count += 1
        if page.path.exists():
            load_checkpoint(page.path, training, page.fingerprint)
        self.log.rewind(page.number, training.step)
        for _ in range(training.step):
            self()
        return page

    def _begin(self) -> None:
        if self._resume:
            self.log.load()
            return
        for path in (self.folder / "checkpoints").glob("*.safetensors"):
            path.unlink()
        self.log.path.unlink(missing_ok=True)
        shutil.rmtree(self.log.events, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Page:
    """What a journal holds of one training."""

    journal: Journal
    number: int
    """Which of the run's trainings it is, 0-based."""
    fingerprint: str

    @property
    def path(self) -> Path:
        """Of its checkpoint."""
        return self.journal.folder / "checkpoints" / f"{self.number:04}.safetensors"

    def after(self, training: Training, step: Step, *, is_last: bool) -> None:
        """A step was made; `is_last`: the last one of a leg."""
        log = self.journal.log
        if is_last or training.step % training.settings.check_every == 0:
            log.add(_row(self.number, training, step))
        if is_last or training.step % self.journal.every == 0:
            log.save()
            save_checkpoint(self.path, training, self.fingerprint, in_leg=not is_last)
        self.journal()


def _row(number: int, training: Training, step: Step) -> Row:
    """What the log says of a step."""
    spent = training.model.gate.spent(step.choice)
    known = training.curve[-1] if training.curve else (0, 0.0)
    return Row(
        number,
        training.step,
        loss=float(step.loss.detach()),
        task=float(step.task.detach()),
        spent=None if spent is None else float(spent),
        rate=training.optimizer.param_groups[0]["lr"],
        validation=known[1] if known[0] == training.step else None,
    )

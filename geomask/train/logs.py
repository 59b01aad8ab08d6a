"""How a training went, row by row: a CSV file in the run's folder, and TensorBoard."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from ..atomic import write_text
from ..errors import RunError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One step of one training; None is an empty field."""

    training: int
    """Which of the trainings that a run took, 0-based: to find a number of channels takes several."""
    step: int
    """Updates that were made."""
    loss: float
    """What was minimised in this step."""
    task: float
    """The part of it that is the task's, without what the gate is fined."""
    spent: float | None
    """Share of all bytes that the gate chose in this step, 0..1; None for a gate that knows no prices."""
    rate: float
    """Learning rate."""
    validation: float | None
    """Score on the validation chips; None as long as the gate is not hard."""


COLUMNS = [field.name for field in fields(Row)]


class Log:
    """``metrics.csv`` of a folder, and event files of TensorBoard below ``tensorboard/`` where they are asked for."""

    def __init__(self, folder: Path, *, tensorboard: bool = False) -> None:
        """Nothing is written yet. Raises RunError where TensorBoard is asked for and not installed."""
        self.path = folder / "metrics.csv"
        self.events = folder / "tensorboard"
        self._make_writer = load_tensorboard() if tensorboard else None
        self._writers: dict[int, Any] = {}
        self._rows: list[dict[str, str]] = []

    def load(self) -> None:
        """Go on with the rows that are in the file. Raises RunError where it is none of `save`."""
        self._rows = _read(self.path)

    def rewind(self, training: int, step: int) -> None:
        """Drop what was noted of a training after a step: it is made again."""
        self._rows = [row for row in self._rows if int(row["training"]) != training or int(row["step"]) <= step]

    def add(self, row: Row) -> None:
        """Keep a row; the file has it after `save`."""
        self._rows.append({name: "" if value is None else repr(value) for name, value in asdict(row).items()})
        if self._make_writer:
            if row.training not in self._writers:
                folder = str(self.events / f"{row.training:04}")
                self._writers[row.training] = self._make_writer(folder, purge_step=row.step)
            for name in COLUMNS[2:]:
                if (value := getattr(row, name)) is not None:
                    self._writers[row.training].add_scalar(name, value, row.step)

    def save(self) -> None:
        """Write the file, whole or not at all."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_text(self.path, text.getvalue())
        for events in self._writers.values():
            events.flush()


def load_tensorboard() -> Any:
    """torch's SummaryWriter. Raises RunError where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise RunError(f"no TensorBoard here ({error}): pip install 'geomask[tensorboard]'") from error
    return SummaryWriter


def _read(path: Path) -> list[dict[str, str]]:
    """The rows of a file that `save` wrote; none where there is none. Raises RunError where it is another."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    if reader.fieldnames != COLUMNS:
        raise RunError(f"{path} has other columns than {', '.join(COLUMNS)}; train without --resume")
    return rows

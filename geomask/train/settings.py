"""How a network is trained: all of it, as plain values that a run's record holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from ..errors import SelectionError

type TaskName = Literal["segmentation", "classification", "regression", "chip-regression"]
TASKS: tuple[TaskName, ...] = get_args(TaskName.__value__)

Precision = Literal["full", "bf16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True, slots=True)
class Settings:
    """How a network is trained; docs/demo.md says what the values were chosen by, docs/training.md what they do."""

    steps: int = 500
    """Updates, each on all training chips or on a batch of them."""
    select_share: float = 0.75
    """Share of the steps after which the gate is frozen and the network tuned."""
    width: int = 32
    """Features of the small network."""
    dropout: float = 0.4
    """Of the small network."""
    rate: float = 3e-3
    """Learning rate of the network's weights."""
    selector_rate: float = 0.1
    """Learning rate of the gate's parameters."""
    decay: float = 1e-2
    """Weight decay of the network; the gate has none."""
    smoothing: float = 0.05
    """Label smoothing."""
    check_every: int = 25
    """Steps between scores on the validation chips, and between rows of the log."""
    task: TaskName = "segmentation"
    """What is learned: classes of pixels, classes of chips, values of pixels or values of chips."""
    network: str = "small"
    """Its name (`make_network`)."""
    batch: int | None = None
    """Training chips in a step; None: all of them."""
    class_weights: tuple[float, ...] | Literal["balanced"] | None = None
    """What a label of each class counts in the loss; balanced: classes count alike, however frequent."""
    precision: Precision = "full"
    """bf16: the network computes in bfloat16 while it is trained; weights, gates and scores stay in float32."""
    channels_last: bool = True
    """The network's weights lie with their channels last: docs/benchmarks/step.md has what that saves."""
    compile: bool = False
    """The network is compiled by torch while it is trained."""
    freeze_network: bool = False
    """Only the gate learns; the network stays what `warm_start` holds, statistics of its batch norms included."""
    warm_start: str | None = None
    """A run's folder: the network starts from its weights."""
    device: str = "auto"
    """Where it is trained, as torch names it; auto: a GPU if there is one."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense. Raises SelectionError."""
        if not isinstance(self.class_weights, str | None):  # JSON has no tuples
            object.__setattr__(self, "class_weights", tuple(float(weight) for weight in self.class_weights))
        for name, value, known in (("task", self.task, TASKS), ("precision", self.precision, PRECISIONS)):
            if value not in known:
                raise SelectionError(f"no {name} {value!r}; choose one of {', '.join(known)}")
        if min(self.steps, self.check_every) < 1 or (self.batch is not None and self.batch < 1):
            raise SelectionError(f"{self.steps} steps, a check every {self.check_every}, {self.batch} chips; 1 or more")
        if self.class_weights is not None and not self.has_classes:
            raise SelectionError("class weights are of classes; a regression has none")

    @property
    def turn(self) -> int:
        """The step at which the gate is frozen: the last one where the network does not learn."""
        return self.steps if self.freeze_network else round(self.select_share * self.steps)

    @property
    def has_classes(self) -> bool:
        """Whether labels are classes, not values."""
        return self.task in ("segmentation", "classification")

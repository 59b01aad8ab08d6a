"""What a network learns to say, how wrong it is, and how well it says it: classes or values, of pixels or chips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..chips.labels import IGNORE, known
from ..errors import SelectionError

if TYPE_CHECKING:
    from .settings import Settings, TaskName


@dataclass(frozen=True, slots=True)
class Objective:
    """Loss, decision and score of a task.

    ================= =========================== ================================ =================================
    task              labels                      loss                             score
    ================= =========================== ================================ =================================
    segmentation      class of each pixel         cross-entropy, mean over pixels  share of pixels that are right
    classification    class of each chip          cross-entropy, mean over chips   share of chips that are right
    regression        value of each pixel         squared error over variance      R2 over pixels
    chip-regression   value of each chip          squared error over variance      R2 over chips
    ================= =========================== ================================ =================================

    R2 = 1 - sum (y - said)^2 / sum (y - mean y)^2, y what is scored: 1 is perfect, 0 is no better than their mean, and
    below 0 is worse. A chip's class is the most frequent one of its pixels (the lowest of several), its value their
    mean. Labels that are not there (-1; NaN) count nowhere.
    """

    task: TaskName = "segmentation"
    outputs: int = 0
    """Channels of the network's output: classes, or 1 for a value. 0: as many as it has."""
    weights: tuple[float, ...] | None = None
    """What a label of each class counts in the loss."""
    smoothing: float = 0.0
    """Share of the loss that is the same for all classes (label smoothing)."""
    centre: float = 0.0
    """Of values: their mean. The network says (value - centre) / spread."""
    spread: float = 1.0
    """Of values: their standard deviation."""

    @classmethod
    def of(cls, settings: Settings, labels: np.ndarray, classes: int) -> Self:
        """For the labels of the training chips, (chips, rows, columns) or (chips,).

        Raises SelectionError where labels are not what the task needs, or there are not as many weights as classes.
        """
        values = labels.dtype.kind == "f"
        if settings.has_classes == values:
            raise SelectionError(
                f"{settings.task} learns {'classes' if settings.has_classes else 'values'}, and labels are "
                f"{'values' if values else 'classes'}; choose another task, or read the labels for it"
            )
        if values:
            targets = cls(settings.task).targets(torch.from_numpy(labels)).double()
            seen = targets[~targets.isnan()]
            spread = float(seen.std(correction=0)) if len(seen) else 0.0
            return cls(settings.task, 1, centre=float(seen.mean()) if len(seen) else 0.0, spread=spread or 1.0)
        weights = settings.class_weights
        if weights == "balanced":
            weights = balanced_weights(cls(settings.task).targets(torch.from_numpy(labels)).numpy(), classes)
        if weights is not None and len(weights) != classes:
            raise SelectionError(f"{len(weights)} class weights for {classes} classes; give one for each")
        return cls(settings.task, classes, weights, settings.smoothing)

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Self:
        """Of JSON. Raises TypeError where it is something else."""
        weights = document.get("weights")
        return cls(**{**document, "weights": None if weights is None else tuple(weights)})

    @property
    def of_chips(self) -> bool:
        """Whether there is one label a chip."""
        return self.task in ("classification", "chip-regression")

    @property
    def has_classes(self) -> bool:
        """Whether labels are classes, not values."""
        return self.task in ("segmentation", "classification")

    def targets(self, labels: Tensor) -> Tensor:
        """What is learned of labels (n, rows, columns): those, or (n,) of chips. Labels (n,) are of chips already.

        Raises SelectionError where pixels are to be learned, and labels are of chips.
        """
        if not self.of_chips:
            if labels.ndim == 1:
                raise SelectionError(f"{self.task} learns each pixel, and there is one label a chip; train it by chips")
            return labels
        if labels.ndim == 1:
            return labels
        flat = labels.flatten(1)
        if not self.has_classes:
            return flat.nanmean(1)
        if not (flat != IGNORE).any():
            return flat.new_full((len(flat),), IGNORE)
        counts = functional.one_hot(flat + 1).sum(1)[:, 1:]  # IGNORE is -1
        return torch.where(counts.sum(1) > 0, counts.argmax(1), IGNORE)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """A scalar: the mean over what is known, 0 where nothing is; `outputs` are float32 (n, outputs[, y, x])."""
        outputs = self._fit(outputs)
        there = targets != IGNORE if self.has_classes else ~targets.isnan()
        if not there.any():
            return outputs.sum() * 0.0  # a mean over nothing is NaN, and would end the training
        if not self.has_classes:
            wanted = (targets - self.centre) / self.spread
            return functional.mse_loss(outputs[:, 0][there], wanted[there])
        weights = None if self.weights is None else outputs.new_tensor(self.weights)
        return functional.cross_entropy(outputs, targets, weights, ignore_index=IGNORE, label_smoothing=self.smoothing)

    def decide(self, outputs: Tensor) -> Tensor:
        """Classes, int64, or values, float32, (n, y, x) or (n,), of a network's outputs."""
        outputs = self._fit(outputs)
        return outputs.argmax(1) if self.has_classes else outputs[:, 0] * self.spread + self.centre

    def score(self, said: np.ndarray, labels: np.ndarray) -> float:
        """A fraction, see above, of what `decide` said; NaN where no label is known, or values do not vary."""
        wanted = self.targets(torch.from_numpy(labels)).numpy()
        there = known(wanted)
        if self.has_classes:
            return float((said == wanted)[there].mean()) if there.any() else float("nan")
        true, guess = wanted[there].astype(np.float64), said[there].astype(np.float64)
        around = float(((true - true.mean()) ** 2).sum()) if there.any() else 0.0
        return 1.0 - float(((true - guess) ** 2).sum()) / around if around > 0 else float("nan")

    def naive_score(self, train: np.ndarray, test: np.ndarray) -> float:
        """The score on `test` of always saying the most frequent class, or the mean, of the labels `train`."""
        wanted = self.targets(torch.from_numpy(train)).numpy()
        seen, asked = wanted[known(wanted)], self.targets(torch.from_numpy(test)).numpy()
        said = np.bincount(seen).argmax() if self.has_classes else seen.astype(np.float64).mean()
        return self.score(np.full(asked.shape, said), test)

    def _fit(self, outputs: Tensor) -> Tensor:
        """The outputs of chips (n, outputs) where chips are asked for: of a network of pixels their mean over all.

        Raises SelectionError where the network says one thing a chip and pixels are asked for.
        """
        if self.of_chips:
            return outputs.mean((2, 3)) if outputs.ndim == 4 else outputs
        if outputs.ndim != 4:
            raise SelectionError(f"{self.task} needs a network of pixels, and this one gives {tuple(outputs.shape)}")
        return outputs


def balanced_weights(labels: np.ndarray, classes: int) -> tuple[float, ...]:
    """n / (k n_c) for class c of k that are there, n_c of n labels; 1 for one that is not.

    With them each class adds the same to the loss.
    """
    counts = np.bincount(labels[known(labels)], minlength=classes)
    there = max(1, int((counts > 0).sum()))
    return tuple(float(counts.sum() / (there * count)) if count else 1.0 for count in counts)

"""The step of `Training` as a module for Lightning's Trainer: many GPUs, chips that do not fit into memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningModule

from .batches import turned
from .score import predict
from .step import Trained
from .update import make_optimizer, set_schedule, set_train_mode, take_step

if TYPE_CHECKING:
    from torch import Tensor

    from ..chips.sample import Sample
    from .network import MaskedNetwork
    from .settings import Settings


class MaskedModule(LightningModule):
    """Trains a masked network on samples of a `StacDataset` or a `ChipStore`, stacked: image, valid and mask.

    ::

        module = MaskedModule(make_model(some_chips, gate, settings), settings)
        Trainer(max_steps=settings.steps).fit(module, train_loader, validation_loader)
        save_run(folder, module.trained(), selection, record)

    Steps, learning rates, annealing and the turn are those of `settings`; batches, precision, devices and random
    numbers are the Trainer's. It logs loss, task, spent and rate at each step, and validation: the score over all
    validation samples. A Trainer's own checkpoints are pickled; `save_run` writes tensors.
    """

    def __init__(self, model: MaskedNetwork, settings: Settings) -> None:
        """`model` is trained in place (`make_model`)."""
        super().__init__()
        self.model, self.settings = model, settings
        self._curve: list[tuple[int, float]] = []
        self._said: list[Tensor] = []
        self._labels: list[Tensor] = []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW as `Training` has it."""
        return make_optimizer(self.model, self.settings)

    def on_train_batch_start(self, batch: Sample, batch_idx: int) -> None:
        """Freeze the gate at the turn, and follow the schedule."""
        gate = self.model.gate
        if self.global_step >= self.settings.turn and not gate.is_hard:
            self.model.gate = gate.cpu().freeze().to(self.device)
        optimizer: Any = self.optimizers()
        set_schedule(self.model, optimizer, self.settings, self.global_step)
        set_train_mode(self.model, self.settings)

    def training_step(self, batch: Sample, batch_idx: int) -> Tensor:
        """The loss of one batch."""
        pixels = self.model.standardise(batch["image"], batch["valid"])
        labels = self.model.objective.targets(batch["mask"])
        step = take_step(self.model, *turned(pixels, labels, self.model.gate))
        spent = self.model.gate.spent(step.choice)
        optimizer: Any = self.optimizers()
        said = {"loss": step.loss.detach(), "task": step.task.detach(), "rate": optimizer.param_groups[0]["lr"]}
        self.log_dict(said if spent is None else {**said, "spent": spent})
        return step.loss

    def validation_step(self, batch: Sample, batch_idx: int) -> None:
        """What the network says of one batch."""
        self._said.append(predict(self.model, batch["image"], batch["valid"]))
        self._labels.append(self.model.objective.targets(batch["mask"]).cpu())

    def on_validation_epoch_end(self) -> None:
        """The score over all batches."""
        said, labels = torch.cat(self._said), torch.cat(self._labels)
        self._said.clear()
        self._labels.clear()
        value = self.model.objective.score(said.numpy(), labels.numpy())
        self.log("validation", value, sync_dist=True)
        if self.model.gate.is_hard and not self.trainer.sanity_checking:
            self._curve.append((self.global_step, value))

    def trained(self) -> Trained:
        """What came of it, for `save_run`. A gate that is not hard yet is frozen."""
        self.model.gate = self.model.gate.cpu().freeze()
        model = self.model.eval().cpu().to(memory_format=torch.contiguous_format)
        return Trained(model, tuple(self._curve))

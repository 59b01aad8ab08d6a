"""The published training, as the paper has it: `oehmcke2022`.

Oehmcke & Gieseke, "Input Selection for Bandwidth-Limited Neural Network Inference" (SDM 2022): a network and its masks
are trained at once for the task's loss + lambda Q, and lambda rises as long as Q does not fall.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import SelectionError
from ..masks.mask import UnitMask
from .ladder import Ladder
from .shares import Checkpoints

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..masks.mask import Mask
    from .objective import Objective


@dataclass(frozen=True, slots=True)
class Recipe:
    """The parameters of the published training."""

    epochs: int
    fine: float
    """Lambda at the start."""
    factor: float
    """What lambda is multiplied by."""
    patience: int
    """Epochs without a drop of Q that lambda waits for."""
    mask_rate: float
    """Learning rate of the masks' scores."""
    rate: float = 1e-3
    """Learning rate of the network."""
    batch: int = 128
    """Samples of a step."""
    passes: float = 1.0
    """Times that an epoch goes over the training samples."""
    threshold: float = 0.0025
    """By how much Q has to fall to count as a drop."""
    interval: float = 0.05
    """The best network is kept for each such interval of Q."""
    hot: float = 1.0
    """Temperature of the choices at the start, and whenever lambda has risen."""
    cold: float = 1.0
    """The lowest temperature."""
    cooling: float = 1.0
    """What the temperature is multiplied by, once an epoch."""

    def __post_init__(self) -> None:
        """Refuse what does not end, or does not learn."""
        positive = (
            self.epochs,
            self.fine,
            self.mask_rate,
            self.rate,
            self.batch,
            self.passes,
            self.interval,
            self.cold,
        )
        if min(positive) <= 0 or self.factor < 1 or self.patience < 0 or self.threshold < 0:
            raise SelectionError(f"{self}: all have to be above 0, factor 1 or more; patience and threshold may be 0")
        if self.hot < self.cold or (self.hot > self.cold and not 0 < self.cooling < 1):
            raise SelectionError(f"a temperature from {self.hot} to {self.cold} by {self.cooling}: cool by a factor")

    def hastened(self, times: float) -> Recipe:
        """As many epochs over 1 / `times` of the samples each, the masks learning `times` as fast.

        Then lambda, which rises by epochs, and the masks' scores get as far in 1 / `times` of the steps.
        """
        return replace(self, passes=self.passes / times, mask_rate=self.mask_rate * times)


#: The paper's tables (and its code's settings), by granularity and data set. None of them rescales by default, also
#: those that the paper did: a batch norm does it anyway. The first of a granularity stands for it.
OEHMCKE2022: dict[str, Recipe] = {
    "pixel": Recipe(400, fine=5e-4, factor=1.5, patience=5, mask_rate=5e-4),  # MNIST, static and dynamic (linear)
    "pixel/cifar10": Recipe(300, fine=1.0, factor=1.05, patience=5, mask_rate=1e-3),
    "pixel/galaxy10": Recipe(300, fine=1.0, factor=1.5, patience=2, mask_rate=1e-3),
    "channel": Recipe(300, fine=0.15, factor=1.25, patience=10, mask_rate=1e-3),  # remote sensing
    "channel/cifar10": Recipe(300, fine=1.0, factor=1.25, patience=5, mask_rate=1e-3),
    "xor": Recipe(300, fine=1.0, factor=1.25, patience=10, mask_rate=1e-4),  # CIFAR-10, JPEG 90 70 50 30 10
    "xor+subpixel": Recipe(300, fine=1.0, factor=1.25, patience=10, mask_rate=1e-4),  # SVHN; *any* starts at .5
    "subblock": Recipe(300, fine=0.125, factor=1.25, patience=5, mask_rate=1e-3),  # SVHN, 12 x 12 blocks
    "subblock/dynamic": Recipe(400, fine=0.025, factor=1.15, patience=9, mask_rate=5e-4, batch=256),  # ships, convatt
}


class Samples(NamedTuple):
    """What is trained or scored on."""

    image: Tensor
    """Float32 (samples, [versions, ...,] channels, rows, columns), standardised."""
    labels: Tensor
    """Int64 (samples,) or (samples, rows, columns); -1 where there is none."""


def train_oehmcke2022(
    mask: Mask,
    network: nn.Module,
    train: Samples,
    validation: Samples,
    recipe: Recipe,
    seed: int,
    objective: Objective,
    *,
    budgets: Sequence[float] = (),
    until: float = 0.0,
    measure: Callable[[Mask], float] | None = None,
    augment: Callable[[Samples], Samples] | None = None,
    on_epoch: Callable[[int, float, float, float], object] | None = None,
) -> Checkpoints:
    """Train a mask and its network, both in place, and return the best by validation score for each 0.05 of Q.

    The loss is that of the task + lambda Q (`Mask.share`). Both learn by AdamW (amsgrad, betas .5 and .999). At the
    end of each epoch `Ladder` sets lambda and the temperature. `network` may be trained already (a warm start). The
    checkpoints' intervals are cut at `budgets`, shares of the dense input, too. The training ends early where Q is at
    most `until`. `measure` tells what a mask keeps where that is not Q on the validation samples. `augment` changes
    each batch. `on_epoch` is called with (epoch, lambda, Q, score).
    """
    training = _Training(mask, network, train, recipe, objective, augment)
    kept_best, ladder = Checkpoints(recipe.interval, budgets), Ladder(recipe)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for epoch in range(recipe.epochs):
            _set(mask, ladder.fine, ladder.temperature)
            training.run_epoch()
            share, score = rate(mask, network, validation, objective)
            kept_best.offer(share if measure is None else measure(mask), score, epoch, mask, network)
            if on_epoch:
                on_epoch(epoch, ladder.fine, share, score)
            if share <= until:
                break
            ladder.step(share)
    return kept_best


class _Training:
    """The two optimizers, and the order of the samples."""

    def __init__(
        self,
        mask: Mask,
        network: nn.Module,
        train: Samples,
        recipe: Recipe,
        objective: Objective,
        augment: Callable[[Samples], Samples] | None,
    ) -> None:
        self._mask, self._network, self._train = mask, network, train
        self._objective, self._augment = objective, augment
        self._batch = min(recipe.batch, len(train.image))
        self._steps = max(1, round(recipe.passes * len(train.image) / self._batch))
        self._order = torch.empty(0, dtype=torch.int64)
        self._optimizers = [_adamw(network, recipe.rate, 1e-4)]
        if any(True for _ in mask.parameters()):  # a ranking has none
            self._optimizers.append(_adamw(mask, recipe.mask_rate, 1e-7))

    def run_epoch(self) -> None:
        self._mask.train()
        self._network.train()
        for _ in range(self._steps):
            image, labels = self._next()
            choice = self._mask.draw(image)
            logits = self._network(self._mask.apply_choice(image, choice))
            fined = self._objective.loss(logits, self._objective.targets(labels)) + self._mask.penalty(choice)
            for optimizer in self._optimizers:
                optimizer.zero_grad()
            fined.backward()  # type: ignore[no-untyped-call]
            for optimizer in self._optimizers:
                optimizer.step()

    def _next(self) -> Samples:
        """A batch; an epoch that is no whole pass goes on where the last one stopped."""
        if len(self._order) < self._batch:
            self._order = torch.randperm(len(self._train.image))
        at, self._order = self._order[: self._batch], self._order[self._batch :]
        batch = Samples(self._train.image[at], self._train.labels[at])
        return batch if self._augment is None else self._augment(batch)


def _adamw(module: nn.Module, rate: float, decay: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        module.parameters(), rate, betas=(0.5, 0.999), weight_decay=decay, amsgrad=True, fused=True
    )


def _set(mask: Mask, fine: float, temperature: float) -> None:
    """Lambda of the mask, and the temperature of all that it is made of."""
    mask.fine = fine
    for part in mask.modules():
        if isinstance(part, UnitMask):
            part.temperature = temperature


@torch.no_grad()
def rate(
    mask: Mask, network: nn.Module, samples: Samples, objective: Objective, batch: int = 1000
) -> tuple[float, float]:
    """(Q, score) in eval mode: the mean share that passes, and the objective's score of what the network says."""
    mask.eval()
    network.eval()
    kept, said = 0.0, []
    for image in torch.split(samples.image, batch):
        choice = mask.draw(image)
        said.append(objective.decide(network(mask.apply_choice(image, choice))))
        kept += float(mask.share(choice)) * len(image)
    return kept / len(samples.image), objective.score(torch.cat(said).numpy(), samples.labels.numpy())

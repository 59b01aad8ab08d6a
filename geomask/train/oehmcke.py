"""The published training as a method among others: channels within a budget of bytes."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from ..errors import SelectionError
from ..masks.any import AnyMask
from ..masks.grain import Grain
from .batches import turned
from .network import MaskedNetwork, channel_statistics
from .networks import make_network
from .objective import Objective
from .recipe import OEHMCKE2022, Recipe, Samples, train_oehmcke2022
from .step import Trained

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..chips.split import Split
    from ..chips.store import Chips
    from ..masks.mask import Mask
    from ..plan.cost import Cost
    from .networks import Factory
    from .settings import Settings
    from .shares import Checkpoint

#: Updates of this method for one of another's: lambda takes its time to get to small budgets.
LONGER = 4
#: An epoch here has so many times fewer updates than the paper's had, so its masks learn as much faster.
FASTER = 10


def train_channels(
    chips: Chips,
    split: Split,
    cost: Cost,
    budget: int,
    settings: Settings,
    seed: int,
    on_step: Callable[[], object] | None = None,
    recipe: Recipe | None = None,
) -> Trained:
    """Train a network and a mask of channels by `oehmcke2022`: the best validation score within `budget` bytes.

    As `train_channel_curve`. Raises SelectionError where the training never came within the budget.
    """
    trained = train_channel_curve(chips, split, cost, [budget], settings, seed, on_step, recipe)[budget]
    if trained is None:
        raise SelectionError(f"oehmcke2022 never came within {budget:,} bytes; give it more epochs, or more bytes")
    return trained


def train_channel_curve(
    chips: Chips,
    split: Split,
    cost: Cost,
    budgets: Sequence[int],
    settings: Settings,
    seed: int,
    on_step: Callable[[], object] | None = None,
    recipe: Recipe | None = None,
    network: Factory | None = None,
) -> dict[int, Trained | None]:
    """The best validation score of one training within each of `budgets` bytes; None where it never came within.

    As published, lambda is on the share of channels, whatever each costs, and the network is as it was trained under
    the changing mask. `recipe` is that for channels unless given, over `LONGER` times `settings.steps` updates;
    `on_step` is called at the end of each epoch; `network` makes a network in place of the one that the settings name.
    """
    part, held = chips.take(split.train), chips.take(split.validation)
    objective = Objective.of(settings, part.labels, part.classes)
    mean, deviation = channel_statistics(part.image, part.valid)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mask = AnyMask(Grain(tuple(range(part.image.shape[1]))))
        made = network or settings.network
        trunk = make_network(made, mask.heads, objective.outputs, settings.width, settings.dropout)
    model = MaskedNetwork(mean, deviation, mask, trunk, objective)

    def samples(chips: Chips) -> Samples:
        pixels = model.standardise(torch.from_numpy(chips.image), torch.from_numpy(chips.valid))
        return Samples(pixels, torch.from_numpy(chips.labels))

    found = train_oehmcke2022(
        mask,
        trunk,
        samples(part),
        samples(held),
        recipe or _paced(settings, len(part)),
        seed,
        objective,
        budgets=[budget / max(1, cost.dense) for budget in budgets],
        measure=lambda mask: cost.total(_kept(mask)) / max(1, cost.dense),
        augment=lambda batch: Samples(*turned(*batch, mask)),
        on_epoch=None if on_step is None else lambda *told: on_step(),
    )
    return {budget: _trained(model, mask, found.within(budget / max(1, cost.dense))) for budget in budgets}


def _trained(model: MaskedNetwork, mask: Mask, checkpoint: Checkpoint | None) -> Trained | None:
    """A network of its own, as it was at a checkpoint."""
    if checkpoint is None:
        return None
    checkpoint.restore(mask, model.network)
    kept = copy.deepcopy(model).eval()
    kept.gate = mask.freeze()
    return Trained(kept, (), checkpoint.score)


def _paced(settings: Settings, count: int) -> Recipe:
    """The recipe for channels, over so many updates on `count` chips."""
    recipe = replace(OEHMCKE2022["channel"], batch=settings.batch or count).hastened(FASTER)
    updates = LONGER * settings.steps / recipe.epochs  # of an epoch
    return replace(recipe, passes=updates * min(recipe.batch, count) / count)


def _kept(mask: Mask) -> list[int]:
    """The channels that a static mask passes."""
    passed: list[int] = mask.decide().choice.flatten().nonzero().flatten().tolist()
    return passed

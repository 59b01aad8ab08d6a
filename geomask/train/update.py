"""One update of a masked network: what the plain loop and Lightning share."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ..errors import SelectionError
from .entry import entry_factors, find_entry
from .network import MaskedNetwork, channel_statistics
from .networks import make_network
from .objective import Objective
from .schedule import learning_rate
from .weights import load_weights, put_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..chips.store import Chips
    from ..masks.gate import Choice, Gate
    from .networks import Factory
    from .settings import Settings


class Step(NamedTuple):
    """What one step came to, before its gradients."""

    loss: Tensor
    """What is minimised: the task's loss and what the choice is fined."""
    task: Tensor
    """The task's loss."""
    choice: Choice


def take_step(
    model: MaskedNetwork,
    pixels: Tensor,
    labels: Tensor,
    bf16: bool = False,
    network: Callable[[Tensor], Tensor] | None = None,
) -> Step:
    """The loss of a network on standardised pixels, float32 (n, [versions,] channels, y, x), and what is learned.

    With `bf16` the network computes in bfloat16; gate and loss stay in float32. `network` is called in place of the
    model's own, such as a compiled one of the same weights.
    """
    choice = model.gate.draw(pixels)
    call = model.network if network is None else network  # a compiled one has no truth value
    size = (pixels.shape[-2], pixels.shape[-1])
    factors = entry_factors(model.gate, choice, size) if model.entry else None
    with torch.autocast(pixels.device.type, torch.bfloat16, enabled=bf16):
        if model.entry and factors is not None:
            with model.entry.masked(factors):
                outputs = call(pixels)
        else:
            outputs = call(model.gate.apply_choice(pixels, choice))
    task = model.objective.loss(outputs.float(), labels)
    return Step(task + model.gate.penalty(choice), task, choice)


def set_schedule(model: MaskedNetwork, optimizer: torch.optim.Optimizer, settings: Settings, step: int) -> None:
    """Learning rates and the gate's annealing at `step`, 0-based."""
    for group in optimizer.param_groups:
        group["lr"] = group["full_rate"] * learning_rate(step, settings.steps, settings.turn)
    model.gate.anneal(step / max(1, settings.turn - 1))


def set_train_mode(model: MaskedNetwork, settings: Settings) -> None:
    """Put the model in training mode: of a frozen network neither dropout nor batch norms."""
    model.train()
    if settings.freeze_network:
        model.network.eval()


def make_optimizer(model: MaskedNetwork, settings: Settings) -> torch.optim.Optimizer:
    """AdamW, with a group of its own for what the gate learns."""
    network = {"params": list(model.network.parameters()), "full_rate": settings.rate, "weight_decay": settings.decay}
    gate = {"params": list(model.gate.parameters()), "full_rate": settings.selector_rate, "weight_decay": 0.0}
    groups = [gate] if settings.freeze_network else [network, gate]
    return torch.optim.AdamW([group for group in groups if group["params"]] or [network], fused=True)


def make_model(
    chips: Chips,
    gate: Gate,
    settings: Settings,
    make: Factory | None = None,
    start: Mapping[str, Tensor] | None = None,
) -> MaskedNetwork:
    """A network behind a gate, with the statistics of some chips: those that it is trained on, or enough of them.

    Raises as `Training` does.
    """
    mean, deviation = channel_statistics(chips.image, chips.valid)
    objective = Objective.of(settings, chips.labels, chips.classes)
    network = make_network(make or settings.network, gate.heads, objective.outputs, settings.width, settings.dropout)
    if settings.channels_last:
        network = network.to(memory_format=torch.channels_last)
    if start is None and settings.warm_start is not None:
        start = load_weights(settings.warm_start)
    if start is not None:
        put_weights(network, start)
    if settings.freeze_network:
        if start is None:
            raise SelectionError("a network that stays frozen has to be trained before: name the run to start from")
        network.requires_grad_(requires_grad=False)
    model = MaskedNetwork(mean, deviation, gate, network, objective)
    if chips.image.ndim == 4 and not settings.compile:
        model.entry = find_entry(network, gate, (chips.image.shape[-2], chips.image.shape[-1]))
    return model


def find_device(settings: Settings) -> torch.device:
    """Where to train. Raises SelectionError for a device that torch does not know."""
    if settings.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(settings.device)
    except RuntimeError as error:
        raise SelectionError(f"no device {settings.device!r}; name one as torch does: cpu, cuda or cuda:1") from error

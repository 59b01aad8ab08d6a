"""How a network is trained: the options of ``geomask train`` that are about it, and what they make."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from geomask.train.journal import Journal
    from geomask.train.settings import Settings

OPTIONS = (
    click.option(
        "--task",
        default="segmentation",
        show_default=True,
        type=click.Choice(["segmentation", "classification", "regression", "chip-regression"]),
        help="Classes of pixels or of chips, values of pixels or of chips.",
    ),
    click.option(
        "--network",
        default="small",
        show_default=True,
        metavar="NAME",
        help="small, smp:unet-resnet18, timm:resnet18, torchgeo:fcn, or MODULE:FUNCTION of your own code.",
    ),
    click.option("--steps", default=500, show_default=True, type=click.IntRange(1), help="Updates of the network."),
    click.option("--batch", type=click.IntRange(1), help="Chips in a step; all of them otherwise."),
    click.option("--class-weights", metavar="W,W,...", help="One for each class, or balanced."),
    click.option("--ignore-index", type=click.IntRange(0), help="A class of the labels that is left out."),
    click.option("--precision", default="full", show_default=True, type=click.Choice(["full", "bf16"])),
    click.option("--compile", "compiled", is_flag=True, help="Compile the network with torch: faster after a minute."),
    click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1; auto: a GPU if there is one."),
    click.option("--warm-start", type=click.Path(path_type=Path), metavar="RUN", help="Start from a run's weights."),
    click.option("--freeze-network", is_flag=True, help="Learn only the choice; the network stays --warm-start's."),
    click.option("--resume", is_flag=True, help="Go on where the same command was interrupted."),
    click.option("--checkpoint-every", default=100, show_default=True, type=click.IntRange(1), metavar="STEPS"),
    click.option("--tensorboard", is_flag=True, help="Write event files into the run's folder too."),
)


def training_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options; it passes them on to `take_training`."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def take_training(options: dict[str, Any], out: Path) -> tuple[Settings, Callable[[Callable[[], object]], Journal]]:
    """Settings, and a function that makes the journal of a run in `out` around a bar. Takes its options out.

    Raises what can be wrong before anything is read.
    """
    from geomask.train.journal import Journal
    from geomask.train.logs import load_tensorboard
    from geomask.train.settings import Settings
    from geomask.train.update import find_device
    from geomask.train.weights import load_weights

    weights, warm_start, compiled = (options.pop(name) for name in ("class_weights", "warm_start", "compiled"))
    names = ("task", "network", "steps", "batch", "precision", "device", "freeze_network")
    given = {name: options.pop(name) for name in names}
    if given["freeze_network"] and warm_start is None:
        raise click.UsageError("--freeze-network keeps a network that was trained; name its run with --warm-start")
    if weights is not None and not given["task"].endswith(("segmentation", "classification")):
        raise click.UsageError(f"--class-weights are of classes, and --task {given['task']} has none")
    if options.get("cuts") and given["task"].endswith("regression"):
        raise click.UsageError(f"--cuts make classes, and --task {given['task']} learns values; leave them out")
    settings = Settings(
        class_weights=_weights(weights),
        warm_start=None if warm_start is None else str(warm_start),
        compile=compiled,
        **given,
    )
    _check_network(settings.network)
    find_device(settings)
    if warm_start is not None:
        load_weights(warm_start)
    resume, every, tensorboard = (options.pop(name) for name in ("resume", "checkpoint_every", "tensorboard"))
    if tensorboard:
        load_tensorboard()
    return settings, lambda bar: Journal(out, bar, resume=resume, every=every, tensorboard=tensorboard)


def _check_network(name: str) -> None:
    """A usage error where there is none of that name; the user's own code is loaded, and not called yet."""
    from geomask.errors import SelectionError
    from geomask.train.networks import is_own, load_factory, make_network, without_weights

    try:
        if is_own(name):
            load_factory(name)
        elif name != "small":
            make_network(without_weights(name), channels=3, outputs=2)  # weights are downloaded once, later
    except SelectionError as error:
        raise click.BadParameter(str(error), param_hint="--network") from error


def _weights(text: str | None) -> Any:
    """Of ``1,2.5`` or ``balanced``."""
    if text is None or text == "balanced":
        return text
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if not values or not all(0 <= value < float("inf") for value in values):
        said = f"'balanced', or numbers from 0 with commas between, not {text!r}"
        raise click.BadParameter(said, param_hint="--class-weights")
    return values

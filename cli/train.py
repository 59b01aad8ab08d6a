"""``geomask train``."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from geomask.progress import progress

from .options import Quantity, items_argument, load_items, mosaic_option, names_of, numbers_of, slots_option
from .training import take_training, training_options

if TYPE_CHECKING:
    from geomask.bottleneck.shared import SharedEncoder
    from geomask.train.baselines import Method
    from geomask.train.run import Run
    from geomask.train.task import Task

#: As `geomask.train.baselines.METHODS` has them; a test compares the two, for that takes seconds to import.
METHODS = (
    *("learned", "dense", "uniform", "random", "forest", "decorrelated", "information", "mrmr"),
    *("concrete", "priced", "hard-concrete", "stochastic", "oehmcke2022"),
)


@click.command()
@items_argument
@click.option("--labels", type=click.Path(path_type=Path), help="Raster or vector file of classes, or values to cut.")
@click.option("--cuts", default="", metavar="V,V,...", help="Values at which one class ends and the next begins.")
@click.option("--column", help="Of a vector file: what the classes are in.")
@click.option("-o", "--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the run.")
@click.option(
    "--method",
    default="learned",
    show_default=True,
    type=click.Choice(METHODS),
    metavar="NAME",
    help=f"{', '.join(METHODS)}.",
)
@click.option(
    "--budget", default="10%", show_default=True, help="Ceiling: a share of all channels' bytes, 2MB, or 1.5s."
)
@click.option("--budgets", default="", metavar="B,B,...", help="Several, in one run: a folder in --out for each.")
@click.option("--bandwidth", type=Quantity("RATE", "rate"), help="For seconds, such as 50Mbit.")
@click.option("--levels", default="", metavar="L,L,...", help="Overviews to choose from as well; 0 is the first.")
@click.option(
    "--grain",
    default="channel",
    show_default=True,
    type=click.Choice(["channel", "band", "slot"]),
    help="What is kept or left out as one.",
)
@click.option(
    "--transfer",
    default="select",
    show_default=True,
    type=click.Choice(["select", "bottleneck", "auto"]),
    help="What crosses the link: pixels; features of a network beside the data; whichever does better.",
)
@click.option(
    "--near", default="20%", show_default=True, help="Of --transfer: what that network may read, of all bytes."
)
@click.option(
    "--encoder",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Of --transfer: take that run's encoder as it is, in place of --near.",
)
@click.option("--profile", default="local", show_default=True, help="What the assets mean: a name or a YAML file.")
@click.option("--bands", default="", metavar="B,B,...", help="Names or common names; all of the profile's otherwise.")
@slots_option
@mosaic_option
@click.option(
    "--cell",
    default=20,
    show_default=True,
    type=click.IntRange(1),
    help="Side of a spatial cell, pixels of the finest band.",
)
@click.option(
    "--guard", default=2, show_default=True, type=click.IntRange(0), help="Pixels left out at each side of a cell."
)
@click.option("--folds", default=3, show_default=True, type=click.IntRange(2), help="Spatial splits.")
@click.option("--fold", default=0, show_default=True, help="The split to train on, from 0.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@training_options
def train(
    items: str,
    out: Path,
    method: Method,
    budget: str,
    guard: int,
    folds: int,
    fold: int,
    seed: int,
    **options: Any,
) -> None:
    """Learn which channels to read, and the network that uses them.

    ITEMS is an item collection (a file, or - for stdin), or a folder of `geomask chips`: then nothing is fetched. The
    run is written to the folder --out; its record is printed as JSON. With --budgets there is a run for each in --out,
    the largest first and each starting from the one before, and a table of all, which is printed.
    """
    is_store = Path(items).is_dir()
    _check_source(is_store)
    if not 0 <= fold < folds:
        raise click.BadParameter(
            f"{fold} is none of the {folds} splits; choose from 0 to {folds - 1}", param_hint="--fold"
        )
    options["cuts"], options["bands"] = numbers_of(options["cuts"], "--cuts"), names_of(options["bands"])
    budgets = _check_budgets(budget, method, options)
    options["levels"] = _levels_of(options["levels"])
    from geomask.train.run import check_folder

    # what can be wrong at once is said before anything is read
    if budgets:
        from geomask.train.curve import check_curve

        check_curve(out, budgets)
    else:
        check_folder(out)
    settings, journal = take_training(options, out)
    ignore = options["ignore_index"]
    from geomask.train.crowd import Job, one_thread, train_alone
    from geomask.train.task import prepare_store

    shared = _shared_encoder(options["encoder"])
    values = not settings.has_classes
    if is_store:
        task = prepare_store(items, guard, folds, ignore=ignore)
    else:
        task = _read_chips(items, guard, folds, values, options)
    bandwidth, grain = options["bandwidth"], options["grain"]
    if budgets:
        from geomask.train.curve import train_curve

        with progress("train", "step") as advance, one_thread():
            pareto = train_curve(task, budgets, fold, seed, settings, out, bandwidth, journal(advance), grain=grain)
        click.echo(json.dumps({"run": str(out), "pareto": pareto.rows()}))
        return
    if options["transfer"] != "select":
        from geomask.bottleneck.offer import train_transfer

        kind, near = options["transfer"], options["near"]
        with progress("train", "step") as advance, one_thread():
            run = train_transfer(
                task, kind, method, fold, seed, budget, settings, out, journal(advance), bandwidth, near, shared
            )
        click.echo(json.dumps({"run": str(out), "transfer": kind, **_summary(run)}))
        return
    with progress("train", "step") as advance:
        run = train_alone(task, Job(method, fold, seed), budget, settings, out, journal(advance), bandwidth, grain)
    click.echo(json.dumps({"run": str(out), **_summary(run)}))


def _read_chips(items: str, guard: int, folds: int, values: bool, options: dict[str, Any]) -> Task:
    """The chips of items."""
    from geomask.stac.profile import load_profile
    from geomask.train.task import prepare

    profile, rule = load_profile(options["profile"]), replace(options["slots"], mosaic=options["mosaic"])
    found, bands = load_items(items), profile.select(options["bands"] or None)
    with progress("read chips", "file") as advance:
        return prepare(
            found,
            bands,
            str(options["labels"]),
            options["cuts"],
            rule,
            options["cell"],
            guard,
            folds,
            advance,
            profile=profile.name,
            column=options["column"],
            values=values,
            ignore=options["ignore_index"],
            levels=options["levels"],
        )


def _check_budgets(budget: str, method: str, options: dict[str, Any]) -> list[str]:
    """Several budgets, none where there is one; whether they can be what they are, with the other options."""
    from geomask.plan.budget import Budget

    budgets = names_of(options["budgets"])
    if budgets and click.get_current_context().get_parameter_source("budget") is not ParameterSource.DEFAULT:
        raise click.UsageError("--budget is one and --budgets are several; leave one of them out")
    if options["transfer"] != "select":
        _check_transfer(bool(budgets), options)
    else:
        context = click.get_current_context()
        for name in ("near", "encoder"):
            if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
                raise click.UsageError(f"--{name} is of features; choose --transfer bottleneck or auto too")
    if budgets and method not in ("learned", "priced"):
        raise click.UsageError(f"--method {method} has one --budget; several start from each other, which takes priced")
    for text in budgets or [budget]:
        if Budget.parse(text).unit == "s" and options["bandwidth"] is None:
            raise click.UsageError(f"a budget of {text} needs a --bandwidth, such as 50Mbit")
    return budgets


def _check_transfer(has_budgets: bool, options: dict[str, Any]) -> None:
    """Whether features go with the other options."""
    from geomask.plan.budget import Budget

    kind = options["transfer"]
    if has_budgets:
        raise click.UsageError(f"--transfer {kind} has one --budget; run it for each")
    if options["levels"] or options["grain"] != "channel":
        raise click.UsageError(f"--transfer {kind} is of channels at full resolution; leave --levels and --grain out")
    near = click.get_current_context().get_parameter_source("near")
    if options["encoder"] is not None and near is not ParameterSource.DEFAULT:
        raise click.UsageError("--encoder sees what it sees, and --near says what a new one would; choose one")
    if Budget.parse(options["near"]).unit == "s" and options["bandwidth"] is None:
        raise click.UsageError(f"--near {options['near']} needs a --bandwidth, such as 50Mbit")


def _shared_encoder(folder: Path | None) -> SharedEncoder | None:
    """The encoder of a run; whether it has one is said before anything is read."""
    if folder is None:
        return None
    from geomask.bottleneck.shared import SharedEncoder

    return SharedEncoder.load(folder)


def _levels_of(text: str) -> list[int]:
    levels = numbers_of(text, "--levels")
    if any(level < 0 or level != int(level) for level in levels):
        raise click.BadParameter(f"overviews count from 0, unlike {text!r}", param_hint="--levels")
    return [int(level) for level in levels]


def _summary(run: Run) -> dict[str, Any]:
    record = run.record
    return {
        "method": record.method,
        "classes": record.class_names,
        "channels": run.selection.names,
        "planned_bytes": record.planned_nbytes,
        "dense_bytes": record.dense_nbytes,
        "scores": record.scores,
    }


def _check_source(is_store: bool) -> None:
    """Whether the options go with where chips come from: a store has its own labels, channels and cells."""
    context = click.get_current_context()
    given = {
        name
        for name in ("labels", "cuts", "column", "profile", "bands", "slots", "mosaic", "cell", "levels")
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT
    }
    if is_store and given:
        raise click.UsageError(f"a folder of chips has its own {min(given)}; leave --{min(given)} out")
    if not is_store and "labels" not in given:
        raise click.UsageError("Missing option '--labels'")

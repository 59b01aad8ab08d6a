"""``geomask train``."""

from __future__ import annotations

import json
import math
from pathlib import Path

import click

from geomask.progress import progress

from .options import items_argument, load_items


@click.command()
@items_argument
@click.option(
    "--labels", required=True, type=click.Path(path_type=Path), help="Raster of classes, or of values to cut."
)
@click.option("--cuts", default="", metavar="V,V,...", help="Values at which one class ends and the next begins.")
@click.option("-o", "--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the run.")
@click.option(
    "--method", default="learned", show_default=True, type=click.Choice(["learned", "dense", "uniform", "random"])
)
@click.option("--budget", default="10%", show_default=True, help="Ceiling: a share of all channels' bytes, or bytes.")
@click.option("--profile", default="local", show_default=True, help="What the assets mean: a name or a YAML file.")
@click.option("--bands", default="", metavar="B,B,...", help="Names or common names; all of the profile's otherwise.")
@click.option("--slots", default="month", show_default=True, type=click.Choice(["month", "season"]))
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
@click.option("--steps", default=500, show_default=True, type=click.IntRange(1), help="Updates of the network.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
def train(  # a parameter an option
    items: str,
    labels: Path,
    cuts: str,
    out: Path,
    method: str,
    budget: str,
    profile: str,
    bands: str,
    slots: str,
    cell: int,
    guard: int,
    folds: int,
    fold: int,
    steps: int,
    seed: int,
) -> None:
    """Learn which channels to read, and the network that uses them.

    ITEMS is an item collection (a file, or - for stdin). Each slot takes its least cloudy item. The run is written to
    the folder --out; its record is printed as JSON.
    """
    if not 0 <= fold < folds:
        raise click.BadParameter(
            f"{fold} is none of the {folds} splits; choose from 0 to {folds - 1}", param_hint="--fold"
        )
    values = _numbers(cuts)
    names = [name.strip() for name in bands.split(",") if name.strip()]

    from geomask.plan.cost import parse_budget
    from geomask.stac.profile import load_profile
    from geomask.train.run import check_folder

    parse_budget(budget)  # what can be wrong at once is said before anything is read
    check_folder(out)
    chosen = load_profile(profile).select(names or None)
    found = load_items(items)

    from geomask.train.crowd import Job, train_alone
    from geomask.train.step import Settings
    from geomask.train.task import prepare

    with progress("read chips", "file") as advance:
        task = prepare(found, chosen, labels, values, slots, cell, guard, folds, advance)  # type: ignore[arg-type]
    with progress("train", "step") as advance:
        job = Job(method, fold, seed)  # type: ignore[arg-type]
        run = train_alone(task, job, budget, Settings(steps=steps), out, advance)
    record = run.record
    click.echo(
        json.dumps(
            {
                "run": str(out),
                "method": record.method,
                "classes": record.class_names,
                "channels": run.selection.names,
                "planned_bytes": record.planned_nbytes,
                "dense_bytes": record.dense_nbytes,
                "scores": record.scores,
            }
        )
    )


def _numbers(text: str) -> list[float]:
    try:
        values = [float(part) for part in text.split(",") if part]
    except ValueError:
        raise click.BadParameter(f"numbers with commas between them, not {text!r}", param_hint="--cuts") from None
    if values != sorted(set(values)) or not all(map(math.isfinite, values)):
        raise click.BadParameter(f"values must be finite and ascend, unlike {text!r}", param_hint="--cuts")
    return values

"""``geomask infer``."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from geomask.progress import progress

from .options import fit_slots, items_argument, load_items, sign_option

if TYPE_CHECKING:
    from geomask.signing import Sign


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@items_argument
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the map and its item.",
)
@click.option("--network", metavar="MODULE:FUNCTION", help="The network of RUN, where it is your own code.")
@sign_option
def infer(run: Path, items: str, out: Path, network: str | None, sign: Sign | None) -> None:
    """Map what the items of ITEMS show with the network of RUN.

    Only the channels that the run selected are read. The map is a COG with a STAC item; the receipt is printed as JSON.
    """
    found = load_items(items)

    from geomask.infer.run import infer as classify
    from geomask.infer.run import save_map, save_receipt
    from geomask.train.run import load_run

    trained = load_run(run, network)
    trained = replace(trained, selection=fit_slots(trained.selection, found))
    with progress("infer", "file") as advance:
        result = classify(trained, found, on_done=advance, sign=sign)
    item = save_map(result, out)
    save_receipt(result, run)
    if empty := result.manifest.empty:
        names = ", ".join("/".join(channel) for channel in empty)
        click.echo(f"Warning: no item fills {names}; the map was made without them.", err=True)
    click.echo(json.dumps({"item": str(item), **result.receipt.to_dict()}))

"""``geomask infer``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from geomask.progress import progress

from .making import check_options, find_items, how, make_wish, making_options, print_estimate, print_status
from .options import ListCommand, fit_slots

#: What is decided where features are made.
OF_FEATURES = ("bbox", "crs", "res")


@click.command(cls=ListCommand)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("source", metavar="[ITEMS|CATALOG]", required=False)
@click.option("--from-features", metavar="DIR|s3://...|http://...", help="Features of RUN, made elsewhere.")
@click.option("--blend", is_flag=True, help="Overlap and average, for networks that look at everything.")
@making_options
def infer(run: Path, source: str | None, from_features: str | None, blend: bool, out: str, **options: Any) -> None:
    """Map what a catalog shows with the network of RUN.

    The items are those of ITEMS (a file, or - for stdin), or found in CATALOG (an API, or a static catalog). Only what
    the run selected is read. Each tile is a COG with a STAC item; map.vrt shows all of them. The same command goes on
    where an interrupted one ended. What the map took is printed as JSON; exit code 1 says that pixels are missing.

    With --from-features the near side of RUN has been run elsewhere: by `geomask encode`, or it is by a service. Their
    items and their pixels are those of the map.
    """
    check_options(options)
    _check_features(source, from_features, options)
    items = None if source is None else find_items(source, options | ({"aoi": None} if from_features else {}))
    wish = make_wish(options, blend=blend, features=from_features)
    from geomask.infer.run import estimate, save_receipt
    from geomask.infer.run import infer as make_map
    from geomask.selection import Selection
    from geomask.train.record import load_record

    load_record(run)  # whether it is a run is said before anything is fetched
    selection = Selection.load(run / "selection.json")
    if items is not None:
        fit_slots(selection, items)  # says so where they are others
    if options["dry_run"]:
        print_estimate(estimate(run, items, out, wish), options)
        return
    with progress("infer", "tile") as advance:
        status = make_map(run, items, out, wish, **how(options), on_done=advance)
    save_receipt(status, run)
    print_status(status, "the map was")


def _check_features(source: str | None, place: str | None, options: dict[str, Any]) -> None:
    if place is None:
        if source is None:
            raise click.UsageError("Missing argument 'ITEMS|CATALOG'; only --from-features has items of its own")
        return
    for name in OF_FEATURES:
        if options[name] is not None:
            raise click.UsageError(f"--{name} was decided where the features were made; leave it out")
    for name in ("collections", "datetime"):
        if options[name] and source is None:
            raise click.UsageError(f"--{name} is of a CATALOG; there is none")

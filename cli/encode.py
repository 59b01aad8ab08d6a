"""``geomask encode``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from geomask.progress import progress

from .making import check_options, find_items, how, make_wish, making_options, print_estimate, print_status
from .options import ListCommand, fit_slots


@click.command(cls=ListCommand)
@click.argument("source", metavar="ITEMS|CATALOG")
@click.option("--run", required=True, type=click.Path(path_type=Path), help="Run whose near side makes them.")
@making_options
def encode(source: str, run: Path, out: str, **options: Any) -> None:
    """Run the near side of a network beside the data, and write its features.

    RUN is one of `geomask train --transfer`. The items are those of ITEMS (a file, or - for stdin), or found in
    CATALOG. Only the channels that the near side sees are read. `geomask infer --from-features` makes a map of what is
    written. The same command goes on where an interrupted one ended. What it took is printed as JSON; exit code 1 says
    that pixels are missing.
    """
    check_options(options)
    items, wish = find_items(source, options), make_wish(options)
    from geomask.infer.run import encode as make_features
    from geomask.infer.run import estimate
    from geomask.selection import Selection
    from geomask.train.record import load_record

    load_record(run)  # whether it is a run is said before anything is fetched
    fit_slots(Selection.load(run / "selection.json"), items)  # says so where they are others
    if options["dry_run"]:
        print_estimate(estimate(run, items, out, wish, "features"), options)
        return
    with progress("encode", "tile") as advance:
        status = make_features(run, items, out, wish, **how(options), on_done=advance)
    print_status(status, "the features were")

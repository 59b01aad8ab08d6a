"""``geomask serve-features``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import ListCommand, ListOption, Quantity, fit_slots, items_argument, load_items, read_bbox, sign_option

if TYPE_CHECKING:
    from geomask.infer.extent import Extent


@click.command("serve-features", cls=ListCommand)
@items_argument
@click.option("--run", required=True, type=click.Path(path_type=Path), help="Run whose network has a link in it.")
@click.option("--bbox", cls=ListOption, numbers=True, callback=read_bbox, metavar="W S E N", help="Area in degrees.")
@click.option("--crs", metavar="CODE", help="Of the grid, such as EPSG:32633; that of the finest file otherwise.")
@click.option("--res", type=click.FloatRange(0, min_open=True), help="Side of a pixel, in units of --crs.")
@click.option("--network", metavar="MODULE:FUNCTION", help="The network of RUN, where it is your own code.")
@sign_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on: nobody has to log in.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="A free one otherwise.")
@click.option("--latency", type=Quantity("TIME", "duration"), default="0s", help="Added to each request: 50ms.")
@click.option("--bandwidth", type=Quantity("RATE", "rate"), help="Of all connections together: 10Mbit.")
def serve_features(items: str, run: Path, **options: Any) -> None:
    """Answer manifests over HTTP with features of ITEMS, made by the near side of a run's network.

    ITEMS is a file, or - for stdin. The address is printed on one line; Ctrl-C ends it. Whoever reaches it gets
    features, and the items with their unsigned addresses; no other file is read.
    """
    if (options["crs"] is None) != (options["res"] is None):
        raise click.UsageError("--crs and --res say only together what the grid's pixels are")
    from geomask.train.record import load_record

    load_record(run)  # whether it is a run is said before anything is fetched
    found = load_items(items)
    from geomask.bottleneck.run import open_run
    from geomask.infer.desk import Desk
    from geomask.infer.service import Service
    from geomask.train.crowd import one_thread

    opened = open_run(run, options["network"])
    fit_slots(opened.selection, found)  # says so where they are others
    desk = Desk(opened, found, _extent(options), options["sign"])
    service = Service(
        desk, options["host"], options["port"], latency=options["latency"], bandwidth=options["bandwidth"]
    )
    # So small a network is no faster with more, and their waiting takes time from whatever else runs here.
    with one_thread():
        service.run()


def _extent(options: dict[str, Any]) -> Extent:
    from geomask.infer.extent import Extent

    bbox = options["bbox"]
    if bbox is not None:
        bbox = tuple(bbox) if len(bbox) == 4 else (*bbox[:2], *bbox[3:5])
    return Extent(bbox, crs=options["crs"], res=options["res"])

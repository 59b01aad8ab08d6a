"""``geomask infer``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geomask.progress import progress

from .options import ListCommand, ListOption, Quantity, fit_slots, read_bbox, read_geometry, sign_option

if TYPE_CHECKING:
    from pystac import Item

    from geomask.infer.draft import Wish

#: Options of a dry run alone.
ESTIMATE = ("bandwidth", "price_per_gb", "price_per_1000")


@click.command(cls=ListCommand)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("source", metavar="ITEMS|CATALOG")
@click.option("-o", "--out", required=True, metavar="DIR|s3://...", help="Folder of the map, on a disk or in a bucket.")
@click.option("-c", "--collections", cls=ListOption, metavar="ID...", help="Collections of CATALOG.")
@click.option("--datetime", metavar="TIME", help="Instant or interval: 2020-07, 2020-07-01/2020-08-31, 2020/..")
@click.option("--bbox", cls=ListOption, numbers=True, callback=read_bbox, metavar="W S E N", help="Area in degrees.")
@click.option("--aoi", callback=read_geometry, metavar="GEOJSON", help="Polygon, a file or itself; nodata outside.")
@click.option("--crs", metavar="CODE", help="Of the map, such as EPSG:32633; that of the finest file otherwise.")
@click.option("--res", type=click.FloatRange(0, min_open=True), help="Side of a pixel, in units of --crs.")
@click.option("--tile", type=click.IntRange(1), help="Side of an output file, pixels; about a thousand otherwise.")
@click.option("--blend", is_flag=True, help="Overlap and average, for networks that look at everything.")
@click.option("--workers", type=click.IntRange(1), default=None, help="Processes on this machine; this one otherwise.")
@click.option("--scheduler", metavar="tcp://...", help="Of a dask cluster.")
@click.option("--refresh", is_flag=True, help="Make tiles anew whose files have changed since.")
@click.option("--retry-failed", is_flag=True, help="Try tiles again of which pixels could not be read.")
@click.option("--dry-run", is_flag=True, help="Read headers alone, and print what the map will take.")
@click.option("--bandwidth", type=Quantity("RATE", "rate"), help="Of --dry-run, such as 100Mbit: says seconds.")
@click.option("--price-per-gb", type=click.FloatRange(0), help="Of --dry-run: money for 10^9 bytes.")
@click.option("--price-per-1000", type=click.FloatRange(0), help="Of --dry-run: money for 1,000 requests.")
@click.option("--network", metavar="MODULE:FUNCTION", help="The network of RUN, where it is your own code.")
@sign_option
def infer(run: Path, source: str, out: str, **options: Any) -> None:
    """Map what a catalog shows with the network of RUN.

    The items are those of ITEMS (a file, or - for stdin), or found in CATALOG (an API, or a static catalog). Only what
    the run selected is read. Each tile is a COG with a STAC item; map.vrt shows all of them. The same command goes on
    where an interrupted one ended. What the map took is printed as JSON; exit code 1 says that pixels are missing.
    """
    _check(options)
    items, wish = _find(source, options), _wish(options)
    from geomask.infer.run import estimate, save_receipt
    from geomask.infer.run import infer as make_map
    from geomask.selection import Selection
    from geomask.train.record import load_record

    load_record(run)  # whether it is a run is said before anything is fetched
    fit_slots(Selection.load(run / "selection.json"), items)  # says so where they are others
    if options["dry_run"]:
        click.echo(json.dumps(_estimated(estimate(run, items, out, wish), options)))
        return
    with progress("infer", "tile") as advance:
        status = make_map(
            run,
            items,
            out,
            wish,
            workers=options["workers"] or 0,
            scheduler=options["scheduler"],
            refresh=options["refresh"],
            retry_failed=options["retry_failed"],
            on_done=advance,
        )
    save_receipt(status, run)
    if status.empty:
        click.echo(f"Warning: no item fills {', '.join(status.empty)}; the map was made without them.", err=True)
    click.echo(json.dumps(status.to_dict()))
    status.check()


def _check(options: dict[str, Any]) -> None:
    """Say what makes no sense before anything is read."""
    if (options["crs"] is None) != (options["res"] is None):
        raise click.UsageError("--crs and --res say only together what the map's pixels are")
    for one, other in (("bbox", "aoi"), ("workers", "scheduler")):
        if options[one] is not None and options[other] is not None:
            raise click.UsageError(f"--{one} and --{other} are two ways; choose one")
    for name in ESTIMATE:
        if options[name] is not None and not options["dry_run"]:
            raise click.UsageError(f"--{name.replace('_', '-')} is of a --dry-run")


def _find(source: str, options: dict[str, Any]) -> list[Item]:
    from geomask.stac import search

    asked = {
        "collections": list(options["collections"]) or None,
        "datetime": options["datetime"],
        "bbox": options["bbox"],
        "intersects": options["aoi"],
    }
    return search.search(source, **{name: value for name, value in asked.items() if value is not None})


def _wish(options: dict[str, Any]) -> Wish:
    from geomask.infer.draft import Wish
    from geomask.infer.extent import Extent

    bbox = options["bbox"]
    if bbox is not None:
        bbox = tuple(bbox) if len(bbox) == 4 else (*bbox[:2], *bbox[3:5])
    extent = Extent(bbox, options["aoi"], options["crs"], options["res"])
    return Wish(extent, options["tile"], options["blend"], options["network"], options["sign"])


def _estimated(found: Any, options: dict[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = found.to_dict()
    if options["bandwidth"] is not None:
        said["seconds"] = found.seconds(options["bandwidth"])
    if options["price_per_gb"] is not None or options["price_per_1000"] is not None:
        said["cost"] = found.cost(options["price_per_gb"] or 0.0, options["price_per_1000"] or 0.0)
    return said

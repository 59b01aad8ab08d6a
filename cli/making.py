"""What `geomask infer` and `geomask encode` share: options, the items, and what is printed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from .options import ListOption, Quantity, read_bbox, read_geometry, sign_option

if TYPE_CHECKING:
    from collections.abc import Callable

    from pystac import Item

    from geomask.infer.draft import Wish
    from geomask.infer.status import Status

#: Options of a dry run alone.
ESTIMATE = ("bandwidth", "price_per_gb", "price_per_1000")

OPTIONS = (
    click.option("-o", "--out", required=True, metavar="DIR|s3://...", help="Folder to write, or one in a bucket."),
    click.option("-c", "--collections", cls=ListOption, metavar="ID...", help="Collections of CATALOG."),
    click.option("--datetime", metavar="TIME", help="Instant or interval: 2020-07, 2020-07-01/2020-08-31, 2020/.."),
    click.option("--bbox", cls=ListOption, numbers=True, callback=read_bbox, metavar="W S E N", help="Box in degrees."),
    click.option("--aoi", callback=read_geometry, metavar="GEOJSON", help="Polygon, a file or itself; nodata outside."),
    click.option("--crs", metavar="CODE", help="Of the pixels, such as EPSG:32633; that of the finest file otherwise."),
    click.option("--res", type=click.FloatRange(0, min_open=True), help="Side of a pixel, in units of --crs."),
    click.option("--tile", type=click.IntRange(1), help="Side of an output file, pixels; about a thousand otherwise."),
    click.option("--workers", type=click.IntRange(1), help="Processes on this machine; this one otherwise."),
    click.option("--scheduler", metavar="tcp://...", help="Of a dask cluster."),
    click.option("--refresh", is_flag=True, help="Make tiles anew whose files have changed since."),
    click.option("--retry-failed", is_flag=True, help="Try tiles again of which pixels could not be read."),
    click.option("--dry-run", is_flag=True, help="Read headers alone, and print what it will take."),
    click.option("--bandwidth", type=Quantity("RATE", "rate"), help="Of --dry-run, such as 100Mbit: says seconds."),
    click.option("--price-per-gb", type=click.FloatRange(0), help="Of --dry-run: money for 10^9 bytes."),
    click.option("--price-per-1000", type=click.FloatRange(0), help="Of --dry-run: money for 1,000 requests."),
    click.option("--network", metavar="MODULE:FUNCTION", help="The network of RUN, where it is your own code."),
    sign_option,
)


def making_options[F: Callable[..., Any]](command: F) -> F:
    """The options that both have, in this order."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def check_options(options: dict[str, Any]) -> None:
    """Say what makes no sense before anything is read."""
    if (options["crs"] is None) != (options["res"] is None):
        raise click.UsageError("--crs and --res say only together what the pixels are")
    for one, other in (("bbox", "aoi"), ("workers", "scheduler")):
        if options[one] is not None and options[other] is not None:
            raise click.UsageError(f"--{one} and --{other} are two ways; choose one")
    for name in ESTIMATE:
        if options[name] is not None and not options["dry_run"]:
            raise click.UsageError(f"--{name.replace('_', '-')} is of a --dry-run")


def find_items(source: str, options: dict[str, Any]) -> list[Item]:
    """The items of a file, or those that a catalog has of what was asked for."""
    from geomask.stac import search

    asked = {
        "collections": list(options["collections"]) or None,
        "datetime": options["datetime"],
        "bbox": options["bbox"],
        "intersects": options["aoi"],
    }
    return search.search(source, **{name: value for name, value in asked.items() if value is not None})


def make_wish(options: dict[str, Any], *, blend: bool = False, features: str | None = None) -> Wish:
    """What the options ask for."""
    from geomask.infer.draft import Wish
    from geomask.infer.extent import Extent

    bbox = options["bbox"]
    if bbox is not None:
        bbox = tuple(bbox) if len(bbox) == 4 else (*bbox[:2], *bbox[3:5])
    extent = Extent(bbox, options["aoi"], options["crs"], options["res"])
    return Wish(extent, options["tile"], blend, options["network"], options["sign"], features=features)


def how(options: dict[str, Any]) -> dict[str, Any]:
    """By whom tiles are made, and which of them anew."""
    names = ("scheduler", "refresh", "retry_failed")
    return {"workers": options["workers"] or 0, **{name: options[name] for name in names}}


def print_estimate(found: Any, options: dict[str, Any]) -> None:
    """What a dry run has found, as JSON."""
    said: dict[str, Any] = found.to_dict()
    if options["bandwidth"] is not None:
        said["seconds"] = found.seconds(options["bandwidth"])
    if options["price_per_gb"] is not None or options["price_per_1000"] is not None:
        said["cost"] = found.cost(options["price_per_gb"] or 0.0, options["price_per_1000"] or 0.0)
    click.echo(json.dumps(said))


def print_status(status: Status, what: str) -> None:
    """What there is now, as JSON. Raises RunError where pixels are missing."""
    if status.empty:
        click.echo(f"Warning: no item fills {', '.join(status.empty)}; {what} made without them.", err=True)
    click.echo(json.dumps(status.to_dict()))
    status.check()

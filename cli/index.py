"""``geomask index``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from geomask.progress import progress

from .options import items_argument, load_items, sign_option

if TYPE_CHECKING:
    from geomask.cog.build import Built
    from geomask.signing import Sign

SHOWN = 10
"""Failures that are named; of the others only the number is."""


@click.command()
@items_argument
@click.option(
    "-o", "--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Parquet file to write."
)
@sign_option
@click.pass_context
def index(ctx: click.Context, items: str, out: Path, sign: Sign | None) -> None:
    """Fetch the headers of all GeoTIFFs and JPEG 2000 files of ITEMS, and keep them.

    ITEMS is an item collection (a file, or - for stdin). Headers that are in the file already are not fetched again,
    so that the same command goes on where the last one ended. Totals go to stderr.
    """
    from geomask.cog.assets import raster_hrefs
    from geomask.cog.build import build_index
    from geomask.errors import ItemError

    hrefs = raster_hrefs(load_items(items))
    if not hrefs:
        raise ItemError(f"no asset of {items} is a GeoTIFF or JPEG 2000, by its media type or its suffix")
    with progress("read headers", "file", len(hrefs)) as advance:
        built = build_index(hrefs, out, sign, advance)
    _report(built)
    ctx.exit(1 if built.failed else 0)


def _report(built: Built) -> None:
    for href, error in sorted(built.failed.items())[:SHOWN]:
        said = " ".join(str(error).split())
        click.echo(f"Failed: {said if href in said else f'{href}: {said}'}", err=True)
    if len(built.failed) > SHOWN:
        click.echo(f"Failed: {len(built.failed) - SHOWN} more.", err=True)
    click.echo(built.summary(), err=True)

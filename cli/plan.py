"""``geomask plan``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from geomask.progress import progress

from .area import part_of
from .options import Quantity, fit_slots, index_option, items_argument, load_found, no_prefix_option, sign_option

if TYPE_CHECKING:
    from geomask.plan.manifest import Manifest
    from geomask.signing import Sign


@click.command()
@items_argument
@click.option("--selection", required=True, type=click.Path(path_type=Path), help="selection.json of a run.")
@click.option(
    "-o",
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Manifest to write, not print: *.geomask.jsonl or *.geomask.parquet.",
)
@click.option("--bbox", nargs=4, type=float, metavar="LEFT BOTTOM RIGHT TOP", help="Part to read, in the files' CRS.")
@index_option
@click.option("--round-trip", type=Quantity("TIME", "duration"), help="Of one request, such as 50ms: see --bandwidth.")
@click.option(
    "--bandwidth",
    type=Quantity("RATE", "rate"),
    help="Of one connection, such as 20Mbit: bytes that pass in less than a round trip are fetched, not skipped.",
)
@no_prefix_option
@sign_option
def plan(
    items: str,
    selection: Path,
    out: Path | None,
    bbox: tuple[float, float, float, float] | None,
    index: Path | None,
    round_trip: float | None,
    bandwidth: float | None,
    prefix: bool,
    sign: Sign | None,
) -> None:
    """Compile a selection over ITEMS into a manifest of exact byte ranges.

    ITEMS is an item collection (a file, or - for stdin). Only headers are read. Totals go to stderr.
    """
    from geomask.cog.index import HeaderIndex
    from geomask.plan.compile import compile_manifest, free_channels
    from geomask.plan.runs import LEADER_GAP, worthwhile_gap
    from geomask.plan.survey import survey
    from geomask.selection import Selection

    if (round_trip is None) != (bandwidth is None):
        raise click.UsageError("--round-trip and --bandwidth say only together which gaps are worth a request")
    chosen, (found, search) = Selection.load(selection), load_found(items)
    chosen = fit_slots(chosen, found)
    kept = HeaderIndex.load(index) if index else None
    with progress("read headers", "file") as advance:
        place = survey(chosen, found, advance, kept=kept, sign=sign)
    grid = part_of(place.grid, bbox) if bbox else place.grid
    gap = LEADER_GAP if round_trip is None or bandwidth is None else worthwhile_gap(round_trip, bandwidth / 8)
    manifest = compile_manifest(chosen, place.coverage, place.index, grid, gap=gap, search=search)
    _write(manifest if prefix else manifest.without_prefixes(), out)
    if free := free_channels(chosen, place.coverage, place.index, grid):
        click.echo(f"Note: {', '.join(free)} would cost nothing more: they come with other bands.", err=True)


def _write(manifest: Manifest, out: Path | None) -> None:
    """Into a file or on stdout; the totals on stderr."""
    if out:
        manifest.save(out)
    else:
        for line in manifest.lines():
            click.echo(line)
    click.echo(manifest.summary(), err=True)

"""``geomask plan``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from geomask.progress import progress

from .options import items_argument, load_items

if TYPE_CHECKING:
    from geomask.grid import Grid


@click.command()
@items_argument
@click.option("--selection", required=True, type=click.Path(path_type=Path), help="selection.json of a run.")
@click.option("-o", "--out", type=click.Path(dir_okay=False, path_type=Path), help="Manifest to write, not print.")
@click.option("--bbox", nargs=4, type=float, metavar="LEFT BOTTOM RIGHT TOP", help="Part to read, in the files' CRS.")
def plan(items: str, selection: Path, out: Path | None, bbox: tuple[float, float, float, float] | None) -> None:
    """Compile a selection over ITEMS into a manifest of exact byte ranges.

    ITEMS is an item collection (a file, or - for stdin). Only headers are read. Totals go to stderr.
    """
    from geomask.plan.compile import choose_grid, compile_manifest, free_channels, index_selection
    from geomask.selection import Selection

    chosen, found = Selection.load(selection), load_items(items)
    with progress("read headers", "file") as advance:
        index = index_selection(chosen, found, advance)
    grid = choose_grid(chosen, found, index)
    if bbox:
        grid = _part(grid, bbox)
    manifest = compile_manifest(chosen, found, index, grid)
    if out:
        manifest.save(out)
    else:
        for line in manifest.lines():
            click.echo(line)
    click.echo(manifest.summary(), err=True)
    if free := free_channels(chosen, found, index, grid):
        click.echo(f"Note: {', '.join(free)} would cost nothing more: they come with other bands.", err=True)


def _part(grid: Grid, bbox: tuple[float, float, float, float]) -> Grid:
    """What lies in a box: not more, since memory is taken for every pixel."""
    left, bottom, right, top = (
        choose(asked, edge) for choose, asked, edge in zip((max, max, min, min), bbox, grid.bounds, strict=True)
    )
    if not (left < right and bottom < top):  # a NaN too
        raise click.BadParameter(f"{_text(bbox)} does not meet the files at {_text(grid.bounds)}", param_hint="--bbox")
    return grid.crop(grid.window_of((left, bottom, right, top)))


def _text(bounds: tuple[float, float, float, float]) -> str:
    return " ".join(f"{edge:.12g}" for edge in bounds)

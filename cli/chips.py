"""``geomask chips``: read chips once, to train from without a network."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geomask.progress import progress

from .area import part_of
from .options import (
    index_option,
    items_argument,
    load_items,
    mosaic_option,
    names_of,
    numbers_of,
    sign_option,
    slots_option,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pystac import Item

    from geomask.chips.dataset import StacDataset
    from geomask.cog.index import HeaderIndex
    from geomask.grid import Grid
    from geomask.selection import Selection


@click.command()
@items_argument
@click.option("-o", "--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of chips.")
@click.option("--selection", type=click.Path(path_type=Path), help="Read what a run selected, not all of these:")
@click.option("--profile", default="local", show_default=True, help="What the assets mean: a name or a YAML file.")
@click.option("--bands", default="", metavar="B,B,...", help="Names or common names; all of the profile's otherwise.")
@slots_option
@mosaic_option
@click.option("--crs", metavar="CODE", help="Of the chips, such as EPSG:32633; that of the finest file otherwise.")
@click.option("--res", type=click.FloatRange(0, min_open=True), help="Side of a pixel, in units of --crs.")
@click.option("--bbox", nargs=4, type=float, metavar="LEFT BOTTOM RIGHT TOP", help="Area, in the CRS of the chips.")
@click.option("--size", default=64, show_default=True, type=click.IntRange(1), help="Side of a chip, pixels.")
@click.option("--stride", type=click.IntRange(1), help="Pixels from chip to chip; side by side otherwise.")
@click.option(
    "--labels", type=click.Path(path_type=Path), help="Raster or vector file of classes, or of values to cut."
)
@click.option("--cuts", default="", metavar="V,V,...", help="Values at which one class ends and the next begins.")
@click.option("--column", help="Of a vector file: what the classes are in.")
@index_option
@sign_option
def chips(items: str, out: Path, size: int, stride: int | None, **options: Any) -> None:
    """Read chips of ITEMS once into a folder, which `geomask train` takes in their place.

    ITEMS is an item collection (a file, or - for stdin). The same command goes on where an interrupted one ended. Where
    there are labels, chips without one are left out. What was read is printed as JSON.
    """
    _check(options)
    from geomask.chips.writer import check_store, write_store

    folder = check_store(out)
    dataset = _open(load_items(items), options, folder)

    from geomask.chips.store_plan import find_chips, plan_store

    windows = find_chips(dataset, (size, size), (stride or size,) * 2)
    with progress("plan", "file") as advance:
        plan = plan_store(dataset, windows, advance)
    with progress("read chips", "chip", len(windows)) as advance:
        spent = write_store(folder, dataset, plan, advance)
    record = plan.record
    said = {
        "store": str(out),
        **{name: getattr(record, name) for name in ("chips", "size", "dtype", "parts", "classes", "digest")},
        "channels": ["/".join(names) for names in record.channels],
        "planned_bytes": plan.planned_nbytes,
        "stored_bytes": sum(array.part_nbytes for array in record.arrays.values()) * record.parts,
        "spent": asdict(spent),
    }
    click.echo(json.dumps(said))


def _check(options: dict[str, Any]) -> None:
    """Say what makes no sense before anything is read."""
    context = click.get_current_context()
    if (options["crs"] is None) != (options["res"] is None):
        raise click.UsageError("--crs and --res say only together what the chips' pixels are")
    if options["labels"] is None and (options["cuts"] or options["column"] is not None):
        raise click.UsageError("--cuts and --column are about --labels; name a file")
    if options["selection"] is not None:
        for name in ("profile", "bands", "slots", "mosaic"):
            if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
                raise click.UsageError(f"--selection has its own {name}; leave --{name} out")
    options["cuts"], options["bands"] = numbers_of(options["cuts"], "--cuts"), names_of(options["bands"])


def _open(items: Sequence[Item], options: dict[str, Any], folder: Path) -> StacDataset:
    """The data set of the options, with the headers that are kept in the store and in an index."""
    from geomask.chips.dataset import StacDataset
    from geomask.chips.labels import open_labels
    from geomask.cog.index import HeaderIndex
    from geomask.plan.sources import index_selection

    selection = _select(items, options)
    held_here = folder / "headers.parquet"
    paths = [path for path in (options["index"], held_here if held_here.exists() else None) if path]
    kept = [HeaderIndex.load(path) for path in paths]
    index = HeaderIndex({href: entry for held in kept for href, entry in held.entries(held).items()})
    if options["crs"] is None:
        with progress("read headers", "file") as advance:
            index = index_selection(selection, items, advance, kept=index, sign=options["sign"])
    grid = _grid(selection, items, index, options)
    path, cuts, column = (options[name] for name in ("labels", "cuts", "column"))
    labels = None if path is None else open_labels(path, grid, cuts, column)
    return StacDataset(items, selection, grid, labels, index, sign=options["sign"])


def _select(items: Sequence[Item], options: dict[str, Any]) -> Selection:
    from geomask.selection import Selection
    from geomask.stac.profile import load_profile
    from geomask.stac.slots import make_slots

    from .options import fit_slots

    if options["selection"] is not None:
        return fit_slots(Selection.load(options["selection"]), items)
    profile, rule = load_profile(options["profile"]), replace(options["slots"], mosaic=options["mosaic"])
    return Selection.dense(make_slots(items, rule), profile.select(options["bands"] or None), rule, profile.name)


def _grid(selection: Selection, items: Sequence[Item], index: HeaderIndex, options: dict[str, Any]) -> Grid:
    """The grid that was asked for, or that of the finest file."""
    import shapely

    from geomask.errors import GridError
    from geomask.grid import Grid
    from geomask.plan.sources import choose_grid
    from geomask.stac.footprint import footprints

    if options["crs"] is None:
        grid = choose_grid(selection, items, index)
        return part_of(grid, options["bbox"]) if options["bbox"] else grid
    bounds = options["bbox"]
    if bounds is None:
        bounds = tuple(shapely.total_bounds(footprints(items, options["crs"])).tolist())
        if not bounds[0] < bounds[2]:
            raise GridError(f"no item says where it lies in {options['crs']}; name a --bbox")
    return Grid.snap(options["crs"], bounds, options["res"])

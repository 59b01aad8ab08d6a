"""STAC items as one lazy xarray Dataset, in odc-stac's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..crs import transform_bounds
from ..errors import GridError, ItemError
from ..grid import Grid
from ..plan.compile import compile_manifest
from ..plan.survey import Survey, survey
from ..selection import Selection
from ..stac.footprint import LONLAT
from ..stac.profile import Profile, load_profile
from ..stac.slot_rule import SlotRule, parse_slots
from ..stac.slots import make_slots
from .lazy import GeomaskEngine

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import xarray as xr
    from pystac import Item

    from ..cog.index import HeaderIndex
    from ..signing import Sign
    from .receipt import Receipt


def open_items(
    items: Iterable[Item],
    bands: Sequence[str] | None = None,
    *,
    profile: Profile | str | Path | None = None,
    slots: SlotRule | str = "month",
    selection: Selection | None = None,
    crs: str | None = None,
    resolution: float | None = None,
    bbox: tuple[float, float, float, float] | None = None,
    chunks: Mapping[str, Any] | Literal["auto"] | None = None,
    masked: bool = True,
    scaled: bool = False,
    index: HeaderIndex | None = None,
    sign: Sign | None = None,
    receipts: list[Receipt] | None = None,
) -> xr.Dataset:
    """Items as ``image`` and ``valid`` (slot, band, y, x), of which only what is touched is read.

    `bands` are names, common names or wavelengths of `profile` (a name, a YAML file, a `Profile`; None: what the items
    say themselves); None: all. `slots` is the rule by which items fall into slots, each a mosaic. A `selection` says
    all that at once: channels that it leaves out are not valid, and cost nothing; its slots move to the items' years.

    `crs` and `resolution` (a pixel's side in its units) name the grid, whose edges are multiples of the resolution;
    without them it is that of the finest file. `bbox` is the part to open: west, south, east, north in degrees.
    `chunks` makes dask arrays, as `read_chip` has it; None: xarray reads what is touched. `masked`, `scaled`, `index`,
    `sign` and `receipts` are those of `read_chip`.

    Coordinates: ``slot`` and ``band`` by name, ``time`` (the start of each slot, naive UTC), ``y`` and ``x`` (pixel
    centres), and ``spatial_ref``. Only headers are read here. Raises ItemError, GridError and FetchError as planning
    does, and GridError where only one of `crs` and `resolution` is given, or `bbox` does not meet the items.
    """
    import xarray as xr

    items = list(items)
    if not items:
        raise ItemError("there are no items to open; search for some first")
    chosen = selection.on(items) if selection is not None else _select(items, bands, profile, slots)
    found = _survey(chosen, items, index, sign, crs, resolution, bbox)
    manifest = compile_manifest(chosen, found.coverage, found.index, found.grid)
    dataset = xr.open_dataset(
        manifest,  # type: ignore[arg-type]  # the engine is ours
        engine=GeomaskEngine,
        chunks=chunks,
        index=found.index,
        masked=masked,
        scaled=scaled,
        sign=sign,
        receipts=receipts,
    )
    starts = {slot.name: slot.start.replace(tzinfo=None) for slot in chosen.slots}  # numpy has no time zones
    times = np.array([starts[name] for name in dataset["slot"].values.tolist()], "datetime64[ns]")
    return dataset.assign_coords(time=("slot", times))


def _select(
    items: list[Item], bands: Sequence[str] | None, profile: Profile | str | Path | None, slots: SlotRule | str
) -> Selection:
    """Every band asked for in every slot of the items."""
    if profile is None:
        profile = Profile.of_items(items)
    elif not isinstance(profile, Profile):
        profile = load_profile(profile)
    rule = parse_slots(slots) if isinstance(slots, str) else slots
    return Selection.dense(make_slots(items, rule), profile.select(bands), rule, profile.name)


def _survey(
    selection: Selection,
    items: list[Item],
    index: HeaderIndex | None,
    sign: Sign | None,
    crs: str | None,
    resolution: float | None,
    bbox: tuple[float, float, float, float] | None,
) -> Survey:
    """On the grid asked for, or that of the finest file."""
    if (crs is None) != (resolution is None):
        raise GridError(f"crs {crs} and resolution {resolution} name a grid together; give both, or neither")
    if crs is not None and resolution is not None and bbox is not None:
        return survey(selection, items, grid=Grid.snap(crs, bbox_on(crs, bbox), resolution), kept=index, sign=sign)
    found = survey(selection, items, kept=index, sign=sign)
    if crs is not None and resolution is not None:
        grid = Grid.snap(crs, _around(crs, found.index), resolution)
        return survey(selection, items, grid=grid, kept=found.index, sign=sign)
    grid = found.grid.part(bbox_on(found.grid.crs, bbox)) if bbox is not None else found.grid
    return Survey(found.coverage, found.index, grid)


def bbox_on(crs: str, bbox: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """(left, bottom, right, top) in `crs` around west, south, east, north in degrees, across the antimeridian too.

    Raises GridError where they are something else.
    """
    if len(bbox) != 4 or not bbox[1] < bbox[3]:
        raise GridError(f"a bbox is west, south, east, north in degrees, not {bbox}")
    west, south, east, north = bbox
    return transform_bounds(LONLAT, crs, (west, south, east + 360 * (east < west), north))


def _around(crs: str, index: HeaderIndex) -> tuple[float, float, float, float]:
    """(left, bottom, right, top) in `crs` around all files."""
    edges = np.array([transform_bounds(grid.crs, crs, grid.bounds) for grid in {index[href].grid for href in index}])
    (left, bottom), (right, top) = edges[:, :2].min(0).tolist(), edges[:, 2:].max(0).tolist()
    return left, bottom, right, top

"""A map of a grid, of classes or values, from the channels that a run selected and no others."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..atomic import atomic_path, write_text
from ..errors import ItemError, RunError
from ..plan.compile import compile_manifest
from ..plan.survey import survey
from ..read.reader import read_manifest
from ..read.receipt import Receipt
from ..signing import unsigned
from ..train.score import predict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pystac import Item

    from ..grid import Grid
    from ..plan.manifest import Manifest
    from ..signing import Sign
    from ..train.run import Run

#: The class of pixels of which nothing was seen; where values were learned, NaN.
NODATA = 255


@dataclass(frozen=True)
class Map:
    """The classes or values of a grid, and what they were made from."""

    classes: np.ndarray
    """uint8 (rows, columns), `NODATA` where no channel was valid; or values, float32, NaN there."""
    manifest: Manifest
    receipt: Receipt
    sources: tuple[Item, ...]
    """The items that were read, by id."""


def infer(
    run: Run,
    items: Sequence[Item],
    grid: Grid | None = None,
    on_done: Callable[[], object] | None = None,
    sign: Sign | None = None,
) -> Map:
    """Classify `grid` (None: that of the finest selected file) with the folded network of `run`, on slots that fit.

    Only headers and tiles of the selected channels are fetched. `sign` signs hrefs; None: as the items' own are.
    Raises what planning and reading raise, ItemError where no item shows anything of the grid, and RunError for a run
    that a map cannot be made with: of whole chips, or of blocks of a chip.
    """
    _check(run)
    selection = run.selection.on(items)
    found = survey(selection, items, grid=grid, sign=sign)
    manifest = compile_manifest(selection, found.coverage, found.index, found.grid)
    read = {source.item for source in manifest.requests.sources}
    if not read:
        raise ItemError("no item fills a selected channel where the map is to be; search there, and in those slots")
    cube, receipt = read_manifest(manifest, found.index, on_done)
    said = predict(run.model, torch.from_numpy(cube.image).float(), torch.from_numpy(cube.valid))[0].numpy()
    seen = cube.valid[0].any(0)
    classes = np.where(seen, said, NODATA).astype(np.uint8)
    if not run.model.objective.has_classes:
        classes = np.where(seen, said, np.nan).astype(np.float32)
    sources = {item.id: item for item in found.coverage.items if item.id in read}
    ordered = tuple(sources[name] for name in sorted(sources))
    return Map(classes, manifest, receipt.after(found.index), ordered)


def _check(run: Run) -> None:
    if run.model.objective.of_chips:
        raise RunError(f"a run of {run.model.objective.task} says one thing a chip; train one of pixels for a map")
    if run.model.gate.is_spatial:
        raise RunError("this run reads some blocks of each chip, and a map has no chips; train one of whole channels")


def save_receipt(result: Map, run_folder: str | Path, server: dict[str, int] | None = None) -> None:
    """Write ``receipt.json`` into the run's folder, for its report; `server` is what the server counted, if it did."""
    document = {**result.receipt.to_dict(), "selection": result.manifest.selection, "server": server}
    write_text(Path(run_folder) / "receipt.json", json.dumps(document, indent=1) + "\n")


def save_map(result: Map, folder: str | Path, name: str = "map") -> Path:
    """Write the map as a COG and a STAC item beside it; returns the item's path."""
    folder = Path(folder)
    write_classes(result.classes, result.manifest.grid, folder / f"{name}.tif")
    document = _map_item(result, name).to_dict(include_self_link=False, transform_hrefs=False)
    write_text(folder / f"{name}.json", json.dumps(document, indent=1) + "\n")
    return folder / f"{name}.json"


def write_classes(classes: np.ndarray, grid: Grid, path: str | Path) -> None:
    """Write classes (rows, columns), 0..254 and `NODATA`, as a COG of uint8 on `grid`; values as one of float32."""
    import rasterio
    from rasterio.io import MemoryFile
    from rasterio.shutil import copy

    is_value = classes.dtype.kind == "f"
    kind, nodata = ("float32", np.nan) if is_value else ("uint8", NODATA)
    profile = {"driver": "GTiff", "dtype": kind, "nodata": nodata, "count": 1, "crs": grid.crs}
    size = {"height": grid.height, "width": grid.width, "transform": rasterio.Affine(*grid.transform)}
    with MemoryFile() as memory:
        with memory.open(**profile, **size) as dataset:
            dataset.write(classes.astype(kind), 1)
        with memory.open() as dataset, atomic_path(path) as draft:
            # classes have no mean
            overviews = "AVERAGE" if is_value else "MODE"
            copy(dataset, draft, driver="COG", compress="DEFLATE", overview_resampling=overviews)


def _map_item(result: Map, name: str) -> Item:
    import pystac
    from rasterio.warp import transform_bounds, transform_geom

    from ..stac.acquisition import item_time

    grid = result.manifest.grid
    left, bottom, right, top = grid.bounds
    ring = [[left, bottom], [right, bottom], [right, top], [left, top], [left, bottom]]
    times = sorted(item_time(item) for item in result.sources)
    properties: dict[str, Any] = {
        "proj:shape": [grid.height, grid.width],
        "proj:transform": list(grid.transform),
        "geomask:selection": result.manifest.selection,
    }
    properties |= {"proj:code": grid.crs} if ":" in grid.crs and len(grid.crs) < 30 else {"proj:wkt2": grid.crs}
    item = pystac.Item(
        id=name,
        geometry=transform_geom(grid.crs, "EPSG:4326", {"type": "Polygon", "coordinates": [ring]}),
        bbox=list(transform_bounds(grid.crs, "EPSG:4326", *grid.bounds)),
        datetime=None,
        start_datetime=times[0],
        end_datetime=times[-1],
        properties=properties,
        stac_extensions=["https://stac-extensions.github.io/projection/v2.0.0/schema.json"],
    )
    asset = pystac.Asset(f"./{name}.tif", media_type=pystac.MediaType.COG, roles=["data"])
    is_value = result.classes.dtype.kind == "f"
    asset.extra_fields |= (
        {"nodata": "nan", "data_type": "float32"} if is_value else {"nodata": NODATA, "data_type": "uint8"}
    )
    item.add_asset("map", asset)
    for source in result.sources:
        if href := source.get_self_href():
            item.add_link(pystac.Link("derived_from", unsigned(href), media_type=pystac.MediaType.JSON))
    return item

"""What shows all tiles at once, when they are done: a collection, a raster, or a list of all containers."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from .catalog import file_names, make_collection
from .features import link_of
from .ledger import load_entries
from .mosaic import NAME as MOSAIC
from .mosaic import make_vrt
from .origin import NAME as FEATURES
from .origin import TILE, Origin
from .site import TILES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .draft import Draft
    from .outbox import Outbox


def finish(box: Outbox, draft: Draft, tiles: Iterable[int]) -> None:
    """Write what shows all tiles at once: the collection, and one raster, or a list of all containers."""
    there, job = set(box.names(TILES)), draft.job
    made = [tile for tile in map(job.tiling.tile, sorted(tiles)) if f"{TILES}{file_names(tile.name)['item']}" in there]
    with ThreadPoolExecutor() as threads:
        items = list(threads.map(lambda tile: box.get(f"{TILES}{file_names(tile.name)['item']}"), made))
    product, said = draft.product, f"{len(job.selection.channels)} channels of {len(draft.items)} items"
    if product.name == "map":
        classes = None if product.classes is None else len(product.classes)
        box.put(MOSAIC, make_vrt(job.tiling, made, TILES, classes))
        title = f"{product.model.objective.task} by {said}"
    else:
        title = f"features of {said}"
    collection = make_collection(job.name, [json.loads(item) for item in items if item], title)
    box.put("collection.json", (json.dumps(collection, indent=1) + "\n").encode())
    if product.name == "features":
        _say_features(box, draft, [job.tiling.tile(tile).name for tile in sorted(tiles)])


def _say_features(box: Outbox, draft: Draft, names: list[str]) -> None:
    """Write what the features are, and how many bytes each of them has: from then on they are there."""
    job, link = draft.job, link_of(draft.run)
    rows = load_entries(box, names, ("output", "failure")).to_pylist()
    sizes = {row["href"]: row["nbytes"] for row in rows if row["kind"] == "output"}
    origin = Origin(
        place=box.place,
        model=str(draft.product.digest),
        tables=link.tables.digest,
        selection=job.selection.digest,
        grid=job.tiling.grid,
        stride=link.stride,
        latents=link.tables.latents,
        name=job.name,
        side=job.tiling.side,
        tiles={name: sizes.get(TILE.format(name)) for name in names},
        failed=len({row["tile"] for row in rows if row["kind"] == "failure"}),
        area=job.area,
    )
    box.put(FEATURES, (json.dumps(origin.to_dict()) + "\n").encode())

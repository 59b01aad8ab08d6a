"""A map of what a catalog shows, made tile by tile, that goes on where it was interrupted.

::

    MAP/collection.json         STAC: what the map is
    MAP/map.vrt                 all tiles as one raster
    MAP/tiles/TILE.tif          a COG of classes, uint8, or of values, float32
    MAP/tiles/TILE.json         its STAC item
    MAP/tiles/TILE.geomask.parquet   the manifest of what was read; of two stages also TILE.preview.geomask.parquet
    MAP/ledger/TILE.parquet     what it took; written last: a tile that has one is done
    MAP/job.json, MAP/run/      what the map is made from, for whoever goes on with it
"""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..atomic import write_text
from ..errors import RunError
from .agenda import Agenda, find_tiles
from .catalog import file_names, make_collection
from .cluster import REQUESTS, make_tiles_on, open_cluster
from .crew import make_tiles
from .draft import Draft, Wish, chip_size, first_errand
from .engine import choose_engine
from .estimate import Estimate
from .ground import Ground
from .job import Job
from .ledger import BEGIN, done_tiles, forget_tiles, load_entries, read_trips, write_entries
from .lock import alone
from .mosaic import NAME as MOSAIC
from .mosaic import make_vrt
from .outbox import Outbox
from .runfiles import put_run
from .site import TILES, Made, Site, plain_network
from .sources import changed_sources
from .status import Status

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from pystac import Item

    from ..progress import Advance
    from .engine import Engine

#: Changed files that an error names.
NAMED = 3


def infer(
    run: str | Path,
    items: Iterable[Item],
    out: str | os.PathLike[str],
    wish: Wish | None = None,
    *,
    workers: int = 0,
    scheduler: str | None = None,
    refresh: bool = False,
    retry_failed: bool = False,
    on_done: Advance | None = None,
) -> Status:
    """Make the map of a run over items in `out`, a folder or ``s3://bucket/folder``, or go on with it.

    Tiles are made in this process, in so many `workers` of this machine, or by those of a dask `scheduler`. Those that
    are done stay; `refresh` makes those anew whose files have changed since, `retry_failed` those of which pixels could
    not be read: these are nodata, and `Status.failures` says why. `on_done` is called with the number of tiles that are
    done, and of all.

    Raises RunError where another map is there or being made, where files have changed and are not to be read anew, and
    where nothing can be written; ItemError where no item shows anything of it; and what planning raises. A caller that
    starts workers is a script with ``if __name__ == "__main__"``.
    """
    box, wish = Outbox(out), wish or Wish()
    held = Job.find(box)
    draft = _decide(box, run, items, wish) if held is None else Draft.take_up(held, run, items, wish)
    with alone(box), ExitStack() as stack:
        box.tidy()
        engine = None
        if held is None:
            draft, engine = _begin(box, draft)
        job = draft.job
        agenda = Agenda(job, draft.items, chip_size(draft.run))
        names = {job.tiling.tile(tile).name: tile for tile in agenda.tiles}
        done = done_tiles(box) & set(names)
        done -= _stale(box, done, wish, refresh=refresh)
        done -= _failed(box, done) if retry_failed else set()
        count, total = len(done), len(names)

        def made(_: Made | None = None, more: int = 1) -> None:
            nonlocal count
            count += more
            if on_done is not None:
                on_done(count, total)

        made(more=0)
        errands = agenda.errands({names[name] for name in done})
        if count == total:
            pass
        elif scheduler is None and not workers:
            make_tiles(Site(job, draft.run, box, wish.sign, draft.index, engine), errands, made)
        else:
            per_task = _tiles_per_task(draft, agenda, wish)
            client = stack.enter_context(open_cluster(scheduler, workers))
            make_tiles_on(client, job, box, errands, per_task, wish.sign, made)
        _finish(box, draft, agenda.tiles)
    return Status.of(box, job)


def save_receipt(status: Status, run: str | Path, server: dict[str, int] | None = None) -> None:
    """Write ``receipt.json`` into the run's folder, for its report; `server` is what the server counted, if it did."""
    said = status.to_dict()
    write_text(Path(run) / "receipt.json", json.dumps({**said, "server": server}, indent=1) + "\n")


def estimate(run: str | Path, items: Iterable[Item], out: str | os.PathLike[str], wish: Wish | None = None) -> Estimate:
    """What `infer` of the same arguments would take in all; only headers are fetched. Raises as `infer` does."""
    box, wish = Outbox(out), wish or Wish()
    held = Job.find(box)
    draft = _decide(box, run, items, wish) if held is None else Draft.take_up(held, run, items, wish)
    return Estimate.of(draft, wish.sign)


def _decide(box: Outbox, run: str | Path, items: Iterable[Item], wish: Wish) -> Draft:
    """A new map, of which nothing is written yet."""
    if box.get("run/run.json") is None and next(iter(box.names()), None) is not None:
        raise RunError(f"{box.place} holds something else than a map; name another folder")
    return Draft.begin(run, items, _name(box.place), wish)


def _begin(box: Outbox, draft: Draft) -> tuple[Draft, Engine | None]:
    """Choose what computes, and write down what the map is; its job comes last."""
    tiling = draft.job.tiling
    cuts = tiling.cuts(tiling.tile(0))
    size, count = (cuts[0].seen.height, cuts[0].seen.width), len(cuts) * len(find_tiles(draft.job))
    name, engine = choose_engine(plain_network(draft.run.model), size, count)
    draft = replace(draft, job=replace(draft.job, engine=name))
    put_run(box, draft.files)
    write_entries(box, BEGIN, read_trips(BEGIN, "header", draft.index.trips))
    draft.job.save(box)
    return draft, engine


def _stale(box: Outbox, done: set[str], wish: Wish, *, refresh: bool) -> set[str]:
    """Tiles that are to be made anew, since files that they were made from have changed. Raises RunError where not."""
    changed = changed_sources(box, done, wish.sign)
    if changed and not refresh:
        names = ", ".join(sorted(changed)[:NAMED]) + (" and others" if len(changed) > NAMED else "")
        raise RunError(f"{len(changed)} files changed since the map was begun: {names}; --refresh reads them anew")
    stale = set[str]().union(*changed.values())
    forget_tiles(box, stale)
    return stale


def _failed(box: Outbox, done: set[str]) -> set[str]:
    """Tiles that are to be tried again."""
    failed = set(load_entries(box, done, ("failure",))["tile"].to_pylist())
    forget_tiles(box, failed)
    return failed


def _tiles_per_task(draft: Draft, agenda: Agenda, wish: Wish) -> int:
    """So many tiles take `REQUESTS` requests, going by the first of which anything is there."""
    job, first = draft.job, first_errand(agenda)
    ground = Ground(job.selection, job.tiling.grid, job.scaling, wish.sign, draft.index)
    manifest, _ = ground.plan(first.items, [job.tiling.tile(first.tile).window])
    return max(1, -(-REQUESTS // max(1, manifest.planned_requests)))


def _finish(box: Outbox, draft: Draft, tiles: Iterable[int]) -> None:
    """Write what shows all tiles at once: the collection, and one raster."""
    there, tiling = set(box.names(TILES)), draft.job.tiling
    made = [tile for tile in map(tiling.tile, sorted(tiles)) if f"{TILES}{file_names(tile.name)['item']}" in there]
    with ThreadPoolExecutor() as threads:
        items = list(threads.map(lambda tile: box.get(f"{TILES}{file_names(tile.name)['item']}"), made))
    model, names = draft.run.model, draft.run.record.class_names
    classes = len(names) if model.objective.has_classes else None
    box.put(MOSAIC, make_vrt(tiling, made, TILES, classes))
    said = f"{model.objective.task} by {len(draft.job.selection.channels)} channels of {len(draft.items)} items"
    collection = make_collection(draft.job.name, [json.loads(item) for item in items if item], said)
    box.put("collection.json", (json.dumps(collection, indent=1) + "\n").encode())


def _name(place: str) -> str:
    """What a map is called, by the folder that it is written to."""
    last = place.rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-") or "map"

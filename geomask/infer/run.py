"""A map of what a catalog shows, or features, made tile by tile, that go on where they were interrupted.

::

    MAP/collection.json         STAC: what the map is
    MAP/map.vrt                 all tiles as one raster
    MAP/tiles/TILE.tif          a COG of classes, uint8, or of values, float32
    MAP/tiles/TILE.json         its STAC item
    MAP/tiles/TILE.geomask.parquet   the manifest of what was read; of two stages also TILE.preview.geomask.parquet
    MAP/ledger/TILE.parquet     what it took; written last: a tile that has one is done
    MAP/job.json, MAP/run/      what the map is made from, for whoever goes on with it

Features for a map that is made elsewhere lie in the same form, but in place of the raster and the COGs:

::

    DIR/features.json, DIR/items.json  what they are, and the items that they were made from (`Origin`)
    DIR/tiles/TILE.gmf                 a container (`geomask.bottleneck.container`)
"""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..atomic import write_text
from ..errors import RunError
from .agenda import Agenda, find_tiles
from .cluster import REQUESTS, make_tiles_on, open_cluster
from .crew import make_tiles
from .desk import bare_items
from .draft import Basis, Draft, Wish, chip_size, first_errand
from .engine import choose_engine
from .estimate import Estimate, total
from .grounds import open_ground
from .job import Job, product_said
from .ledger import BEGIN, done_tiles, forget_tiles, load_entries, read_trips, write_entries
from .lock import alone
from .origin import ITEMS
from .outbox import Outbox
from .overview import finish
from .runfiles import put_run
from .site import Made, Site
from .sources import changed_sources
from .status import Status

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from pystac import Item

    from ..progress import Advance
    from .engine import Engine
    from .job import ProductName

#: Changed files that an error names.
NAMED = 3


def infer(
    run: str | Path,
    items: Iterable[Item] | None,
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
    done, and of all. `items` None: those that `Wish.features` were made from.

    Raises RunError where another map is there or being made, where files have changed and are not to be read anew, and
    where nothing can be written; ItemError where no item shows anything of it; and what planning raises. A caller that
    starts workers is a script with ``if __name__ == "__main__"``.
    """
    how = How(workers, scheduler, refresh, retry_failed, on_done)
    return _make("map", run, items, out, wish or Wish(), how)


def encode(
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
    """Write what the near side of a run says of items, for `infer` elsewhere. Arguments and errors as of `infer`.

    Raises RunError where the run's network has no link in its middle, too.
    """
    how = How(workers, scheduler, refresh, retry_failed, on_done)
    return _make("features", run, items, out, wish or Wish(), how)


class How(NamedTuple):
    """By whom tiles are made, and which of them anew; as `infer` has it."""

    workers: int
    scheduler: str | None
    refresh: bool
    retry_failed: bool
    on_done: Advance | None


def _make(
    product: ProductName,
    run: str | Path,
    items: Iterable[Item] | None,
    out: str | os.PathLike[str],
    wish: Wish,
    how: How,
) -> Status:
    """What `infer` and `encode` do."""
    box = Outbox(out)
    held, draft = _draft(box, product, run, items, wish)
    with alone(box), ExitStack() as stack:
        box.tidy()
        engine = None
        if held is None:
            draft, engine = _begin(box, draft)
        job = draft.job
        agenda = Agenda(job, draft.items, chip_size(draft.run))
        names = {job.tiling.tile(tile).name: tile for tile in agenda.tiles}
        done = done_tiles(box) & set(names)
        done -= _stale(box, done, wish, refresh=how.refresh)
        done -= _failed(box, done) if how.retry_failed else set()
        count, total = len(done), len(names)

        def made(_: Made | None = None, more: int = 1) -> None:
            nonlocal count
            count += more
            if how.on_done is not None:
                how.on_done(count, total)

        made(more=0)
        errands = agenda.errands({names[name] for name in done})
        if count == total:
            pass
        elif how.scheduler is None and not how.workers:
            make_tiles(Site(job, draft.run, box, wish.sign, draft.index, engine, draft.origin), errands, made)
        else:
            per_task = _tiles_per_task(draft, agenda, wish)
            client = stack.enter_context(open_cluster(how.scheduler, how.workers))
            make_tiles_on(client, job, box, errands, per_task, wish.sign, made)
        finish(box, draft, agenda.tiles)
    return Status.of(box, job)


def save_receipt(status: Status, run: str | Path, server: dict[str, int] | None = None) -> None:
    """Write ``receipt.json`` into the run's folder, for its report; `server` is what the server counted, if it did."""
    said = status.to_dict()
    write_text(Path(run) / "receipt.json", json.dumps({**said, "server": server}, indent=1) + "\n")


def estimate(
    run: str | Path,
    items: Iterable[Item] | None,
    out: str | os.PathLike[str],
    wish: Wish | None = None,
    product: ProductName = "map",
) -> Estimate:
    """What `infer` or `encode` of the same arguments would take in all; only headers are fetched. Raises as they do."""
    wish = wish or Wish()
    _, draft = _draft(Outbox(out), product, run, items, wish)
    return Estimate.of(draft, wish.sign)


def _draft(
    box: Outbox, product: ProductName, run: str | Path, items: Iterable[Item] | None, wish: Wish
) -> tuple[Job | None, Draft]:
    """The job that is there already, and what is asked for, of which nothing is written yet."""
    held = Job.find(box)
    if held is None:
        return None, _decide(box, run, items, wish, product)
    held.check_product(product, box.place)
    return held, Draft.take_up(held, Basis.of(run, items, wish, product))


def _decide(
    box: Outbox, run: str | Path, items: Iterable[Item] | None, wish: Wish, product: ProductName = "map"
) -> Draft:
    """A new map, or features, of which nothing is written yet."""
    if box.get("run/run.json") is None and next(iter(box.names()), None) is not None:
        raise RunError(f"{box.place} holds something else than {product_said(product)}; name another folder")
    return Draft.begin(Basis.of(run, items, wish, product), _name(box.place))


def _begin(box: Outbox, draft: Draft) -> tuple[Draft, Engine | None]:
    """Choose what computes, and write down what the map is; its job comes last."""
    tiling, engine = draft.job.tiling, None
    cuts = tiling.cuts(tiling.tile(0))
    size, count = (cuts[0].seen.height, cuts[0].seen.width), len(cuts) * len(find_tiles(draft.job))
    if draft.product.name == "map":  # symbols are whole numbers: an engine that rounds otherwise says others
        name, engine = choose_engine(draft.product.model, size, count)
        draft = replace(draft, job=replace(draft.job, engine=name))
    else:
        box.put(ITEMS, (json.dumps(bare_items(draft.items)) + "\n").encode())
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
    ground = open_ground(job, draft.run, wish.sign, draft.index, draft.origin)
    _, requests = total(ground.manifests(first.items, [job.tiling.tile(first.tile).window]).values())
    return max(1, -(-REQUESTS // max(1, requests)))


def _name(place: str) -> str:
    """What a map is called, by the folder that it is written to."""
    last = place.rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-") or "map"

"""A map before it is begun: decided, or taken up where another process left it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from math import lcm
from typing import TYPE_CHECKING, Any

from ..cog.index import HeaderIndex
from ..errors import ItemError, RunError, SelectionError
from ..signing import unsigned
from ..train.run import load_run
from .agenda import Agenda
from .blocks import Pattern
from .extent import Extent
from .field import find_field
from .ground import Ground
from .job import Job
from .runfiles import digest_of, run_files
from .site import plain_network
from .tiling import Tiling

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from pystac import Item

    from ..grid import Grid
    from ..selection import Selection
    from ..signing import Sign
    from ..train.run import Run
    from .agenda import Errand

#: Rows and columns of a tile; twice as many where a network looks so far around that the rest would be halo.
SIDE = 1024
#: Rows and columns that are kept of a cut at least: less is mostly halo, more takes memory.
CHIP = 256
#: Halos that a cut is as long as, or longer.
HALOS = 4
#: A cut overlaps its neighbour by one part of so many.
BLENDED = 4


@dataclass(frozen=True)
class Wish:
    """What a user asks for beside a run and items; each part may be left out."""

    extent: Extent = field(default_factory=Extent)
    tile: int | None = None
    """Rows and columns of a tile, in pixels."""
    blend: bool = False
    """Let cuts overlap, and weigh what is said twice, in place of a halo."""
    network: str | None = None
    """``module:function`` of the run's network, where that is the user's own code."""
    sign: Sign | None = None
    """Signs hrefs; None: as the items' own are."""
    grid: Grid | None = None
    """In place of `extent`: the very pixels."""

    def place(
        self, run: Run, selection: Selection, items: Sequence[Item]
    ) -> tuple[Grid, dict[str, Any] | None, HeaderIndex]:
        """The map's grid, its area on it, and the headers that it took. Raises as `Extent.grid`."""
        if self.grid is not None:
            return self.grid, self.extent.area_on(self.grid), HeaderIndex(sign=self.sign)
        grid, index = self.extent.grid(selection, items, run.record.gsd, self.sign)
        return grid, self.extent.area_on(grid), index


@dataclass(frozen=True)
class Draft:
    """A job, and what it takes to begin it or to go on with it."""

    job: Job
    run: Run
    items: tuple[Item, ...]
    """All, by collection and id."""
    files: dict[str, bytes]
    """Of the run."""
    index: HeaderIndex
    """What was fetched to decide."""

    @classmethod
    def begin(cls, run_folder: str | Path, items: Iterable[Item], name: str, wish: Wish) -> Draft:
        """A new map. Its engine is not chosen yet.

        Raises RunError for a run of whole chips, or of a network whose answers depend on everything and are not to be
        blended, ItemError where no item shows anything of it; and what planning and fetching raise.
        """
        run, found = load_run(run_folder, wish.network), _ordered(items)
        if run.model.objective.of_chips:
            raise RunError(f"a run of {run.model.objective.task} says one thing a chip; train one of pixels for a map")
        if not run.selection.channels:
            raise SelectionError("this run reads nothing; train one with a larger budget")
        selection, files = run.selection.on(found), run_files(run_folder)
        grid, area, index = wish.place(run, selection, found)
        job = Job(
            name=name,
            selection=selection,
            scaling=None,
            tiling=make_tiling(grid, run, wish.tile, wish.blend),
            engine="eager",
            run=digest_of(files),
            items=digest_items(found, selection),
            network=wish.network,
            area=area,
        )
        agenda = Agenda(job, found, chip_size(run))
        first = first_errand(agenda)
        scaling = run.record.scaling and tuple((scale, offset) for scale, offset in run.record.scaling)
        if not scaling:  # an older run: as the first tile's items say, the same for all tiles
            tile = job.tiling.tile(first.tile).window
            manifest, more = Ground(selection, grid, sign=wish.sign, index=index).plan(first.items, [tile])
            scaling, index = manifest.scaling, index.join(more)
        return cls(replace(job, scaling=scaling, empty=agenda.empty), run, found, files, index)

    @classmethod
    def take_up(cls, held: Job, run_folder: str | Path, items: Iterable[Item], wish: Wish) -> Draft:
        """The map that was begun as `held`. Raises RunError where what is asked for is another one."""
        run, found, files = load_run(run_folder, wish.network), _ordered(items), run_files(run_folder)
        selection, grid = run.selection.on(found), held.tiling.grid
        wanted = replace(
            held,
            selection=selection,
            run=digest_of(files),
            items=digest_items(found, selection),
            network=wish.network,
        )
        if (wish.extent, wish.grid) != (Extent(), None):
            grid, area, _ = wish.place(run, selection, found)
            wanted = replace(wanted, area=area)
        blend = wish.blend or held.tiling.overlap > 0
        if grid != held.tiling.grid or blend != (held.tiling.overlap > 0) or wish.tile not in (None, held.tiling.side):
            wanted = replace(wanted, tiling=make_tiling(grid, run, wish.tile, blend))
        if parts := wanted.differs(held):
            raise RunError(f"another map was begun there: {', '.join(parts)} differ; name another folder")
        return cls(held, run, found, files, HeaderIndex(sign=wish.sign))


def chip_size(run: Run) -> tuple[int, int] | None:
    """(rows, columns) of a run's chips, where not all of each is read."""
    pattern = Pattern.of(run, run.selection)
    return None if pattern is None else pattern.size


def first_errand(agenda: Agenda) -> Errand:
    """The first tile of which an item shows anything. Raises ItemError where there is none."""
    for errand in agenda.errands(set()):
        if errand.items:
            return errand
    raise ItemError("no item fills a selected channel where the map is to be; search there, and in those slots")


def make_tiling(grid: Grid, run: Run, tile: int | None = None, blend: bool = False) -> Tiling:
    """How a grid is cut for the network of a run: tiles of `tile` pixels a side, or of about a thousand.

    Raises RunError as `find_field`, and GridError for a tile that is no multiple of the network's stride.
    """
    if blend:
        return Tiling(grid, tile or SIDE, CHIP, 0, overlap=CHIP // BLENDED)
    found = find_field(plain_network(run.model))
    whole = lcm(found.stride, *(chip_size(run) or ()))  # a chip that lies in one tile is read for that alone
    side = tile or _up(SIDE if HALOS * found.halo <= SIDE else 2 * SIDE, whole)
    chip = max(_up(CHIP, found.stride), HALOS * found.halo)
    return Tiling(grid, side, min(side, chip), found.halo, found.stride)


def digest_items(items: Iterable[Item], selection: Selection) -> str:
    """SHA-256 of what items say that a map depends on, hexadecimal: hrefs without what gives access."""
    assets, digest = {band.asset for band in selection.bands}, hashlib.sha256()
    for item in items:
        said = item.to_dict(include_self_link=False, transform_hrefs=False)
        of_bands = {name: asset for name, asset in said["assets"].items() if name in assets}
        kept = {name: {**asset, "href": unsigned(asset["href"])} for name, asset in of_bands.items()}
        facts = [said["id"], said.get("collection"), said["geometry"], said["properties"], kept]
        digest.update(json.dumps(facts, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def _ordered(items: Iterable[Item]) -> tuple[Item, ...]:
    return tuple(sorted(items, key=lambda item: (item.collection_id or "", item.id)))


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple

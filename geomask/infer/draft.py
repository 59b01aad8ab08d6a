"""A map, or features, before they are begun: decided, or taken up where another process left it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import lcm
from typing import TYPE_CHECKING

from ..cog.index import HeaderIndex
from ..errors import ItemError, RunError, SelectionError
from .agenda import Agenda
from .basis import Basis as Basis
from .basis import Wish as Wish
from .blocks import Pattern
from .extent import Extent
from .field import find_field
from .ground import Ground
from .job import Job
from .product import plain_network, product_of
from .tiling import Tiling

if TYPE_CHECKING:
    from pystac import Item

    from ..grid import Grid
    from ..train.run import Run
    from .agenda import Errand
    from .origin import Origin
    from .product import Product

#: Rows and columns of a tile; twice as many where a network looks so far around that the rest would be halo.
SIDE = 1024
#: Rows and columns that are kept of a cut at least: less is mostly halo, more takes memory.
CHIP = 256
#: Halos that a cut is as long as, or longer.
HALOS = 4
#: A cut overlaps its neighbour by one part of so many.
BLENDED = 4


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
    product: Product
    origin: Origin | None = None
    """Of features that it is made from."""

    @classmethod
    def begin(cls, basis: Basis, name: str) -> Draft:
        """A new map, or features. Its engine is not chosen yet.

        Raises RunError for a run of whole chips, or of a network whose answers depend on everything and are not to be
        blended, ItemError where no item shows anything of it; and what planning and fetching raise.
        """
        run, wish, found = basis.run, basis.wish, basis.items
        if run.model.objective.of_chips and basis.product.name == "map":
            raise RunError(f"a run of {run.model.objective.task} says one thing a chip; train one of pixels for a map")
        if not basis.selection.channels:
            raise SelectionError("this run reads nothing; train one with a larger budget")
        grid, area, index = basis.place()
        job = Job(
            name=name,
            scaling=None,
            tiling=cut(basis, grid, wish.blend),
            engine="eager",
            area=area,
            product=basis.product.name,
            margin=basis.product.margin() if area else 0,
            **basis.digests,
        )
        agenda = Agenda(job, found, chip_size(run))
        first, scaling = first_errand(agenda), basis.scaling()
        if not scaling and basis.origin is None:  # an older run: as the first tile's items say, the same for all tiles
            tile = job.tiling.tile(first.tile).window
            manifest, more = Ground(job.selection, grid, sign=wish.sign, index=index).plan(first.items, [tile])
            scaling, index = manifest.scaling, index.join(more)
        job = replace(job, scaling=scaling, empty=agenda.empty)
        return cls(job, run, found, basis.files, index, basis.product, basis.origin)

    @classmethod
    def take_up(cls, held: Job, basis: Basis) -> Draft:
        """What was begun as `held`. Raises RunError where what is asked for is another one."""
        wish, grid = basis.wish, held.tiling.grid if basis.origin is None else basis.origin.grid
        wanted = replace(held, **basis.digests)
        if (wish.extent, wish.grid) != (Extent(), None):
            grid, area, _ = basis.place()
            wanted = replace(wanted, area=area)
        blend = wish.blend or held.tiling.overlap > 0
        if grid != held.tiling.grid or blend != (held.tiling.overlap > 0) or wish.tile not in (None, held.tiling.side):
            wanted = replace(wanted, tiling=cut(basis, grid, blend))
        if parts := wanted.differs(held):
            what = "another map was" if held.product == "map" else "other features were"
            raise RunError(f"{what} begun there: {', '.join(parts)} differ; name another folder")
        index = HeaderIndex(sign=wish.sign)
        return cls(held, basis.run, basis.items, basis.files, index, basis.product, basis.origin)


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


def cut(basis: Basis, grid: Grid, blend: bool) -> Tiling:
    """How a grid is cut for what is asked for. Raises as `make_tiling`, and RunError for tiles that are too large."""
    found = make_tiling(grid, basis.run, basis.wish.tile, blend, basis.product)
    basis.product.check(found)
    return found


def make_tiling(
    grid: Grid, run: Run, tile: int | None = None, blend: bool = False, product: Product | None = None
) -> Tiling:
    """How a grid is cut for the network of a run: tiles of `tile` pixels a side, or of about a thousand.

    `product` is what tiles become; None: a map, of pixels. Raises RunError as `find_field`, and GridError for a tile
    that is no multiple of the network's stride.
    """
    product = product or product_of(run, "map", from_features=False)
    if blend:
        return Tiling(grid, tile or SIDE, CHIP, 0, product.stride, CHIP // BLENDED)
    found = product.field() or find_field(plain_network(run.model))
    whole = lcm(found.stride, *(chip_size(run) or ()))  # a chip that lies in one tile is read for that alone
    side = tile or _up(SIDE if HALOS * found.halo <= SIDE else 2 * SIDE, whole)
    chip = max(_up(CHIP, found.stride), HALOS * found.halo)
    return Tiling(grid, side, min(side, chip), found.halo, found.stride)


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple

"""What is asked for, and what there is to make it of: a run, items, and features where others have made some."""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from ..bottleneck.run import open_run
from ..cog.index import HeaderIndex
from ..errors import GridError, ItemError, RunError
from ..signing import unsigned
from .extent import Extent
from .features import link_of
from .grounds import open_origin
from .origin import plain_items
from .outbox import Outbox
from .product import product_of
from .remote import is_service
from .runfiles import digest_of, run_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from pystac import Item

    from ..grid import Grid
    from ..selection import Selection
    from ..signing import Sign
    from ..train.run import Run
    from .job import ProductName
    from .origin import Origin
    from .product import Product


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
    features: str | None = None
    """Of a map: the folder, bucket or service that has the features of the run's near side."""

    def __post_init__(self) -> None:
        """Refuse other pixels than those of the features. Raises GridError."""
        if self.features and (self.grid, self.extent.crs, self.extent.bbox) != (None,) * 3:
            raise GridError(
                "the pixels of a map from features are theirs: leave out grid, CRS and box (an area may be)"
            )

    def place(
        self, run: Run, selection: Selection, items: Sequence[Item]
    ) -> tuple[Grid, dict[str, Any] | None, HeaderIndex]:
        """The map's grid, its area on it, and the headers that it took. Raises as `Extent.grid`."""
        if self.grid is not None:
            return self.grid, self.extent.area_on(self.grid), HeaderIndex(sign=self.sign)
        grid, index = self.extent.grid(selection, items, run.record.gsd, self.sign)
        return grid, self.extent.area_on(grid), index


@dataclass(frozen=True)
class Basis:
    """What there is to begin with, or to go on with."""

    run: Run
    product: Product
    selection: Selection
    """What the product is made from, in slots that fit the items."""
    items: tuple[Item, ...]
    """All, by collection and id."""
    files: dict[str, bytes]
    """Of the run."""
    wish: Wish
    origin: Origin | None
    """Of features that it is made from."""

    @classmethod
    def of(cls, run_folder: str | Path, items: Iterable[Item] | None, wish: Wish, product: ProductName = "map") -> Self:
        """Raises RunError where the run cannot make such, or there are no features of it, and what `open_run` raises.

        `items` None: those that the features were made from.
        """
        run, origin, theirs = open_run(run_folder, wish.network), None, None
        made = product_of(run, product, from_features=wish.features is not None)
        if wish.features is not None:
            origin, theirs = open_origin(wish.features, wish.sign)
        elif items is None:
            raise ItemError("nothing says what to read: give items, or features that have some")
        found = _ordered(theirs or () if items is None else items)
        if origin is not None and origin.failed:
            warnings.warn(
                f"{origin.failed} tiles of {origin.place} have pixels that could not be read, which will be nodata; "
                "try them again there with --retry-failed",
                stacklevel=2,
            )
        whole = run.selection.on(found)
        if origin is not None and theirs is not None:
            origin.check(run, whole)
            if items is None:
                _check_reach(run, origin, found)
            elif digest_items(plain_items(found), whole) != digest_items(_ordered(theirs), whole):
                raise RunError(f"{origin.place} has features of other items; give those, or none")
        return cls(run, made, made.keep(whole), found, run_files(run_folder), wish, origin)

    @property
    def digests(self) -> dict[str, Any]:
        """Of a job, what says whether it is still the same."""
        items = self.items if self.origin is None else plain_items(self.items)
        return {
            "selection": self.selection,
            "run": digest_of(self.files),
            "items": digest_items(items, self.selection),
            "network": self.wish.network,
            "features": None if self.origin is None else self.origin.place,
            "model": self.product.digest,
        }

    def place(self) -> tuple[Grid, dict[str, Any] | None, HeaderIndex]:
        """The grid, the area on it, and the headers that it took. Raises as `Extent.grid`."""
        if self.origin is None:
            return self.wish.place(self.run, self.selection, self.items)
        grid = self.origin.grid
        return grid, self.wish.extent.area_on(grid) or self.origin.area, HeaderIndex(sign=self.wish.sign)

    def scaling(self) -> tuple[tuple[float, float], ...] | None:
        """(scale, offset) of each channel that is read, as the run says; None: it does not."""
        run = self.run.selection
        own = {(channel.slot, channel.band): number for number, channel in enumerate(run.channels)}
        places = [own[channel.slot, channel.band] for channel in self.selection.channels]
        said = self.run.record.scaling
        return tuple((said[place][0], said[place][1]) for place in places) if said else None


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


def _check_reach(run: Run, origin: Origin, items: Iterable[Item]) -> None:
    """Raise RunError where pixels are to be read of files that only another machine has."""
    if not link_of(run).far.numel() or not (is_service(origin.place) or not Outbox(origin.place).is_local):
        return
    for item in items:
        for asset in item.assets.values():
            if "://" not in asset.href or asset.href.lower().startswith("file:"):
                raise RunError(
                    f"{origin.place} was made from files of its own machine, and this run reads some of them too; give "
                    "the items where they can be read from here"
                )

"""Features that another machine has made: what they are, and whether a run can make a map of them.

::

    PLACE/features.json  what they are: one JSON object, of a folder with the bytes of each tile, written last
    PLACE/items.json     the items that they were made from, without what gives access

A service answers for both as a folder has them (`geomask.infer.desk`); what it makes is asked for window by window.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any, Self

from ..bottleneck.codec import MAX_VALUES
from ..bottleneck.container import MAX_SIDE, MAX_STRIDE
from ..bottleneck.transfer import encoder_digest
from ..errors import GeomaskError, RunError
from ..grid import Grid
from ..stac.items import make_items
from .desk import bare_items
from .features import link_of
from .tiling import Tiling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pystac import Item

    from ..selection import Selection
    from ..train.run import Run

VERSION = 1
NAME, ITEMS = "features.json", "items.json"
#: The file of a tile, by its name.
TILE = "tiles/{}.gmf"


@dataclass(frozen=True)
class Origin:
    """What features are, as their place says. Raises RunError where they cannot be such."""

    place: str
    """A folder, a bucket, or the address of a service, without what gives access."""
    model: str
    """Digest of the encoder."""
    tables: str
    """Digest of the tables that they are coded by."""
    selection: str
    """Digest of the channels that they were made from."""
    grid: Grid
    stride: int
    """Pixels to a side of a latent."""
    latents: int
    name: str = "features"
    """Id of their STAC collection."""
    side: int | None = None
    """Rows and columns of pixels of a tile; None: a service makes those of any window."""
    tiles: Mapping[str, int | None] = field(default_factory=dict)
    """Bytes of each tile of the area; None: nothing was seen of it."""
    failed: int = 0
    """Tiles of which pixels could not be read."""
    area: dict[str, Any] | None = None
    """GeoJSON geometry in the grid's CRS that they were made for; None: all of the grid."""

    def __post_init__(self) -> None:
        counts = (self.stride, self.latents, *(() if self.side is None else (self.side,)))
        if min(counts) < 1 or self.stride > MAX_STRIDE or self.latents > MAX_SIDE:
            raise RunError(f"features of {self.latents} latents, a stride of {self.stride}, tiles of {self.side}")
        if self.side is not None:
            if self.side % self.stride:
                raise RunError(f"features in tiles of {self.side} pixels, no multiple of their stride, {self.stride}")
            check_size(self.latents, self.side, self.stride)

    @property
    def tiling(self) -> Tiling:
        """The tiles of a folder."""
        side = self.side or self.stride
        return Tiling(self.grid, side, side, 0, self.stride)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, for `from_dict`."""
        said = {name: value for name, value in asdict(self).items() if name != "place"}
        return {"geomask": "features", "version": VERSION, **said}

    @classmethod
    def from_dict(cls, document: Any, place: str) -> Self:
        """Of what a stranger says; members that are not known are let be. Raises RunError where it is none."""
        if not isinstance(document, dict) or document.get("geomask") != "features":
            raise RunError(f"{place} holds no geomask features")
        if (version := document.get("version")) != VERSION:
            raise RunError(f"{place} holds features of version {version}; this geomask reads version {VERSION}")
        try:
            side, tiles = document.get("side"), document.get("tiles", {})
            return cls(
                place,
                model=_text(document["model"]),
                tables=_text(document["tables"]),
                selection=_text(document["selection"]),
                stride=_whole(document["stride"]),
                latents=_whole(document["latents"]),
                grid=Grid(**document["grid"]),
                name=_text(document.get("name", "features")),
                side=None if side is None else _whole(side),
                tiles={_text(name): None if size is None else _whole(size) for name, size in tiles.items()},
                failed=_whole(document.get("failed", 0)),
                area=document.get("area"),
            )
        except (KeyError, TypeError, ValueError, AttributeError, GeomaskError) as error:
            said = str(error) if isinstance(error, GeomaskError) else f"{type(error).__name__} {error}"
            raise RunError(f"{place}/{NAME} is broken: {said}") from error

    def check(self, run: Run, selection: Selection) -> None:
        """Raise RunError where the far side of a run can make nothing of them.

        `selection` is the run's, in slots that fit the items. Runs of several teachers may share an encoder.
        """
        link = link_of(run)
        for what, mine, theirs in (
            ("encoder", encoder_digest(run.model), self.model),
            ("coder's tables", link.tables.digest, self.tables),
            ("channels and slots", selection.keep(sorted(link.near.tolist())).digest, self.selection),
        ):
            if mine != theirs:
                raise RunError(
                    f"{self.place} has features of another model: its {what} are {theirs[:16]}, those of this run "
                    f"{mine[:16]}; take the run that they were made with, or one that shares its encoder"
                )
        if (link.stride, link.tables.latents) != (self.stride, self.latents):
            raise RunError(
                f"{self.place} has {self.latents} latents of stride {self.stride}, and this run "
                f"{link.tables.latents} of {link.stride}; take the run that they were made with"
            )


def check_size(latents: int, side: int, stride: int) -> None:
    """Raise RunError where a tile of so many pixels a side is none that a container holds."""
    cells = -(-side // stride)
    if cells > MAX_SIDE or prod((latents, cells, cells)) > MAX_VALUES:
        raise RunError(
            f"tiles of {side} pixels hold {latents} x {cells} x {cells} latents; a container has {MAX_VALUES} at most: "
            "make them smaller (--tile)"
        )


def load_origin(get: Callable[[str], bytes | None], place: str) -> tuple[Origin, list[Item]]:
    """What is at a place, and the items that it was made from; `get` says what one of its files holds.

    Raises RunError where there is nothing, or it is broken, and ItemError for items that are none.
    """
    said, items = get(NAME), get(ITEMS)
    if said is None or items is None:
        raise RunError(f"{place} holds no features, or not all of them yet; `geomask encode` makes them")
    collection = _parse(items, f"{place}/{ITEMS}")
    features = collection.get("features") if isinstance(collection, dict) else None
    if not isinstance(features, list):
        raise RunError(f"{place}/{ITEMS} is no collection of items; make the features anew")
    return Origin.from_dict(_parse(said, f"{place}/{NAME}"), place), make_items(features, f"{place}/{ITEMS}")


def plain_items(items: Iterable[Item]) -> Sequence[Item]:
    """The items as their place has them (`ITEMS`): without what gives access."""
    return make_items(bare_items(items)["features"], ITEMS)


def _parse(data: bytes, where: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{where} is no JSON: {error}") from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _whole(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise TypeError(f"{value!r} is no whole number")
    return value

"""What a map is made from, or features: decided once, written down, and held against whatever goes on with it.

::

    MAP/job.json   this: one JSON object
    MAP/run/       the run: record, selection, network
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, cast, get_args

import shapely
from shapely.geometry import mapping, shape

from ..errors import GeomaskError, RunError
from ..grid import Grid
from ..selection import Selection
from .tiling import Tiling

if TYPE_CHECKING:
    from .outbox import Outbox

VERSION = 1
NAME = "job.json"
EngineName = Literal["eager", "compile", "onnx", "bf16"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)
ProductName = Literal["map", "features"]
"""What tiles are: a map, or what the near side of a run says for whoever makes one elsewhere."""
#: Each with the command that makes it.
PRODUCTS: dict[ProductName, str] = {"map": "geomask infer", "features": "geomask encode"}


@dataclass(frozen=True)
class Job:
    """All that decides what the pixels of a map, or features, are, but the files that the items name."""

    name: str
    """Of the map: its collection's id."""
    selection: Selection
    """What it is made from, in slots that fit the items: of features the channels that the near side sees."""
    scaling: tuple[tuple[float, float], ...] | None
    """(scale, offset) that the network learned each channel's values in; None: the run does not say."""
    tiling: Tiling
    engine: EngineName
    run: str
    """SHA-256 of the run's files, hexadecimal."""
    items: str
    """Likewise of what the items say."""
    network: str | None = None
    """``module:function`` of the network, where it is the user's own code."""
    empty: tuple[str, ...] = ()
    """``slot/band`` of the channels that no item fills."""
    area: dict[str, Any] | None = None
    """GeoJSON geometry in the grid's CRS: what lies outside is nodata; None: all of the grid."""
    product: ProductName = "map"
    features: str | None = None
    """Of a map: the place that the features of its near side are from; None: pixels of all channels are read."""
    model: str | None = None
    """Of features, or of a map from them: the encoder's digest."""
    margin: int = 0
    """Of features: pixels around the area that are made too, since the far side looks so far."""

    @property
    def reach(self) -> dict[str, Any] | None:
        """The area with the margin around it."""
        if self.area is None or not self.margin:
            return self.area
        grid = self.tiling.grid
        found: dict[str, Any] = mapping(shapely.buffer(shape(self.area), self.margin * max(grid.res_x, grid.res_y)))
        return found

    @property
    def digest(self) -> str:
        """SHA-256 of all this, hexadecimal."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, for `from_dict`."""
        return {
            "geomask": self.product,
            "version": VERSION,
            "name": self.name,
            "selection": self.selection.to_dict(),
            "scaling": None if self.scaling is None else [list(pair) for pair in self.scaling],
            "tiling": asdict(self.tiling),
            "engine": self.engine,
            "run": self.run,
            "items": self.items,
            "network": self.network,
            "empty": list(self.empty),
            "area": self.area,
            "features": self.features,
            "model": self.model,
            "margin": self.margin,
        }

    @classmethod
    def from_dict(cls, document: Any) -> Self:
        """Raises RunError where a document is no job, or of another version.

        What is only of features may be missing: maps were made before there were any.
        """
        if not isinstance(document, dict) or document.get("geomask") not in PRODUCTS:
            raise RunError("this is no geomask map")
        if document.get("version") != VERSION:
            raise RunError(f"a map of version {document.get('version')}; this geomask reads version {VERSION}")
        try:
            tiling, scaling = document["tiling"], document["scaling"]
            if document["engine"] not in ENGINES:
                raise RunError(f"no engine {document['engine']!r}")
            return cls(
                name=str(document["name"]),
                selection=Selection.from_dict(document["selection"]),
                scaling=None if scaling is None else tuple((float(scale), float(offset)) for scale, offset in scaling),
                tiling=Tiling(**{**tiling, "grid": Grid(**tiling["grid"])}),
                engine=cast("EngineName", document["engine"]),
                run=str(document["run"]),
                items=str(document["items"]),
                network=document["network"],
                empty=tuple(map(str, document["empty"])),
                area=document["area"],
                product=document["geomask"],
                features=_text(document.get("features")),
                model=_text(document.get("model")),
                margin=int(document.get("margin", 0)),
            )
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, GeomaskError):
                raise
            raise RunError(f"a broken map: {type(error).__name__} {error}") from error

    def differs(self, other: Job) -> list[str]:
        """What is not the same in both, by name."""
        mine, theirs = self.to_dict(), other.to_dict()
        return [name for name, value in mine.items() if theirs[name] != value]

    def check_product(self, wanted: ProductName, place: str) -> None:
        """Raise RunError where it is not what is wanted."""
        if self.product != wanted:
            mine, theirs = product_said(self.product), product_said(wanted)
            raise RunError(f"{place} holds {mine} of `{PRODUCTS[self.product]}`, not {theirs}; name another folder")

    def save(self, box: Outbox) -> None:
        """Write ``job.json``, or go on with the one that is there.

        Raises RunError where that is of another map, or the place cannot be written to.
        """
        if not box.create(NAME, (json.dumps(self.to_dict(), indent=1) + "\n").encode()):
            held = self.load(box)
            held.check_product(self.product, box.place)
            if parts := self.differs(held):
                raise RunError(f"{box.place} holds a map that differs in {', '.join(parts)}; name another folder")

    @classmethod
    def find(cls, box: Outbox) -> Self | None:
        """What `save` wrote; None where there is nothing. Raises RunError where it is broken."""
        data = box.get(NAME)
        if data is None:
            return None
        try:
            return cls.from_dict(json.loads(data))
        except (GeomaskError, ValueError) as error:
            raise RunError(f"{box.place}/{NAME}: {error}") from error

    @classmethod
    def load(cls, box: Outbox) -> Self:
        """Read what `save` wrote. Raises RunError where there is none, or it is broken."""
        job = cls.find(box)
        if job is None:
            raise RunError(f"{box.place} holds no map; `geomask infer` makes one")
        return job


def product_said(product: ProductName) -> str:
    """In words."""
    return "a map" if product == "map" else "features"


def _text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value

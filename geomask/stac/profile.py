"""What a catalog's assets mean: a profile, one YAML file in ``catalogs/`` or of the user's own."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from reprlib import repr as shortened
from typing import TYPE_CHECKING, Any, Self

from ..errors import ItemError
from .band import Band
from .clouds import CloudMask
from .lookup import find_band
from .terms import CostHints, Signing
from .values import each, json_number, maybe, record, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pystac import Item

__all__ = ["Band", "Profile", "json_number", "load_profile", "profile_names"]

#: Bytes of a profile, at most: those shipped have a few thousand.
LARGEST = 1 << 20


@dataclass(frozen=True, slots=True)
class Profile:
    """A collection's bands and habits, as plain data."""

    name: str
    bands: tuple[Band, ...]
    title: str = ""
    endpoint: str | None = None
    """Address of the STAC API, where there is one."""
    collections: tuple[str, ...] = ()
    """Collections that the bands belong to; empty: any."""
    cloud_mask: CloudMask | None = None
    """What says which pixels are clear, where something does."""
    cost: CostHints = field(default_factory=CostHints)
    """What reading costs."""
    signing: Signing = field(default_factory=Signing)
    """What gives access."""

    def __post_init__(self) -> None:
        """Refuse a profile without bands, or of bands that share a name."""
        if not self.bands:
            raise ItemError(f"profile {self.name} has no list of bands")
        if len({band.name for band in self.bands}) < len(self.bands):
            raise ItemError(f"profile {self.name} names a band twice")

    @classmethod
    def of_items(cls, items: Iterable[Item], name: str = "items") -> Self:
        """What items say of themselves, for a collection without a profile: see `read_bands`.

        The first item by name that has a band describes it. Raises ItemError where none describes any.
        """
        from .metadata import read_bands

        bands: dict[str, Band] = {}
        ordered = sorted(items, key=lambda item: (item.id, item.collection_id or ""))
        for item in ordered:
            for band in read_bands(item):
                bands.setdefault(band.name, band)
        if not bands:
            raise ItemError(
                f"none of {len(ordered)} items has a raster and says the size of its pixels; write a profile"
            )
        collections = sorted({item.collection_id for item in ordered if item.collection_id})
        return cls(name, tuple(bands.values()), collections=tuple(collections))

    def select(self, names: Iterable[str] | None = None) -> tuple[Band, ...]:
        """Bands by name, common name or wavelength (`find_band`), in the order asked for; all of them for None.

        Raises ItemError for one that is unknown, or of which there are several.
        """
        return self.bands if names is None else tuple(find_band(self.bands, name, self.name) for name in names)


def load_profile(name: str | Path) -> Profile:
    """The profile of that name in the package, or the YAML file at that path.

    Raises ItemError where there is none, or where it is no profile.
    """
    shipped = files("geomask.catalogs").joinpath(f"{name}.yaml") if str(name) in profile_names() else Path(name)
    try:
        with shipped.open("rb") as file:
            content = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ItemError(
            f"no profile {name}: neither one of {', '.join(profile_names())} nor a readable file"
        ) from error
    if len(content) > LARGEST:
        raise ItemError(f"profile {name} is larger than {LARGEST} bytes")
    return _profile(str(name), _parse(str(name), content))


def profile_names() -> list[str]:
    """The profiles that the package ships."""
    return sorted(file.name[:-5] for file in files("geomask.catalogs").iterdir() if file.name.endswith(".yaml"))


def _parse(name: str, content: bytes) -> Any:
    """YAML without aliases: with them, a few lines can stand for more than any memory."""
    import yaml

    class Loader(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("it has an alias; write out what it stands for")
            return super().compose_node(parent, index)

    try:
        return yaml.load(content.decode(), Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ItemError(f"profile {name} is no YAML: {said}") from error


def _profile(name: str, document: Any) -> Profile:
    if not isinstance(document, dict) or not isinstance(document.get("bands"), list):
        raise ItemError(f"profile {name} has no list of bands")
    shared = document.get("defaults", {})
    if not isinstance(shared, dict) or "name" in shared:
        raise ItemError(f"profile {name}: defaults are fields of every band but its name, not {shortened(shared)}")
    bands = [{**shared, **band} if isinstance(band, dict) else band for band in document["bands"]]
    try:
        fields = record("profile", {**document, "bands": bands, "defaults": None}, _FIELDS, ("bands",))
        del fields["defaults"]
        return Profile(**{"name": name, **fields})
    except ItemError as error:
        raise ItemError(f"profile {name}: {error}") from error


_FIELDS: dict[str, Callable[[Any], Any]] = {
    "name": text,
    "title": text,
    "endpoint": maybe(text),
    "collections": each(text),
    "defaults": lambda _: None,
    "bands": each(Band.from_dict),
    "cloud_mask": maybe(CloudMask.from_dict),
    "cost": CostHints.from_dict,
    "signing": Signing.from_dict,
}

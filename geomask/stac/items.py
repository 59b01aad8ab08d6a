"""JSON as pystac's items, a hundred thousand at a time."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import pystac
from pystac import Asset, Item, Link
from pystac.utils import str_to_datetime

from ..errors import ItemError
from .fields import check_item

if TYPE_CHECKING:
    from .fields import Json

_MEMBERS = frozenset(
    ("type", "stac_version", "stac_extensions", "id", "collection", "geometry", "bbox", "links", "assets", "properties")
)


def make_items(features: Iterable[Json], where: str) -> list[Item]:
    """The items that features are; they keep parts of them. Raises ItemError, with `where`, for what is no item."""
    with collector_paused():
        return [make_item(feature, where) for feature in features]


def make_item(feature: Json, where: str) -> Item:
    """The item that a feature is, brought to pystac's version of STAC by pystac where it is of another one."""
    check_item(feature)
    try:
        return _item(feature) if _is_current(feature) else Item.from_dict(_Given(feature), preserve_dict=False)
    except Exception as error:  # pystac raises what it stumbles over
        raise ItemError(f"{where}: item {feature['id']} cannot be read: {type(error).__name__}: {error}") from error


@contextmanager
def collector_paused() -> Iterator[None]:
    """Without garbage collection, which would go through millions of new objects, none of them garbage, many times."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


class LazyItem(Item):
    """An item whose links are made when they are first asked for, which is hardly ever, and its assets one by one."""

    _described: Sequence[Json] = ()
    """Links that are not made yet."""

    @property
    def links(self) -> list[Link]:
        """As pystac's, which pickles what is in its place in `__dict__`."""
        described, self._described = self._described, ()
        for link in described:
            self.add_link(Link.from_dict(link))
        found: list[Link] = self.__dict__["links"]
        return found

    @links.setter
    def links(self, links: list[Link]) -> None:
        self._described, self.__dict__["links"] = (), links


class LazyAssets(MutableMapping[str, Asset]):
    """The assets of an item, each made when it is first asked for: of thirty files a model may read three."""

    def __init__(self, owner: Item, described: dict[str, Any]) -> None:
        self._owner = owner
        self._assets: dict[str, Any] = described
        """By name: an Asset, or its JSON."""

    def __getitem__(self, name: str) -> Asset:
        """The asset; the same one every time."""
        asset = self._assets[name]
        if not isinstance(asset, Asset):
            asset = self._assets[name] = Asset.from_dict(asset)
            asset.set_owner(self._owner)
        return asset

    def __setitem__(self, name: str, asset: Asset) -> None:
        self._assets[name] = asset

    def __delitem__(self, name: str) -> None:
        del self._assets[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._assets)

    def __len__(self) -> int:
        return len(self._assets)

    def __contains__(self, name: object) -> bool:
        return name in self._assets  # the inherited one makes the asset

    def copy(self) -> dict[str, Asset]:
        """A plain dict, as a dict's copy is one."""
        return dict(self)

    def __repr__(self) -> str:
        return repr(self.copy())


class _Given(dict[str, Any]):
    """A feature that pystac may change: it copies what it is given, deeply, even where it is told not to."""

    def __deepcopy__(self, memo: object) -> _Given:
        return self


def _item(feature: Json) -> Item:
    """What ``Item.from_dict`` makes, from a feature that pystac has nothing to change in."""
    properties, time = feature["properties"], feature["properties"].get("datetime")
    item = LazyItem(
        id=feature["id"],
        geometry=feature["geometry"],
        bbox=feature.get("bbox"),
        datetime=None if time is None else _instant(time),
        properties=properties,
        stac_extensions=feature.get("stac_extensions"),
        collection=feature.get("collection"),
        extra_fields={name: value for name, value in feature.items() if name not in _MEMBERS},
    )
    item.assets = cast("dict[str, Asset]", LazyAssets(item, dict(feature["assets"])))
    item._described = feature["links"]
    return item


def _instant(text: str) -> datetime:
    """As pystac reads it, ten times as fast where it is in UTC."""
    return datetime.fromisoformat(text) if text.endswith("Z") else str_to_datetime(text)


def _is_current(feature: Json) -> bool:
    """Whether pystac takes a feature as it is: of its version of STAC, with extensions that it leaves alone."""
    return (
        feature.get("stac_version") == pystac.get_stac_version()
        and all(map(_is_left_alone, feature.get("stac_extensions") or ()))
        and not feature["properties"].keys() & {"deprecated", "proj:epsg"}
        and all(map(_is_asset, feature["assets"].values()))
        and all(isinstance(link["href"], str) and isinstance(link["rel"], str) for link in feature["links"])
    )


def _is_asset(asset: Json) -> bool:
    return isinstance(asset["href"], str) and "proj:epsg" not in asset


@cache
def _is_left_alone(extension: str) -> bool:
    """Whether pystac keeps an extension, rather than go over to another version of it."""
    item = Item("", None, None, datetime(2020, 1, 1, tzinfo=UTC), {}, stac_extensions=[extension])
    return Item.from_dict(item.to_dict()).stac_extensions == [extension]

"""From an item and a band to the file that holds it, and to what its stored values mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pystac.utils import is_absolute_href

from ..signing import unsigned
from .metadata import item_scaling

if TYPE_CHECKING:
    from pystac import Item

    from .band import Band


def band_href(item: Item, band: Band) -> str | None:
    """The absolute address of the file that holds a band, unsigned, or None where the item has no such asset."""
    asset = item.assets.get(band.asset)
    if asset is None:
        return None
    # A path of this machine is absolute, wherever the item says that it is from.
    return unsigned(asset.href if is_absolute_href(asset.href) else asset.get_absolute_href() or asset.href)


def scaling_of(item: Item, band: Band) -> tuple[float, float] | None:
    """(scale, offset) of a band in an item: physical value = stored value * scale + offset.

    By the first of these that says it: the band's rules that fit the item; the band's own scale and offset, unless
    they are 1 and 0; the item's metadata of that asset. None where only the file knows.

    Raises ItemError where the item's scale or offset is no number.
    """
    for rule in band.scalings:
        if rule.fits(item.properties):
            return rule.scale, rule.offset
    # Profiles come before items: a catalog may say wrongly which scaling its files need, and the profile knows.
    return (band.scale, band.offset) if (band.scale, band.offset) != (1, 0) else item_scaling(item, band)

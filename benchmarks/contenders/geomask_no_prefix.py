"""geomask, fetching whole GeoTIFF tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contenders.geomask import Reader as WithPrefixes

if TYPE_CHECKING:
    from geomask import HeaderIndex, Manifest


class Reader(WithPrefixes):
    """What ``--no-prefix`` does."""

    def plan(self, index: HeaderIndex) -> Manifest:
        """The manifest of the window, without prefix reads."""
        return super().plan(index).without_prefixes()

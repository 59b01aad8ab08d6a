"""What an item says of its acquisition: when it was, how cloudy, and where around the globe."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ..errors import ItemError

if TYPE_CHECKING:
    from pystac import Item


def item_time(item: Item) -> datetime:
    """The instant of an item in UTC: its datetime, or else its start.

    Raises ItemError where it has neither, or one that leaves the calendar no room for a slot around it.
    """
    instant = item.datetime or item.common_metadata.start_datetime
    if instant is None:
        raise ItemError(f"item {item.id} has neither datetime nor start_datetime")
    if not 1 < instant.year < 9998:
        raise ItemError(f"item {item.id}: {instant} is no time of an acquisition")
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def cloud_cover(item: Item) -> float:
    """Per cent; an item that does not state it counts as fully cloudy. Raises ItemError where it is no number."""
    cover = item.properties.get("eo:cloud_cover")
    try:
        cover = 100.0 if cover is None else float(cover)
    except (TypeError, ValueError):
        raise ItemError(f"item {item.id}: eo:cloud_cover is a percentage, not {cover!r}") from None
    return 100.0 if math.isnan(cover) else cover  # NaN has no place in an order


def item_box(item: Item) -> tuple[float, float, float, float] | None:
    """West, south, width and height of its bounding box, degrees; None where it has none, or it is no box.

    West is greater than east where the box crosses the date line (RFC 7946, section 5.2).
    """
    if not item.bbox or len(item.bbox) not in (4, 6) or not all(map(_finite, item.bbox)):
        return None
    half = len(item.bbox) // 2  # with heights there are six numbers
    west, south, east, north = item.bbox[0], item.bbox[1], item.bbox[half], item.bbox[half + 1]
    return west, south, (east - west if east - west == 360 else (east - west) % 360), north - south


def mid_longitude(item: Item) -> float | None:
    """Longitude of the centre, degrees; None for boxes over half the globe, such as a date line makes of small ones."""
    box = item_box(item)
    return box[0] + box[2] / 2 if box and box[2] <= 180 else None


def _finite(number: object) -> bool:
    return isinstance(number, int | float) and math.isfinite(number)

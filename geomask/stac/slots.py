"""Slots: named places on the time axis of a model's input, and the rule that assigns acquisitions to them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, get_args

from ..errors import ItemError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pystac import Item

Period = Literal["month", "season"]

#: First month of each meteorological season; December counts to the winter that begins with it.
SEASONS = {12: "winter", 3: "spring", 6: "summer", 9: "autumn"}


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """A named interval of time that one acquisition fills."""

    start: datetime
    """First instant, UTC."""
    end: datetime
    """First instant after it, UTC."""
    name: str
    """``2018-07``, or ``2018-summer``."""

    def __post_init__(self) -> None:
        """Go over to UTC. Refuse empty slots, and times without a zone: they mean another instant on every machine."""
        if self.start.tzinfo is None or self.end.tzinfo is None or not self.start < self.end:
            raise ItemError(f"slot {self.name}: {self.start} to {self.end} is no interval of UTC")
        object.__setattr__(self, "start", self.start.astimezone(UTC))
        object.__setattr__(self, "end", self.end.astimezone(UTC))

    def holds(self, instant: datetime) -> bool:
        """Whether an instant lies in the slot."""
        return self.start <= instant < self.end


def make_slots(items: Iterable[Item], period: Period = "month") -> tuple[Slot, ...]:
    """A slot for every calendar month or meteorological season, in UTC, in which there is an item, in order of time.

    Raises ItemError for another period, or where an item has no datetime.
    """
    if period not in get_args(Period):
        raise ItemError(f"slots are by {' or '.join(get_args(Period))}, not by {period!r}")
    return tuple(sorted({_slot(item_time(item), period) for item in items}))


def fill_slots(slots: Sequence[Slot], items: Iterable[Item]) -> list[Item | None]:
    """The least cloudy item of each slot, or None where it has none.

    Ties go to the earlier item, then to the first by name and collection, so that the order of `items` does not matter.
    An item that does not state its cloud cover counts as fully cloudy.
    """
    ranked = sorted(items, key=lambda item: (_cloud_cover(item), item_time(item), item.id, item.collection_id or ""))
    return [next((item for item in ranked if slot.holds(item_time(item))), None) for slot in slots]


def item_time(item: Item) -> datetime:
    """The instant of an item in UTC: its datetime, or else its start. Raises ItemError where it has neither."""
    instant = item.datetime or item.common_metadata.start_datetime
    if instant is None:
        raise ItemError(f"item {item.id} has neither datetime nor start_datetime")
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def _cloud_cover(item: Item) -> float:
    cover = item.properties.get("eo:cloud_cover")
    try:
        cover = 100.0 if cover is None else float(cover)
    except (TypeError, ValueError):
        raise ItemError(f"item {item.id}: eo:cloud_cover is a percentage, not {cover!r}") from None
    return 100.0 if math.isnan(cover) else cover  # NaN has no place in an order


def _slot(instant: datetime, period: Period) -> Slot:
    if period == "month":
        start = datetime(instant.year, instant.month, 1, tzinfo=UTC)
        return Slot(start, _months_later(start, 1), f"{start:%Y-%m}")
    month = instant.month // 3 * 3 or 12  # January and February belong to the December before
    start = datetime(instant.year - (instant.month < 3), month, 1, tzinfo=UTC)
    return Slot(start, _months_later(start, 3), f"{start.year}-{SEASONS[month]}")


def _months_later(start: datetime, months: int) -> datetime:
    years, month = divmod(start.month - 1 + months, 12)
    return start.replace(year=start.year + years, month=month + 1)

"""Slots: the time axis of a model's input. They are made from items by a rule, and filled by items in an order."""

from __future__ import annotations

import math
from bisect import bisect_left
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, NamedTuple, get_args

from ..errors import ItemError
from .acquisition import cloud_cover, item_time, mid_longitude
from .duplicates import drop_duplicates
from .slot import DAY, Slot, date_slot, month_slot, season_slot, window_slot
from .slot_rule import Mosaic, SlotRule, parse_slots

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pystac import Item

__all__ = ["Slot", "SlotRule", "item_time", "make_slots", "parse_slots", "rank_items"]


def make_slots(items: Iterable[Item], rule: SlotRule | str = "month") -> tuple[Slot, ...]:
    """The slots of a rule in which there is an item, in order of time, UTC.

    Raises ItemError where the rule is none, an item has no time, a date has no item, or there are fewer days than the
    rule asks for.
    """
    rule = parse_slots(rule) if isinstance(rule, str) else rule
    items = list(items)
    times = [item_time(item) for item in items]
    if rule.by == "clearest":
        return _clearest_slots(items, rule.count)
    if rule.by == "dates":
        return _date_slots(times, rule)
    if rule.by == "days":
        years = {instant.year - before for instant in times for before in (0, 1)}
        return _filled((window_slot(year, *window) for year in years for window in rule.days), times)
    make = month_slot if rule.by == "month" else season_slot
    return tuple(sorted({make(*month) for month in {(instant.year, instant.month) for instant in times}}))


def clear_days(items: Iterable[Item], count: int) -> list[Slot]:
    """The least cloudy days that items show, up to `count` of them, in order of time.

    A day's cloud cover is the mean of its items, each acquisition once; an earlier day wins a tie. A day begins at
    midnight of the hour zone in the middle of the items, not of Greenwich: no pass of a satellite by daylight is cut in
    two, not even at the date line.
    """
    items = drop_duplicates(items)
    midnight = timedelta(hours=-round(_middle(items) / 15))
    days: dict[datetime, list[float]] = {}
    for item in items:
        local = datetime.combine((item_time(item) - midnight).date(), time(), UTC)
        days.setdefault(local + midnight, []).append(cloud_cover(item))
    clear = sorted(days, key=lambda day: (math.fsum(days[day]) / len(days[day]), day))[:count]
    return [Slot(day, day + DAY, f"clear-{number}") for number, day in enumerate(sorted(clear), 1)]


def rank_items(slots: Sequence[Slot], items: Iterable[Item], mosaic: Mosaic = "least-cloudy") -> list[list[Item]]:
    """Of each slot all items in it, the best first, each acquisition once (`drop_duplicates`).

    ``least-cloudy``: by cloud cover; ``first``: by time; ``nearest``: by distance from the slot's centre. Ties go to
    the earlier item, then to the less cloudy, then to the first by name and collection: the order of `items` does not
    matter. Raises ItemError for another mosaic, an item without time, or a cloud cover that is no number.
    """
    if mosaic not in get_args(Mosaic):
        raise ItemError(f"a slot is filled {', '.join(get_args(Mosaic))}, not {mosaic!r}")
    found = [Candidate(item_time(item), cloud_cover(item), item) for item in drop_duplicates(items)]
    found.sort(key=lambda one: (one.time, one.clouds, one.item.id, one.item.collection_id or ""))
    times = [one.time for one in found]
    inside = (found[bisect_left(times, slot.start) : bisect_left(times, slot.end)] for slot in slots)
    return [_ranked(slot, candidates, mosaic) for slot, candidates in zip(slots, inside, strict=True)]


class Candidate(NamedTuple):
    """An item that may fill a slot."""

    time: datetime
    clouds: float
    item: Item


def _ranked(slot: Slot, candidates: list[Candidate], mosaic: Mosaic) -> list[Item]:
    """They come in order of time and of all that breaks ties; sorting keeps it among equals."""
    if mosaic == "least-cloudy":
        candidates = sorted(candidates, key=lambda one: one.clouds)
    elif mosaic == "nearest":
        candidates = sorted(candidates, key=lambda one: abs(one.time - slot.centre))
    return [one.item for one in candidates]


def _filled(slots: Iterable[Slot], times: Iterable[datetime]) -> tuple[Slot, ...]:
    """Those in which there is an instant, in order of time."""
    ordered = sorted(times)
    return tuple(sorted(slot for slot in slots if holds_any(slot, ordered)))


def holds_any(slot: Slot, times: Sequence[datetime]) -> bool:
    """Whether one of the instants, in order of time, lies in the slot."""
    return bisect_left(times, slot.start) < bisect_left(times, slot.end)


def _date_slots(times: list[datetime], rule: SlotRule) -> tuple[Slot, ...]:
    slots = [date_slot(day, rule.within) for day in rule.dates]
    filled = set(_filled(slots, times))
    if empty := [slot.name for slot in slots if slot not in filled]:
        raise ItemError(
            f"no item within {rule.within} days of {', '.join(empty)}; allow more days after a ~, or leave it out"
        )
    return tuple(slots)


def _clearest_slots(items: list[Item], count: int) -> tuple[Slot, ...]:
    slots = clear_days(items, count)
    if len(slots) < count:
        raise ItemError(f"items of {len(slots)} days have no {count} clearest ones; ask for fewer")
    return tuple(slots)


def _middle(items: Iterable[Item]) -> float:
    """The mean longitude of items as a direction, degrees: that of 179 and -179 is 180. 0 where no item has one."""
    angles = [math.radians(degrees) for item in items if (degrees := mid_longitude(item)) is not None]
    return math.degrees(math.atan2(math.fsum(map(math.sin, angles)), math.fsum(map(math.cos, angles))))

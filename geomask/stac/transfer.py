"""Slots of one place and year, on items of another."""

from __future__ import annotations

import calendar
import re
from typing import TYPE_CHECKING

from .acquisition import item_time
from .slot import DAY, Slot, date_slot, window_slot
from .slots import clear_days, holds_any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import date, datetime

    from pystac import Item

    from .slot_rule import SlotRule


def move_slots(slots: Sequence[Slot], rule: SlotRule, items: Iterable[Item], read: Collection[int]) -> tuple[Slot, ...]:
    """As many slots in the same order, where the items are; the same ones where they fit already.

    Slots of the calendar move by the whole number of years by which the items fill most of those that are `read`
    (positions), then most of all; among equals the smallest, then the later one. The clearest days are chosen anew,
    unless every item lies in one of the slots. Raises ItemError where an item has no time.
    """
    items = list(items)
    times = sorted(item_time(item) for item in items)
    if not times or not slots:
        return tuple(slots)
    if rule.by != "clearest":
        return _later(slots, rule, _years(slots, rule, times, read))
    if all(any(slot.holds(instant) for slot in slots) for instant in times):
        return tuple(slots)
    return _anew(slots, items)


def _years(slots: Sequence[Slot], rule: SlotRule, times: Sequence[datetime], read: Collection[int]) -> int:
    """By how many years the slots move; `times` in order."""
    edges = {edge.year for slot in slots for edge in (slot.start, slot.end)}
    shifts = {0} | {instant.year - edge for instant in times for edge in edges}
    possible = [years for years in shifts if min(edges) + years > 1 and max(edges) + years < 9999]

    def worth(years: int) -> tuple[int, int, int, int]:
        filled = [holds_any(slot, times) for slot in _later(slots, rule, years)]
        return sum(filled[number] for number in read), sum(filled), -abs(years), years

    return max(possible, key=worth, default=0)


def _later(slots: Sequence[Slot], rule: SlotRule, years: int) -> tuple[Slot, ...]:
    return tuple(_moved(slot, rule, years) for slot in slots) if years else tuple(slots)


def _moved(slot: Slot, rule: SlotRule, years: int) -> Slot:
    """The slot so many years later: as its rule makes it there, or else with the same dates."""
    start, end = _same_date(slot.start, years, -1), _same_date(slot.end, years, 1)
    for here, there in _by_rule(slot, rule, years):
        if (here.start, here.end) == (slot.start, slot.end):
            start, end = there.start, there.end
    return Slot(start, end, _renamed(slot, years))


def _by_rule(slot: Slot, rule: SlotRule, years: int) -> Iterable[tuple[Slot, Slot]]:
    """What the slot is by its rule, and what that is so many years later. A month or a season has the same dates."""
    if rule.by == "dates":
        day = slot.centre.date()
        yield date_slot(day, rule.within), date_slot(_same_date(day, years, -1), rule.within)
    if rule.by == "days":
        for window in rule.days:
            yield window_slot(slot.start.year, *window), window_slot(slot.start.year + years, *window)


def _same_date[D: (date, datetime)](day: D, years: int, step: int) -> D:
    """So many years later. From a 29 February to a year without, `step` days beside it."""
    if (day.month, day.day) == (2, 29) and not calendar.isleap(day.year + years):
        day += step * DAY
    return day.replace(year=day.year + years)


def _renamed(slot: Slot, years: int) -> str:
    """The slot's name, with another year where it begins with its year."""
    year, dash, rest = slot.name.partition("-")
    named = re.fullmatch("[0-9]{4}", year) and int(year) in (slot.start.year, slot.end.year)
    return f"{int(year) + years:04}{dash}{rest}" if named else slot.name


def _anew(slots: Sequence[Slot], items: Iterable[Item]) -> tuple[Slot, ...]:
    """The clearest days of the items under the slots' names; where they show fewer, the last ones are empty."""
    days = clear_days(items, len(slots))
    days += [Slot(days[-1].end + n * DAY, days[-1].end + (n + 1) * DAY, "") for n in range(len(slots) - len(days))]
    return tuple(Slot(day.start, day.end, slot.name) for day, slot in zip(days, slots, strict=True))

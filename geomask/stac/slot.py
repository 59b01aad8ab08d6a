"""Slots: named intervals of time, as the calendar cuts them."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from ..errors import ItemError

#: First month of each meteorological season; December counts to the winter that begins with it.
SEASONS = {12: "winter", 3: "spring", 6: "summer", 9: "autumn"}

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """A named interval of time. The items in it fill it; where slots overlap, an item fills each of them."""

    start: datetime
    """First instant, UTC."""
    end: datetime
    """First instant after it, UTC."""
    name: str
    """``2018-07``, ``2018-summer``, ``clear-1``, ``2018-07-15``, ``2018-100-150``."""

    def __post_init__(self) -> None:
        """Go over to UTC. Refuse empty slots, and times without a zone: they mean another instant on every machine."""
        if self.start.tzinfo is None or self.end.tzinfo is None or not self.start < self.end:
            raise ItemError(f"slot {self.name}: {self.start} to {self.end} is no interval of UTC")
        object.__setattr__(self, "start", self.start.astimezone(UTC))
        object.__setattr__(self, "end", self.end.astimezone(UTC))

    def holds(self, instant: datetime) -> bool:
        """Whether an instant lies in the slot."""
        return self.start <= instant < self.end

    @property
    def centre(self) -> datetime:
        """The instant in its middle."""
        return self.start + (self.end - self.start) / 2


def month_slot(year: int, month: int) -> Slot:
    """A calendar month."""
    return Slot(_first(year, month), _first(year, month + 1), f"{year:04}-{month:02}")


def season_slot(year: int, month: int) -> Slot:
    """The meteorological season of a month; January and February belong to the winter of the year before."""
    year, month = year - (month < 3), month // 3 * 3 or 12
    return Slot(_first(year, month), _first(year, month + 3), f"{year:04}-{SEASONS[month]}")


def date_slot(day: date, within: int) -> Slot:
    """A day and `within` days before and after it."""
    midnight = datetime.combine(day, time(), UTC)
    return Slot(midnight - within * DAY, midnight + (within + 1) * DAY, day.isoformat())


def window_slot(year: int, first: int, last: int) -> Slot:
    """From one day of the year to another, both included, counted from 1.

    Where the last is before the first, it lies in the next year. Day 366 is the last one of a year that has 365.
    """
    start, end = _day_of_year(year, first), _day_of_year(year + (last < first), last) + DAY
    return Slot(start, end, f"{year:04}-{first:03}-{last:03}")


def _day_of_year(year: int, day: int) -> datetime:
    return _first(year, 1) + (min(day, 365 + calendar.isleap(year)) - 1) * DAY


def _first(year: int, month: int) -> datetime:
    """First instant of a month; those after December are of the next year."""
    return datetime(year + (month > 12), (month - 1) % 12 + 1, 1, tzinfo=UTC)

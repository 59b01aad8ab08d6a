"""The rule by which slots are made from items and filled by them, as one line of text.

::

    month                           every calendar month in which there is an item
    season                          every meteorological season
    clearest:4                      the 4 least cloudy days
    dates:2018-05-01,2018-08-01~10  each date, with 10 days before and after it
    days:100-150,335-59             windows of days of the year; the second one spans new year
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from ..errors import ItemError

if TYPE_CHECKING:
    from collections.abc import Callable

By = Literal["month", "season", "clearest", "dates", "days"]
Mosaic = Literal["least-cloudy", "first", "nearest"]

#: Most days around a date; a window of more than a year would hold the same season twice.
WITHIN = 182

FORMS = "month, season, clearest:4, dates:2018-05-01,2018-08-01~10 or days:100-150,335-59"


@dataclass(frozen=True, slots=True)
class SlotRule:
    """How slots are made, and in which order the items of a slot fill it."""

    by: By = "month"
    """What a slot is made of."""
    count: int = 0
    """clearest: how many days."""
    dates: tuple[date, ...] = ()
    """dates: each different."""
    within: int = 0
    """dates: days before and after each that belong to it, 0 to `WITHIN`."""
    days: tuple[tuple[int, int], ...] = ()
    """days: first and last day of each window, 1 to 366, both included; the last before the first spans new year."""
    mosaic: Mosaic = "least-cloudy"
    """Which item of a slot comes first: the least cloudy, the first in time, or the nearest to the slot's centre."""

    def __post_init__(self) -> None:
        """Sort the dates and windows. Refuse what is no rule: raises ItemError."""
        if self.by not in get_args(By) or self.mosaic not in get_args(Mosaic):
            raise ItemError(
                f"slots are by {', '.join(get_args(By))} and filled {', '.join(get_args(Mosaic))}, "
                f"not by {self.by!r} and {self.mosaic!r}"
            )
        object.__setattr__(self, "dates", tuple(sorted(self.dates)))
        object.__setattr__(self, "days", tuple(sorted(self.days)))
        given = {"clearest": self.count != 0, "dates": self.dates != (), "days": self.days != ()}
        if any(there != (kind == self.by) for kind, there in given.items()):
            raise ItemError(
                f"slots by {self.by} do not go with count {self.count}, {self.dates}, {self.days}; see {FORMS}"
            )
        if self.count < 0 or not 0 <= self.within <= (WITHIN if self.dates else 0):
            raise ItemError(
                f"{self.count} days, {self.within} around dates: count from 1, and around dates to {WITHIN}"
            )
        if len(set(self.dates)) < len(self.dates) or any(not 2 <= day.year < 9999 for day in self.dates):
            raise ItemError(f"a date twice, or out of reach: {', '.join(map(str, self.dates))}")
        if len(set(self.days)) < len(self.days) or not all(1 <= day <= 366 for window in self.days for day in window):
            raise ItemError(f"windows differ and lie within days 1 to 366, unlike {_windows(self.days)}")

    @property
    def text(self) -> str:
        """What `parse_slots` reads as this rule, but for the mosaic."""
        around = f"~{self.within}" if self.within else ""
        details = {
            "clearest": f":{self.count}",
            "dates": f":{','.join(day.isoformat() for day in self.dates)}{around}",
            "days": f":{_windows(self.days)}",
        }
        return self.by + details.get(self.by, "")

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"slots": self.text, "mosaic": self.mosaic}

    @classmethod
    def from_dict(cls, document: Any) -> Self:
        """Raises ItemError where the document is no rule."""
        if not isinstance(document, dict) or not document.keys() == {"slots", "mosaic"}:
            raise ItemError(f"a rule has slots and a mosaic; this one is {document!r}")
        return cls(**_parse(document["slots"]), mosaic=document["mosaic"])


def parse_slots(text: str, mosaic: Mosaic = "least-cloudy") -> SlotRule:
    """The rule of a text such as those above. Raises ItemError for another one."""
    return SlotRule(**_parse(text), mosaic=mosaic)


def _parse(text: Any) -> dict[str, Any]:
    kind, colon, rest = text.partition(":") if isinstance(text, str) else ("", "", "")
    try:
        if kind in ("month", "season") and not colon:
            return {"by": kind}
        return {"by": kind, **_DETAILS[kind](rest)}
    except ItemError:
        raise
    except (KeyError, ValueError) as error:
        raise ItemError(f"no rule for slots: {text!r}; write {FORMS}") from error


def _clearest(text: str) -> dict[str, Any]:
    return {"count": _whole(text)}


def _dates(text: str) -> dict[str, Any]:
    dates, tilde, within = text.partition("~")
    return {
        "dates": tuple(_date(day) for day in dates.split(",")),
        "within": _whole(within) if tilde else 0,
    }


def _days(text: str) -> dict[str, Any]:
    pairs = [window.split("-") for window in text.split(",")]
    return {"days": tuple((_whole(first), _whole(last)) for first, last in pairs)}


#: How what stands behind the colon is read.
_DETAILS: dict[str, Callable[[str], dict[str, Any]]] = {"clearest": _clearest, "dates": _dates, "days": _days}


def _whole(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):  # int() takes spaces, signs and other scripts' digits
        raise ValueError(f"{text!r} is no whole number")
    return int(text)


def _date(text: str) -> date:
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):  # fromisoformat takes weeks too
        raise ValueError(f"{text!r} is no date")
    return date.fromisoformat(text)


def _windows(days: tuple[tuple[int, int], ...]) -> str:
    return ",".join(f"{first}-{last}" for first, last in days)

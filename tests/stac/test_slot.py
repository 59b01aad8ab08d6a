from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geomask.stac.slot import DAY, date_slot, month_slot, season_slot, window_slot


def at(*numbers: int) -> datetime:
    return datetime(*numbers, tzinfo=UTC)  # type: ignore[arg-type, misc, unused-ignore]


@given(st.datetimes(datetime(1972, 1, 1), datetime(2100, 1, 1)).map(lambda instant: instant.replace(tzinfo=UTC)))
def test_a_month_and_a_season_hold_what_falls_into_them(instant: datetime) -> None:
    month, season = month_slot(instant.year, instant.month), season_slot(instant.year, instant.month)
    assert month.holds(instant)
    assert season.holds(instant)
    assert season.start <= month.start < month.end <= season.end
    assert (month.end - DAY).month == instant.month
    assert (month.end - timedelta(microseconds=1)).month == month.start.month == instant.month


@given(st.integers(1972, 2100), st.integers(1, 366), st.integers(1, 366), st.integers(-400, 800))
def test_a_window_holds_the_days_that_the_calendar_counts(year: int, first: int, last: int, offset: int) -> None:
    instant = at(year, 1, 1, 12) + offset * DAY
    count = int(instant.strftime("%j"))
    leap = (at(instant.year, 12, 31) - at(instant.year, 1, 1)).days == 365
    inside = {365, 366} if count == 365 and not leap else {count}  # such a year's last day is its 366th as well
    from_first = any(first <= day for day in inside)
    up_to_last = any(day <= last for day in inside)
    if first <= last:
        expected = instant.year == year and from_first and any(first <= day <= last for day in inside)
    else:
        expected = (instant.year == year and from_first) or (instant.year == year + 1 and up_to_last)
    assert window_slot(year, first, last).holds(instant) is expected


def test_names_say_the_days() -> None:
    assert window_slot(2018, 5, 59).name == "2018-005-059"
    assert window_slot(2019, 335, 59).end == at(2020, 2, 29)
    assert date_slot(date(2018, 5, 1), 0).name == "2018-05-01"


@pytest.mark.parametrize("within", [0, 1, 182])
def test_the_centre_of_a_date_is_its_noon(within: int) -> None:
    slot = date_slot(date(2020, 3, 1), within)
    assert slot.centre == at(2020, 3, 1, 12)
    assert slot.end - slot.start == (2 * within + 1) * DAY

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pystac
import pytest

from geomask.stac.slot import Slot
from geomask.stac.slot_rule import SlotRule, parse_slots
from geomask.stac.slots import make_slots
from geomask.stac.transfer import move_slots


def at(*numbers: int) -> datetime:
    return datetime(*numbers, tzinfo=UTC)  # type: ignore[arg-type, misc, unused-ignore]


def items_at(*instants: datetime, clouds: Sequence[float] = ()) -> list[pystac.Item]:
    covers = [*clouds, *[0.0] * len(instants)]
    return [pystac.Item(f"{k}", None, None, at, {"eo:cloud_cover": covers[k]}) for k, at in enumerate(instants)]


def moved(rule: str, seen: Sequence[datetime], now: Sequence[datetime], read: Sequence[int] | None = None) -> Any:
    """Slots that were made where items were `seen`, on items of `now`."""
    slots = make_slots(items_at(*seen), rule)
    return move_slots(slots, parse_slots(rule), items_at(*now), range(len(slots)) if read is None else read)


def names(slots: Sequence[Slot]) -> list[str]:
    return [slot.name for slot in slots]


MONTHS = [at(2018, month, 15) for month in (1, 2, 7)]


def test_months_move_by_whole_years_with_the_right_lengths() -> None:
    found = moved("month", MONTHS, [at(2020, month, 3) for month in (1, 2, 7)])
    assert [(slot.start, slot.end, slot.name) for slot in found] == [
        (at(2020, 1, 1), at(2020, 2, 1), "2020-01"),
        (at(2020, 2, 1), at(2020, 3, 1), "2020-02"),
        (at(2020, 7, 1), at(2020, 8, 1), "2020-07"),
    ]


def test_seasons_move_with_the_winter_that_spans_new_year() -> None:
    year = [at(2018, 1, 5), at(2018, 4, 5), at(2018, 7, 5), at(2018, 10, 5), at(2018, 12, 5)]
    found = moved("season", year, [instant.replace(year=2021) for instant in year])
    assert names(found) == ["2020-winter", "2021-spring", "2021-summer", "2021-autumn", "2021-winter"]
    assert (found[0].start, found[0].end) == (at(2020, 12, 1), at(2021, 3, 1))


def test_slots_that_fit_do_not_move() -> None:
    slots = make_slots(items_at(*MONTHS))
    assert move_slots(slots, SlotRule(), items_at(*MONTHS), range(3)) == slots
    assert move_slots(slots, SlotRule(), [], range(3)) == slots
    assert move_slots((), SlotRule(), items_at(*MONTHS), ()) == ()
    assert names(moved("month", MONTHS, [at(2021, 5, 1)])) == ["2018-01", "2018-02", "2018-07"]  # nothing to gain


@pytest.mark.parametrize(
    ("now", "year"),
    [
        ([at(2018, 1, 1), at(2021, 1, 1)], 2018),  # none, before any other
        ([at(2016, 1, 1), at(2019, 1, 1)], 2019),  # the nearest
        ([at(2017, 1, 1), at(2019, 1, 1)], 2019),  # the later of the nearest
        ([at(2017, 1, 1), at(2018, 1, 1), at(2017, 7, 1)], 2017),  # where more are filled
        ([at(2018, 5, 1), at(2030, 7, 31)], 2030),
    ],
)
def test_the_year_that_fills_most_slots_then_the_nearest_then_the_later(now: list[datetime], year: int) -> None:
    assert names(moved("month", MONTHS, now)) == [f"{year}-01", f"{year}-02", f"{year}-07"]


def test_slots_that_are_read_count_before_the_others() -> None:
    now = [at(2018, 1, 1), at(2018, 2, 1), at(2020, 7, 1)]
    assert moved("month", MONTHS, now, read=[2])[0].name == "2020-01"
    assert moved("month", MONTHS, now, read=[0, 2])[0].name == "2018-01"  # one each: then all
    assert moved("month", MONTHS, now, read=[])[0].name == "2018-01"


def test_dates_move_to_the_same_dates_with_as_many_days_around() -> None:
    rule = "dates:2020-02-25,2020-03-05~10"  # either spans a 29 February
    seen = [at(2020, 2, 25), at(2020, 3, 5)]
    found = moved(rule, seen, [instant.replace(year=2021) for instant in seen])
    assert [(slot.start, slot.end, slot.name) for slot in found] == [
        (at(2021, 2, 15), at(2021, 3, 8), "2021-02-25"),
        (at(2021, 2, 23), at(2021, 3, 16), "2021-03-05"),
    ]


def test_the_29_of_february_becomes_the_28th_and_its_name_stays_its_own() -> None:
    seen = [at(2020, 2, 28, 12), at(2020, 2, 29, 12)]
    found = moved("dates:2020-02-28,2020-02-29", seen, [at(2021, 2, 28)])
    assert [(slot.start, slot.end) for slot in found] == [(at(2021, 2, 28), at(2021, 3, 1))] * 2
    assert names(found) == ["2021-02-28", "2021-02-29"]
    assert moved("dates:2020-02-29", seen, [at(2024, 2, 29)])[0].start == at(2024, 2, 29)


def test_windows_of_days_count_days_in_the_other_year_too() -> None:
    rule, seen = "days:100-150,335-60", [at(2018, 4, 10), at(2019, 1, 1)]
    found = moved(rule, seen, [at(2020, 4, 9), at(2021, 1, 1)])
    assert found == make_slots(items_at(at(2020, 4, 9), at(2021, 1, 1)), rule)
    assert found[0].start == at(2020, 4, 9)  # day 100 of a leap year


@pytest.mark.parametrize(
    ("start", "end", "year", "expected"),
    [
        (at(2020, 2, 29), at(2020, 3, 1), 2021, (at(2021, 2, 28), at(2021, 3, 1))),
        (at(2020, 2, 1), at(2020, 2, 29), 2021, (at(2021, 2, 1), at(2021, 3, 1))),
        (at(2020, 2, 29, 10), at(2020, 2, 29, 12), 2021, (at(2021, 2, 28, 10), at(2021, 3, 1, 12))),
        (at(2020, 2, 29), at(2020, 6, 1), 2024, (at(2024, 2, 29), at(2024, 6, 1))),
        (at(2018, 11, 5), at(2019, 2, 7), 2022, (at(2022, 11, 5), at(2023, 2, 7))),
    ],
)
@pytest.mark.parametrize("rule", [SlotRule(), parse_slots("dates:1999-01-01~3"), parse_slots("days:1-3")])
def test_a_slot_of_ones_own_moves_by_its_dates(
    rule: SlotRule, start: datetime, end: datetime, year: int, expected: tuple[datetime, datetime]
) -> None:
    (found,) = move_slots([Slot(start, end, "own")], rule, items_at(expected[0]), [0])
    assert (found.start, found.end, found.name) == (*expected, "own")
    assert year == found.start.year


@pytest.mark.parametrize("name", ["1066-and-all-that", "2018ish", "spring", "20180-1", "٢٠١٨-1"])
def test_a_name_that_does_not_begin_with_the_slots_year_stays(name: str) -> None:
    slot = Slot(at(2018, 4, 1), at(2018, 5, 1), name)
    assert move_slots([slot], SlotRule(), items_at(at(2020, 4, 1)), [0]) == (
        Slot(at(2020, 4, 1), at(2020, 5, 1), name),
    )


def test_slots_at_the_end_of_the_calendar_stay_where_they_can_not_move() -> None:
    slots = [Slot(at(2, 1, 1), at(9998, 1, 1), "ever")]
    assert move_slots(slots, SlotRule(), items_at(at(9997, 5, 1)), [0]) == tuple(slots)
    early = [Slot(at(1, 4, 1), at(1, 5, 1), "0001-04")]
    assert move_slots(early, SlotRule(), items_at(at(9997, 4, 2)), [0])[0].name == "9997-04"


# --- the clearest days ------------------------------------------------------------------------------------------------

DAYS = [at(2018, 5, day, 10) for day in (1, 2, 3, 4)]
CLEAREST = parse_slots("clearest:2")
CHOSEN = make_slots(items_at(*DAYS, clouds=[9, 1, 5, 2]), CLEAREST)


def test_the_clearest_days_are_chosen_anew_also_where_the_old_ones_have_items() -> None:
    assert [slot.start.day for slot in CHOSEN] == [2, 4]
    found = move_slots(CHOSEN, CLEAREST, items_at(*DAYS, clouds=[1, 9, 2, 9]), [0, 1])
    assert [(slot.start, slot.name) for slot in found] == [(at(2018, 5, 1), "clear-1"), (at(2018, 5, 3), "clear-2")]


def test_of_the_same_items_the_clearest_days_are_the_same_and_of_a_part_of_them_in_the_slots_too() -> None:
    again = items_at(*DAYS, clouds=[9, 1, 5, 2])
    assert move_slots(CHOSEN, CLEAREST, again, [0, 1]) == CHOSEN
    assert move_slots(CHOSEN, CLEAREST, again[3:], [0, 1]) == CHOSEN  # only clear-2, which stays clear-2


def test_where_there_are_fewer_days_the_last_slots_are_empty() -> None:
    items = items_at(at(2021, 8, 8), at(2021, 8, 8, 1))
    found = move_slots(CHOSEN, CLEAREST, items, [0, 1])
    assert [slot.name for slot in found] == ["clear-1", "clear-2"]
    assert found[0].start == at(2021, 8, 8)
    assert found[1].start >= at(2021, 8, 9)
    assert found[1].end - found[1].start == timedelta(days=1)
    assert move_slots(found, CLEAREST, items, [0, 1]) == found

import itertools
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pystac
import pytest

from geomask.errors import ItemError
from geomask.stac.slots import Slot, item_time, make_slots, rank_items

EASTERN = timezone(timedelta(hours=-5))


def item(instant: datetime | None, cloud: Any = 10.0, name: str = "a", **fields: Any) -> pystac.Item:
    properties = {} if cloud is None else {"eo:cloud_cover": cloud}
    return pystac.Item(name, None, None, instant, properties, **fields)


def at(*numbers: int) -> datetime:
    return datetime(*numbers, tzinfo=UTC)  # type: ignore[arg-type, misc, unused-ignore]


@pytest.mark.parametrize(
    ("instant", "month", "season"),
    [
        (at(2018, 1, 1), "2018-01", "2017-winter"),
        (at(2018, 2, 28, 23, 59, 59, 999999), "2018-02", "2017-winter"),
        (at(2020, 2, 29, 12), "2020-02", "2019-winter"),
        (at(2018, 3, 1), "2018-03", "2018-spring"),
        (at(2018, 5, 31, 23, 59, 59), "2018-05", "2018-spring"),
        (at(2018, 6, 1), "2018-06", "2018-summer"),
        (at(2018, 8, 31, 23), "2018-08", "2018-summer"),
        (at(2018, 9, 1), "2018-09", "2018-autumn"),
        (at(2018, 11, 30, 23), "2018-11", "2018-autumn"),
        (at(2018, 12, 1), "2018-12", "2018-winter"),
        (at(2018, 12, 31, 23, 59, 59, 999999), "2018-12", "2018-winter"),
        (datetime(2018, 12, 31, 19, tzinfo=EASTERN), "2019-01", "2018-winter"),
        (datetime(2018, 2, 28, 18, 59, tzinfo=EASTERN), "2018-02", "2017-winter"),
    ],
)
def test_an_instant_lies_in_its_month_and_season_of_utc(instant: datetime, month: str, season: str) -> None:
    for period, name in (("month", month), ("season", season)):
        (slot,) = make_slots([item(instant)], period)  # type: ignore[arg-type]
        assert slot.name == name
        assert slot.holds(instant)


@pytest.mark.parametrize(
    ("period", "instant", "start", "end"),
    [
        ("month", at(2018, 12, 15), at(2018, 12, 1), at(2019, 1, 1)),
        ("month", at(2020, 2, 15), at(2020, 2, 1), at(2020, 3, 1)),
        ("season", at(2019, 1, 15), at(2018, 12, 1), at(2019, 3, 1)),
        ("season", at(2018, 9, 15), at(2018, 9, 1), at(2018, 12, 1)),
    ],
)
def test_a_slot_holds_its_first_instant_and_not_its_end(
    period: Any, instant: datetime, start: datetime, end: datetime
) -> None:
    (slot,) = make_slots([item(instant)], period)
    assert (slot.start, slot.end) == (start, end)
    assert slot.holds(start)
    assert not slot.holds(end)
    assert not slot.holds(start - timedelta(microseconds=1))


def test_there_is_a_slot_for_each_period_with_an_item_in_order_of_time() -> None:
    instants = [at(2019, 1, 3), at(2018, 11, 2), at(2018, 11, 30), at(2018, 12, 31)]
    assert [slot.name for slot in make_slots(map(item, instants))] == ["2018-11", "2018-12", "2019-01"]
    assert [slot.name for slot in make_slots(map(item, instants), "season")] == ["2018-autumn", "2018-winter"]
    assert make_slots([]) == ()


def test_another_rule_is_refused() -> None:
    with pytest.raises(ItemError, match="no rule for slots: 'week'"):
        make_slots([], "week")


def names_of(instants: Sequence[datetime], rule: str) -> list[str]:
    return [slot.name for slot in make_slots(map(item, instants), rule)]


def test_windows_of_days_stand_in_every_year_in_which_they_hold_an_item_and_may_span_new_year() -> None:
    instants = [at(2018, 4, 10), at(2018, 12, 1), at(2020, 2, 28), at(2020, 4, 8), at(2021, 4, 10, 12)]
    # day 100 is 10 April, or 9 April in a leap year; day 335 is 1 December, day 59 is 28 February
    assert names_of(instants, "days:100-120,335-59") == ["2018-100-120", "2018-335-059", "2019-335-059", "2021-100-120"]
    assert names_of([at(2020, 2, 29)], "days:335-59") == []
    assert names_of([at(2019, 12, 31, 23, 59)], "days:366-366") == ["2019-366-366"]


def test_every_date_is_a_slot_and_dates_without_an_item_are_named() -> None:
    items = [item(at(2018, 4, 21)), item(at(2018, 5, 11, 23, 59)), item(at(2018, 8, 1))]
    slots = make_slots(items, "dates:2018-08-01,2018-05-01~10")
    assert [(slot.start, slot.end, slot.name) for slot in slots] == [
        (at(2018, 4, 21), at(2018, 5, 12), "2018-05-01"),
        (at(2018, 7, 22), at(2018, 8, 12), "2018-08-01"),
    ]
    with pytest.raises(ItemError, match="no item within 9 days of 2018-06-01, 2018-09-01"):
        make_slots(items, "dates:2018-05-03,2018-06-01,2018-09-01~9")


def test_overlapping_slots_share_their_items() -> None:
    items = [item(at(2018, 5, 5), name="shared")]
    slots = make_slots(items, "dates:2018-05-01,2018-05-09~4")
    assert [[found.id for found in rank] for rank in rank_items(slots, items)] == [["shared"], ["shared"]]


# --- the clearest days ------------------------------------------------------------------------------------------------


def placed(instant: datetime, cloud: Any, name: str, west: float, width: float = 1, **fields: Any) -> pystac.Item:
    found = item(instant, cloud, name, **fields)
    found.bbox = [west, 0.0, (west + width + 180) % 360 - 180, 1.0]
    return found


def test_the_clearest_days_by_the_mean_of_their_items_in_order_of_time() -> None:
    items = [
        item(at(2018, 4, 3, 10), 30, "a"),
        item(at(2018, 4, 3, 11), 10, "b"),  # 20 together
        item(at(2018, 4, 5), 19, "c"),
        item(at(2018, 4, 1), 25, "d"),
        item(at(2018, 4, 2), None, "e"),
    ]
    for order in itertools.permutations(items):
        slots = make_slots(order, "clearest:2")
        assert [(slot.start, slot.name) for slot in slots] == [(at(2018, 4, 3), "clear-1"), (at(2018, 4, 5), "clear-2")]
    assert [slot.start.day for slot in make_slots(items, "clearest:4")] == [1, 2, 3, 5]
    with pytest.raises(ItemError, match="items of 4 days have no 5 clearest ones"):
        make_slots(items, "clearest:5")


def test_a_tie_goes_to_the_earlier_day() -> None:
    slots = make_slots([item(at(2018, 4, day), 5) for day in (3, 2, 9)], "clearest:1")
    assert slots[0].start == at(2018, 4, 2)


def test_what_was_processed_twice_counts_once() -> None:
    twice = [placed(at(2018, 4, 2, 10), 0, name, 10) for name in ("old", "new")]
    beside = placed(at(2018, 4, 2, 10), 90, "beside", 12)
    rival = placed(at(2018, 4, 3, 10), 40, "rival", 10)
    assert make_slots([*twice, beside, rival], "clearest:1")[0].holds(at(2018, 4, 3, 10))  # 45 beats 30, not 40


@pytest.mark.parametrize("west", [150.0, 179.5, -179.0, -155.0])
def test_one_pass_over_the_pacific_is_one_day_where_utc_has_two_and_where_the_date_line_cuts_it(west: float) -> None:
    local = timedelta(hours=((west + 0.5) % 360) / 15)
    morning = at(2018, 4, 3, 10, 30) - local  # 10:30 by the sun
    items = [
        placed(morning - timedelta(minutes=40), 0, "north", west + 3),
        placed(morning, 0, "here", west),
        placed(morning + timedelta(minutes=40), 30, "south", west - 3),
        placed(morning + timedelta(days=1), 20, "next day", west),
    ]
    (slot,) = make_slots(items, "clearest:1")
    assert [found.id for found in rank_items([slot], items, "first")[0]] == ["north", "here", "south"]
    assert slot.end - slot.start == timedelta(days=1)


def test_a_box_around_the_globe_does_not_say_where_an_item_lies() -> None:
    pacific = [placed(at(2018, 4, 3, 23, 50), 0, "a", 157), placed(at(2018, 4, 4, 0, 10), 0, "b", 157)]
    wrapped = [item(at(2018, 4, 3, 23, 50 + number), 0, f"w{number}") for number in range(9)]
    for one in wrapped:
        one.bbox = [-180.0, 0.0, 180.0, 1.0]
    (slot,) = make_slots([*pacific, *wrapped], "clearest:1")
    assert all(slot.holds(item_time(one)) for one in (*pacific, *wrapped))


# --- which item comes first -------------------------------------------------------------------------------------------


SLOTS = make_slots([item(at(2018, 4, 1)), item(at(2018, 6, 1)), item(at(2018, 7, 1))])


def chosen(items: Sequence[pystac.Item], mosaic: Any = "least-cloudy") -> list[list[str]]:
    return [[found.id for found in rank] for rank in rank_items(SLOTS, items, mosaic)]


MIXED = [
    item(at(2018, 4, 2), 30, "early"),
    item(at(2018, 4, 16), 20, "middle"),
    item(at(2018, 4, 29), 10, "clear"),
    item(at(2018, 5, 1), 0, "between"),
    item(at(2018, 7, 31), 90, "late"),
]


@pytest.mark.parametrize(
    ("mosaic", "april"),
    [
        ("least-cloudy", ["clear", "middle", "early"]),
        ("first", ["early", "middle", "clear"]),
        ("nearest", ["middle", "clear", "early"]),
    ],
)
def test_all_items_of_a_slot_the_best_first_and_an_empty_slot_has_none(mosaic: str, april: list[str]) -> None:
    assert chosen(MIXED, mosaic) == [april, [], ["late"]]


def test_another_mosaic_is_refused() -> None:
    with pytest.raises(ItemError, match="filled least-cloudy, first, nearest, not 'median'"):
        chosen([], "median")


@pytest.mark.parametrize(
    "items",
    [
        [item(at(2018, 4, 3), 5, "wanted"), item(at(2018, 4, 2), 5.5, "a")],
        [item(at(2018, 4, 2), 5, "wanted"), item(at(2018, 4, 3), 5, "a")],
        [item(at(2018, 4, 2), 5, "a wanted"), item(at(2018, 4, 2), 5, "b")],
        [item(at(2018, 4, 2), 5, "wanted", collection="1"), item(at(2018, 4, 2), 5, "wanted", collection="2")],
        [item(at(2018, 4, 3), 99, "wanted"), item(at(2018, 4, 2), None, "a"), item(at(2018, 4, 1), float("nan"), "b")],
        [item(at(2018, 4, 2), None, "wanted"), item(at(2018, 4, 3), 100, "a")],
    ],
    ids=["clouds", "time", "name", "collection", "unknown", "unknown-as-100"],
)
def test_ties_are_broken_the_same_way_in_any_order(items: list[pystac.Item]) -> None:
    for order in itertools.permutations(items):
        assert rank_items(SLOTS, order)[0][0] is items[0]


@pytest.mark.parametrize("mosaic", ["first", "nearest"])
@pytest.mark.parametrize(
    "items",
    [
        [item(at(2018, 4, 14, 12), 50, "wanted"), item(at(2018, 4, 17, 12), 5, "a")],  # as far from the centre
        [item(at(2018, 4, 2), 5, "wanted"), item(at(2018, 4, 2), 6, "a")],
        [item(at(2018, 4, 2), 5, "a wanted"), item(at(2018, 4, 2), 5, "b")],
    ],
    ids=["time", "clouds", "name"],
)
def test_ties_in_time_go_to_the_earlier_then_the_less_cloudy(items: list[pystac.Item], mosaic: Any) -> None:
    for order in itertools.permutations(items):
        assert rank_items(SLOTS, order, mosaic)[0][0] is items[0]


def test_two_tiles_of_one_day_are_both_in_the_slot() -> None:
    tiles = [placed(at(2018, 4, 2, 10), cloud, name, west) for cloud, name, west in ((30, "a", 10), (20, "b", 10.9))]
    assert chosen(tiles)[0] == ["b", "a"]


def test_an_acquisition_that_was_processed_twice_is_there_once() -> None:
    old, new = (placed(at(2018, 4, 2, 10), cloud, name, 10) for cloud, name in ((1, "old"), (2, "new")))
    new.properties["s2:processing_baseline"] = "05.00"
    for order in itertools.permutations([old, new]):
        assert chosen(order)[0] == ["new"]


def test_a_cloud_cover_that_is_no_number_is_refused_by_item() -> None:
    with pytest.raises(ItemError, match="item odd: eo:cloud_cover is a percentage, not 'few'"):
        rank_items(SLOTS, [item(at(2018, 4, 2), "few", "odd")])


# --- when an item was -------------------------------------------------------------------------------------------------


def test_a_time_without_zone_is_utc_wherever_the_machine_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert item_time(item(datetime(2018, 4, 30, 23))) == at(2018, 4, 30, 23)
        assert item_time(item(datetime(2018, 4, 30, 23, tzinfo=EASTERN))) == at(2018, 5, 1, 4)
        assert [slot.name for slot in make_slots([item(datetime(2018, 4, 30, 23))])] == ["2018-04"]
    finally:
        monkeypatch.undo()
        time.tzset()


def test_an_item_of_an_interval_stands_at_its_start() -> None:
    interval = item(None, start_datetime=at(2018, 4, 5), end_datetime=at(2018, 6, 5))
    assert item_time(interval) == at(2018, 4, 5)


def test_an_item_without_any_time_is_refused() -> None:
    timeless = item(at(2018, 4, 5), name="timeless")
    timeless.datetime = None
    with pytest.raises(ItemError, match="timeless has neither"):
        make_slots([timeless])


@pytest.mark.parametrize("year", [1, 9998, 9999])
def test_a_time_at_the_end_of_the_calendar_is_refused(year: int) -> None:
    with pytest.raises(ItemError, match=r"item odd: .* is no time of an acquisition"):
        item_time(item(at(year, 12, 31), name="odd"))


@pytest.mark.parametrize("year", [2, 9997])
@pytest.mark.parametrize("rule", ["month", "season", "clearest:1", "days:1-366,366-365"])
def test_any_other_time_has_its_slots(year: int, rule: str) -> None:
    for instant in (at(year, 1, 1), at(year, 12, 31, 23, 59, 59)):
        assert any(slot.holds(instant) for slot in make_slots([item(instant)], rule))


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (datetime(2018, 4, 1), datetime(2018, 5, 1)),
        (at(2018, 4, 1), datetime(2018, 5, 1)),
        (at(2018, 4, 1), at(2018, 4, 1)),
        (at(2018, 5, 1), at(2018, 4, 1)),
    ],
)
def test_a_slot_is_an_interval_of_utc(start: datetime, end: datetime) -> None:
    with pytest.raises(ItemError, match="slot x"):
        Slot(start, end, "x")

import itertools
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pystac
import pytest

from geomask.errors import ItemError
from geomask.stac.slots import Slot, fill_slots, item_time, make_slots

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


def test_another_period_is_refused() -> None:
    with pytest.raises(ItemError, match="month or season, not by 'week'"):
        make_slots([], "week")  # type: ignore[arg-type]


SLOTS = make_slots([item(at(2018, 4, 1)), item(at(2018, 6, 1)), item(at(2018, 7, 1))])


def chosen(items: Sequence[pystac.Item]) -> list[str | None]:
    return [found and found.id for found in fill_slots(SLOTS, items)]


def test_the_least_cloudy_item_fills_a_slot_and_an_empty_slot_has_none() -> None:
    items = [
        item(at(2018, 4, 2), 30, "cloudy"),
        item(at(2018, 4, 3), 20, "clear"),
        item(at(2018, 5, 1), 0, "between"),
        item(at(2018, 7, 31), 90, "late"),
    ]
    assert chosen(items) == ["clear", None, "late"]


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
        found = fill_slots(SLOTS, order)[0]
        assert found is items[0]


def test_a_cloud_cover_that_is_no_number_is_refused_by_item() -> None:
    with pytest.raises(ItemError, match="item odd: eo:cloud_cover is a percentage, not 'few'"):
        fill_slots(SLOTS, [item(at(2018, 4, 2), "few", "odd")])


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

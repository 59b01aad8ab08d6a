"""What holds of slots whatever the items: in any order, in any time zone, in any year."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pystac
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geomask.errors import ItemError
from geomask.selection import Selection
from geomask.stac.profile import Band
from geomask.stac.slot_rule import WITHIN, SlotRule, parse_slots
from geomask.stac.slots import make_slots, rank_items

BANDS = (Band("B02", "B02", 10), Band("B03", "B03", 10))

mosaics = st.sampled_from(["least-cloudy", "first", "nearest"])
day_numbers = st.integers(1, 366)
dates = st.dates(date(2015, 1, 1), date(2024, 12, 31))
fields = st.one_of(
    st.sampled_from(["month", "season"]).map(lambda by: {"by": by}),
    st.builds(lambda count: {"by": "clearest", "count": count}, st.integers(1, 5)),
    st.builds(
        lambda some, within: {"by": "dates", "dates": tuple(some), "within": within},
        st.lists(dates, min_size=1, max_size=3, unique=True),
        st.integers(0, WITHIN),
    ),
    st.builds(
        lambda windows: {"by": "days", "days": tuple(windows)},
        st.lists(st.tuples(day_numbers, day_numbers), min_size=1, max_size=3, unique=True),
    ),
)
rules = st.builds(lambda some, mosaic: SlotRule(**some, mosaic=mosaic), fields, mosaics)

zones = st.sampled_from([UTC, timezone(timedelta(hours=-5)), timezone(timedelta(hours=14))])
hours = st.integers(0, 10 * 365 * 24)  # two acquisitions are the same, or an hour apart
instants = hours.map(lambda hour: datetime(2015, 1, 1) + timedelta(hours=hour))


@st.composite
def catalogs(draw: st.DrawFn) -> list[pystac.Item]:
    """Items of a few places, tiles and clouds, so that ties and duplicates happen; each has its own name."""
    found = []
    for number in range(draw(st.integers(1, 12))):
        instant = draw(instants).replace(tzinfo=draw(zones))
        if found and draw(st.booleans()):
            instant = draw(st.sampled_from(found)).datetime or instant
        west = draw(st.sampled_from([-180.0, -179.5, 9.0, 179.0]))
        properties: dict[str, Any] = {"eo:cloud_cover": draw(st.sampled_from([None, 0, 0.1, 0.2, 50, 100]))}
        properties["version"] = draw(st.sampled_from(["1", "2"]))
        item = pystac.Item(f"i{number}", None, None, instant, properties)
        item.bbox = [west, 0.0, west + 1, 1.0]
        found.append(item)
    return found


@contextmanager
def zone(name: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", name)
        time.tzset()
        yield
    time.tzset()


@given(rules)
def test_a_rule_is_read_back_equal_from_its_text_and_from_json(rule: SlotRule) -> None:
    assert parse_slots(rule.text, rule.mosaic) == rule
    assert SlotRule.from_dict(rule.to_dict()) == rule


@given(catalogs(), rules, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_neither_the_order_of_items_nor_the_time_zone_matters(
    items: list[pystac.Item], rule: SlotRule, luck: Any
) -> None:
    def answer(given: list[pystac.Item]) -> Any:
        try:
            slots = make_slots(given, rule)
        except ItemError as error:
            return str(error)
        return slots, [[item.id for item in rank] for rank in rank_items(slots, given, rule.mosaic)]

    shuffled = luck.sample(items, len(items))
    with zone("America/New_York"):
        there = answer(shuffled)
    assert answer(items) == there


@given(catalogs(), rules)
@settings(deadline=None)
def test_a_rank_holds_each_acquisition_of_its_slot_once(items: list[pystac.Item], rule: SlotRule) -> None:
    def acquisitions(some: Iterable[pystac.Item]) -> list[Any]:
        return sorted((item.datetime or datetime.max, *(item.bbox or ())) for item in some)

    try:
        slots = make_slots(items, rule)
    except ItemError:
        return
    assert len({slot.name for slot in slots}) == len(slots)
    assert list(slots) == sorted(slots)
    for slot, rank in zip(slots, rank_items(slots, items, rule.mosaic), strict=True):
        inside = acquisitions(item for item in items if slot.start <= (item.datetime or datetime.max) < slot.end)
        assert acquisitions(rank) == sorted(set(inside)) != []


@given(catalogs(), rules)
@settings(deadline=None)
def test_a_selection_stays_on_the_items_that_its_slots_were_made_from(items: list[pystac.Item], rule: SlotRule) -> None:
    try:
        dense = Selection.dense(make_slots(items, rule), BANDS, rule)
    except ItemError:
        return
    assert dense.on(items) is dense
    for kept in (dense.keep([0]), dense.keep([len(dense.channels) - 1]), dense.keep([])) if dense.channels else ():
        assert kept.on(items) is kept


@given(catalogs(), catalogs(), rules)
@settings(deadline=None)
def test_moving_to_other_items_twice_is_moving_once(
    here: list[pystac.Item], there: list[pystac.Item], rule: SlotRule
) -> None:
    try:
        dense = Selection.dense(make_slots(here, rule), BANDS, rule)
    except ItemError:
        return
    moved = dense.on(there)
    assert moved.on(there) is moved
    assert (moved.channels, moved.bands, moved.rule) == (dense.channels, dense.bands, dense.rule)
    assert len(moved.slots) == len(dense.slots)


@given(catalogs(), st.sampled_from(["month", "season", "days:100-150,335-59", "days:1-366,59-61"]), st.integers(-7, 7))
@settings(deadline=None)
def test_slots_move_to_those_that_their_rule_makes_in_another_year(
    items: list[pystac.Item], rule: str, fours: int
) -> None:
    moved = [item.clone() for item in items]
    for item in moved:
        instant = (item.datetime or datetime.max).astimezone(UTC)
        item.datetime = instant.replace(year=instant.year + 4 * fours)  # with a 29 February where there was one
    slots = make_slots(items, rule)
    assert Selection.dense(slots, BANDS, parse_slots(rule)).on(moved).slots == make_slots(moved, rule)

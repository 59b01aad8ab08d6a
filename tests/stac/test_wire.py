"""What goes to a server means what was asked for, in the form that it takes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geomask.stac.matching import parse_tests
from geomask.stac.wire import as_sent

LONGITUDES, LATITUDES = st.integers(-180, 180), st.integers(-90, 89)


@pytest.mark.parametrize(
    ("operand", "sent"),
    [
        ("5", 5),
        ("-0.5", -0.5),
        ("5.0", 5.0),
        (5, 5),
        ("025", "025"),
        ("05.09", "05.09"),
        ("NaN", "NaN"),
        ("true", "true"),
        ("2020-01-01", "2020-01-01"),
        ("", ""),
        (None, None),
        (True, True),
    ],
)
@pytest.mark.parametrize("symbol", ["eq", "neq", "lt", "lte", "gt", "gte"])
def test_a_number_goes_as_one(symbol: str, operand: Any, sent: Any) -> None:
    got = as_sent({"query": {"a": {symbol: operand}}})["query"]["a"][symbol]
    assert (got, type(got)) == (sent, type(sent))


@pytest.mark.parametrize("operands", [{"startsWith": "5"}, {"in": ["5"]}, {"contains": "5"}, "5"], ids=str)
def test_what_compares_no_numbers_goes_as_it_is(operands: Any) -> None:
    assert as_sent({"query": {"a": operands}}) == {"query": {"a": operands}}


def test_a_box_goes_without_heights() -> None:
    assert as_sent({"bbox": (1, 2, 0, 3, 4, 100)}) == {"bbox": [1, 2, 3, 4]}


def test_a_box_over_the_date_line_goes_as_two() -> None:
    sent = as_sent({"bbox": (170, -10, 0, -160, 20, 9), "limit": 5})
    assert sent.keys() == {"intersects", "limit"}
    assert sent["intersects"]["type"] == "MultiPolygon"
    bounds = {
        (min(x for x, _ in ring), min(y for _, y in ring), max(x for x, _ in ring), max(y for _, y in ring))
        for (ring,) in sent["intersects"]["coordinates"]
    }
    assert bounds == {(170, -10, 180, 20), (-180, -10, -160, 20)}


@given(west=LONGITUDES, south=LATITUDES, east=LONGITUDES, north=LATITUDES, place=st.tuples(LONGITUDES, LATITUDES))
def test_the_same_items_fit(west: int, south: int, east: int, north: int, place: tuple[int, int]) -> None:
    asked = {"bbox": (west, min(south, north), east, max(south, north) + 1)}
    item = {"id": "a", "properties": {}, "geometry": {"type": "Point", "coordinates": place}}
    fits, fits_sent = (all(test(item) for test in parse_tests(form)) for form in (asked, as_sent(asked)))
    assert fits == fits_sent
    assert as_sent(as_sent(asked)) == as_sent(asked)

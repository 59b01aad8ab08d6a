"""Bands and the rules of their scalings, as data: what is refused, what fits, what is read back."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from geomask.errors import ItemError
from geomask.stac.band import Band, Scaling

BAND = {"name": "B02", "asset": "blue", "gsd": 10}
RULE = {"property": "s2:processing_baseline", "at_least": "04.00", "scale": 0.0001, "offset": -0.1}

names = st.text(min_size=1, max_size=12)
finite = st.floats(allow_nan=False, allow_infinity=False)
numbers = st.lists(st.integers(0, 10**6), min_size=1, max_size=4)
versions = numbers.map(lambda parts: ".".join(map(str, parts)))
rules = st.builds(Scaling, names, finite, finite, equals=st.booleans() | names | finite) | st.builds(
    Scaling, names, finite, finite, at_least=versions
)
bands = st.builds(
    Band,
    name=names,
    asset=names,
    gsd=st.floats(1e-3, 1e6),
    common_name=st.none() | names,
    wavelength=st.none() | st.floats(1e-3, 1e6),
    index=st.integers(1, 400),
    dtype=names,
    nodata=st.none() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False),
    scale=finite,
    offset=finite,
    scalings=st.lists(rules, max_size=3).map(tuple),
)


@given(bands)
def test_a_band_is_read_back_equal_from_json_and_yaml(band: Band) -> None:
    written = json.dumps(band.to_dict(), allow_nan=False)
    assert Band.from_dict(json.loads(written)) == band
    assert Band.from_dict(yaml.safe_load(yaml.safe_dump(band.to_dict()))) == band


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "blue"}, "this one has 'colour'"),
        ({1: 2}, "this one has 1"),
        ({"name": 8}, "in quotes"),
        ({"name": ""}, "in quotes"),
        ({"asset": None}, "no text"),
        ({"common_name": 3}, "no text"),
        ({"gsd": "ten"}, "'ten' is no number"),
        ({"gsd": 0}, "positive"),
        ({"gsd": float("nan")}, "no finite number"),
        ({"gsd": [10]}, "no number"),
        ({"wavelength": "blue"}, "blue"),
        ({"index": 0}, "index counts from 1"),
        ({"index": 1.5}, "no whole number"),
        ({"nodata": True}, "no number"),
        ({"nodata": "none"}, "none"),
        ({"nodata": 10**400}, "more than any pixel holds"),
        ({"scale": float("inf")}, "no finite number"),
        ({"offset": None}, "no finite number"),
        ({"dtype": 16}, "no text"),
        ({"scalings": RULE}, "is no list"),
        ({"scalings": [7]}, "a scaling has property, scale, offset"),
        ({"scalings": [{**RULE, "when": "now"}]}, "this one has 'when'"),
        ({"scalings": [{**RULE, "equals": "04.00"}]}, "either equals or at_least"),
        ({"scalings": [{"property": "p", "scale": 1, "offset": 0}]}, "either equals or at_least"),
        ({"scalings": [{"property": "p", "at_least": "4.0"}]}, "this one has no scale"),
        ({"scalings": [{**RULE, "at_least": "N0400"}]}, "a version such as 04.00, not 'N0400'"),
        ({"scalings": [{**RULE, "at_least": 4.0}]}, "in quotes"),
        ({"scalings": [{**RULE, "offset": "-"}]}, "'-' is no number"),
    ],
)
def test_a_band_with_a_wrong_value_is_refused_in_one_line(change: dict[Any, Any], message: str) -> None:
    with pytest.raises(ItemError, match=message) as caught:
        Band.from_dict({**BAND, **change})
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("name", sorted(BAND))
def test_a_band_without_what_it_needs_is_refused(name: str) -> None:
    with pytest.raises(ItemError, match=f"a band has name, asset, gsd .* this one has no {name}"):
        Band.from_dict({key: value for key, value in BAND.items() if key != name})


@pytest.mark.parametrize("value", ["B02", None, [], 3, {"x": "y" * 10_000}])
def test_what_is_no_band_is_refused_without_repeating_all_of_it(value: object) -> None:
    with pytest.raises(ItemError, match="a band has name, asset, gsd") as caught:
        Band.from_dict(value)
    assert len(str(caught.value)) < 300


# --- rules ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "fits"),
    [
        ("04.00", True),
        ("05.09", True),
        ("05.11", True),
        ("4", True),
        ("10.0", True),  # as text it would come before 04
        (5.1, True),
        (4, True),
        ("02.14", False),
        ("03.99", False),
        ("3.9999", False),
        ("00.01", False),
        ("N0400", False),
        ("", False),
        (None, False),
        (True, False),
        (["04.00"], False),
        ("9" * 5000, False),  # more digits than Python turns into a number
        ("-5.0", False),
    ],
)
def test_a_version_is_compared_number_by_number_and_what_is_none_does_not_fit(found: object, fits: bool) -> None:
    assert Scaling.from_dict(RULE).fits({"s2:processing_baseline": found}) is fits


@given(numbers, numbers)
def test_versions_are_in_the_order_of_their_numbers(one: list[int], other: list[int]) -> None:
    longest = max(len(one), len(other))
    padded = [parts + [0] * (longest - len(parts)) for parts in (one, other)]
    rule = Scaling("v", 1, 0, at_least=".".join(map(str, other)))
    assert rule.fits({"v": ".".join(map(str, one))}) is (padded[0] >= padded[1])


@pytest.mark.parametrize(
    ("equals", "found", "fits"),
    [
        (True, True, True),
        (True, 1, False),  # JSON tells them apart
        (1, True, False),
        (1, 1.0, True),
        ("true", True, False),
        ("final", "final", True),
        (False, False, True),
        (False, None, False),
    ],
)
def test_a_value_is_compared_as_json_has_it(equals: bool | float | str, found: object, fits: bool) -> None:
    assert Scaling("p", 1, 0, equals=equals).fits({"p": found}) is fits


@given(rules)
def test_an_item_without_the_property_fits_no_rule(rule: Scaling) -> None:
    assert not rule.fits({})

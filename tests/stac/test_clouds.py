"""Clear pixels by classes and by bits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geomask.errors import ItemError
from geomask.stac.clouds import CloudMask


def test_classes_are_clear_and_all_others_are_not() -> None:
    seen = CloudMask("SCL", clear_classes=(4, 5)).clear(np.arange(12, dtype="uint8").reshape(3, 4))
    assert seen.dtype == bool
    assert [tuple(place) for place in np.argwhere(seen)] == [(1, 0), (1, 1)]


def test_landsat_flags_hide_the_ground_and_confidences_do_not() -> None:
    # USGS, Landsat 8-9 Collection 2 product guide: QA_PIXEL of clear land, water, cloud, its shadow, fill, snow
    values = np.array([21824, 21952, 22280, 23888, 1, 30048], "uint16")
    mask = CloudMask("qa_pixel", cloudy_bits=(0, 1, 2, 3, 4))
    assert mask.clear(values).tolist() == [True, True, False, False, False, True]


@given(
    st.lists(st.integers(0, 15), min_size=1, max_size=6, unique=True),
    st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=20),
    st.sampled_from(["uint8", "int16", "uint16", "int32", "uint64"]),
)
def test_bits_are_those_of_the_stored_integer(bits: list[int], values: list[int], dtype: str) -> None:
    stored = np.array(values, "uint16").astype(dtype)
    width = 8 * stored.dtype.itemsize
    expected = [not any(bit < width and int(value) >> bit & 1 for bit in bits) for value in stored]
    assert CloudMask("m", cloudy_bits=tuple(bits)).clear(stored).tolist() == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("SCL", "a cloud_mask has asset"),
        ({"asset": "SCL"}, "either clear_classes or cloudy_bits"),
        ({"asset": "SCL", "clear_classes": []}, "either clear_classes or cloudy_bits"),
        ({"asset": "SCL", "clear_classes": [4], "cloudy_bits": [1]}, "either clear_classes or cloudy_bits"),
        ({"asset": "SCL", "clear_classes": 4}, "4 is no list"),
        ({"asset": "SCL", "clear_classes": [True]}, "no whole number"),
        ({"asset": "SCL", "cloudy_bits": [64]}, "from 0 to 63"),
        ({"asset": "SCL", "cloudy_bits": [-1]}, "from 0 to 63"),
        ({"asset": "SCL", "clear_classes": [4], "index": 0}, "counts from 1"),
        ({"asset": "SCL", "clear": [4]}, "this one has 'clear'"),
    ],
)
def test_a_mask_that_says_nothing_is_refused(values: object, message: str) -> None:
    with pytest.raises(ItemError, match=message):
        CloudMask.from_dict(values)

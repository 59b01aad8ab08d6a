"""Bands by name, common name and wavelength."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geomask.errors import ItemError
from geomask.stac.band import Band
from geomask.stac.lookup import TOLERANCE, find_band
from geomask.stac.profile import load_profile

S2 = load_profile("planetary-computer-sentinel-2-l2a").bands
LANDSAT = load_profile("landsatlook-landsat-c2l2-sr").bands


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ("B08", "B08"),
        ("nir", "B08"),
        ("nir08", "B8A"),
        ("0.842", "B08"),
        (".842", "B08"),
        ("842nm", "B08"),
        ("842 nm", "B08"),
        ("0.842um", "B08"),
        ("0.842µm", "B08"),  # micro sign
        ("0.842μm", "B08"),  # Greek mu
        ("0.85", "B08"),
        ("0.86", "B8A"),
        ("2200nm", "B12"),
        ("705nm", "B05"),
    ],
)
def test_a_band_is_found_by_what_it_is_called_or_sees(wanted: str, name: str) -> None:
    assert find_band(S2, wanted, "p").name == name


def test_the_same_wavelength_finds_the_like_band_of_another_instrument() -> None:
    asked = ["443nm", "490nm", "560nm", "665nm", "842nm", "1610nm", "2190nm"]
    assert [find_band(LANDSAT, each, "p").name for each in asked] == [band.name for band in LANDSAT]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("B99", "profile p has no band B99; it has B01, B02"),
        ("", "no band"),
        ("842pm", "no band 842pm"),
        ("-0.842", "no band"),
        ("nan", "no band nan"),
        ("1e-1", "no band"),
        ("842", "no band at 842 um; the nearest is B12 at 2.19 um, and it may be off by 3%"),
        ("0", "no band at 0 um"),
        ("0.61", "the nearest is B03 at 0.56 um"),
        (
            "rededge",
            "rededge of profile p is more than one band: B05 at 0.704 um, B06 at 0.74 um, B07 at 0.783 um; name",
        ),
        ("0.8535", "more than one band: B08 at 0.842 um, B8A at 0.865 um"),
    ],
)
def test_what_is_no_band_or_several_is_refused(wanted: str, message: str) -> None:
    with pytest.raises(ItemError, match=message):
        find_band(S2, wanted, "p")


def test_a_name_comes_before_a_common_name_before_a_wavelength() -> None:
    bands = [Band("a", "1", 10, "b", 0.5), Band("b", "2", 10, "0.5", 0.9), Band("c", "3", 10, None, 0.5)]
    assert find_band(bands, "b", "p").asset == "2"
    assert find_band(bands, "0.5", "p").asset == "2"


def test_one_band_in_several_resolutions_is_the_finest_then_the_first() -> None:
    bands = [Band(f"B02_{gsd}m{n}", "x", gsd, "blue", 0.49) for n, gsd in enumerate((20, 10, 60, 10))]
    assert find_band(bands, "blue", "p").name == "B02_10m1"
    assert find_band(bands, "490nm", "p").name == "B02_10m1"


def test_a_common_name_is_not_guessed_where_no_wavelength_tells_bands_apart() -> None:
    bands = [Band("red", "a", 10, "red"), Band("old red", "b", 10, "red"), Band("nir", "c", 10, "nir")]
    assert find_band(bands, "nir", "p").asset == "c"
    assert find_band(bands, "red", "p").asset == "a"  # by name
    with pytest.raises(ItemError, match="more than one band: r, old red"):
        find_band([replace(bands[0], name="r"), bands[1]], "red", "p")
    with pytest.raises(ItemError, match="states no wavelengths"):
        find_band(bands, "0.5", "p")


@given(st.floats(0.3, 3))
def test_the_band_found_is_the_nearest_and_within_the_tolerance(centre: float) -> None:
    wanted = f"{centre:.4f}"
    apart = sorted((abs(band.wavelength - float(wanted)), band.name) for band in S2 if band.wavelength)
    if apart[0][0] > TOLERANCE * float(wanted) or apart[1][0] - apart[0][0] < 1e-6:
        with pytest.raises(ItemError, match=r"the nearest is|more than one"):
            find_band(S2, wanted, "p")
    else:
        assert find_band(S2, wanted, "p").name == apart[0][1]

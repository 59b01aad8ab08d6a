"""Bands as items describe them: STAC 1.0 and 1.1, by themselves and by inheritance, real items and made ones."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pystac
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geomask.errors import ItemError
from geomask.stac.band import Band
from geomask.stac.metadata import item_scaling, read_bands
from geomask.stac.profile import Profile

REAL = Path(__file__).parents[1] / "catalogs" / "items"


def item(fields: dict[str, Any], properties: dict[str, Any] | None = None, name: str = "a") -> pystac.Item:
    """One asset `x` with these fields."""
    asset = pystac.Asset("x.tif", extra_fields=fields)
    return pystac.Item(name, None, None, datetime(2020, 1, 1, tzinfo=UTC), properties or {}, assets={"x": asset})


def real(name: str) -> pystac.Item:
    return pystac.Item.from_dict(json.loads((REAL / f"{name}.json").read_text()))


# --- one band, four ways to say it ------------------------------------------------------------------------------------

FACTS = {"nodata": 0, "data_type": "int16"}
EO = {"common_name": "red", "center_wavelength": 0.665}
SCALE = {"scale": 0.0001, "offset": -0.1}


def prefixed(prefix: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}:{key}": value for key, value in fields.items()}


WAYS: dict[str, Callable[[], pystac.Item]] = {
    "1.1": lambda: item({"bands": [{"gsd": 10, **FACTS, **prefixed("eo", EO), **prefixed("raster", SCALE)}]}),
    "1.1 by the asset": lambda: item(
        {"gsd": 10, **FACTS, **prefixed("raster", SCALE), **prefixed("eo", EO), "bands": [{"name": "B04"}]}
    ),
    "1.1 by the item": lambda: item(
        {"gsd": 10, "bands": [prefixed("eo", EO)]}, {**FACTS, **prefixed("raster", SCALE), "gsd": 60}
    ),
    "1.1 without bands": lambda: item({"gsd": 10, **FACTS, **prefixed("raster", SCALE), **prefixed("eo", EO)}),
    "1.0": lambda: item({"eo:bands": [{"gsd": 10, **EO}], "raster:bands": [{**FACTS, **SCALE}]}),
    "1.0 with a resolution": lambda: item(
        {"eo:bands": [EO], "raster:bands": [{**FACTS, **SCALE, "spatial_resolution": 10}]}, {"gsd": 60}
    ),
    "both": lambda: item(
        {
            "gsd": 10,
            "bands": [{"data_type": "int16", "raster:scale": 0.0001}],
            "eo:bands": [EO],
            "raster:bands": [{"data_type": "uint8", "nodata": 0, **SCALE, "scale": 7}],
        }
    ),
    "first STAC": lambda: item(
        {"gsd": 10, "eo:bands": [1], **FACTS, **prefixed("raster", SCALE)}, {"eo:bands": [{}, EO]}
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_all_ways_to_describe_a_band_say_the_same(way: str) -> None:
    found = WAYS[way]()
    (band,) = read_bands(found)
    assert band == Band("x", "x", 10, "red", 0.665, dtype="int16", nodata=0)
    assert item_scaling(found, band) == (0.0001, -0.1)


def test_a_band_says_it_before_its_asset_and_that_before_the_item() -> None:
    low = {"nodata": 3, "raster:scale": 3.0, "raster:offset": 3.0}
    middle = {"gsd": 10, "nodata": 2, "raster:scale": 2.0}
    made = item({**middle, "bands": [{"nodata": 1}, {}]}, low)
    first, second = read_bands(made)
    assert (first.nodata, second.nodata) == (1, 2)
    assert item_scaling(made, first) == (2.0, 3.0)


def test_scales_stay_with_the_item_that_states_them() -> None:
    """A band that had taken over the scale of one item would scale all others with it."""
    old, new = (item({"gsd": 10, "raster:scale": 0.1, "raster:offset": offset}, name=str(offset)) for offset in (0, -5))
    (band,) = Profile.of_items([old, new]).bands
    assert (band.scale, band.offset) == (1, 0)
    assert (item_scaling(old, band), item_scaling(new, band)) == ((0.1, 0.0), (0.1, -5.0))


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, None),
        ({"raster:bands": [{}]}, None),
        ({"raster:bands": [{"scale": 2}]}, (2.0, 0.0)),
        ({"raster:bands": [{"offset": -3}]}, (1.0, -3.0)),
        ({"raster:bands": [{"scale": 1, "offset": 0}]}, (1.0, 0.0)),  # stated, so it is known
        ({"raster:bands": [{"scale": None}]}, None),
        ({"raster:bands": [{}, {"scale": 2}]}, None),  # of the other band
        ({"scale": 2}, None),  # what has no prefix is no field of the raster extension's at this place
    ],
)
def test_a_scaling_is_what_the_item_states_or_none(fields: dict[str, Any], found: tuple[float, float] | None) -> None:
    assert item_scaling(item(fields), Band("x", "x", 10)) == found


def test_an_item_without_the_asset_states_no_scaling() -> None:
    assert item_scaling(item({"raster:scale": 2}), Band("y", "y", 10)) is None


@given(st.lists(st.sampled_from(["red", "nir", "", None]), min_size=2, max_size=5))
def test_bands_of_one_file_have_names_and_numbers_of_their_own(names: list[str | None]) -> None:
    found = read_bands(item({"gsd": 1, "bands": [{"name": name} if name is not None else {} for name in names]}))
    assert [band.index for band in found] == list(range(1, len(names) + 1))
    assert len({band.name for band in found}) == len(names)
    expected = [f"x_{n if n and names.count(n) == 1 else at}" for at, n in enumerate(names, 1)]
    assert [band.name for band in found] == expected


# --- what is left out, and what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "properties", "gsd"),
    [
        ({"gsd": 10, "proj:transform": [20, 0, 0, 0, -20, 0]}, {}, 10),
        ({"proj:transform": [20, 0, 0, 0, -20, 0]}, {"gsd": 10}, 20),
        ({}, {"proj:transform": [-20.0, 0, 0, 0, -20, 0], "gsd": 10}, 20),
        ({}, {"gsd": 10}, 10),
        ({"proj:transform": [0.0002, 0, 0, 0, -0.0002, 0], "proj:code": "EPSG:4326"}, {"gsd": 10}, 10),  # degrees
        ({"proj:transform": ["a", 0, 0, 0, 0, 0]}, {}, None),
        ({"proj:transform": [0, 0, 0, 0, 0, 0]}, {}, None),
        ({"proj:transform": [10]}, {}, None),
        ({}, {}, None),
    ],
)
def test_the_size_of_a_pixel_is_stated_or_computed_or_the_band_is_left_out(
    fields: dict[str, Any], properties: dict[str, Any], gsd: float | None
) -> None:
    assert [band.gsd for band in read_bands(item(fields, properties))] == ([] if gsd is None else [gsd])


@pytest.mark.parametrize(
    ("href", "kind", "roles", "is_band"),
    [
        ("a.tif", None, None, True),
        ("a.TIFF?x=y", None, ["data"], True),
        ("a.jp2", None, ["reflectance"], True),
        ("a", "image/tiff; application=geotiff; profile=cloud-optimized", None, True),
        ("a", "image/vnd.stac.geotiff; cloud-optimized=true", ["cloud"], True),
        ("a.tif", "application/json", None, False),
        ("a.xml", None, None, False),
        ("a.tif", None, ["data", "thumbnail"], False),
        ("a.tif", None, ["visual"], False),
        ("a.tif", None, ["overview"], False),
        ("a.tif", None, ["metadata"], False),
    ],
)
def test_a_raster_is_a_band_unless_it_is_a_picture(
    href: str, kind: str | None, roles: list[str], is_band: bool
) -> None:
    made = item({})
    made.assets = {"x": pystac.Asset(href, media_type=kind, roles=roles, extra_fields={"gsd": 1})}
    assert bool(read_bands(made)) is is_band


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bands": ["B04"]}, "item a: bands of x.tif is no list of bands"),
        ({"eo:bands": [3]}, "eo:bands of x.tif is no list of bands"),
        ({"raster:bands": [{"scale": "wide"}]}, "scale of a band in x.tif: 'wide' is no number"),
        ({"raster:bands": [{"nodata": []}]}, "nodata of a band"),
        ({"bands": [{"data_type": 16}]}, "dtype of a band"),
        ({"bands": [{"eo:center_wavelength": float("inf")}]}, "no finite number"),
    ],
)
def test_what_is_no_metadata_is_refused_by_item_and_asset(fields: dict[str, Any], message: str) -> None:
    made = item({"gsd": 10, **fields})
    with pytest.raises(ItemError, match=message):
        [item_scaling(made, band) for band in (Band("x", "x", 10), *read_bands(made))]


def test_bands_that_are_no_list_count_as_not_there() -> None:
    assert [band.name for band in read_bands(item({"gsd": 10, "bands": "B04", "eo:bands": None}))] == ["x"]


@pytest.mark.parametrize("word", ["nan", "inf", "-inf"])
def test_nodata_may_be_a_word(word: str) -> None:
    (band,) = read_bands(item({"gsd": 10, "raster:bands": [{"nodata": word}]}))
    assert str(band.nodata) == word


# --- profiles of items ------------------------------------------------------------------------------------------------


def test_a_profile_of_items_has_all_their_bands_whatever_their_order() -> None:
    items = [real("usgs-landsat-7"), real("usgs-landsat-8")]
    profile = Profile.of_items(items)
    assert profile == Profile.of_items(reversed(items))
    assert profile.collections == ("landsat-c2l2-sr",)
    assert [band.asset for band in profile.select(["coastal", "red", "865nm", "qa_pixel"])] == [
        *("coastal", "red", "nir08", "qa_pixel")
    ]
    assert {"atmos_opacity", "coastal"} <= {band.name for band in profile.bands}


def test_items_that_describe_nothing_make_no_profile() -> None:
    with pytest.raises(
        ItemError, match="none of 1 items has a raster and says the size of its pixels; write a profile"
    ):
        Profile.of_items([real("dea-fractional-cover")])
    with pytest.raises(ItemError, match="none of 0 items"):
        Profile.of_items([])


def test_the_bands_of_a_real_item_of_stac_1_0() -> None:
    bands = {band.name: band for band in read_bands(real("earth-search-v1"))}
    assert bands["nir"] == Band("nir", "nir", 10, "nir", 0.842, nodata=0)
    assert bands["scl"] == Band("scl", "scl", 20, dtype="uint8", nodata=0)
    assert not bands.keys() & {"visual", "thumbnail"}
    assert item_scaling(real("earth-search-v1"), bands["nir"]) == (0.0001, 0.0)
    assert item_scaling(real("earth-search-v1"), bands["scl"]) is None
    # its JPEG 2000 twin has the same common name and wavelength, and comes later
    assert [band.asset for band in Profile.of_items([real("earth-search-v1")]).select(["blue"])] == ["blue"]


def test_the_bands_of_a_real_item_of_a_stac_before_1_0() -> None:
    found = read_bands(real("usgs-landsat-8-beta"))[:3]
    assert [(band.name, band.common_name, band.wavelength, band.gsd) for band in found] == [
        *(("SR_B1.TIF", "coastal", 0.44, 30), ("SR_B2.TIF", "blue", 0.48, 30), ("SR_B3.TIF", "green", 0.56, 30))
    ]


def test_the_bands_of_a_real_item_that_describes_none() -> None:
    bands = {band.name: band.gsd for band in read_bands(real("earth-search-v0"))}
    assert [bands[name] for name in ("B01", "B02", "B05")] == [60, 10, 20]  # by proj:transform; the item says 10


@pytest.mark.parametrize("name", sorted(path.stem for path in REAL.glob("*.json")))
def test_every_real_item_can_be_described(name: str) -> None:
    bands = read_bands(real(name))
    assert len({band.name for band in bands}) == len(bands)
    assert bool(bands) is (name not in ("dea-fractional-cover", "stactools-sentinel-1"))  # nobody knows their pixels

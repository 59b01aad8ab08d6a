from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pystac
import pytest
import yaml

from geomask.errors import ItemError
from geomask.stac.profile import Band, load_profile, profile_names
from geomask.stac.source import band_href, check_bands

BAND = {"name": "B02", "asset": "blue", "gsd": 10}


@pytest.mark.parametrize("name", profile_names())
def test_a_shipped_profile_loads_and_its_bands_have_names_of_their_own(name: str) -> None:
    profile = load_profile(name)
    assert profile.bands
    assert len({band.name for band in profile.bands}) == len(profile.bands)
    assert all(band.common_name is None or band.wavelength for band in profile.bands)


def test_a_profile_of_the_users_own_is_read_from_its_path(tmp_path: Path) -> None:
    document = {
        "name": "mine",
        "title": "My own",
        "endpoint": "https://stac.example/v1",
        "collections": ["one", "two"],
        "bands": [
            {**BAND, "common_name": "blue", "wavelength": 0.49, "index": 2, "dtype": "int16", "nodata": -1},
            {"name": "B03", "asset": "B03", "gsd": 20, "scale": "1e-4", "offset": -0.1, "nodata": None},
        ],
        "cloud_mask": {"asset": "SCL", "clear_classes": [4, 5]},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(document))
    profile = load_profile(tmp_path / "mine.yaml")
    assert profile.bands == (
        Band("B02", "blue", 10.0, "blue", 0.49, 2, "int16", -1),
        Band("B03", "B03", 20.0, nodata=None, scale=0.0001, offset=-0.1),
    )
    assert (profile.name, profile.title, profile.endpoint) == ("mine", "My own", "https://stac.example/v1")
    assert (profile.collections, profile.cloud_mask, profile.clear_classes) == (("one", "two"), "SCL", (4, 5))


def test_a_band_alone_is_a_profile(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({"bands": [BAND]}))
    profile = load_profile(tmp_path / "a.yaml")
    assert (profile.name, profile.collections, profile.cloud_mask) == (str(tmp_path / "a.yaml"), (), None)


def test_bands_are_chosen_by_name_or_common_name_in_the_order_asked_for() -> None:
    profile = load_profile("local")
    assert [band.name for band in profile.select(["nir", "B02"])] == ["B08", "B02"]
    assert profile.select() == profile.bands
    with pytest.raises(ItemError, match="no band B99; it has B02, B03"):
        profile.select(["B02", "B99"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "blue"}, "colour"),
        ({"name": 8}, "in quotes"),
        ({"name": ""}, "in quotes"),
        ({"asset": None}, "no text"),
        ({"common_name": 3}, "no text"),
        ({"gsd": "ten"}, "ten"),
        ({"gsd": 0}, "positive"),
        ({"gsd": float("nan")}, "no finite number"),
        ({"wavelength": "blue"}, "blue"),
        ({"index": 0}, "index counts from 1"),
        ({"index": 1.5}, "no whole number"),
        ({"nodata": True}, "no number"),
        ({"nodata": "none"}, "none"),
        ({"scale": float("inf")}, "no finite number"),
        ({"offset": None}, "no finite number"),
        ({"dtype": 16}, "no text"),
    ],
)
def test_a_band_with_a_wrong_value_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ItemError, match=message):
        Band.from_dict({**BAND, **change})


@pytest.mark.parametrize("name", sorted(BAND))
def test_a_band_without_what_it_needs_is_refused(name: str) -> None:
    with pytest.raises(ItemError, match="a band has name, asset, gsd"):
        Band.from_dict({key: value for key, value in BAND.items() if key != name})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "no YAML"),
        ("bands: []", "no list of bands"),
        ("[1, 2]", "no list of bands"),
        ("", "no list of bands"),
        ("bands: [B02, B03]", "a band has name"),
        ("bands: [{name: a, asset: a, gsd: 1}, {name: a, asset: b, gsd: 1}]", "names a band twice"),
        ("{bands: [{name: a, asset: a, gsd: 1}], collections: sentinel-2}", "'sentinel-2' is no list"),
        ("{bands: [{name: a, asset: a, gsd: 1}], collections: [2]}", "2 is no text"),
        ("{bands: [{name: a, asset: a, gsd: 1}], cloud_mask: SCL}", "a cloud_mask has an asset"),
        ("{bands: [{name: a, asset: a, gsd: 1}], cloud_mask: {asset: SCL}}", "clear_classes"),
        ("{bands: [{name: a, asset: a, gsd: 1}], cloud_mask: {asset: SCL, clear_classes: 4}}", "4 is no list"),
        ("{bands: [{name: a, asset: a, gsd: 1}], endpoint: 5}", "5 is no text"),
    ],
)
def test_a_file_that_is_no_profile_is_refused_by_name(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_text(content)
    with pytest.raises(ItemError, match=message) as caught:
        load_profile(tmp_path / "odd.yaml")
    assert "odd.yaml" in str(caught.value)


@pytest.mark.parametrize("name", ["absent", "", "."])
def test_a_profile_that_is_not_there_is_an_error_that_lists_those_that_are(name: str) -> None:
    with pytest.raises(ItemError, match="neither one of local"):
        load_profile(name)


def item(name: str, **hrefs: str) -> pystac.Item:
    assets = {key: pystac.Asset(href) for key, href in hrefs.items()}
    return pystac.Item(name, None, None, datetime(2020, 1, 1, tzinfo=UTC), {}, assets=assets)


def test_the_href_of_a_band_is_absolute_where_the_item_says_where_it_is() -> None:
    band, found = Band.from_dict(BAND), item("a", blue="./b 1.tif")
    assert band_href(found, band) == "./b 1.tif"
    found.set_self_href("https://host/items/a.json")
    assert band_href(found, band) == "https://host/items/b 1.tif"
    assert band_href(item("a", red="r.tif"), band) is None


def test_a_band_that_no_item_has_is_refused_and_one_that_some_lack_is_not() -> None:
    band = Band.from_dict(BAND)
    check_bands([None, item("a", red="r.tif"), item("b", blue="b.tif")], [band])
    check_bands([None], [band])
    with pytest.raises(ItemError, match="asset blue of band B02; item a has green, red"):
        check_bands([item("a", red="r.tif", green="g.tif"), None], [band])

import sys
from datetime import UTC, datetime
from pathlib import Path

import pystac
import pytest
import yaml

from geomask.errors import ItemError
from geomask.stac.band import Scaling
from geomask.stac.clouds import CloudMask
from geomask.stac.profile import Band, load_profile
from geomask.stac.source import band_href
from geomask.stac.terms import CostHints, Signing

BAND = {"name": "B02", "asset": "blue", "gsd": 10}


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
        "cost": {"format": "jp2", "requester_pays": True, "egress": "far away"},
        "signing": {"function": "my.module:sign", "login": "mine", "environment": {"AWS_REGION": "here"}},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(document))
    profile = load_profile(tmp_path / "mine.yaml")
    assert profile.bands == (
        Band("B02", "blue", 10.0, "blue", 0.49, 2, "int16", -1),
        Band("B03", "B03", 20.0, nodata=None, scale=0.0001, offset=-0.1),
    )
    assert (profile.name, profile.title, profile.endpoint) == ("mine", "My own", "https://stac.example/v1")
    assert (profile.collections, profile.cloud_mask) == (("one", "two"), CloudMask("SCL", (4, 5)))
    assert profile.cost == CostHints("jp2", requester_pays=True, egress="far away")
    assert profile.signing == Signing("my.module:sign", "mine", (("AWS_REGION", "here"),))


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


def test_defaults_hold_for_every_band_that_does_not_say_otherwise(tmp_path: Path) -> None:
    rule = {"property": "p", "equals": True, "scale": 2, "offset": 1}
    document = {
        "defaults": {"asset": "image", "gsd": 1, "nodata": 0, "scalings": [rule]},
        "bands": [{"name": "red"}, {"name": "nir", "index": 2, "nodata": None, "scalings": []}],
    }
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(document))
    assert load_profile(tmp_path / "a.yaml").bands == (
        Band("red", "image", 1, nodata=0, scalings=(Scaling("p", 2, 1, equals=True),)),
        Band("nir", "image", 1, index=2),
    )


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
        ("{bands: [{name: a, asset: a, gsd: 1}], collections: null}", "None is no list"),
        ("{bands: [{name: a, asset: a, gsd: 1}], cloud_mask: SCL}", "a cloud_mask has asset"),
        ("{bands: [{name: a, asset: a, gsd: 1}], cloud_mask: {asset: SCL}}", "clear_classes"),
        ("{bands: [{name: a, asset: a, gsd: 1}], cloud_mask: {asset: SCL, clear_classes: 4}}", "4 is no list"),
        ("{bands: [{name: a, asset: a, gsd: 1}], endpoint: 5}", "5 is no text"),
        ("{bands: [{name: a, asset: a, gsd: 1}], colour: 5}", "this one has 'colour'"),
        ("{bands: [{name: a, asset: a, gsd: 1}], 5: colour}", "this one has 5"),
        ("{bands: [{name: a, asset: a, gsd: 1, offst: 1}]}", "this one has 'offst'"),
        ("{bands: [{name: a, asset: a, gsd: 1}], defaults: [1]}", "defaults are fields of every band but its name"),
        ("{bands: [{name: a, asset: a, gsd: 1}], defaults: {name: b}}", "defaults are fields"),
        ("{bands: [{name: a}], defaults: {asset: b}}", "this one has no gsd"),
        ("{bands: [{name: a, asset: a, gsd: 1}], cost: cheap}", "a cost has"),
        ("{bands: [{name: a, asset: a, gsd: 1}], cost: {format: png}}", "format is geotiff or jp2"),
        ("{bands: [{name: a, asset: a, gsd: 1}], cost: {interleave: tile}}", "interleave band or pixel"),
        ("{bands: [{name: a, asset: a, gsd: 1}], cost: {tile: 0}}", "positive"),
        ("{bands: [{name: a, asset: a, gsd: 1}], cost: {requester_pays: maybe}}", "neither true nor false"),
        ("{bands: [{name: a, asset: a, gsd: 1}], signing: {function: 'rm -rf'}}", "a function is MODULE:FUNCTION"),
        ("{bands: [{name: a, asset: a, gsd: 1}], signing: {environment: {path: x}}}", "in capitals"),
        ("{bands: [{name: a, asset: a, gsd: 1}], signing: {environment: {A: 1}}}", "set it in quotes"),
        ("{bands: [{name: a, asset: a, gsd: 0x1p3}]}", "no number"),
        ("bands: [{name: a, asset: a, gsd: 2020-99-99}]", "no YAML"),
        ("bands: " + 5000 * "[", "no YAML"),
        ("&x {bands: [*x]}", "no YAML: it has an alias"),
        ("bands: !!python/object/apply:os.system [ls]", "no YAML: could not determine a constructor"),
        ("name: a\x00b", "no YAML"),
    ],
)
def test_a_file_that_is_no_profile_is_refused_by_name(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_text(content)
    with pytest.raises(ItemError, match=message) as caught:
        load_profile(tmp_path / "odd.yaml")
    assert "odd.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_or_endless_is_refused(tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_bytes(b"bands: \xff")
    with pytest.raises(ItemError, match=r"odd\.yaml is no YAML"):
        load_profile(tmp_path / "odd.yaml")
    with pytest.raises(ItemError, match="profile /dev/zero is larger than"):
        load_profile("/dev/zero")


def test_a_function_that_signs_is_named_and_never_called(tmp_path: Path) -> None:
    (tmp_path / "evil_module.py").write_text("raise SystemExit('called')")
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({"bands": [BAND], "signing": {"function": "evil_module:sign"}}))
    sys.path.insert(0, str(tmp_path))
    try:
        assert load_profile(tmp_path / "a.yaml").signing.function == "evil_module:sign"
    finally:
        sys.path.remove(str(tmp_path))
    assert "evil_module" not in sys.modules


@pytest.mark.parametrize("name", ["absent", "", ".", "a\0b", "../catalogs/local"])
def test_a_profile_that_is_not_there_is_an_error_that_lists_those_that_are(name: str) -> None:
    with pytest.raises(ItemError, match=r"neither one of cdse-sentinel-2-l2a, .*local, "):
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

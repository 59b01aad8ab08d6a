"""Every shipped profile: against its schema, against real items, and what it makes of the same scene elsewhere.

The items in ``items/`` are excerpts: of tests of odc-stac (Apache-2.0; USGS, DEA, Earth Search v0, Planetary Computer)
and rio-tiler-pds (BSD-3; Earth Search v1), and of examples of stactools (Apache-2.0).
"""

import copy
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pystac
import pytest
import yaml
from jsonschema import Draft202012Validator

from geomask.errors import FetchError, ItemError
from geomask.signing import load_signer
from geomask.stac.lookup import TOLERANCE
from geomask.stac.metadata import read_bands
from geomask.stac.profile import load_profile, profile_names
from geomask.stac.source import scaling_of
from geomask.store import locate

CATALOGS = files("geomask.catalogs")
SCHEMA = Draft202012Validator(json.loads(CATALOGS.joinpath("profile.schema.json").read_text()))
ITEMS = Path(__file__).parent / "items"
DOCUMENT = Path(__file__).parents[2] / "docs" / "catalogs.md"

#: Profile and a real item of its collection, or one made by the program that makes the collection's items.
VERIFIED = [
    ("earth-search-sentinel-2-l2a", "earth-search-v1"),
    ("earth-search-sentinel-2-c1-l2a", "earth-search-v1"),  # the assets are called the same
    ("earth-search-landsat-c2-l2", "stactools-landsat-9"),
    ("earth-search-sentinel-1-grd", "stactools-sentinel-1"),
    ("planetary-computer-sentinel-2-l2a", "planetary-computer"),
    ("planetary-computer-sentinel-2-l2a", "planetary-computer-raster"),
    ("planetary-computer-landsat-c2-l2", "stactools-landsat-9"),
    ("landsatlook-landsat-c2l2-sr", "usgs-landsat-8"),
    ("landsatlook-landsat-c2l2-sr", "usgs-landsat-7"),
    ("dea-landsat-ard-3", "dea-landsat-8"),
]
#: Bands that an item lacks with reason: another instrument's, or another polarisation's.
LACKING = {"stactools-landsat-9": {"lwir"}, "usgs-landsat-7": {"coastal"}, "stactools-sentinel-1": {"hh", "hv"}}
#: Where the profile means something else than the item says, and why.
OTHERWISE = {
    (
        "planetary-computer",
        "B8A",
        "common_name",
    ): "rededge",  # STAC's name of 865 nm is nir08, as other catalogs have it
    ("planetary-computer-raster", "B8A", "common_name"): "rededge",
    ("stactools-landsat-9", "lwir11", "gsd"): 30,  # the pixels; the instrument sees 100 m
}


def document(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(CATALOGS.joinpath(f"{name}.yaml").read_text(encoding="utf-8"))
    return loaded


def real(name: str) -> pystac.Item:
    return pystac.Item.from_dict(json.loads((ITEMS / f"{name}.json").read_text()))


# --- all of them ------------------------------------------------------------------------------------------------------


def test_the_catalogs_asked_for_are_there() -> None:
    assert profile_names() == [
        "cdse-sentinel-2-l2a",
        *("dea-landsat-ard-3", "dea-sentinel-2-ard-3"),
        *("earth-search-landsat-c2-l2", "earth-search-naip", "earth-search-sentinel-1-grd"),
        *("earth-search-sentinel-2-c1-l2a", "earth-search-sentinel-2-l2a"),
        "landsatlook-landsat-c2l2-sr",
        "local",
        *("planetary-computer-hls2-l30", "planetary-computer-hls2-s30", "planetary-computer-landsat-c2-l2"),
        *("planetary-computer-naip", "planetary-computer-sentinel-2-l2a"),
    ]


@pytest.mark.parametrize("name", profile_names())
def test_a_profile_fits_its_schema_and_loads_under_the_name_of_its_file(name: str) -> None:
    assert [error.message for error in SCHEMA.iter_errors(document(name))] == []
    profile = load_profile(name)
    assert profile.name == name
    assert profile.title
    assert profile.collections
    assert (profile.endpoint is None) == (name == "local")
    assert "\n" not in profile.title
    assert profile.select([band.name for band in profile.bands]) == profile.bands


@pytest.mark.parametrize("name", profile_names())
def test_a_profile_says_how_its_files_are_reached(name: str) -> None:
    profile = load_profile(name)
    if profile.cost.requester_pays:
        assert ("AWS_REQUEST_PAYER", "requester") in profile.signing.environment
    if profile.endpoint and "planetarycomputer" in profile.endpoint:
        assert profile.signing.function == "planetary_computer:sign_url"
    for key, _ in profile.signing.environment:
        assert not any(word in key for word in ("SECRET", "KEY", "TOKEN", "PASSWORD"))


def test_what_a_profile_tells_to_set_is_what_buckets_are_opened_with(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(name: str) -> Any:
        with monkeypatch.context() as patch:
            for key, value in load_profile(name).signing.environment:
                patch.setenv(key, value)
            return locate("s3://bucket/key")[0].config

    assert opened("cdse-sentinel-2-l2a")["endpoint"] == "https://eodata.dataspace.copernicus.eu"
    assert opened("earth-search-landsat-c2-l2")["request_payer"] in (True, "true")
    assert opened("dea-landsat-ard-3")["skip_signature"] in (True, "true")


@pytest.mark.parametrize("name", [name for name in profile_names() if load_profile(name).signing.function])
def test_a_function_that_signs_is_one_that_sign_takes(name: str) -> None:
    function = load_profile(name).signing.function
    assert function
    if find_spec(function.partition(":")[0]):
        assert callable(load_signer(function))
    else:  # no dependency of ours
        with pytest.raises(FetchError, match="install what has it"):
            load_signer(function)


def test_the_document_knows_every_profile_and_its_example_is_one(tmp_path: Path) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for name in profile_names():
        assert name in text.replace(" -hls2-l30", " planetary-computer-hls2-l30"), name
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert [error.message for error in SCHEMA.iter_errors(yaml.safe_load(example))] == []
    (tmp_path / "a.yaml").write_text(example)
    assert [band.name for band in load_profile(tmp_path / "a.yaml").select(["red", "842nm"])] == ["red", "nir"]
    assert f"{TOLERANCE:.0%}".replace("%", " %") in text


# --- the schema and the parser agree ----------------------------------------------------------------------------------

SOUND: dict[str, Any] = {
    "name": "a",
    "collections": ["c"],
    "defaults": {"nodata": "nan", "scale": "1e-4"},
    "bands": [
        {"name": "r", "asset": "x", "gsd": 10, "common_name": None, "nodata": None},
        {
            "name": "n",
            "asset": "x",
            "gsd": "1e1",
            "index": 2,
            "scalings": [{"property": "p", "equals": True, "scale": 1, "offset": 0}],
        },
    ],
    "cloud_mask": {"asset": "m", "cloudy_bits": [1]},
    "cost": {"tile": None, "interleave": "band"},
    "signing": {"environment": {"AWS_REGION": "x"}},
}


def put(*path: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(whole: Any) -> None:
        for step in path[:-1]:
            whole = whole[step]
        whole[path[-1]] = value

    return change


CHANGES = {
    "nothing": (put("name", value="b"), True),
    "no mask": (put("cloud_mask", value=None), True),
    "no endpoint": (put("endpoint", value=None), True),
    "defaults for all": (put("defaults", value={"asset": "y", "gsd": 2}), True),
    "no bands": (put("bands", value=[]), False),
    "another key": (put("colour", value=1), False),
    "another key of a band": (put("bands", 0, "colour", value=1), False),
    "another key of defaults": (put("defaults", "colour", value=1), False),
    "another key of a rule": (put("bands", 1, "scalings", 0, "colour", value=1), False),
    "another key of the mask": (put("cloud_mask", "colour", value=1), False),
    "another key of the cost": (put("cost", "colour", value=1), False),
    "another key of the signing": (put("signing", "colour", value=1), False),
    "a band without an asset": (put("bands", 0, value={"name": "r", "gsd": 10}), False),
    "a band without a gsd": (put("bands", 0, value={"name": "r", "asset": "x"}), False),
    "no size": (put("bands", 0, "gsd", value=0), False),
    "a name that is a number": (put("bands", 0, "name", value=8), False),
    "an index from 0": (put("bands", 0, "index", value=0), False),
    "nodata in words": (put("bands", 0, "nodata", value="none"), False),
    "a truth for a number": (put("bands", 0, "scale", value=True), False),
    "a rule of neither": (put("bands", 1, "scalings", 0, value={"property": "p", "scale": 1, "offset": 0}), False),
    "a rule of both": (put("bands", 1, "scalings", 0, "at_least", value="1"), False),
    "a version in words": (
        put("bands", 1, "scalings", 0, value={"property": "p", "at_least": "x", "scale": 1, "offset": 0}),
        False,
    ),
    "a mask of both": (put("cloud_mask", "clear_classes", value=[1]), False),
    "a mask of neither": (put("cloud_mask", value={"asset": "m"}), False),
    "a mask of nothing": (put("cloud_mask", "cloudy_bits", value=[]), False),
    "a bit too high": (put("cloud_mask", "cloudy_bits", value=[64]), False),
    "another format": (put("cost", "format", value="png"), False),
    "no tile": (put("cost", "tile", value=0), False),
    "no function": (put("signing", "function", value="os.system"), False),
    "a variable in small letters": (put("signing", "environment", value={"path": "x"}), False),
    "a collection that is a list": (put("collections", value="c"), False),
}


@pytest.mark.parametrize("case", CHANGES)
def test_the_schema_accepts_what_loads_and_refuses_what_does_not(case: str, tmp_path: Path) -> None:
    change, sound = CHANGES[case]
    changed = copy.deepcopy(SOUND)
    change(changed)
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump(changed))
    assert SCHEMA.is_valid(changed) is sound
    if sound:
        load_profile(path)
    else:
        with pytest.raises(ItemError, match=r"p\.yaml") as caught:
            load_profile(path)
        assert "\n" not in str(caught.value)


# --- against items ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("profile", "item"), VERIFIED)
def test_bands_are_what_the_items_of_the_collection_say_of_them(profile: str, item: str) -> None:
    found = real(item)
    lacking = {band.name for band in load_profile(profile).bands if band.asset not in found.assets}
    assert lacking == LACKING.get(item, set())
    described = {(band.asset, band.index): band for band in read_bands(found)}
    for band in load_profile(profile).bands:
        says = described.get((band.asset, band.index))
        if says is None:
            assert band.name in lacking or item == "stactools-sentinel-1"  # of which the pixels' size is in degrees
            continue
        for field in ("common_name", "wavelength", "gsd"):
            stated = getattr(says, field)
            assert stated in (None, OTHERWISE.get((item, band.name, field), getattr(band, field))), (band.name, field)
        if any("data_type" in entry for entry in found.assets[band.asset].extra_fields.get("raster:bands", [])):
            assert (says.dtype, says.nodata) == (band.dtype, band.nodata)


@pytest.mark.parametrize(("profile", "item"), VERIFIED)
def test_the_cloud_mask_is_there_and_of_whole_numbers(profile: str, item: str) -> None:
    mask = load_profile(profile).cloud_mask
    if mask is None:
        assert profile == "earth-search-sentinel-1-grd"  # radar sees through clouds
        return
    asset = real(item).assets[mask.asset]
    for entry in asset.extra_fields.get("raster:bands", []):
        assert entry.get("data_type", "uint8") in ("uint8", "uint16")


@pytest.mark.parametrize("profile", ["earth-search-landsat-c2-l2", "planetary-computer-landsat-c2-l2"])
def test_landsat_scalings_are_those_of_the_items(profile: str) -> None:
    found = real("stactools-landsat-9")
    for band in load_profile(profile).bands:
        if band.asset in found.assets:
            (entry,) = found.assets[band.asset].extra_fields["raster:bands"]
            assert scaling_of(found, band) == (entry["scale"], entry["offset"])


# --- Sentinel-2's offset ----------------------------------------------------------------------------------------------


def scene(asset: str, properties: dict[str, Any], offset: float | None = None) -> pystac.Item:
    fields = {} if offset is None else {"raster:bands": [{"scale": 0.0001, "offset": offset}]}
    assets = {asset: pystac.Asset("x.tif", extra_fields=fields)}
    return pystac.Item("s", None, None, datetime(2023, 6, 28, tzinfo=UTC), properties, assets=assets)


BASELINE, APPLIED = "s2:processing_baseline", "earthsearch:boa_offset_applied"


@pytest.mark.parametrize(
    ("profile", "properties", "stated", "offset"),
    [
        # as S2A_39QTA_20230628_0_L2A has it: the files are corrected, and raster:bands says they were not
        ("earth-search-sentinel-2-l2a", {BASELINE: "05.09", APPLIED: True}, -0.1, 0),
        ("earth-search-sentinel-2-l2a", {BASELINE: "04.00", APPLIED: False}, -0.1, -0.1),
        ("earth-search-sentinel-2-l2a", {BASELINE: "05.11"}, None, -0.1),
        ("earth-search-sentinel-2-l2a", {BASELINE: "02.14", APPLIED: False}, 0, 0),  # as S2A_29RKH_20200219_0_L2A
        ("earth-search-sentinel-2-l2a", {BASELINE: "03.01"}, -0.1, 0),
        ("earth-search-sentinel-2-l2a", {}, -0.1, 0),
        ("earth-search-sentinel-2-c1-l2a", {BASELINE: "05.00"}, -0.1, -0.1),
        ("earth-search-sentinel-2-c1-l2a", {BASELINE: "05.10"}, None, -0.1),
        ("earth-search-sentinel-2-c1-l2a", {}, -0.1, -0.1),
        ("earth-search-sentinel-2-c1-l2a", {}, 0, 0),
        ("planetary-computer-sentinel-2-l2a", {BASELINE: "02.12"}, None, 0),
        ("planetary-computer-sentinel-2-l2a", {BASELINE: "03.01"}, None, 0),
        ("planetary-computer-sentinel-2-l2a", {BASELINE: "04.00"}, None, -0.1),
        ("planetary-computer-sentinel-2-l2a", {BASELINE: "05.10"}, None, -0.1),
        ("planetary-computer-sentinel-2-l2a", {}, None, 0),
        ("cdse-sentinel-2-l2a", {"processing:version": "05.12"}, None, -0.1),
        ("cdse-sentinel-2-l2a", {"processing:version": "02.14"}, None, 0),
        ("cdse-sentinel-2-l2a", {}, None, 0),
    ],
)
def test_the_offset_of_baseline_04_00_is_there_where_the_files_have_it(
    profile: str, properties: dict[str, Any], stated: float | None, offset: float
) -> None:
    for band in load_profile(profile).bands:
        assert scaling_of(scene(band.asset, properties, stated), band) == (0.0001, offset)


def test_a_collection_1_item_that_says_nothing_leaves_it_to_its_files() -> None:
    (red,) = load_profile("earth-search-sentinel-2-c1-l2a").select(["red"])
    assert scaling_of(scene("red", {}), red) is None


def test_the_offset_of_a_real_item_is_that_of_its_own_time() -> None:
    (red,) = load_profile("earth-search-sentinel-2-l2a").select(["red"])
    assert scaling_of(real("earth-search-v1"), red) == (0.0001, 0)
    (red,) = load_profile("planetary-computer-sentinel-2-l2a").select(["red"])
    assert scaling_of(real("planetary-computer"), red) == (0.0001, 0)


# --- one scene by another catalog -------------------------------------------------------------------------------------

SENTINEL_2 = [name for name in profile_names() if "sentinel-2" in name]
LANDSAT = [name for name in profile_names() if "landsat" in name]


@pytest.mark.parametrize(("names", "asked"), [(SENTINEL_2, "red nir nir08 swir16"), (LANDSAT, "red nir08 swir16")])
def test_catalogs_of_one_instrument_call_its_bands_the_same(names: list[str], asked: str) -> None:
    assert len(names) > 3
    found = {tuple((b.name, b.wavelength, b.gsd) for b in load_profile(name).select(asked.split())) for name in names}
    assert len(found) == 1


@pytest.mark.parametrize("name", [name for name in profile_names() if "naip" not in name and "sentinel-1" not in name])
def test_green_is_found_by_wavelength_everywhere(name: str) -> None:
    (green,) = load_profile(name).select(["560nm"])
    assert green.common_name == "green"

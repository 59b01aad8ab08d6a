"""pystac's items out of JSON: the same that pystac makes, sooner."""

from __future__ import annotations

import copy
import gc
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pystac import Asset, Item

from geomask.errors import ItemError
from geomask.stac.items import collector_paused, make_item, make_items

SHARED = Path(__file__).parents[3] / "shared" / "data" / "stac"
PROJECTION = "https://stac-extensions.github.io/projection/v{}/schema.json"


def feature(**members: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": "a",
        "collection": "c",
        "geometry": {"type": "Point", "coordinates": [1, 2]},
        "bbox": [1, 2, 1, 2],
        "properties": {"datetime": "2020-01-01T10:11:12.5Z", "gsd": 10},
        "links": [{"rel": "self", "href": "https://example.com/a.json"}, {"rel": "via", "href": "https://example.com"}],
        "assets": {"red": {"href": "s3://b/red.tif", "roles": ["data"], "gsd": 10}, "nir": {"href": "s3://b/nir.tif"}},
        **members,
    }


def both(given: dict[str, Any]) -> tuple[Any, Any]:
    theirs = Item.from_dict(given)
    ours = make_item(copy.deepcopy(given), "x")
    return ours.to_dict(transform_hrefs=False), theirs.to_dict(transform_hrefs=False)


@given(
    version=st.sampled_from(["1.1.0", "1.0.0", "1.0.0-beta.2", "0.9.0"]),
    extensions=st.lists(
        st.sampled_from([*map(PROJECTION.format, ("1.0.0", "1.1.0", "2.0.0")), "eo", "https://x.org/y"])
    ),
    properties=st.dictionaries(st.sampled_from(["proj:epsg", "proj:code", "license", "eo:gsd"]), st.just("32632")),
    asset=st.dictionaries(st.sampled_from(["proj:epsg", "title", "eo:bands"]), st.just("1")),
    time=st.sampled_from(["2020-01-01T10:11:12.5Z", "2020-01-01T10:11:12+02:00", "2020-01-01T00:00:00", "2020-01-31"]),
    more=st.dictionaries(st.sampled_from(["title", "stac_extensions"]), st.none()),
)
def test_items_are_what_pystac_makes(
    version: str, extensions: list[str], properties: Any, asset: Any, time: str, more: Any
) -> None:
    given = feature(stac_version=version, stac_extensions=extensions, **{name: 1 for name in more if name == "title"})
    if "stac_extensions" in more:
        del given["stac_extensions"]
    given["properties"] = {**properties, "datetime": time}
    given["assets"]["red"] |= asset
    assert_equal_or_both_fail(given)


def assert_equal_or_both_fail(given: dict[str, Any]) -> None:
    try:
        theirs = Item.from_dict(given).to_dict(transform_hrefs=False)
    except Exception as error:  # noqa: BLE001  # whatever pystac stumbles over
        with pytest.raises(ItemError, match=type(error).__name__):
            make_item(copy.deepcopy(given), "x")
        return
    assert make_item(copy.deepcopy(given), "x").to_dict(transform_hrefs=False) == theirs


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs shared/data/stac")
@pytest.mark.parametrize("path", sorted(SHARED.glob("*.*json")), ids=lambda path: path.name[:20])
def test_real_items_are_what_pystac_makes(path: Path) -> None:
    document = json.loads(path.read_text())
    for one in document.get("features", [document] if document["type"] == "Feature" else []):
        ours, theirs = both(one)
        assert ours == theirs
        ours, theirs = both(theirs)  # as of today
        assert ours == theirs


def test_assets_are_made_once_and_belong_to_the_item() -> None:
    item = make_item(feature(), "x")
    assert ("red" in item.assets, "swir" in item.assets, list(item.assets), len(item.assets)) == (
        *(True, False, ["red", "nir"]),
        2,
    )
    red = item.assets["red"]
    assert (red.href, red.roles, red.extra_fields) == ("s3://b/red.tif", ["data"], {"gsd": 10})
    assert item.assets["red"] is red
    assert red.owner is item
    assert item.assets.get("swir") is None
    assert item.assets.copy() == dict(item.assets) == {"red": red, "nir": item.assets["nir"]}
    assert repr(item.assets) == repr(dict(item.assets))


def test_assets_change_as_those_of_any_item() -> None:
    item, given = make_item(feature(), "x"), feature()
    item.add_asset("swir", Asset("s3://b/swir.tif"))
    del item.assets["red"]
    item.assets["nir"].href = "s3://b/new.tif"
    assert {name: asset["href"] for name, asset in item.to_dict()["assets"].items()} == {
        "nir": "s3://b/new.tif",
        "swir": "s3://b/swir.tif",
    }
    made = make_items([given], "x")[0]
    made.assets["nir"].href = "s3://b/new.tif"
    del made.assets["red"]
    assert given["assets"] == feature()["assets"]


@pytest.mark.parametrize("copied", [copy.deepcopy, Item.clone, lambda item: pickle.loads(pickle.dumps(item))])
def test_copies_stand_alone(copied: Any) -> None:
    item = make_item(feature(), "x")
    assert item.assets["red"].title is None
    other = copied(item)
    other.assets["red"].title = "other"
    other.assets["nir"].title = "other"
    assert (item.assets["red"].title, item.assets["nir"].title) == (None, None)
    assert other.assets["nir"].owner is other
    assert [(link.rel, link.owner is other) for link in other.links] == [("self", True), ("via", True)]
    assert make_item(feature(), "x").to_dict() == item.to_dict()


@pytest.mark.parametrize(
    "wrong",
    [
        {"links": [{"rel": "self"}]},
        {"links": [{"href": "x"}]},
        {"links": ["x"]},
        {"assets": {"red": {}}},
        {"assets": {"red": "x"}},
        {"assets": {"red": {"href": None}}},
        {"stac_extensions": [{}]},
        {"properties": {"datetime": None}},
    ],
)
def test_what_is_wrong_is_told_at_once(wrong: Any) -> None:
    with pytest.raises(ItemError, match=r"^x: item a cannot be read: "):
        make_item(feature(**wrong), "x")


def test_links_are_those_of_any_item() -> None:
    item = make_item(feature(), "x")
    assert item.get_self_href() == "https://example.com/a.json"
    assert [link.owner for link in item.links] == [item, item]
    item.clear_links("via")
    assert [link.rel for link in item.links] == ["self"]
    other = make_item(feature(), "x")
    other.set_self_href("https://example.com/b.json")
    assert sorted(link.rel for link in other.links) == ["self", "via"]
    third = make_item(feature(), "x")
    third.links = []
    assert third.links == []


def test_what_is_no_item_is_named() -> None:
    with pytest.raises(ItemError, match="not a STAC item"):
        make_items([feature(), {"id": "b"}], "x")


def test_the_collector_runs_again() -> None:
    assert gc.isenabled()
    with collector_paused():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ItemError):
        make_items([{}], "x")
    assert gc.isenabled()
    gc.disable()
    try:
        with collector_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_collection_is_a_name() -> None:
    with pytest.raises(ItemError, match=r"its collection is .*, no name"):
        make_item(feature(collection=["c"]), "x")

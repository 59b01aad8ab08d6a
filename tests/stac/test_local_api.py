"""Everything that pystac-client asks of a STAC API, answered from memory as a plain filter over the items would."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pystac_client import Client
from pystac_client.exceptions import APIError

from geomask.errors import ItemError, SearchError
from geomask.stac.fields import parse_instant, trim_fields
from geomask.stac.local_api import ROOT, LocalApiIO
from geomask.stac.matching import parse_bbox, parse_interval

SHARED = Path(__file__).parents[3] / "shared" / "data" / "stac"
CLOUDY: dict[str, Any] = {"eo:cloud_cover": 5}
DAY_ZERO = datetime(2020, 1, 1, tzinfo=UTC)


def day(number: int) -> str:
    return (DAY_ZERO + timedelta(days=number)).strftime("%Y-%m-%dT%H:%M:%SZ")


def item(
    name: str = "a", /, *, collection: str | None = "c", box: Any = (0, 0, 1, 1), **properties: Any
) -> dict[str, Any]:
    west, south, east, north = box
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": collection,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": list(box),
        "properties": {"datetime": day(0), **properties},
        "links": [],
        "assets": {"red": {"href": f"/data/{name}.tif"}},
    }


def collection(name: str = "c") -> dict[str, Any]:
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": name,
        "description": name,
        "license": "other",
        "extent": {"spatial": {"bbox": [[0, 0, 1, 1]]}, "temporal": {"interval": [[None, None]]}},
        "links": [{"rel": "license", "href": "https://example.com/licence"}, {"rel": "item", "href": "./a.json"}],
    }


def client(*items: dict[str, Any], collections: Any = ()) -> Client:
    return Client.open(f"{ROOT}/", stac_io=LocalApiIO(items, collections))


def found(*items: dict[str, Any], **asked: Any) -> list[str]:
    """Names found, the same by GET and by POST."""
    by_post, by_get = (
        [feature["id"] for feature in client(*items).search(method=method, **asked).items_as_dicts()]
        for method in ("POST", "GET")
    )
    assert by_post == by_get
    return by_post


# --- against a plain filter -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scene:
    """An item in small integers: what it covers in degrees, when in days."""

    number: int
    box: tuple[int, int, int, int]
    start: int
    length: int
    collection: str | None
    cloud: int | None
    name: str | None

    def as_item(self) -> dict[str, Any]:
        times: dict[str, Any] = {"datetime": day(self.start)}
        if self.length:
            times = {"datetime": None, "start_datetime": day(self.start), "end_datetime": day(self.start + self.length)}
        optional: dict[str, Any] = {"eo:cloud_cover": self.cloud, "name": self.name}
        given = {key: value for key, value in optional.items() if value is not None}
        return item(f"i{self.number}", collection=self.collection, box=self.box, **times, **given)


@dataclass(frozen=True)
class Asked:
    box: tuple[int, int, int, int] | None
    days: tuple[int | None, int | None] | None
    numbers: list[int] | None
    collections: list[str] | None
    cloud: tuple[str, int] | None
    prefix: str | None
    clearer_than: int | None
    sort: list[str] | None

    def accepts(self, scene: Scene) -> bool:
        """The plain filter."""
        symbol, bound = self.cloud or ("", 0)
        compared: dict[str, Callable[[int], bool]] = {
            "lt": lambda cloud: cloud < bound,
            "lte": lambda cloud: cloud <= bound,
            "gt": lambda cloud: cloud > bound,
            "gte": lambda cloud: cloud >= bound,
            "eq": lambda cloud: cloud == bound,
            "neq": lambda cloud: cloud != bound,
        }
        first, last = self.days or (None, None)
        return all(
            (
                self.box is None or overlap(self.box, scene.box),
                first is None or scene.start + scene.length >= first,
                last is None or scene.start <= last,
                not self.numbers or scene.number in self.numbers,
                not self.collections or scene.collection in self.collections,
                self.cloud is None or (scene.cloud is not None and compared[symbol](scene.cloud)),
                self.prefix is None or (scene.name is not None and scene.name.startswith(self.prefix)),
                self.clearer_than is None or (scene.cloud is not None and scene.cloud < self.clearer_than),
            )
        )

    def as_parameters(self) -> dict[str, Any]:
        query: dict[str, Any] = {}
        if self.cloud:
            query["eo:cloud_cover"] = dict([self.cloud])
        if self.prefix is not None:
            query["name"] = {"startsWith": self.prefix}
        first, last = self.days or (None, None)
        asked: dict[str, Any] = {
            "bbox": self.box,
            "datetime": self.days and [".." if end is None else day(end) for end in (first, last)],
            "ids": self.numbers and [f"i{number}" for number in self.numbers],
            "collections": self.collections,
            "query": query or None,
            "filter": None if self.clearer_than is None else f"eo:cloud_cover < {self.clearer_than}",
            "sortby": self.sort,
        }
        return {name: value for name, value in asked.items() if value}


def overlap(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]


def naive_order(scenes: list[Scene], sort: list[str] | None) -> list[str]:
    scenes = sorted(scenes, key=lambda scene: (scene.start, f"i{scene.number}"))
    for name in reversed(sort or []):
        field = {"eo:cloud_cover": "cloud", "properties.name": "name", "id": "number"}[name.lstrip("-")]
        have = [scene for scene in scenes if getattr(scene, field) is not None]
        lack = [scene for scene in scenes if getattr(scene, field) is None]
        # one digit each, so that numbers sort as ids do
        scenes = sorted(have, key=lambda scene: getattr(scene, field), reverse=name.startswith("-")) + lack
    return [f"i{scene.number}" for scene in scenes]


boxes = st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(1, 3), st.integers(1, 3)).map(
    lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3])
)
scene_lists = st.lists(
    st.builds(
        Scene,
        number=st.integers(0, 9),
        box=boxes,
        start=st.integers(0, 9),
        length=st.sampled_from([0, 0, 3]),
        collection=st.sampled_from(["a", "b", None]),
        cloud=st.none() | st.integers(0, 5),
        name=st.none() | st.sampled_from(["ab", "abc", "b"]),
    ),
    max_size=8,
    unique_by=lambda scene: scene.number,
)
intervals = st.tuples(st.none() | st.integers(0, 5), st.none() | st.integers(5, 9)).filter(any)
requests = st.builds(
    Asked,
    box=st.none() | boxes,
    days=st.none() | intervals,
    numbers=st.none() | st.lists(st.integers(0, 9), min_size=1),
    collections=st.none() | st.lists(st.sampled_from("ab"), min_size=1),
    cloud=st.none() | st.tuples(st.sampled_from(["lt", "lte", "gt", "gte", "eq", "neq"]), st.integers(0, 5)),
    prefix=st.none() | st.sampled_from(["a", "ab", "x"]),
    clearer_than=st.none() | st.integers(0, 5),
    sort=st.none()
    | st.lists(st.sampled_from(["eo:cloud_cover", "-eo:cloud_cover", "properties.name", "-id"]), min_size=1),
)


@settings(deadline=None, max_examples=150)
@given(scenes=scene_lists, asked=requests, limit=st.integers(1, 4), method=st.sampled_from(["GET", "POST"]))
def test_answers_as_a_plain_filter_on_any_page_size(scenes: list[Scene], asked: Asked, limit: int, method: str) -> None:
    expected = naive_order([scene for scene in scenes if asked.accepts(scene)], asked.sort)
    api = client(*(scene.as_item() for scene in scenes))
    whole = api.search(method=method, **asked.as_parameters())
    paged = api.search(method=method, limit=limit, **asked.as_parameters())
    assert [feature["id"] for feature in whole.items_as_dicts()] == expected
    assert [feature["id"] for feature in paged.items_as_dicts()] == expected
    assert whole.matched() == len(expected)
    assert all(len(page["features"]) <= limit for page in paged.pages_as_dicts())


@settings(deadline=None, max_examples=25)
@given(scenes=scene_lists, order=st.randoms())
def test_the_order_of_the_items_does_not_matter(scenes: list[Scene], order: Any) -> None:
    items = [scene.as_item() for scene in scenes]
    shuffled = list(items)
    order.shuffle(shuffled)
    assert found(*items) == found(*shuffled)


# --- time -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ("2020-01-01T00:00:00Z", True),
        ("2020-01-01T02:00:00+02:00", True),
        ("2019-12-31T19:00:00-05:00/..", True),
        ("2020-01-01T00:00:01Z/..", False),
        ("../2019-12-31T23:59:59.999Z", False),
        ("2020", True),
        ("2019/2020-01", True),
    ],
)
def test_time_is_compared_as_an_instant(asked: str, wanted: bool) -> None:
    assert found(item(datetime="2020-01-01T01:00:00+01:00"), datetime=asked) == ["a"] * wanted


def test_an_item_without_datetime_has_its_interval() -> None:
    lasting = item(datetime=None, start_datetime=day(0), end_datetime=day(10))
    assert found(lasting, datetime=day(5)) == ["a"]
    assert found(lasting, datetime=f"{day(10)}/..") == ["a"]
    assert found(lasting, datetime=day(11)) == []
    assert found(item(datetime=None), datetime=f"{day(0)}/..") == []


def test_a_timestamp_without_zone_is_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    assert parse_instant("2020-01-01 06:00") == datetime(2020, 1, 1, 6, tzinfo=UTC)
    assert parse_instant("2020-01-01t06:00:00.5z") == datetime(2020, 1, 1, 6, 0, 0, 500_000, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["", "..", "../..", "2020-13-01", "a/b", f"{day(0)}/{day(1)}/{day(2)}", f"{day(2)}/{day(1)}"]
)
def test_an_interval_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(SearchError, match="datetime"):
        parse_interval(text)


# --- space ------------------------------------------------------------------------------------------------------------


def test_six_numbers_and_the_antimeridian() -> None:
    west, east = item("west", box=(-180, 0, -179, 1)), item("east", box=(179, 0, 180, 1))
    assert found(west, east, item("far"), bbox=[178, -1, -178, 2]) == ["east", "west"]
    assert found(west, east, bbox=[-180, 0, 0, -178, 1, 9000]) == ["west"]


def test_geometry_and_its_absence() -> None:
    nowhere = {**item("nowhere"), "geometry": None}
    point = {"type": "Point", "coordinates": [0.5, 0.5]}
    assert found(item(), nowhere, intersects=point) == ["a"]
    assert found(item(), nowhere, intersects=point, bbox=[2, 2, 3, 3]) == []
    assert found(item(), nowhere, filter="S_INTERSECTS(geometry, POINT(0.5 0.5))") == ["a"]


def test_a_footprint_that_crosses_itself_still_counts() -> None:
    bow_tie = {"type": "Polygon", "coordinates": [[[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]]}
    assert found({**item(), "geometry": bow_tie}, bbox=[1.8, 0.9, 1.9, 1.1]) == ["a"]
    assert found({**item(), "geometry": bow_tie}, bbox=[0.9, 1.8, 1.1, 1.9]) == []


@pytest.mark.parametrize("value", ["1,2,3", [0, 5, 1, 4], [0, 0, "nan", 1], "a,b,c,d", 7])
def test_a_bbox_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises(SearchError, match="bbox"):
        parse_bbox(value)


def test_a_broken_footprint_is_named() -> None:
    broken = {**item("odd"), "geometry": {"type": "Polygon", "coordinates": [[[0, 0]]]}}
    with pytest.raises(ItemError, match="odd"):
        found(broken, bbox=[0, 0, 1, 1])


# --- query and filter -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({"eo:cloud_cover": {"lt": 10}}, True),
        ({"eo:cloud_cover": {"lt": "10"}}, True),  # stac-client's own form; as text, "5" is not below "10"
        ({"properties.eo:cloud_cover": {"gte": 5, "lte": 5.0}}, True),
        ({"eo:cloud_cover": {"gt": 5}}, False),
        ({"eo:cloud_cover": {"neq": 6}}, True),
        ({"eo:cloud_cover": {"in": [4, "5"]}}, True),
        ({"missing": {"neq": 1}}, False),
        ({"empty": {"eq": None}}, False),
        ({"code": {"eq": "044"}}, True),
        ({"code": {"startsWith": "04", "endsWith": "4", "contains": "4"}}, True),
        ({"code": {"in": ["043"]}}, False),
        ({"instruments": {"contains": "msi"}}, True),
        ({"good": {"eq": True}}, True),
        ({"good": {"eq": "true"}}, True),
        ({"good": {"eq": 1}}, False),
        ({"created": {"gt": "2020-01-01T00:00:00Z"}}, True),  # as text, "." comes before "Z"
        ({"nested.depth": {"eq": 2}}, True),
        ({"id": {"eq": "a"}, "collection": {"in": ["c"]}}, True),
    ],
)
def test_query(query: dict[str, Any], wanted: bool) -> None:
    one = item(
        **CLOUDY,
        code="044",
        instruments=["msi"],
        good=True,
        empty=None,
        created="2020-01-01T00:00:00.5Z",
        nested={"depth": 2},
    )
    assert found(one, query=query) == ["a"] * wanted


@pytest.mark.parametrize(
    ("asked", "quoted"),
    [
        ({"query": {"eo:cloud_cover": {"below": 10}}}, "below"),
        ({"query": {"eo:cloud_cover": 10}}, "10"),
        ({"query": {"eo:cloud_cover": {"in": 10}}}, "in"),
        ({"query": {"eo:cloud_cover": {"lt": "much"}}}, "much"),
        ({"filter": "cloud < < 3", "filter_lang": "cql2-text"}, "cloud < < 3"),
        ({"filter": "eo:cloud_cover < 'a'"}, "cannot be decided"),
        ({"filter": "unheard_of(eo:cloud_cover) = 1"}, "unheard_of"),
        ({"filter": "id"}, "cannot be decided"),
        ({"filter": {"op": "="}}, "CQL2"),
        ({"filter": "a = 1", "filter_lang": "ecql"}, "ecql"),
        ({"intersects": {"type": "Square"}}, "Square"),
    ],
)
def test_what_makes_no_sense_is_quoted(asked: dict[str, Any], quoted: str) -> None:
    with pytest.raises(SearchError, match=quoted):
        list(client(item(**CLOUDY)).search(**asked).items_as_dicts())


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("eo:cloud_cover < 10", True),
        ("missing < 10", False),
        ("NOT (missing < 10)", False),
        ("missing <> 10", False),
        ("missing IS NULL", True),
        ("missing < 10 OR eo:cloud_cover < 10", True),
        ("NOT (eo:cloud_cover < 1 AND missing < 10)", True),
        ("id = 'a' AND collection IN ('c', 'd')", True),
        ("datetime >= TIMESTAMP('2020-01-01T00:00:00Z')", True),
    ],
)
def test_filter(text: str, wanted: bool) -> None:
    one = item(**CLOUDY)
    assert found(one, filter=text) == ["a"] * wanted
    assert found(one, filter=text, filter_lang="cql2-text") == ["a"] * wanted


def test_an_unknown_parameter_is_refused() -> None:
    with pytest.raises(SearchError, match="cloudiness"):
        LocalApiIO([item()]).request(f"{ROOT}/search?cloudiness=1")


@pytest.mark.parametrize("asked", ["limit=0", "limit=many", "token=-1", "ids=a&sortby=-", "query=%7B", "query=7"])
def test_a_request_by_hand_that_makes_no_sense_is_refused(asked: str) -> None:
    with pytest.raises(SearchError, match=asked.split("&")[-1].split("=")[0]):
        LocalApiIO([item()]).request(f"{ROOT}/search?{asked}")


# --- order and fields -------------------------------------------------------------------------------------------------


def test_sorting_is_stable_and_puts_what_lacks_a_value_last() -> None:
    items = [item("a", n=2), item("b"), item("c", n=1), item("d", n=2)]
    assert found(*items, sortby="n") == ["c", "a", "d", "b"]
    assert found(*items, sortby="-properties.n") == ["a", "d", "c", "b"]
    assert found(*items, sortby="-n,-id") == ["d", "a", "c", "b"]
    assert found(*items, sortby=[{"field": "id", "direction": "desc"}]) == ["d", "c", "b", "a"]


def test_sorting_takes_values_of_all_kinds() -> None:
    items = [item("a", n=2), item("b", n="x"), item("c", n=[1]), item("d", n=day(1)), item("e", n=1.5)]
    assert found(*items, sortby="n") == ["d", "e", "a", "c", "b"]


def test_fields() -> None:
    (whole,) = client(item(n=1, m=2)).search().items_as_dicts()
    (some,) = client(item(n=1, m=2)).search(fields=["n", "-assets"]).items_as_dicts()
    (less,) = client(item(n=1, m=2)).search(method="GET", fields="-properties.m,-links").items_as_dicts()
    assert some["properties"] == {"datetime": day(0), "n": 1}
    assert whole.keys() - some.keys() == {"assets"}
    assert less["properties"] == {"datetime": day(0), "n": 1}
    assert whole.keys() - less.keys() == {"links"}


def test_trimming_leaves_the_item_as_it_is() -> None:
    one = item(n=1)
    before = json.dumps(one)
    assert trim_fields(one, ["properties", "assets.red.href"], ["properties.n", "assets.red.href"])["assets"] == {
        "red": {}
    }
    assert json.dumps(one) == before


# --- the rest of the API ----------------------------------------------------------------------------------------------


def test_collections_and_their_items() -> None:
    api = client(item("a"), item("b", collection="d"), collections=[collection("c")])
    (only,) = api.get_collections()
    assert only.id == "c"
    assert [one.id for one in only.get_items()] == ["a"]
    one = only.get_item("a")
    assert one is not None
    assert one.assets["red"].href == "/data/a.tif"
    assert only.get_item("b") is None
    assert api.get_collection("d") is None
    assert [one.id for one in api.get_items()] == ["a", "b"]
    assert {link.rel for link in only.links} == {"license", "self", "root", "parent", "items"}


def test_queryables_are_the_properties() -> None:
    api = client(item(n=1), item("b", m=1), collections=[collection()])
    assert {"n", "m", "datetime", "id"} <= api.get_queryables()["properties"].keys()
    assert "n" in api.get_merged_queryables(["c"])["properties"]


def test_what_is_not_there_is_a_404() -> None:
    with pytest.raises(APIError, match="nowhere") as caught:
        LocalApiIO([]).request(f"{ROOT}/nowhere")
    assert caught.value.status_code == 404


def test_an_answer_is_a_copy() -> None:
    api = client(item())
    next(api.search().items()).properties["datetime"] = "gone"
    assert next(api.search().items()).properties["datetime"] == day(0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"type": "Catalog"}, "not a STAC item"),
        ({"id": 3}, "not a STAC item"),
        ({"properties": None}, "properties"),
        ({"assets": []}, "assets"),
        ({"geometry": "here"}, "geometry"),
        ({"properties": {"datetime": "yesterday"}}, "yesterday"),
    ],
)
def test_what_is_no_item_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ItemError, match=said):
        LocalApiIO([{**item(), **change}])


def test_what_is_no_collection_is_refused() -> None:
    with pytest.raises(ItemError, match="collection"):
        LocalApiIO([], [{"type": "Collection"}])


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs shared/data/stac")
def test_real_items() -> None:
    features = json.loads((SHARED / "site2-2020_jun_jul-35MNM.geojson").read_text())["features"]
    bands = json.loads((SHARED / "sentinel-2-l2a.collection.json").read_text())
    api = client(*features, collections=[bands])
    asked: dict[str, Any] = {
        "collections": ["sentinel-2-l2a"],
        "bbox": [27.0, -8.0, 27.5, -7.5],
        "datetime": "2020-07",
        "query": ["eo:cloud_cover<0.01"],
        "sortby": "-eo:cloud_cover",
    }
    covers = [one.properties["eo:cloud_cover"] for one in api.search(**asked).items()]
    july = [one["properties"] for one in features if one["properties"]["datetime"].startswith("2020-07")]
    assert covers == sorted((one["eo:cloud_cover"] for one in july if one["eo:cloud_cover"] < 0.01), reverse=True)
    assert covers
    assert api.search(bbox=[0, 0, 1, 1]).matched() == 0

"""A search asks pgstac as it asks items in memory: the same items, in the same order, whatever is asked.

Of an item only its links differ: the server adds its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from crowd import COLLECTIONS, PLATFORMS, collections, crowd
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pgstac import pgstac
from pystac_client import Client
from pystac_client.warnings import DoesNotConformTo

from geomask.errors import SearchError
from geomask.stac.fields import item_value
from geomask.stac.local_api import ROOT, LocalApiIO
from geomask.stac.search import count_matched, open_catalog, search_features

type Json = dict[str, Any]

TOWN = (12, 45, 12.15, 45.15)
"""Where a few hundred items lie."""
TRIANGLE = {"type": "Polygon", "coordinates": [[[10, 40], [12.2, 44], [12.05, 50], [10, 40]]]}
FRAME = {"type": "Polygon", "coordinates": [TRIANGLE["coordinates"][0], [[11, 43], [11.5, 44], [11.2, 45], [11, 43]]]}


@pytest.fixture(scope="module")
def items() -> list[Json]:
    return crowd()


@pytest.fixture(scope="module")
def local(items: list[Json]) -> Client:
    return Client.open(f"{ROOT}/", stac_io=LocalApiIO(items, collections()))


@pytest.fixture(scope="module")
def remote(items: list[Json]) -> Iterator[Client]:
    with pgstac(collections(), items) as address:
        yield open_catalog(address)


def plain(features: Sequence[Json]) -> list[Json]:
    return [{name: value for name, value in feature.items() if name != "links"} for feature in features]


def found(client: Client, **asked: Any) -> list[Json]:
    """What a search finds; it raises where that is nothing, which is an answer here."""
    try:
        return plain(search_features(client, **asked))
    except SearchError as error:
        if not str(error).startswith("nothing in "):
            raise
        return []


def assert_same(local: Client, remote: Client, method: str = "POST", **asked: Any) -> list[Json]:
    wanted, got = found(local, **asked), found(remote, method=method, **asked)
    assert [item["id"] for item in got] == [item["id"] for item in wanted]
    assert got == wanted
    return got


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize(
    "asked",
    [
        {"bbox": TOWN},
        {"bbox": (-60, -50, -10, 60)},
        {"bbox": (12, 45, 0, 12.1, 45.05, 100)},
        {"bbox": (170, -60, -170, 60)},
        {"intersects": TRIANGLE},
        {"intersects": FRAME},
        {"intersects": {"type": "Point", "coordinates": [12.55, 45.05]}},
        {"intersects": {"type": "LineString", "coordinates": [[-179, -60], [-20, 30], [179, 70]]}},
        {
            "intersects": {
                "type": "MultiPolygon",
                "coordinates": [TRIANGLE["coordinates"], [[[0, 0], [9, 0], [0, 9], [0, 0]]]],
            }
        },
        {"datetime": "2020-07"},
        {"datetime": "2020-07-03/2020-08-01"},
        {"datetime": "2025-03-01/.."},
        {"datetime": "../2015-08-01T10:20:00Z"},
        {"collections": [COLLECTIONS[1]], "datetime": "2017"},
        {"collections": list(COLLECTIONS), "datetime": "2017-11-12"},
        {"collections": ["absent"]},
    ],
    ids=str,
)
def test_place_and_time(asked: Json, method: str, local: Client, remote: Client) -> None:
    assert_same(local, remote, method=method, limit=500, **asked)


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_ids(method: str, items: list[Json], local: Client, remote: Client) -> None:
    names = [item["id"] for item in items[:40]] + [item["id"] for item in items if "ü" in item["id"]][:20]
    got = assert_same(local, remote, method=method, ids=[*names, "absent"])
    assert {item["id"] for item in got} == set(names)


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize(
    "query",
    [
        {"eo:cloud_cover": {"lt": 5}},
        {"eo:cloud_cover": {"gte": 99, "lte": 99.5}},
        {"eo:cloud_cover": {"eq": 50}},
        {"view:off_nadir": {"lt": -9.5}},
        {"platform": {"eq": "o'hara"}, "gsd": {"neq": 10}, "made:good": {"eq": False}},
        {"platform": {"eq": 'the "third"'}, "made:good": {"eq": True}, "eo:cloud_cover": {"gt": 80}},
        {"platform": {"neq": "gaia-1"}, "eo:cloud_cover": {"lte": 3}},
        {"absent": {"eq": 1}},
        ["eo:cloud_cover<5"],
        ["eo:cloud_cover=50", "gsd=10"],
        ["eo:cloud_cover>=99", "platform=düne", "gsd<>10"],
    ],
    ids=str,
)
def test_query(query: Any, method: str, local: Client, remote: Client) -> None:
    assert_same(local, remote, method=method, query=query, limit=500)


@pytest.mark.parametrize("conditions", [{"in": ["düne"]}, {"startsWith": "gaia"}, {"contains": "ai"}], ids=str)
def test_operators_that_it_does_not_have_are_an_error_that_names_them(conditions: Json, remote: Client) -> None:
    (operator,) = conditions
    with pytest.raises(SearchError, match=f"status 400: .*{operator}"):
        search_features(remote, query={"platform": conditions})


FILTERS = [
    "eo:cloud_cover < 5",
    "eo:cloud_cover BETWEEN 10 AND 12.5",
    '"view:off_nadir" < -9.5 OR "view:off_nadir" > 9.5',
    "eo:cloud_cover IS NULL",
    "platform = 'o''hara' AND gsd IN (10, 60) AND eo:cloud_cover <= 20",
    "platform LIKE 'gaia%' AND eo:cloud_cover > 95",
    "NOT (gsd = 10 OR gsd = 20) AND eo:cloud_cover > 95",
    "eo:cloud_cover <> 50 AND \"made:good\" = true AND platform = 'düne' AND gsd = 20",
    "id = 'made_up.radar_00003'",
    "collection = 'made_up.radar' AND eo:cloud_cover > 95",
    "S_INTERSECTS(geometry, POLYGON((10 40, 12.2 44, 12.05 50, 10 40)))",
    "collection = 'made-up-l2a' AND datetime >= TIMESTAMP('2025-01-01T00:00:00Z')",
    "A_CONTAINS(instruments, ('msi', 'sar')) AND eo:cloud_cover > 95",
]


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("text", FILTERS)
def test_cql2_text(text: str, method: str, local: Client, remote: Client) -> None:
    assert assert_same(local, remote, method=method, filter=text, filter_lang="cql2-text", limit=500)


@pytest.mark.parametrize("text", FILTERS[::3])
def test_cql2_json(text: str, local: Client, remote: Client) -> None:
    import cql2

    assert assert_same(local, remote, filter=cql2.parse_text(text).to_json(), limit=500)


@pytest.fixture
def sorting(remote: Client) -> Iterator[Client]:
    """The server trusted to sort: it does, but names a later class than pystac-client 0.9 knows."""
    remote.add_conforms_to("SORT")
    yield remote
    remote.remove_conforms_to("SORT")


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("name", ["datetime", "id", "platform"])
@pytest.mark.parametrize("sign", ["+", "-"])
def test_sortby(name: str, sign: str, method: str, local: Client, sorting: Client) -> None:
    """The id decides between equals; all have what is sorted by."""
    asked: Json = {"bbox": TOWN, "query": {"eo:cloud_cover": {"gte": 0}}, "sortby": f"{sign}{name},id"}
    got = assert_same(local, sorting, method=method, limit=100, **asked)
    first = assert_same(local, sorting, method=method, limit=30, max_items=70, **asked)
    assert first == got[:70]


@pytest.mark.parametrize("name", ["view:off_nadir", "eo:cloud_cover"])
@pytest.mark.parametrize("sign", ["+", "-"])
def test_sorted_by_numbers_as_by_text_it_is_caught(name: str, sign: str, local: Client, sorting: Client) -> None:
    """It would have to be told of each number; of cloud covers it takes whole percents."""
    asked: Json = {"bbox": TOWN, "query": {"eo:cloud_cover": {"gte": 0}}, "sortby": f"{sign}{name}", "limit": 500}
    with pytest.warns(DoesNotConformTo, match="answers in another order than sortby"):
        got = found(sorting, **asked)
    assert got == found(local, **asked)


def test_not_trusted_to_sort_it_is_sorted_for(local: Client, remote: Client) -> None:
    asked: Json = {"bbox": TOWN, "sortby": "-eo:cloud_cover", "max_items": 50, "limit": 500}
    with pytest.warns(DoesNotConformTo, match="does not say that it can sort"):
        got = found(remote, **asked)
    assert got == found(local, **asked)


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize(
    ("fields", "kept", "left_out"),
    [
        (["+properties.eo:cloud_cover", "+id"], ["eo:cloud_cover", "id"], ["platform"]),
        ({"include": ["properties.platform"]}, ["platform"], ["eo:cloud_cover", "gsd"]),
        (["-assets"], ["platform", "geometry"], ["assets"]),
        ({"exclude": ["properties.platform", "bbox"]}, ["gsd", "datetime"], ["platform", "bbox"]),
    ],
    ids=str,
)
def test_fields(fields: Any, kept: list[str], left_out: list[str], method: str, local: Client, remote: Client) -> None:
    """What is asked for is there and the same; what beside it makes an item is for each to say."""
    asked: Json = {"bbox": TOWN, "limit": 500, "fields": fields}
    wanted, got = found(local, **asked), found(remote, method=method, **asked)
    whole = {item["id"]: {"properties": {}, **item} for item in found(local, bbox=TOWN)}
    assert sorted(item["id"] for item in got) == sorted(item["id"] for item in wanted) == sorted(whole)
    for item in (*wanted, *got):
        item = {"properties": {}, **item}
        for name in kept:
            assert item_value(item, name) == item_value(whole[item["id"]], name), name
        assert not [name for name in left_out if item_value(item, name) is not None]


@pytest.mark.parametrize(("method", "limit"), [("POST", 1000), ("GET", 997)])
def test_paging_brings_all_ten_thousand_once(
    method: str, limit: int, items: list[Json], local: Client, remote: Client
) -> None:
    got = assert_same(local, remote, method=method, limit=limit)
    assert len(got) == len({item["id"] for item in got}) == len(items) == 10_000


def test_it_does_not_count_so_items_are_counted(local: Client, remote: Client) -> None:
    with pytest.warns(DoesNotConformTo, match=r"does not count what fits: all \d+ items were fetched"):
        counted = count_matched(remote, bbox=TOWN)
    assert counted == count_matched(local, bbox=TOWN)


@st.composite
def searches(draw: st.DrawFn) -> Json:
    """A few of everything at once; not both kinds of filters, on which the server fails."""
    numbers = st.integers(-10, 110)
    parts: Json = {
        "bbox": st.tuples(st.integers(-180, 0), st.integers(-90, 0), st.integers(1, 180), st.integers(1, 90)),
        "datetime": st.tuples(st.integers(2014, 2020), st.integers(2021, 2026)).map(
            lambda years: "{}/{}".format(*years)
        ),
        "collections": st.lists(st.sampled_from(COLLECTIONS), min_size=1, unique=True),
        "query": st.fixed_dictionaries({"eo:cloud_cover": st.fixed_dictionaries({"gte": numbers, "lt": numbers})}),
        "filter": st.fixed_dictionaries(
            {"op": st.just("="), "args": st.sampled_from(PLATFORMS).map(lambda name: [{"property": "platform"}, name])}
        ),
        "sortby": st.sampled_from(["id", "-id", "platform,-id", "-gsd,platform,id"]),
    }
    del parts[draw(st.sampled_from(["query", "filter"]))]
    chosen = draw(st.sets(st.sampled_from(sorted(parts)), min_size=4))
    return {name: draw(parts[name]) for name in sorted(chosen)} | {"limit": draw(st.integers(50, 400))}


@given(asked=searches())
@settings(max_examples=15, phases=[Phase.explicit, Phase.reuse, Phase.generate])  # to shrink takes hundreds of searches
def test_anything_together(asked: Json, local: Client, remote: Client) -> None:
    remote.add_conforms_to("SORT")
    try:
        assert_same(local, remote, **asked)
    finally:
        remote.remove_conforms_to("SORT")

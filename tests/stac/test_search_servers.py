"""Servers that do less than they say: the answer is right all the same, or an error says why there is none."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pystac_client import Client
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from pystac_client.warnings import DoesNotConformTo

from geomask.errors import ItemError, SearchError
from geomask.stac.local_api import ROOT, LocalApiIO
from geomask.stac.pages import MOST_EMPTY, ServerWarning
from geomask.stac.search import count_matched, describe_search, search, search_features

ADDRESS = "https://lies.example.com"
CLASSES = {"query": "query", "filter": "filter", "sortby": "sort", "fields": "fields"}


class Server(StacApiIO):
    """A server over items in memory that lacks classes and ignores parameters; `sent` is what it was asked for."""

    def __init__(self, *items: dict[str, Any], lacks: Any = (), ignores: Any = (), limit: int = 3) -> None:
        super().__init__()
        self.honest = LocalApiIO(items)
        self.lacks, self.ignores, self.limit = lacks, ignores, limit
        self.sent: list[dict[str, Any]] = []

    def request(
        self, href: str, method: str | None = None, headers: Any = None, parameters: dict[str, Any] | None = None
    ) -> str:
        if not href.startswith(f"{ADDRESS}/search"):
            page = json.loads(self.honest.request(href.replace(ADDRESS, ROOT)))
            lacking = tuple(f"#{CLASSES[name]}" for name in self.lacks)
            page["conformsTo"] = [uri for uri in page["conformsTo"] if not uri.endswith(lacking or "-")]
            return json.dumps(page).replace(ROOT, ADDRESS)
        self.sent.append({"method": method, **(parameters or {})})
        asked = {"limit": self.limit, **(parameters or {})}
        asked = {name: value for name, value in asked.items() if name not in self.ignores}
        page = json.loads(self.honest.request(href.replace(ADDRESS, ROOT), method, headers, asked))
        return json.dumps(self.page(page)).replace(ROOT, ADDRESS)

    def page(self, page: dict[str, Any]) -> dict[str, Any]:
        """What becomes of an honest page."""
        return page


def client(server: Server, **options: Any) -> Client:
    return Client.open(f"{ADDRESS}/", stac_io=server, **options)


def item(number: int, /, cloud: Any = None, day: int | None = None, **properties: Any) -> dict[str, Any]:
    given = {} if cloud is None else {"eo:cloud_cover": cloud}
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": f"i{number}",
        "collection": "cd"[number % 2],
        "geometry": {"type": "Point", "coordinates": [number, 0]},
        "bbox": [number, 0, number, 0],
        "properties": {"datetime": f"2020-01-{day or number + 1:02}T00:00:00Z", **given, **properties},
        "links": [],
        "assets": {"red": {"href": f"/data/{number}.tif"}},
    }


def ids(features: list[dict[str, Any]]) -> str:
    return "".join(feature["id"][1:] for feature in features)


TEN = [item(number, cloud=(number * 7) % 10) for number in range(10)]  # clouds: 0 7 4 1 8 5 2 9 6 3


# --- what it lacks and what it ignores --------------------------------------------------------------------------------

asked_for = st.fixed_dictionaries(
    {},
    optional={
        "ids": st.lists(st.sampled_from([f"i{number}" for number in range(12)]), min_size=1, unique=True),
        "collections": st.sampled_from([["c"], ["d"], ["c", "d"]]),
        "datetime": st.sampled_from(["2020-01-04", "2020-01-03/2020-01-08", "../2020-01-05", "2020-01-06/.."]),
        "bbox": st.sampled_from([[1, -1, 6, 1], [4, -1, 9, 1], [-10, -10, 20, 20]]),
        "query": st.sampled_from([{"eo:cloud_cover": {"lt": 6}}, ["eo:cloud_cover>=2"]]),
        "filter": st.sampled_from(["eo:cloud_cover < 7", {"op": ">", "args": [{"property": "eo:cloud_cover"}, 1]}]),
        "sortby": st.sampled_from(["-eo:cloud_cover", "collection,-id", ["+eo:cloud_cover"]]),
        "fields": st.sampled_from([["id"], ["id", "eo:cloud_cover"], ["-assets"], ["-properties", "-geometry"]]),
        "max_items": st.integers(1, 11),
    },
)
some = st.sets(st.sampled_from(sorted(CLASSES)))
ignored = st.sets(st.sampled_from(["ids", "collections", "datetime", "bbox", "query", "filter", "sortby", "fields"]))


@settings(max_examples=150)
@given(asked=asked_for, lacks=some, ignores=ignored, limit=st.integers(4, 11), method=st.sampled_from(["GET", "POST"]))
def test_the_answer_is_that_of_the_items_themselves(
    asked: Any, lacks: Any, ignores: Any, limit: int, method: str
) -> None:
    def found(stac_io: StacApiIO, address: str) -> Any:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                features = search_features(Client.open(f"{address}/", stac_io=stac_io), method=method, **asked)
            except SearchError as error:
                assert "fits" in str(error)  # noqa: PT017  # an empty answer is the same one too
                features = []
        return features, " ".join(str(one.message) for one in said)

    honest, nothing = found(LocalApiIO(TEN), ROOT)
    assert nothing == ""
    features, said = found(Server(*TEN, lacks=lacks, ignores=ignores, limit=limit), ADDRESS)
    assert features == honest
    assert all(f"item-search#{CLASSES[name]}" in said for name in lacks if name in asked)


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_what_a_server_lacks_is_not_asked_of_it(name: str) -> None:
    asked: dict[str, Any] = {"query": {"eo:cloud_cover": {"lt": 5}}, "filter": "eo:cloud_cover<5", "sortby": "-id"}
    server = Server(*TEN, lacks=[name])
    with pytest.warns(ServerWarning, match=f"{ADDRESS}.*item-search#{CLASSES[name]}.*{name} is applied here"):
        search_features(client(server), **{**asked, "fields": ["id"]})
    assert server.sent
    assert all(name not in sent for sent in server.sent)
    assert all(other in server.sent[0] for other in {*asked, "fields"} - {name})


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ({"ids": ["i2", "i3"]}, "23"),
        ({"collections": "d"}, "13579"),
        ({"datetime": "2020-01-02"}, "1"),
        ({"bbox": [2.5, -1, 4.5, 1]}, "34"),
        ({"intersects": {"type": "Point", "coordinates": [5, 0]}}, "5"),
        ({"query": ["eo:cloud_cover<3"]}, "036"),
        ({"filter": "eo:cloud_cover < 3"}, "036"),
    ],
)
def test_what_a_server_ignores_is_noticed(asked: dict[str, Any], kept: str) -> None:
    (name,) = asked
    with pytest.warns(ServerWarning, match=f"ignores {name}: {10 - len(kept)} of 10 items do not fit"):
        found = search_features(client(Server(*TEN, ignores=[name])), **asked)
    assert ids(found) == kept


def test_an_honest_server_is_not_accused() -> None:
    honest = client(Server(*TEN))
    asked = {"query": ["eo:cloud_cover<5"], "sortby": "-eo:cloud_cover", "bbox": [0, -1, 8, 1]}
    assert ids(search_features(honest, **asked)) == "2630"
    assert count_matched(honest, filter="eo:cloud_cover<5") == 5


def test_as_many_as_are_wanted_are_left_after_filtering() -> None:
    server = Server(*TEN, lacks=["query"])
    with pytest.warns(ServerWarning, match="query"):
        assert ids(search_features(client(server), query=["eo:cloud_cover>5"], max_items=2)) == "14"
    assert len(server.sent) == 2  # pages of three: no more than it takes


def test_the_first_by_rank_are_the_first_of_all() -> None:
    asked: dict[str, Any] = {"sortby": "-eo:cloud_cover", "max_items": 2}
    with pytest.warns(ServerWarning, match="another order than sortby"):
        assert ids(search_features(client(Server(*TEN, ignores=["sortby"])), **asked)) == "74"
    with pytest.warns(ServerWarning, match="item-search#sort"):
        assert ids(search_features(client(Server(*TEN, lacks=["sortby"])), **asked)) == "74"
    server = Server(*TEN)
    assert ids(search_features(client(server), **asked)) == "74"
    assert len(server.sent) == 1


def test_the_specification_leaves_open_which_time_counts() -> None:
    interval = {"start_datetime": "2020-01-01T00:00:00Z", "end_datetime": "2020-01-31T00:00:00Z"}
    server = Server(item(0, **interval), ignores=["datetime"])
    assert ids(search_features(client(server), datetime="2020-01-20")) == "0"
    with pytest.raises(SearchError, match="fits datetime"), pytest.warns(ServerWarning, match="ignores datetime"):
        search_features(client(server), datetime="2020-02")


def test_an_item_that_does_not_name_its_collection_is_kept() -> None:
    class Anonymous(Server):
        def page(self, page: dict[str, Any]) -> dict[str, Any]:
            return {**page, "features": [{**feature, "collection": None} for feature in page["features"]]}

    assert ids(search_features(client(Anonymous(*TEN)), collections="c")) == "02468"


def test_a_filter_goes_out_in_the_language_of_the_method() -> None:
    server = Server(*TEN)
    asked = {"filter": "eo:cloud_cover < 1", "filter_lang": "cql2-text"}
    assert ids(search_features(client(server), **asked)) == "0"
    assert server.sent[0]["filter-lang"] == "cql2-json"
    assert isinstance(server.sent[0]["filter"], dict)
    assert ids(search_features(client(server), method="GET", **asked)) == "0"
    assert server.sent[-1]["filter-lang"] == "cql2-text"


def test_a_client_that_signs_is_heard() -> None:
    def sign(page: Any) -> None:
        for feature in page["features"]:
            feature["assets"]["red"]["href"] += "?token=1"

    found = search(client(Server(*TEN), modifier=sign), ids=["i1"])
    assert found[0].assets["red"].href == "/data/1.tif?token=1"


# --- pages ------------------------------------------------------------------------------------------------------------


class Paged(Server):
    """Answers with these pages, one a request, then with the last one for ever; each leads to the next."""

    pages: tuple[Any, ...] = ()
    matched: int | None = None
    more = True

    def page(self, page: dict[str, Any]) -> dict[str, Any]:
        place = len(self.sent) - 1
        numbers = self.pages[min(place, len(self.pages) - 1)]
        href = f"{ADDRESS}/search?token={place if self.fresh else 0}"
        link = {"rel": "next", "href": href, "method": "GET", "type": "application/geo+json"}
        last = place >= len(self.pages) - 1 and not self.more
        count = {} if self.matched is None else {"numberMatched": self.matched}
        features = [TEN[number] for number in numbers]
        return {"type": "FeatureCollection", "features": features, "links": [] if last else [link], **count}

    fresh = True


def paged(*pages: Any, matched: int | None = None, more: bool = False, fresh: bool = True) -> Client:
    kind = type("APaged", (Paged,), {"pages": pages, "matched": matched, "more": more, "fresh": fresh})
    return client(kind(*TEN))


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("pages", [[[0, 1]], [[0, 1], [2], [0, 1]], [[0], [1], [1]]])
def test_pages_that_lead_nowhere_are_an_error(pages: Any, fresh: bool) -> None:
    with pytest.raises(SearchError, match=r"after \d items of the 9 .* paging does not advance"):
        search_features(paged(*pages, matched=9, more=True, fresh=fresh))


def test_empty_pages_for_ever_are_an_error() -> None:
    endless = paged([0, 1], [], more=True)
    with pytest.raises(SearchError, match=f"{MOST_EMPTY + 1} empty pages in a row, after 2 items: paging"):
        search_features(endless)


def test_a_last_page_that_leads_on_is_the_last_where_all_have_come() -> None:
    assert ids(search_features(paged([0, 1], [2], matched=3, more=True))) == "012"


def test_an_empty_page_in_the_middle_is_not_the_end() -> None:
    assert ids(search_features(paged([0, 1], [], [], [2], []))) == "012"
    assert ids(search_features(paged([], [3]))) == "3"


def test_an_item_that_comes_twice_is_kept_once() -> None:
    with pytest.warns(ServerWarning, match="2 items more than once"):
        assert ids(search_features(paged([0, 1], [1, 2], [2, 3]))) == "0123"


@pytest.mark.parametrize("answer", [[], {"features": None}, {"code": 7, "description": "no"}, "sorry"])
def test_an_answer_that_is_none(answer: Any) -> None:
    class Odd(Server):
        def page(self, page: dict[str, Any]) -> Any:
            return answer

    with pytest.raises(SearchError, match=f"{ADDRESS}"):
        search_features(client(Odd(*TEN)))


@pytest.mark.parametrize("asked", [{"query": {"eo:cloud_cover": {"lt": 5}}}, {"fields": ["id"]}])
@pytest.mark.parametrize("feature", [{"id": "x", "properties": None}, 7])
def test_an_item_that_is_none(feature: Any, asked: Any) -> None:
    class Odd(Server):
        def page(self, page: dict[str, Any]) -> Any:
            return {**page, "features": [feature]}

    with pytest.raises(ItemError, match=r"no part of an item|not a STAC item"):
        search_features(client(Odd(*TEN)), **asked)


# --- refusals ---------------------------------------------------------------------------------------------------------


def refusing(status: int, when: Callable[[dict[str, Any]], bool]) -> Server:
    class Refusing(Server):
        def page(self, page: dict[str, Any]) -> dict[str, Any]:
            if when(self.sent[-1]):
                error = APIError("not like that")
                error.status_code = status
                raise error
            return page

    return Refusing(*TEN)


def test_a_limit_that_is_too_large_is_left_out() -> None:
    with pytest.warns(ServerWarning, match=r"status 400\); it was asked again, by POST without limit"):
        assert len(search_features(client(refusing(400, lambda sent: sent.get("limit", 0) > 5)), limit=10)) == 10


def test_a_server_that_knows_no_post_is_asked_by_get() -> None:
    server = refusing(405, lambda sent: sent["method"] == "POST")
    with pytest.warns(ServerWarning, match=r"status 405\); it was asked again, by GET$"):
        assert ids(search_features(client(server), query=["eo:cloud_cover<2"], limit=10)) == "03"
    with pytest.raises(SearchError, match="status 405: not like that"):
        search_features(client(server), method="POST")


def test_a_refusal_is_told_as_it_was() -> None:
    server = refusing(400, lambda sent: True)
    with pytest.raises(SearchError, match="status 400: not like that"):
        search_features(client(server))
    assert [sent["method"] for sent in server.sent] == ["POST", "GET"]


def test_a_failure_is_no_refusal() -> None:
    server = refusing(500, lambda sent: True)
    with pytest.raises(SearchError, match="status 500"):
        search_features(client(server), limit=3)
    assert len(server.sent) == 1


# --- counting ---------------------------------------------------------------------------------------------------------


class Uncounted(Server):
    def page(self, page: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in page.items() if name != "numberMatched"}


class OldCount(Uncounted):
    def page(self, page: dict[str, Any]) -> dict[str, Any]:
        return {**super().page(page), "context": {"matched": page["numberMatched"]}}


def test_a_server_that_counts_is_asked_once() -> None:
    for kind in (Server, OldCount):
        server = kind(*TEN)
        assert count_matched(client(server), query=["eo:cloud_cover<5"]) == 5
        assert len(server.sent) == 1


def test_a_server_that_does_not_count_is_counted() -> None:
    with pytest.warns(ServerWarning, match="does not count what fits: all 5 items were fetched"):
        assert count_matched(client(Uncounted(*TEN)), query=["eo:cloud_cover<5"]) == 5


def test_a_count_of_what_was_not_asked_for_is_not_believed() -> None:
    with pytest.warns(ServerWarning, match="ignores query"):
        assert count_matched(client(Server(*TEN, ignores=["query"])), query=["eo:cloud_cover<5"]) == 5
    with pytest.warns(ServerWarning, match="item-search#query"):
        assert count_matched(client(Server(*TEN, lacks=["query"])), query=["eo:cloud_cover<5"], max_items=1) == 5
    assert count_matched(client(Server(*TEN)), ids=["none"]) == 0


# --- what is noted down -----------------------------------------------------------------------------------------------


def test_a_search_is_described_without_secrets() -> None:
    server = Server(*TEN)
    opened = client(server, headers={"Authorization": "Bearer sesame"})
    opened.set_self_href("https://me:sesame@lies.example.com/?token=sesame&page=1")
    described = describe_search(opened, datetime="2020-01", bbox=(1, 2, 3, 4), limit=5, max_items=3, method="GET")
    parameters = {"datetime": "2020-01-01T00:00:00Z/2020-01-31T23:59:59Z", "bbox": [1, 2, 3, 4], "max_items": 3}
    assert described == {"url": "https://lies.example.com/?page=1", "parameters": parameters}


def test_these_warnings_are_of_pystac_client() -> None:
    assert issubclass(ServerWarning, DoesNotConformTo)  # its users have filters for them

"""Searching whatever a user may have: an API, a static catalog, files of items, standard input."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pystac import Item

import geomask.stac
from geomask.errors import GeomaskError, ItemError, RunError, SearchError
from geomask.stac.local_api import ROOT, LocalApiIO
from geomask.stac.pages import ServerWarning
from geomask.stac.search import (
    check_parameters,
    count_matched,
    item_collection,
    load_found,
    load_items,
    open_catalog,
    save_items,
    search,
    search_features,
)
from geomask.stac.static import open_local

SHARED = Path(__file__).parents[3] / "shared" / "data" / "stac"


def item(name: str, /, day: int = 1, href: str = "./B04.tif", **properties: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "geometry": {"type": "Point", "coordinates": [day, 0]},
        "bbox": [day, 0, day, 0],
        "properties": {"datetime": f"2020-01-{day:02}T00:00:00Z", **properties},
        "links": [],
        "assets": {"B04": {"href": href}},
    }


def write(path: Path, document: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def collection_of(*items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": list(items)}


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """catalog.json -> one/collection.json -> b and a; two.json, a catalog that leads back to the first."""
    folder = tmp_path / "catalog"
    head = {"stac_version": "1.0.0", "description": "for tests"}
    up = {"rel": "root", "href": "../catalog.json"}
    children = [{"rel": "child", "href": "./one/collection.json"}, {"rel": "child", "href": "two.json"}]
    write(folder / "catalog.json", {"type": "Catalog", "id": "top", "links": children, **head})
    items = [{"rel": "item", "href": f"./{name}/{name}.json"} for name in "ba"]
    extent = {"spatial": {"bbox": [[0, 0, 1, 1]]}, "temporal": {"interval": [[None, None]]}}
    one = {"type": "Collection", "id": "one", "license": "other", "extent": extent, "links": [up, *items], **head}
    write(folder / "one" / "collection.json", {**one, "assets": {"labels": {"href": "labels.tif"}}})
    write(folder / "one" / "a" / "a.json", {**item("a", 1), "collection": "one"})
    write(folder / "one" / "b" / "b.json", {**item("b", 2), "collection": "one"})
    back = [{"rel": "child", "href": "catalog.json"}, {"rel": "item", "href": "one/a/a.json"}]
    write(folder / "two.json", {"type": "Catalog", "id": "two", "links": back, **head})
    return folder / "catalog.json"


@pytest.fixture
def serve() -> Iterator[Callable[[Any], str]]:
    """Start a server for a request handler; gives its address."""
    servers = []

    def start(handler: Any) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


class Api(BaseHTTPRequestHandler):
    """A STAC API on the network: `LocalApiIO` behind a socket, newest items first as servers have them."""

    items: tuple[dict[str, Any], ...] = ()
    status = 200
    body: str | None = None
    seen: list[dict[str, str]]

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.answer({})

    def do_POST(self) -> None:
        self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def answer(self, asked: dict[str, Any]) -> None:
        address = f"http://{self.headers['Host']}"
        type(self).seen.append(dict(self.headers))
        text = self.body
        if text is None:
            api = LocalApiIO(self.items)
            newest = {"sortby": [{"field": "datetime", "direction": "desc"}]} if self.command == "POST" else {}
            text = api.request(ROOT + self.path, self.command, parameters={**newest, **asked}).replace(ROOT, address)
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(text.encode())


def api_of(*items: dict[str, Any], status: int = 200, body: str | None = None) -> type[Api]:
    return type("AnApi", (Api,), {"items": items, "status": status, "body": body, "seen": []})


# --- where items come from --------------------------------------------------------------------------------------------


def test_a_static_catalog_on_disk(catalog: Path) -> None:
    found = search(str(catalog))
    assert [one.id for one in found] == ["a", "b"]
    assert [one.assets["B04"].href for one in found] == [
        str(catalog.parent / "one" / name / "B04.tif") for name in "ab"
    ]
    assert count_matched(str(catalog), collections=["one"], bbox=[1.5, -1, 3, 1]) == 1
    (only,) = open_local(catalog).get_collections()
    assert only.id == "one"
    assert only.assets["labels"].href == str(catalog.parent / "one" / "labels.tif")


def test_a_relative_path_gives_absolute_hrefs(catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(catalog.parent)
    assert search("catalog.json")[0].assets["B04"].href == str(catalog.parent / "one" / "a" / "B04.tif")


def test_a_static_catalog_on_a_server(catalog: Path, serve: Callable[[Any], str]) -> None:
    address = serve(partial(Quiet, directory=str(catalog.parent)))
    found = search(f"{address}/catalog.json", datetime="2020-01-02/..")
    assert [one.assets["B04"].href for one in found] == [f"{address}/one/b/B04.tif"]
    assert [one.id for one in search(f"{address}/one/collection.json")] == ["a", "b"]


def test_items_on_a_server(tmp_path: Path, serve: Callable[[Any], str]) -> None:
    write(tmp_path / "items.geojson", collection_of(item("a")))
    write(tmp_path / "items.ndjson", f"{json.dumps(item('a'))}\n{json.dumps(item('b'))}\n")
    save_items([item("a", href="https://example.com/B04.tif")], tmp_path / "items.parquet", {"url": "x"})
    address = serve(partial(Quiet, directory=str(tmp_path)))
    assert load_found(f"{address}/items.parquet").search == {"url": "x"}
    assert [one.id for one in search(f"{address}/items.parquet", datetime="2020-01")] == ["a"]
    assert [one.id for one in search(f"{address}/items.geojson")] == ["a"]
    assert [one.id for one in search(f"{address}/items.ndjson")] == ["a", "b"]


def test_an_api_on_a_server(serve: Callable[[Any], str]) -> None:
    handler = api_of(item("a", 1), item("b", 2), item("c", 3))
    client = open_catalog(serve(handler), headers={"X-Token": "sesame"})
    assert [one.id for one in search(client, limit=1)] == ["a", "b", "c"]  # by time, though it came newest first
    assert [one.id for one in search(client, sortby="-id")] == ["c", "b", "a"]
    assert [one.id for one in search(client, method="GET", query=["id=b"])] == ["b"]
    assert len(search(client, max_items=2)) == 2
    assert count_matched(client, datetime="2020-01-02") == 1
    assert all(headers["X-Token"] == "sesame" for headers in handler.seen)


def test_forms_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = [item("b", 2), item("a", 1)]
    lines = "\n".join(map(json.dumps, items))
    sources = {
        "collection.geojson": collection_of(*items),
        "items.ndjson": f"{lines}\n\n",
        "one.json": items[0],
    }
    paths = {name: write(tmp_path / name, document) for name, document in sources.items()}
    assert [one.id for one in load_items(paths["collection.geojson"])] == ["b", "a"]
    assert [one.id for one in search(str(paths["collection.geojson"]))] == ["a", "b"]
    assert [one.id for one in load_items(str(paths["items.ndjson"]))] == ["b", "a"]
    assert [one.id for one in load_items(paths["one.json"].as_uri())] == ["b"]
    with paths["items.ndjson"].open() as file:
        assert [one.id for one in load_items(file)] == ["b", "a"]
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(collection_of(*items))))
    assert [one.id for one in load_items("-")] == ["b", "a"]
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    assert [one.id for one in search("-")] == ["a", "b"]


def test_a_feature_that_knows_where_it_is_from_leans_on_that(tmp_path: Path) -> None:
    home = {"links": [{"rel": "self", "href": "https://example.com/x/a.json"}]}
    path = write(
        tmp_path / "items.json", collection_of({**item("a"), **home}, item("b"), item("c", href="s3://x/y.tif"))
    )
    hrefs = [one.assets["B04"].href for one in load_items(path)]
    assert hrefs == ["https://example.com/x/B04.tif", str(tmp_path / "B04.tif"), "s3://x/y.tif"]


def test_catalogs_older_than_their_type(tmp_path: Path) -> None:
    write(tmp_path / "a.json", item("a"))
    path = write(tmp_path / "catalog.json", {"id": "old", "links": [{"rel": "item", "href": "a.json"}]})
    assert [one.id for one in search(str(path))] == ["a"]


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs shared/data/stac")
@pytest.mark.parametrize("path", sorted(SHARED.glob("*.*json")), ids=lambda path: path.name[:20])
def test_real_files(path: Path) -> None:
    if path.name.endswith("collection.json"):
        assert [one.id for one in open_local(path).get_collections()] == ["sentinel-2-l2a"]
        return
    for one in load_items(path):
        assert all("://" in asset.href or Path(asset.href).is_absolute() for asset in one.assets.values())
    assert len(search(str(path), sortby="id")) == len(load_items(path))


# --- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "no such file"),
        ("", "it is empty"),
        ("{", "no JSON"),
        ("[]", "neither a STAC catalog nor items"),
        ("{}\n[1", "line 2 of .* is no JSON"),
        ('{"type": "Topology"}', "Topology"),
        ('{"type": "Catalog"}', "Catalog"),
        ('{"type": "Feature"}', "not a STAC item"),
        ('{"type": "FeatureCollection"}', "FeatureCollection"),
        ('{"type": "FeatureCollection", "features": [3]}', "not a STAC item"),
        ('{"type": "Catalog", "links": [{"rel": "item"}]}', "without an href"),
        ('{"type": "Catalog", "links": [{"rel": "item", "href": "gone.json"}]}', "gone.json"),
        ('{"type": "Catalog", "links": ["up"]}', "without an href"),
        (json.dumps({**item("a"), "assets": {"B04": {}}}), "a has an asset or a link without an href"),
        (json.dumps({**item("a"), "assets": [1]}), "assets"),
        (json.dumps({**item("a"), "stac_version": 3}), "a cannot be read"),
        ("[" * 100_000, "."),
        ("\N{BROKEN BAR}".encode("latin-1"), "cannot read"),
    ],
)
def test_a_broken_source_is_one_line_that_names_it(tmp_path: Path, text: str | bytes | None, said: str) -> None:
    path = tmp_path / "source.json"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    for read in (search, load_items):
        with pytest.raises((SearchError, ItemError), match=said) as caught:
            read(str(path))
        assert "\n" not in str(caught.value)


def test_a_folder_is_no_catalog(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=r"folder; give the catalog\.json"):
        search(str(tmp_path))


def test_nothing_on_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(SearchError, match="standard input is no JSON: it is empty"):
        load_items("-")


def test_an_empty_search_says_what_to_loosen(catalog: Path) -> None:
    with pytest.raises(SearchError) as caught:
        search(str(catalog), bbox=[50, 50, 51, 51], datetime="2020", limit=5)
    message = str(caught.value)
    assert all(part in message for part in (str(catalog), "[50, 50, 51, 51]", "2020", "larger bbox", "longer datetime"))
    assert "limit" not in message


def test_an_empty_catalog_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "none.json", collection_of())
    with pytest.raises(SearchError, match="holds no items"):
        search(str(path))
    assert load_items(path) == []
    assert count_matched(str(path)) == 0


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [(503, "<html>\n  sorry\n</html>", "status 503: <html> sorry </html>"), (200, "<html>", "no JSON")],
)
def test_a_server_that_fails_is_named_in_one_line(
    serve: Callable[[Any], str], status: int, body: str, said: str
) -> None:
    address = serve(api_of(status=status, body=body))
    with pytest.raises(SearchError, match=said) as caught:
        search(address)
    assert address in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(SearchError, match=r"http://127\.0\.0\.1:9/"):
        search("http://127.0.0.1:9/")


def test_a_server_that_does_not_count(serve: Callable[[Any], str]) -> None:
    class Uncounted(api_of(item("a"))):  # type: ignore[misc]
        def answer(self, asked: dict[str, Any]) -> None:
            self.body = json.dumps(collection_of(item("a"))) if self.command == "POST" else None
            super().answer(asked)

    with pytest.warns(ServerWarning, match="does not count"):
        assert count_matched(serve(Uncounted)) == 1


def test_a_server_that_answers_with_no_items(serve: Callable[[Any], str]) -> None:
    class Odd(api_of()):  # type: ignore[misc]
        def answer(self, asked: dict[str, Any]) -> None:
            self.body = json.dumps(collection_of({"id": "x", "properties": None})) if self.command == "POST" else None
            super().answer(asked)

    with pytest.raises(ItemError, match="not a STAC item"):
        search(serve(Odd))


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"bbox": [1, 2, 3]}, "bbox"),
        ({"datetime": "yesterday"}, "yesterday"),
        ({"datetime": "2020-13"}, "datetime 2020-13"),
        ({"datetime": "2020-02/2020-01"}, "before its start"),
        ({"query": ["eo:cloud_cover"]}, "eo:cloud_cover"),
        ({"query": ["a=b=c"]}, "a=b=c"),
        ({"query": ['{"a": 1']}, "query"),
        ({"filter": "a < < b"}, "filter"),
        ({"intersects": {"type": "Feature", "geometry": None}}, "intersects"),
        ({"limit": 0}, "limit"),
        ({"method": "PUT"}, "method"),
        ({"sortby": 5}, "sortby"),
    ],
)
def test_parameters_that_make_no_sense(catalog: Path, parameters: dict[str, Any], said: str) -> None:
    with pytest.raises(SearchError, match=said):
        check_parameters(**parameters)
    with pytest.raises(SearchError):
        search(str(catalog), **parameters)


def test_parameters_that_make_sense() -> None:
    check_parameters(bbox=[-1, 2, 3, 4], datetime="2020/..", query=["a<1", '{"b": {"lt": 1}}'], filter="a < 1", limit=5)


# --- writing ----------------------------------------------------------------------------------------------------------

plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
properties = st.dictionaries(st.sampled_from(["eo:cloud_cover", "name", "\N{SNOWMAN}"]), plain | st.lists(plain))


@settings(deadline=None, max_examples=40)
@given(days=st.lists(st.integers(1, 28), max_size=4), extra=properties)
def test_items_are_read_back_equal(tmp_path_factory: pytest.TempPathFactory, days: list[int], extra: Any) -> None:
    path = tmp_path_factory.mktemp("items") / "items.json"
    items = [Item.from_dict(item(f"i{row}", day, "/B04.tif", **extra)) for row, day in enumerate(days)]
    save_items(items, path)
    again = load_items(path)
    assert [one.to_dict() for one in again] == [one.to_dict() for one in items]
    assert json.loads(path.read_text()) == item_collection(again)


def test_what_a_search_finds_can_be_carried_elsewhere(catalog: Path, tmp_path: Path) -> None:
    found = search(str(catalog))
    save_items(found, tmp_path / "elsewhere" / "items.json")
    again = load_items(tmp_path / "elsewhere" / "items.json")
    assert [one.to_dict() for one in again] == [one.to_dict() for one in found]
    assert ROOT not in json.dumps(item_collection(found))


def test_nothing_half_written(tmp_path: Path) -> None:
    path = write(tmp_path / "items.json", "before")

    def failing() -> Iterator[dict[str, Any]]:
        yield item("a")
        raise OSError("the source broke off")

    with pytest.raises(OSError, match="broke off"):
        save_items(failing(), path)
    assert path.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["items.json"]
    with pytest.raises(RunError, match="cannot write"):
        save_items([], path / "below")


def test_features_are_json_with_the_fields_asked_for(catalog: Path) -> None:
    features = search_features(str(catalog), fields=["id", "-assets"], sortby="-datetime")
    assert [feature["id"] for feature in features] == ["b", "a"]
    assert all("assets" not in feature for feature in features)
    with pytest.raises(ItemError, match="assets"):
        search(str(catalog), fields=["-assets"])


def test_the_stage_exports_what_it_lists() -> None:
    assert geomask.stac.__all__
    assert all(getattr(geomask.stac, name) is not None for name in geomask.stac.__all__)
    assert issubclass(SearchError, GeomaskError)

"""Frozen searches: what is saved is read back equal, whatever the form, by us and by others."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pystac import Item

from geomask.errors import ItemError, RunError, SearchError
from geomask.stac.geoparquet import EXACT, read_geoparquet, write_geoparquet
from geomask.stac.search import load_found, load_items, open_catalog, save_items, search, search_features

SHARED = Path(__file__).parents[3] / "shared" / "data" / "stac"
FORMS = ["items.geojson", "items.ndjson", "items.jsonl", "items.parquet", "items.geoparquet"]
FOUND = {"url": "https://example.com", "parameters": {"bbox": [1.5, 2, 3, 4], "filter": None}}


def item(number: int = 0, /, **properties: Any) -> dict[str, Any]:
    """As Earth Search has them, in short: three digits of a second, integers among floats, names beside names."""
    ring = [[7.7, 45.1], [9.1, 45.15], [9.123456789012345, 46], [7.7, 46.0], [7.7, 45.1]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": ["https://stac-extensions.github.io/projection/v1.1.0/schema.json"],
        "id": f"S2A_{number}",
        "collection": "sentinel-2-l2a",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [7.7, 45.1, 9.123456789012345, 46],
        "properties": {
            "datetime": f"2020-07-{number % 28 + 1:02}T10:36:29.024Z",
            "created": "2020-09-18T22:37:17.321Z",
            "eo:cloud_cover": number,
            "proj:epsg": 32632,
            "proj:transform": [10, 0, 399960, 0, -10.5, 5100000],
            "view:off_nadir": 0.5,
            **properties,
        },
        "links": [{"rel": "self", "href": f"https://example.com/{number}"}, {"rel": "root", "href": "/", "title": "x"}],
        "assets": {
            "red": {"href": f"s3://b/{number}/B04.tif", "type": "image/tiff", "roles": ["data"], "gsd": 10},
            "info": {"href": f"https://example.com/{number}.json", "eo:bands": [{"name": "B04"}, {"name": "B08"}]},
        },
    }


def parquet(features: list[dict[str, Any]], path: Path) -> pa.Table:
    write_geoparquet(features, path)
    return pq.read_table(path)


# --- there and back ---------------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=()), max_size=5)
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
nested = st.recursive(
    plain, lambda part: st.lists(part, max_size=3) | st.dictionaries(texts, part, max_size=3), max_leaves=6
)
times = st.sampled_from(
    ["2020-01-31T00:00:00Z", "2020-01-31T10:11:12.5Z", "2020-01-31T10:11:12.123456Z"]
) | st.sampled_from(
    ["1677-01-01T00:00:00+01:00", "9999-12-31T23:59:59.999999Z", "2020-01-31", "2020-01-31T10:11:12.123456789Z"]
)
numbers = st.integers(-180, 180) | st.floats(-180, 180)
geometries = st.none() | st.builds(
    lambda kind, points: {"type": kind, "coordinates": points if kind != "Point" else points[0]},
    st.sampled_from(["Point", "LineString", "MultiPoint"]),
    st.lists(st.lists(numbers, min_size=2, max_size=3), min_size=2, max_size=3),
)
names = st.sampled_from(["eo:cloud_cover", "created", "id", "geometry", "bbox", "type", "\N{SNOWMAN}", "", EXACT])
hrefs = st.sampled_from(["/data/B04.tif", "s3://b/B04.tif", "https://example.com/B04.tif?a=b"])
assets = st.dictionaries(
    texts,
    st.builds(lambda href, more: {**more, "href": href}, hrefs, st.dictionaries(texts, nested, max_size=2)),
    max_size=2,
)
features = st.builds(
    lambda name, when, extra, shape, box, files, more: {
        **more,
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": name,
        "geometry": shape,
        "properties": {"datetime": when, **extra},
        "links": [],
        "assets": files,
        **({"bbox": box} if box is not None else {}),
    },
    texts,
    times,
    st.dictionaries(names, nested, max_size=3) | st.fixed_dictionaries({"updated": times, "eo:cloud_cover": numbers}),
    geometries,
    st.none() | st.lists(numbers, min_size=4, max_size=6),
    assets,
    st.dictionaries(st.sampled_from(["collection", "title", "stac_extensions"]), nested, max_size=1),
)


@settings(max_examples=150)
@given(written=st.lists(features, max_size=4))
def test_geoparquet_is_read_back_equal(tmp_path_factory: pytest.TempPathFactory, written: Any) -> None:
    path = tmp_path_factory.mktemp("frozen") / "items.parquet"
    write_geoparquet(written, path, FOUND)
    assert read_geoparquet(path.read_bytes(), "x") == (written, FOUND)


good = features.filter(lambda feature: not {"title", "stac_extensions", "collection"} & feature.keys())


@pytest.mark.parametrize("name", FORMS)
@settings(max_examples=25)
@given(written=st.lists(good, max_size=3))
def test_every_form_is_read_back_equal(tmp_path_factory: pytest.TempPathFactory, name: str, written: Any) -> None:
    path = tmp_path_factory.mktemp("frozen") / name
    save_items(json.loads(json.dumps(written)), path, FOUND)
    if not written and path.suffix in (".ndjson", ".jsonl"):
        assert path.read_text() == ""
        return
    found = load_found(path)
    expected = [Item.from_dict(feature).to_dict(transform_hrefs=False) for feature in written]
    assert [one.to_dict(transform_hrefs=False) for one in found.items] == expected
    assert found.search == (None if path.suffix in (".ndjson", ".jsonl") else FOUND)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs shared/data/stac")
@pytest.mark.parametrize("path", sorted(SHARED.glob("*.*json")), ids=lambda path: path.name[:20])
def test_real_items(path: Path, tmp_path: Path) -> None:
    document = json.loads(path.read_text())
    written = document.get("features", [document])
    if document["type"] != "Collection":
        table = parquet(written, tmp_path / "items.parquet")
        assert read_geoparquet((tmp_path / "items.parquet").read_bytes(), "x")[0] == written
        # Landsat's catalog has members at the top that no column is for.
        assert (EXACT in table.schema.names) == path.name.startswith(("LC08", "LE07"))


# --- what is in the columns -------------------------------------------------------------------------------------------


def test_regular_items_are_columns_alone(tmp_path: Path) -> None:
    table = parquet([item(0), item(1), item(2)], tmp_path / "items.parquet")
    assert EXACT not in table.schema.names
    assert table.schema.field("datetime").type == pa.timestamp("us", "UTC")
    assert table.schema.field("eo:cloud_cover").type == pa.int64()
    assert table.column("bbox").to_pylist()[0] == {"xmin": 7.7, "ymin": 45.1, "xmax": 9.123456789012345, "ymax": 46}
    geo = json.loads(table.schema.metadata[b"geo"])
    assert geo["columns"]["geometry"]["geometry_types"] == ["Polygon"]
    assert json.loads(table.schema.metadata[b"stac-geoparquet"]) == {"version": "1.0.0"}


@pytest.mark.parametrize(
    "odd",
    [
        {"eo:cloud_cover": None},  # a null, not a name that is missing
        {"eo:cloud_cover": "many"},  # two types
        {"created": "2020-09-18T22:37:17.321000Z"},  # more digits than the others
        {"created": "2020-09-18 22:37:17.321Z"},
        {"proj:transform": [10, "x"]},
        {"empty": {}},
        {"big": 2**70},
    ],
)
def test_what_columns_would_change_is_kept_as_text(tmp_path: Path, odd: dict[str, Any]) -> None:
    written = [item(0), item(1, **odd), item(2)]
    table = parquet(written, tmp_path / "items.parquet")
    assert table.column(EXACT)[1].as_py() == json.dumps(written[1])
    assert read_geoparquet((tmp_path / "items.parquet").read_bytes(), "x")[0] == written


def test_names_that_differ_from_item_to_item_are_no_columns(tmp_path: Path) -> None:
    written = [{**item(0), "assets": {f"{row}/{name}": {"href": "/x"} for name in range(40)}} for row in range(40)]
    table = parquet(written, tmp_path / "items.parquet")
    assert "assets" not in table.schema.names
    assert read_geoparquet((tmp_path / "items.parquet").read_bytes(), "x")[0] == written


# --- other programs ---------------------------------------------------------------------------------------------------


def _same(value: Any) -> Any:
    """Without nulls and empty objects, and times as far as all agree on them."""
    if isinstance(value, dict):
        return {name: _same(part) for name, part in value.items() if part is not None}
    if isinstance(value, list | tuple):
        return [_same(part) for part in value]
    return value.replace(".024Z", ".024000Z").replace(".321Z", ".321000Z") if isinstance(value, str) else value


def test_the_reference_library_reads_what_we_write(tmp_path: Path) -> None:
    stac_geoparquet = pytest.importorskip("stac_geoparquet.arrow")
    written = [item(0), item(1), item(2)]
    table = parquet(written, tmp_path / "items.parquet")
    assert [_same(one) for one in stac_geoparquet.stac_table_to_items(table)] == [_same(one) for one in written]


def test_we_read_what_the_reference_library_writes(tmp_path: Path) -> None:
    stac_geoparquet = pytest.importorskip("stac_geoparquet.arrow")
    written = [item(0), item(1), item(2)]
    stac_geoparquet.to_parquet(stac_geoparquet.parse_stac_items_to_arrow(written), tmp_path / "items.parquet")
    read, found = read_geoparquet((tmp_path / "items.parquet").read_bytes(), "x")
    assert [_same(one) for one in read] == [_same(one) for one in written]
    assert found is None


def test_types_that_other_programs_choose(tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": pa.array(["a", None, "c"], pa.string_view()),
            "geometry": pa.nulls(3, pa.large_binary()),
            "collection": pa.array(["x", "x", None]).dictionary_encode(),
            "datetime": pa.array([0, 1, None], pa.timestamp("ns")),
            "day": pa.array([0, None, 1], pa.date32()),
            "counts": pa.array([[1], None, []], pa.large_list(pa.int8())),
            "shape": pa.array([[1, 2], None, [3, 4]], pa.list_(pa.float32(), 2)),
            "old": pa.array([True, None, False]),
        }
    ).slice(0, 3)
    pq.write_table(table, tmp_path / "items.parquet")
    (first, second, third), _ = read_geoparquet((tmp_path / "items.parquet").read_bytes(), "x")
    assert first["properties"] == {
        "datetime": "1970-01-01T00:00:00Z",
        "day": "1970-01-01",
        "counts": [1],
        "shape": [1, 2],
        "old": True,
    }
    assert second["properties"] == {"datetime": "1970-01-01T00:00:00Z"}
    assert third["properties"]["shape"] == [3, 4]
    assert (first["id"], first["collection"], "id" in second, "collection" in third) == ("a", "x", False, False)


# --- through the same calls -------------------------------------------------------------------------------------------


def test_stac_geoparquet_is_searched_as_any_catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "frozen.any"  # the content says what it is
    write_geoparquet([item(2), item(1)], path, FOUND)
    assert [one.id for one in search(str(path))] == ["S2A_1", "S2A_2"]
    assert [one["id"] for one in search_features(str(path), query=["eo:cloud_cover>1"])] == ["S2A_2"]
    assert open_catalog(str(path)).extra_fields["search"] == FOUND
    with path.open("rb") as file:
        assert load_found(file).search == FOUND

    class Stdin:
        buffer = io.BytesIO(path.read_bytes())

    monkeypatch.setattr("sys.stdin", Stdin)
    assert [one.id for one in load_items("-")] == ["S2A_2", "S2A_1"]


def test_relative_hrefs_start_from_the_file(tmp_path: Path) -> None:
    bare = {**item(), "links": [], "assets": {"red": {"href": "./B04.tif"}}}
    write_geoparquet([bare], tmp_path / "items.parquet")
    assert load_items(tmp_path / "items.parquet")[0].assets["red"].href == str(tmp_path / "B04.tif")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PAR1 and no more", "is no stac-geoparquet"),
        (pa.table({"id": ["a"]}), "no column geometry"),
        (pa.table({"id": ["a"], "geometry": pa.array([b"?"])}), "is no stac-geoparquet"),
        (pa.table({"id": ["a"], "geometry": pa.array([None], pa.binary()), EXACT: ["{"]}), "is no stac-geoparquet"),
        (pa.table({"id": pa.array([None], pa.string()), "geometry": pa.array([None], pa.binary())}), "not a STAC item"),
        (pa.table({"id": ["a"], "geometry": pa.array([None], pa.binary()), "bbox": [{"x": 1}]}), "stac-geoparquet"),
    ],
)
def test_what_is_no_stac_geoparquet(tmp_path: Path, content: Any, said: str) -> None:
    path = tmp_path / "items.parquet"
    path.write_bytes(content) if isinstance(content, bytes) else pq.write_table(content, path)
    with pytest.raises((SearchError, ItemError), match=said) as caught:
        load_items(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", FORMS)
def test_nothing_is_half_written(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("before")

    def failing() -> Iterator[dict[str, Any]]:
        yield item()
        raise OSError("the source broke off")

    with pytest.raises(OSError, match="broke off"):
        save_items(failing(), tmp_path / name)
    assert (tmp_path / name).read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == [name]
    with pytest.raises(RunError, match="cannot write"):
        save_items([], tmp_path / name / "below.parquet")


def test_no_warning_on_the_way(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in FORMS:
            save_items([], tmp_path / name)
        assert load_items(tmp_path / "items.parquet") == load_items(tmp_path / "items.geojson") == []

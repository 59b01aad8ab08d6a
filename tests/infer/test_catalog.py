import hashlib
import json
import warnings
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import items as stac
import numpy as np
import odc.stac
import pystac
import pytest
import rasterio
from pystac.extensions.classification import ClassificationExtension
from pystac.extensions.file import FileExtension
from pystac.extensions.projection import ProjectionExtension
from rasterio.warp import transform

from geomask.grid import Grid, Window
from geomask.infer.catalog import file_names, make_collection, make_item
from geomask.infer.geotiff import NODATA, class_colours, encode_cog

NAMES = ["water", "a/b c", "Wald & Flur", "..."]
GRID = Grid("EPSG:32633", 500_000, 5_000_000, 10, 10, 40, 60)
WKT = rasterio.CRS.from_proj4("+proj=laea +lat_0=45 +lon_0=15 +ellps=GRS80 +units=m").to_wkt()


def source(day: int, href: str | None = None) -> pystac.Item:
    item = pystac.Item(f"s{day}", None, None, stac.START + timedelta(days=day), {})
    if href:
        item.set_self_href(href)
    return item


def values(grid: Grid, classes: int | None) -> np.ndarray:
    rng = np.random.default_rng(0)
    shape = grid.height, grid.width
    if classes is None:
        found = rng.normal(200, 30, shape).astype(np.float32)
        found[3:9, 4:7] = np.nan
    else:
        found = rng.integers(0, classes, shape, np.uint8)
        found[3:9, 4:7] = NODATA
    return found


def document(grid: Grid = GRID, names: list[str] | None = NAMES, name: str = "r00000_c00001", **other: Any) -> Any:
    """An item, through JSON."""
    files = {"map": b"a map", "manifest": b"a manifest"}
    given: dict[str, Any] = {"sources": [source(0), source(20), source(10)], "files": files, "selection": "d1"}
    made = make_item(name, grid, class_names=names, collection="cover", **{**given, **other})
    return json.loads(json.dumps(made))


def write_map(folder: Path, names: list[str] | None, grid: Grid = GRID) -> tuple[list[pystac.Item], np.ndarray]:
    """Two tiles, side by side, as a map lies on disk; the items, and all pixels."""
    classes = None if names is None else len(names)
    whole, documents = values(grid, classes), []
    (folder / "tiles").mkdir(parents=True)
    for column in (0, 1):
        window = Window(0, 32 * column, grid.height, (32, grid.width - 32)[column])
        part, name = grid.crop(window), f"r00000_c0000{column}"
        data = encode_cog(whole[:, window.col_off : window.col_stop], part, classes)
        called = file_names(name)
        (folder / "tiles" / called["map"]).write_bytes(data)
        (folder / "tiles" / called["manifest"]).write_bytes(b"a manifest")
        documents.append(document(part, names, name, files={"map": data, "manifest": b"a manifest"}))
        (folder / "tiles" / called["item"]).write_text(json.dumps(documents[-1]))
    (folder / "collection.json").write_text(json.dumps(make_collection("cover", documents, "what grows where")))
    return [pystac.Item.from_file(folder / "tiles" / f"r00000_c0000{column}.json") for column in (0, 1)], whole


def test_an_item_says_where_when_and_of_what_it_is() -> None:
    said = document(sources=[source(20, "https://host/b.json?sig=hush"), source(0)])
    item = pystac.Item.from_dict(said)
    assert (item.id, item.collection_id) == ("cover-r00000_c00001", "cover")
    assert item.datetime is None
    assert item.common_metadata.start_datetime == stac.START
    assert item.common_metadata.end_datetime == stac.START + timedelta(days=20)
    assert item.properties["geomask:selection"] == "d1"
    assert "geomask" in item.properties["processing:software"]
    assert [link["href"] for link in said["links"] if link["rel"] == "derived_from"] == ["https://host/b.json"]
    assert "hush" not in json.dumps(said)


def test_an_item_of_one_time_has_that_time() -> None:
    item = pystac.Item.from_dict(document(sources=[source(3)]))
    assert item.datetime == item.common_metadata.end_datetime == stac.START + timedelta(days=3)


def test_times_are_utc_whatever_the_sources_say() -> None:
    away = datetime.fromisoformat("2020-01-01T01:00:00+02:00")
    said = document(sources=[pystac.Item("s", None, None, away, {})])
    assert said["properties"]["datetime"] == "2019-12-31T23:00:00Z"
    assert pystac.Item.from_dict(said).datetime == away.astimezone(UTC)


def test_a_source_that_was_read_twice_is_linked_once() -> None:
    links = document(sources=[source(0, "https://h/a.json"), source(0, "https://h/a.json")])["links"]
    assert [link["href"] for link in links if link["rel"] == "derived_from"] == ["https://h/a.json"]


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326", WKT])
def test_its_outline_is_that_of_the_pixels(crs: str) -> None:
    grid = GRID if crs != "EPSG:4326" else Grid(crs, 15, 45, 1e-4, 1e-4, 40, 60)
    item = pystac.Item.from_dict(document(replace(grid, crs=crs)))
    left, bottom, right, top = replace(grid, crs=crs).bounds
    lons, lats = transform(crs, "EPSG:4326", [left, right, right, left], [bottom, bottom, top, top])
    assert item.geometry is not None
    assert item.bbox is not None
    ring = np.array(item.geometry["coordinates"][0])
    np.testing.assert_allclose(ring, [*zip(lons, lats, strict=True), (lons[0], lats[0])], atol=1e-9)
    west, south, east, north = item.bbox
    assert (west, south) <= (min(lons) + 1e-9, min(lats) + 1e-9)
    assert (east, north) >= (max(lons) - 1e-9, max(lats) - 1e-9)


def test_a_crs_with_a_code_is_named_by_it_and_another_is_written_out() -> None:
    named = ProjectionExtension.ext(pystac.Item.from_dict(document()))
    assert (named.code, named.epsg, named.wkt2) == ("EPSG:32633", 32633, None)
    assert (named.shape, named.transform) == ([40, 60], list(GRID.transform))
    written = ProjectionExtension.ext(pystac.Item.from_dict(document(replace(GRID, crs=WKT))))
    assert (written.code, written.wkt2) == (None, WKT)


def test_files_are_there_with_size_and_multihash() -> None:
    files = {"map": b"a map", "manifest": b"a manifest", "preview": b"what came first"}
    item = pystac.Item.from_dict(document(files=files))
    assert set(item.assets) == set(files)
    for key, data in files.items():
        asset = item.assets[key]
        said = FileExtension.ext(asset)
        assert said.size == len(data)
        assert said.checksum == f"1220{hashlib.sha256(data).hexdigest()}"  # 0x12: SHA-256, 0x20: of 32 bytes
        assert asset.href == f"./{file_names('r00000_c00001')[key]}"
    assert [key for key, asset in item.assets.items() if asset.has_role("data")] == ["map"]
    assert item.assets["map"].media_type == pystac.MediaType.COG


def test_classes_are_named_coloured_and_nodata_is_one_of_them() -> None:
    asset = pystac.Item.from_dict(document()).assets["map"]
    classes = ClassificationExtension.ext(asset).classes
    assert classes is not None
    assert [one.value for one in classes] == [0, 1, 2, 3, NODATA]
    assert [one.title for one in classes[:-1]] == NAMES
    assert all(one.name and set(one.name) <= set("abcdefghijklmnopqrstuvwxyzWF_-") for one in classes)
    hexes = ["{:02X}{:02X}{:02X}".format(*colour) for colour in class_colours(4)]
    assert [one.color_hint for one in classes[:-1]] == hexes
    assert [one.nodata for one in classes] == [None, None, None, None, True]
    assert len({one.name for one in classes}) == len(classes)


def test_names_that_look_alike_once_cleaned_stay_apart() -> None:
    """The extension wants names of one asset to differ."""
    classes = document(names=["a b", "a/b", "a_b", "nodata", "", "Ä"])["assets"]["map"]["classification:classes"]
    names = [one["name"] for one in classes]
    assert len(set(names)) == len(names)
    assert [one["title"] for one in classes[:4]] == ["a b", "a/b", "a_b", "nodata"]


@pytest.mark.parametrize("names", [NAMES, None])
@pytest.mark.parametrize("crs", ["EPSG:32633", WKT])
def test_others_read_the_tiles_as_one_raster(names: list[str] | None, crs: str, tmp_path: Path) -> None:
    items, whole = write_map(tmp_path / "a b", names, replace(GRID, crs=crs))
    for item in items:
        with rasterio.open(item.assets["map"].get_absolute_href()) as file:
            assert [file.height, file.width] == item.properties["proj:shape"]
            assert list(file.transform)[:6] == item.properties["proj:transform"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odc-geo 0.5 calls what shapely and affine deprecate
        loaded = odc.stac.load(items, bands=["map"])
        shape, nodata = loaded["map"].odc.geobox.shape, loaded["map"].odc.nodata
    assert loaded["map"].dtype == whole.dtype
    assert np.isnan(nodata) if names is None else nodata == NODATA
    assert shape == whole.shape
    np.testing.assert_array_equal(loaded["map"].values[0], whole)


@pytest.mark.parametrize("names", [NAMES, None])
def test_a_collection_leads_to_its_items_and_spans_them(names: list[str] | None, tmp_path: Path) -> None:
    items, _ = write_map(tmp_path / "a b", names)
    collection = pystac.Collection.from_file(tmp_path / "a b" / "collection.json")
    assert collection.id == "cover"
    assert [item.id for item in collection.get_items()] == [item.id for item in items]
    boxes = np.array([item.bbox for item in items])
    assert collection.extent.spatial.bboxes == [[*boxes[:, :2].min(0), *boxes[:, 2:].max(0)]]
    assert collection.extent.temporal.intervals == [[stac.START, stac.START + timedelta(days=20)]]
    assert items[0].get_collection() is not None
    related = [link.href for link in items[0].links if link.rel == "related"]
    assert related == ["../run/run.json"]


def test_a_collection_without_items_is_one_all_the_same() -> None:
    said = json.loads(json.dumps(make_collection("cover", [], "nothing yet")))
    collection = pystac.Collection.from_dict(said)
    assert collection.extent.temporal.intervals == [[None, None]]
    assert list(collection.get_items()) == []


def test_a_collection_of_a_generator_is_made_in_one_pass() -> None:
    documents = [document(GRID.crop(Window(0, 20 * at, 10, 10)), name=f"r0_c{at}") for at in range(3)]
    made = make_collection("cover", (one for one in documents), "x")
    assert made == make_collection("cover", documents, "x")
    assert len([link for link in made["links"] if link["rel"] == "item"]) == 3

import json
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
import rasterio.warp
import tifffile
import yaml
from cogs import expected, is_hole, write_cog
from items import code, expected_scl, write_items
from pystac.validation.stac_validator import JsonSchemaSTACValidator

from geomask.demo.publish import CLOUDY, COLLECTION, MARKER, publish
from geomask.errors import GridError, RunError

DATES = slice(0, 140, 47)  # three of them

CUBE = {"B02": "B2", "B03": "B3", "B04": "B4", "B08": "B8", "B8A": "B8A", "B11": "B11", "SCL": "SCL"}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> pystac.Catalog:
    path = publish(tmp_path_factory.mktemp("a folder with spaces & signs"), dates=DATES)
    return pystac.Catalog.from_file(str(path))


@pytest.fixture(scope="module")
def items(catalog: pystac.Catalog) -> list[pystac.Item]:
    return sorted(catalog.get_items(recursive=True), key=lambda item: item.id)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    return publish(tmp_path / "out", dates=slice(1))


def href(item: pystac.Item, key: str) -> str:
    path = item.assets[key].get_absolute_href()
    assert path is not None
    return path


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_ino) for path in paths}


def test_the_catalog_is_read_back_and_valid(catalog: pystac.Catalog, items: list[pystac.Item]) -> None:
    collection = catalog.get_child(COLLECTION)
    assert isinstance(collection, pystac.Collection)
    assert [item.id for item in items] == ["S2_20150801", "S2_20180422", "S2_20190815"]
    assert collection.extent.temporal.intervals == [[items[0].datetime, items[-1].datetime]]
    assert collection.extent.spatial.bboxes == [items[0].bbox]
    validator = JsonSchemaSTACValidator()
    for value in (catalog, collection, *items):
        validator.validate_core(value.to_dict(), value.STAC_OBJECT_TYPE, "1.1.0")


def test_hrefs_are_relative(catalog: pystac.Catalog) -> None:
    root = Path(catalog.get_self_href() or "").parent
    for path in root.rglob("*.json"):
        if path.name == MARKER:
            continue
        value = json.loads(path.read_text())
        hrefs = [link["href"] for link in value["links"]] + [
            asset["href"] for asset in value.get("assets", {}).values()
        ]
        assert all((path.parent / href).is_file() for href in hrefs), path
        assert all(href.startswith(".") for href in hrefs), path


@pytest.mark.parametrize("name", CUBE)
def test_pixels_are_those_of_the_cube(items: list[pystac.Item], name: str) -> None:
    from nrt import data

    gsd = items[0].assets[name].extra_fields["gsd"]
    with {10: data.romania_10m, 20: data.romania_20m}[gsd]() as cube:
        for item, date in zip(items, cube.time.values[DATES], strict=True):
            assert item.datetime is not None
            assert np.datetime64(item.datetime.replace(tzinfo=None)) == date
            with rasterio.open(href(item, name)) as file:
                np.testing.assert_array_equal(file.read(1), cube[CUBE[name]].sel(time=date))
                x, y = file.xy(0, 0)
                assert (x, y) == pytest.approx((float(cube.x[0]), float(cube.y[0])), abs=1e-6)


@pytest.mark.parametrize("name", CUBE)
def test_files_are_cogs_as_their_items_say(items: list[pystac.Item], name: str) -> None:
    fields = items[0].assets[name].extra_fields
    with rasterio.open(href(items[0], name)) as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == "2"
        assert file.compression.value == "DEFLATE"
        assert file.block_shapes == [(32, 32)]
        assert file.overviews(1) == {10: [2, 4], 20: [2]}[fields["gsd"]]
        assert file.crs.to_epsg() == 3035
        assert fields["proj:code"] == "EPSG:3035"
        assert fields["proj:shape"] == list(file.shape)
        assert fields["proj:transform"] == list(file.transform)[:6]
        assert fields["data_type"] == file.dtypes[0]
        assert fields["nodata"] == file.nodata == 0
        assert items[0].properties["proj:bbox"] == pytest.approx(list(file.bounds))
    with tifffile.TiffFile(href(items[0], name)) as file:
        first = min(min(page.dataoffsets) for page in file.pages)
        assert all(page.offset < first for page in file.pages), "headers come before data"


def test_overviews_are_averages_and_nearest_classes(items: list[pystac.Item]) -> None:
    levels = {}
    for name in ("B08", "SCL"):
        full, first = (rasterio.open(href(items[1], name), **level) for level in ({}, {"overview_level": 0}))
        with full, first:
            height, width = first.shape
            levels[name] = (
                full.read(1).reshape(height, 2, width, 2).swapaxes(1, 2).reshape(height, width, 4),
                first.read(1),
            )
    full, first = levels["B08"]
    np.testing.assert_allclose(first, full.mean(axis=-1), atol=0.5)
    full, first = levels["SCL"]
    assert (full == first[..., None]).any(axis=-1).all()


def test_cloud_cover_is_that_of_the_mask(items: list[pystac.Item]) -> None:
    for item in items:
        with rasterio.open(href(item, "SCL")) as file:
            share = np.isin(file.read(1), CLOUDY).mean()
        assert item.properties["eo:cloud_cover"] == pytest.approx(100 * share, abs=0.005)


def test_the_footprint_is_on_the_ground_of_the_files(items: list[pystac.Item]) -> None:
    with rasterio.open(href(items[0], "B02")) as file:
        box = rasterio.warp.transform_bounds(file.crs, "EPSG:4326", *file.bounds)
    assert items[0].bbox == pytest.approx(box, abs=1e-6)


def test_the_label_lies_on_the_grid_of_the_bands(catalog: pystac.Catalog, items: list[pystac.Item]) -> None:
    from nrt import data

    collection = catalog.get_child(COLLECTION)
    assert isinstance(collection, pystac.Collection)
    path = collection.assets["labels"].get_absolute_href()
    with rasterio.open(path) as label, rasterio.open(href(items[0], "B11")) as band:
        assert (label.transform, label.shape, label.crs) == (band.transform, band.shape, band.crs)
        assert (label.dtypes, label.nodata) == (("uint8",), 255)
        np.testing.assert_array_equal(label.read(1), data.romania_forest_cover_percentage())


def test_the_profile_fits_the_items(items: list[pystac.Item]) -> None:
    profile = yaml.safe_load(files("geomask.catalogs").joinpath("local.yaml").read_text())
    assert profile["collections"] == [COLLECTION]
    assert {profile["cloud_mask"]["asset"], *(band["asset"] for band in profile["bands"])} == set(items[0].assets)
    for band in profile["bands"]:
        fields = items[0].assets[band["asset"]].extra_fields
        (described,) = fields["bands"]
        assert (band["name"], band["index"], band["gsd"]) == (described["name"], 1, fields["gsd"])
        assert (band["dtype"], band["nodata"]) == (fields["data_type"], fields["nodata"])
        assert (band["scale"], band["offset"]) == (fields["raster:scale"], fields["raster:offset"])
        assert (band["common_name"], band["wavelength"]) == (
            described["eo:common_name"],
            described["eo:center_wavelength"],
        )


def test_nothing_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    publish(tmp_path, dates=slice(1))
    assert not caplog.records


def test_a_whole_publication_is_left_alone(published: Path) -> None:
    before = snapshot(published.parent)
    assert publish(published.parent, dates=slice(1)) == published
    assert snapshot(published.parent) == before


@pytest.mark.parametrize(
    "harm",
    [
        lambda out: next(out.rglob("B08.tif")).unlink(),
        lambda out: next(out.rglob("B08.tif")).write_bytes(b"II*"),
        lambda out: (out / "catalog.json").unlink(),
        lambda out: (out / MARKER).write_text("{"),
        lambda out: (out / MARKER).write_text("[]"),
    ],
)
def test_a_harmed_publication_is_repaired(published: Path, harm: Callable[[Path], object]) -> None:
    out = published.parent
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    harm(out)
    publish(out, dates=slice(1))
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_one_that_stopped_half_way_is_written_anew(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(tmp_path, dates=slice(2), progress=stop)
    assert not json.loads((tmp_path / MARKER).read_text())["complete"]
    steps: list[tuple[int, int]] = []
    publish(tmp_path, dates=slice(3, 5), progress=lambda *step: steps.append(step))
    assert steps == [(1, 2), (2, 2)]
    assert len(list((tmp_path / COLLECTION).iterdir())) == 3  # two items and the collection, none of the first try


def test_another_block_is_another_publication(published: Path) -> None:
    publish(published.parent, block=64, dates=slice(0, None, -1))  # the same date, from the other end
    with rasterio.open(next(published.parent.rglob("B02.tif"))) as file:
        assert file.block_shapes == [(64, 64)]


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    mine = tmp_path / COLLECTION / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(RunError, match=r"already holds romania-s2"):
        publish(tmp_path, dates=slice(1))
    assert mine.read_text() == "mine"
    with pytest.raises(RunError, match="is not a folder"):
        publish(mine, dates=slice(1))


def test_what_is_asked_for_is_checked(tmp_path: Path) -> None:
    with pytest.raises(GridError, match="block is 33"):
        publish(tmp_path, block=33)
    with pytest.raises(RunError, match="none of the 140 dates"):
        publish(tmp_path, dates=slice(140, None))


def test_missing_data_are_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nrt", None)
    with pytest.raises(RunError, match=r"pip install 'geomask\[demo\]'"):
        publish(tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ---- the tests' own tiny COGs and items ----


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bands": 3, "interleave": "pixel", "holes": True},
        {"bands": 3, "interleave": "tile"},
        {"bands": 2, "driver": "GTiff", "compress": "lzw"},
        {"tiled": False, "blockysize": 8, "driver": "GTiff"},
        {"height": 300, "width": 280, "block": 64, "first": 7, "bigtiff": True},
        {"overviews": (3, 7), "compress": "zstd"},
        {"overviews": False, "compress": "none", "block": 16},
        {"dtype": "uint8", "nodata": 255, "holes": True},
        {"dtype": "float32", "nodata": float("nan"), "holes": True, "predictor": 3},
        {"dtype": "int16", "nodata": -9999, "holes": True, "compress": "lerc"},
    ],
    ids=str,
)
def test_tiny_cogs_hold_what_is_expected(tmp_path: Path, options: dict) -> None:
    path = write_cog(tmp_path / "tiny.tif", **options)
    with rasterio.open(path) as file:
        factors = file.overviews(1)
        assert (file.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == "COG") == ("driver" not in options)
    assert factors == list({True: (2, 4), False: ()}.get(options.get("overviews", True), options.get("overviews")))
    about = {key: options[key] for key in ("dtype", "nodata", "holes") if key in options}
    for level in (None, *range(len(factors))):
        with rasterio.open(path, **({} if level is None else {"overview_level": level})) as file:
            for band in file.indexes:
                coded = expected(
                    band + options.get("first", 1) - 1, level, range(file.height), range(file.width), **about
                )
                np.testing.assert_array_equal(file.read(band), coded)


def test_tiny_pixels_tell_their_neighbours_apart() -> None:
    rows, columns = np.arange(60), np.arange(70)
    here = expected(2, 0, rows, columns)
    others = [(3, 0, 0, 0), (2, None, 0, 0), (2, 1, 0, 0), (2, 0, 1, 0), (2, 0, 0, 1), (2, 0, 1, 1), (2, 0, 32, 0)]
    for band, level, down, right in others:
        assert (here != expected(band, level, rows + down, columns + right)).all(), (band, level, down, right)
    assert 0 not in here
    assert 0.05 < is_hole(rows[:, None], columns).mean() < 0.15


def test_tiny_items_describe_their_files(tmp_path: Path) -> None:
    items = write_items(tmp_path, dates=2, bands=("B02", "B08"), scl=True, holes=True)
    assert [sorted(item.assets) for item in items] == [["B02", "B08", "SCL"]] * 2
    for date, item in enumerate(items):
        with rasterio.open(href(item, "B08")) as file:
            coded = expected(code(date, 1, 2), None, range(100), range(90), holes=True)
            np.testing.assert_array_equal(file.read(1), coded)
        with rasterio.open(href(item, "SCL")) as file:
            rows, columns = np.ogrid[: file.height, : file.width]
            np.testing.assert_array_equal(file.read(1), expected_scl(date, rows, columns))
            assert item.assets["SCL"].extra_fields["proj:shape"] == [50, 45]

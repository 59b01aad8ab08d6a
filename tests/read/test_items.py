"""Items as a lazy Dataset, against odc-stac."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import xarray as xr
from items import write_items

from geomask import Selection, open_items
from geomask.crs import transform_bounds
from geomask.errors import GridError, ItemError
from geomask.read.receipt import Receipt
from geomask.stac.profile import Band, Profile
from geomask.stac.slots import make_slots

UTM = "EPSG:32633"
PROFILE = Profile("tinies", (Band("B02", "B02", 10, common_name="blue", scale=0.0001), Band("B03", "B03", 10)))


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[pystac.Item]:
    found = write_items(tmp_path_factory.mktemp("a b"), dates=4, bands=("B02", "B03"))
    for number, item in enumerate(found):
        item.properties["eo:cloud_cover"] = 40 - number
    return found


def load_with_odc(items: list[pystac.Item], **options: object) -> xr.Dataset:
    from odc.stac import load

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odc-geo 0.5 calls what shapely and affine deprecate
        return load(items, bands=["B02", "B03"], **options)  # type: ignore[call-overload,no-any-return]


def test_a_cube_is_that_of_odc_stac_in_other_dimensions(items: list[pystac.Item]) -> None:
    by_odc = load_with_odc([items[2], items[3]], crs=UTM, resolution=10)  # the least cloudy of each month
    ours = open_items(items, ["B02", "B03"], profile=PROFILE, crs=UTM, resolution=10, masked=False)
    assert list(ours["image"].dims) == ["slot", "band", "y", "x"]
    for band in ("B02", "B03"):
        np.testing.assert_array_equal(ours["image"].sel(band=band).values, by_odc[band].values)
    for name in ("y", "x"):
        np.testing.assert_array_equal(ours[name].values, by_odc[name].values)
    assert ours["spatial_ref"].attrs["GeoTransform"].split() == [
        str(float(number)) for number in by_odc["spatial_ref"].attrs["GeoTransform"].split()
    ]
    assert ours["time"].dims == ("slot",)
    assert ours["time"].values.astype(str).tolist() == [
        "2020-01-01T00:00:00.000000000",
        "2020-02-01T00:00:00.000000000",
    ]


def test_another_crs_is_odc_stacs_up_to_what_gdal_interpolates(items: list[pystac.Item]) -> None:
    options = {"crs": "EPSG:3857", "resolution": 15}
    by_odc = load_with_odc([items[2]], **options)
    ours = open_items(items[:3], ["B02"], profile=PROFILE, masked=False, **options)  # type: ignore[arg-type]
    both = xr.align(ours["image"].isel(slot=0, band=0), by_odc["B02"].isel(time=0), join="inner")
    one, other = (array.values for array in both)
    seen = (one > 0) & (other > 0)
    assert seen.mean() > 0.8
    assert (one == other)[seen].mean() > 0.9


def test_only_headers_are_read_until_pixels_are_touched(items: list[pystac.Item]) -> None:
    receipts: list[Receipt] = []
    cube = open_items(items, ["blue"], profile=PROFILE, receipts=receipts)
    assert not receipts
    cube["image"].isel(slot=0, y=slice(0, 8), x=slice(0, 8)).load()
    (receipt,) = receipts
    assert [trip.href.rpartition("/")[2] for trip in receipt.runs] in ([], ["B02.tif"])


@pytest.mark.parametrize("chunks", [None, {}, {"y": 40}])
def test_every_way_to_read_gives_the_same(items: list[pystac.Item], chunks: dict[str, int] | None) -> None:
    whole = open_items(items, profile=PROFILE, scaled=True).load()
    lazy = open_items(items, profile=PROFILE, scaled=True, chunks=chunks)
    assert bool(lazy.chunks) == (chunks is not None)
    xr.testing.assert_identical(lazy.compute(), whole)


def test_without_a_profile_the_items_say_which_bands_there_are(items: list[pystac.Item]) -> None:
    cube = open_items(items)
    assert cube["band"].values.tolist() == ["B02", "B03"]


def test_a_part_is_named_in_degrees(items: list[pystac.Item]) -> None:
    whole = open_items(items, ["B02"], profile=PROFILE)
    bbox = transform_bounds(UTM, "OGC:CRS84", (500_200, 4_999_400, 500_600, 4_999_800))
    part = open_items(items, ["B02"], profile=PROFILE, bbox=bbox)
    assert 40 <= part.sizes["y"] <= 42
    assert 40 <= part.sizes["x"] <= 42
    wanted = whole.sel(y=part["y"], x=part["x"])
    xr.testing.assert_identical(part.drop_vars("spatial_ref").load(), wanted.drop_vars("spatial_ref").load())
    with pytest.raises(GridError, match="do not meet the grid"):
        open_items(items, profile=PROFILE, bbox=(0, 0, 1, 1))


def test_a_selection_says_what_is_read_and_moves_to_the_items_year(items: list[pystac.Item]) -> None:
    selection = Selection.dense(make_slots(items), PROFILE.bands).keep([0, 3])
    later = [item.clone() for item in items]
    for item in later:
        assert item.datetime is not None
        item.datetime = item.datetime.replace(year=2022)
    cube = open_items(later, selection=selection)
    assert cube["slot"].values.tolist() == ["2022-01", "2022-02"]
    assert cube["valid"].any(("y", "x")).values.tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize("options", [{"crs": UTM}, {"resolution": 10.0}])
def test_half_a_grid_is_refused(items: list[pystac.Item], options: dict[str, object]) -> None:
    with pytest.raises(GridError, match="give both, or neither"):
        open_items(items, profile=PROFILE, **options)  # type: ignore[arg-type]


def test_a_band_that_is_not_there_is_refused(items: list[pystac.Item]) -> None:
    with pytest.raises(ItemError, match="has no band swir"):
        open_items(items, ["swir"], profile=PROFILE)


def test_a_cube_across_the_antimeridian(tmp_path: Path) -> None:
    east = write_items(tmp_path / "east", dates=1, bands=("B02",), crs="EPSG:32601", origin=(170_400, 1_000_000))
    west = write_items(tmp_path / "west", dates=1, bands=("B02",), crs="EPSG:32660", origin=(828_600, 1_000_000))
    for item in east + west:
        item.geometry = None  # the bbox of the one is to the east of 180, of the other to the west
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cube = open_items(east + west, ["B02"], crs="EPSG:32601", resolution=10).load()
    shown = cube["valid"].isel(slot=0, band=0).any("y").values
    assert shown[:60].any()
    assert shown[-60:].any()
    assert cube.sizes["x"] < 400


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"crs": UTM, "resolution": 0}, "pixels have a size"),
        ({"bbox": (16, 46, 15, 45)}, "west, south, east, north in degrees, not"),
        ({"bbox": (0, 1, 1)}, "west, south, east, north in degrees, not"),
        ({"crs": "EPSG:99999", "resolution": 10}, "nothing leads from"),
        ({"crs": "EPSG:99999", "resolution": 10, "bbox": (15, 45, 15.1, 45.1)}, "nothing leads from"),
    ],
)
def test_a_grid_that_is_none(items: list[pystac.Item], options: dict[str, Any], said: str) -> None:
    with pytest.raises(GridError, match=said):
        open_items(items, ["B02"], profile=PROFILE, **options)


def test_no_items_are_nothing_to_open() -> None:
    with pytest.raises(ItemError, match="no items to open"):
        open_items([], ["B02"], profile=PROFILE)

from dataclasses import replace
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
import xarray as xr
from cogs import expected, is_hole
from items import code, expected_scl, write_items

from geomask.errors import GridError, ManifestError
from geomask.grid import Grid, Window
from geomask.plan.compile import compile_manifest
from geomask.plan.sources import choose_grid, index_selection
from geomask.read.cube import Cube
from geomask.read.reader import read_manifest
from geomask.selection import Channel, Selection
from geomask.stac.profile import Band
from geomask.stac.slots import make_slots

BANDS = (Band("B02", "B02", 10), Band("classes", "SCL", 20, dtype="uint8"))
HEIGHT, WIDTH = 100, 88


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[pystac.Item]:
    """Items of 5, 15 and 25 January and of 4 February; one pixel in eleven of B02 is nodata."""
    options = {"dates": 4, "bands": ("B02",), "height": HEIGHT, "width": WIDTH, "scl": True, "holes": True}
    return write_items(tmp_path_factory.mktemp("items"), **options)  # type: ignore[arg-type]


def read(items: list[pystac.Item], *chips: Window, level: int | None = None) -> Cube:
    """Channels: B02 and classes of January, then those of February; the grid is that of the 10 m files."""
    slots = make_slots(items)
    channels = tuple(Channel(slot, band, None if band else level) for slot in range(len(slots)) for band in (0, 1))
    selection = Selection(slots, BANDS, channels)
    index = index_selection(selection, items)
    manifest = compile_manifest(selection, items, index, choose_grid(selection, items, index), chips)
    return read_manifest(manifest, index)[0]


def wanted(chip: Window, date: int, repeat: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and validity of B02 in a chip, from its first overview where `repeat` is 2."""
    rows = np.arange(chip.row_off, chip.row_stop)
    cols = np.arange(chip.col_off, chip.col_stop)
    inside = ((rows >= 0) & (rows < HEIGHT))[:, None] & ((cols >= 0) & (cols < WIDTH))
    valid = inside & ~is_hole(rows[:, None] // repeat, cols // repeat)
    pixels = expected(code(date, 0, 1), None if repeat == 1 else 0, rows // repeat, cols // repeat)
    return np.where(valid, pixels, 0), valid


def test_every_chip_and_channel_is_in_its_place(items: list[pystac.Item]) -> None:
    chips = [Window(0, 0, 30, 20), Window(33, 27, 30, 20), Window(70, 68, 30, 20)]
    cube = read(items, *chips)
    assert cube.image.shape == cube.valid.shape == (3, 4, 30, 20)
    assert (cube.image.dtype, cube.valid.dtype) == (np.float32, bool)
    for number, chip in enumerate(chips):
        for channel, date in ((0, 0), (2, 3)):
            pixels, valid = wanted(chip, date)
            np.testing.assert_array_equal(cube.image[number, channel], pixels)
            np.testing.assert_array_equal(cube.valid[number, channel], valid)
            assert 0 < valid.sum() < valid.size


@pytest.mark.parametrize("place", [(0, 0), (34, 26), (33, 26), (34, 27), (33, 27)])
def test_pixels_of_20_metres_are_repeated_on_a_grid_of_10(items: list[pystac.Item], place: tuple[int, int]) -> None:
    chip = Window(*place, 31, 22)
    cube = read(items, chip)
    rows, cols = np.arange(chip.row_off, chip.row_stop) // 2, np.arange(chip.col_off, chip.col_stop) // 2
    for channel, date in ((1, 0), (3, 3)):
        np.testing.assert_array_equal(cube.image[0, channel], expected_scl(date, rows[:, None], cols[None, :]))
    assert cube.valid[0, [1, 3]].all()


def test_pixels_of_an_overview_are_repeated_on_the_full_grid(items: list[pystac.Item]) -> None:
    chip = Window(33, 27, 31, 22)
    cube = read(items, chip, level=0)
    pixels, valid = wanted(chip, 0, repeat=2)
    np.testing.assert_array_equal(cube.image[0, 0], pixels)
    np.testing.assert_array_equal(cube.valid[0, 0], valid)


@pytest.mark.parametrize("place", [(-7, 30), (30, -5), (85, 30), (30, 80), (-7, -5), (85, 80), (-7, 80), (85, -5)])
def test_beyond_the_edge_of_a_file_nothing_is_valid(items: list[pystac.Item], place: tuple[int, int]) -> None:
    chip = Window(*place, 25, 17)
    cube = read(items, chip)
    pixels, valid = wanted(chip, 0)
    np.testing.assert_array_equal(cube.image[0, 0], pixels)
    np.testing.assert_array_equal(cube.valid[0, 0], valid)
    rows, cols = np.arange(chip.row_off, chip.row_stop), np.arange(chip.col_off, chip.col_stop)
    inside = ((rows >= 0) & (rows < HEIGHT))[:, None] & ((cols >= 0) & (cols < WIDTH))
    np.testing.assert_array_equal(cube.valid[0, 1], inside)
    assert not cube.image[0, 1][~inside].any()


def test_a_chip_beside_all_files_is_empty(items: list[pystac.Item]) -> None:
    cube = read(items, Window(0, 0, 10, 10), Window(500, 500, 10, 10))
    assert cube.valid[0].any()
    assert not cube.valid[1].any()
    assert not cube.image[1].any()


def test_a_slot_that_no_item_fills_is_empty(items: list[pystac.Item]) -> None:
    january, both = items[:1], make_slots(items)
    selection = Selection.dense(both, BANDS)
    index = index_selection(selection, january)
    manifest = compile_manifest(selection, january, index, choose_grid(selection, january, index))
    cube, _ = read_manifest(manifest, index)
    assert cube.image.shape == (1, 4, HEIGHT, WIDTH)
    assert cube.valid[0, 1].all()
    assert not cube.valid[0, 2:].any()
    assert not cube.image[0, 2:].any()


def test_not_a_number_is_not_valid(tmp_path: Path) -> None:
    items = write_items(tmp_path, dates=1, bands=("B02",), dtype="float32", nodata=float("nan"), holes=True)
    selection = Selection.dense(make_slots(items), BANDS[:1])
    index = index_selection(selection, items)
    cube, _ = read_manifest(compile_manifest(selection, items, index, choose_grid(selection, items, index)), index)
    holes = is_hole(np.arange(100)[:, None], np.arange(90)[None, :])
    np.testing.assert_array_equal(cube.valid[0, 0], ~holes)
    assert np.isfinite(cube.image).all()
    assert not cube.image[0, 0][holes].any()


def test_xarray_has_slots_and_bands_and_the_pixel_centres_of_a_chip(items: list[pystac.Item]) -> None:
    cube = read(items, Window(0, 0, 10, 8), Window(20, 30, 10, 8))
    dataset = cube.to_xarray(1, masked=False)
    assert {name: data.dims for name, data in dataset.data_vars.items()} == {
        "image": ("slot", "band", "y", "x"),
        "valid": ("slot", "band", "y", "x"),
    }
    np.testing.assert_array_equal(dataset["image"], cube.image[1].reshape(2, 2, 10, 8))
    np.testing.assert_array_equal(dataset["valid"], cube.valid[1].reshape(2, 2, 10, 8))
    assert (dataset["image"].dtype, dataset["valid"].dtype) == (np.float32, bool)
    np.testing.assert_array_equal(dataset["x"], 500_000 + 10 * (30.5 + np.arange(8)))
    np.testing.assert_array_equal(dataset["y"], 5_000_000 - 10 * (20.5 + np.arange(10)))
    assert dataset["slot"].values.tolist() == ["2020-01", "2020-02"]
    assert dataset["band"].values.tolist() == ["B02", "classes"]


def test_where_nothing_is_valid_stands_nan(items: list[pystac.Item]) -> None:
    cube = read(items, Window(-3, 0, 40, 20))
    dataset = cube.to_xarray()
    valid = cube.valid[0].reshape(dataset["image"].shape)
    assert 0 < valid.sum() < valid.size
    np.testing.assert_array_equal(np.isnan(dataset["image"]), ~valid)
    np.testing.assert_array_equal(dataset["image"].fillna(0), cube.image[0].reshape(valid.shape))
    assert np.isnan(dataset["image"].encoding["_FillValue"])  # which rioxarray writes as nodata


def test_slots_and_bands_keep_their_order_and_what_is_no_channel_is_not_valid(items: list[pystac.Item]) -> None:
    cube = read(items, Window(0, 0, 10, 8))
    names = (("2020-02", "classes"), ("2020-01", "B02"), ("2020-01", "classes"))
    order = [3, 0, 1]
    some = Cube(replace(cube.manifest, channels=names), cube.image[:, order], cube.valid[:, order])
    dataset = some.to_xarray(masked=False)
    assert dataset["slot"].values.tolist() == ["2020-02", "2020-01"]
    assert dataset["band"].values.tolist() == ["classes", "B02"]
    for number, (slot, band) in zip(order, names, strict=True):
        np.testing.assert_array_equal(dataset["image"].sel(slot=slot, band=band), cube.image[0, number])
    missing = dataset.sel(slot="2020-02", band="B02")
    assert not missing["valid"].any()
    assert not missing["image"].any()
    assert np.isnan(some.to_xarray()["image"].sel(slot="2020-02", band="B02")).all()


def scaled_by(cube: Cube, pairs: dict[str, tuple[float, float]], dtype: str | None = None) -> Cube:
    """The same pixels, of channels whose bands have this scale and offset, and of files of this type."""
    requests = cube.manifest.requests
    sources = tuple(replace(source, dtype=dtype or source.dtype) for source in requests.sources)
    scaling = tuple(pairs[band] for _, band in cube.manifest.channels)
    manifest = replace(cube.manifest, scaling=scaling, requests=replace(requests, sources=sources))
    return replace(cube, manifest=manifest)


def test_scaled_values_are_physical_and_masked(items: list[pystac.Item]) -> None:
    cube = scaled_by(read(items, Window(-3, 0, 40, 20)), {"B02": (0.0001, -0.1), "classes": (1, 0)})
    dataset = cube.to_xarray(scaled=True, masked=False)
    image, valid = (array[0].reshape(2, 2, 40, 20) for array in (cube.image, cube.valid))
    assert dataset["image"].dtype == np.float32
    wanted = np.where(valid[:, 0], image[:, 0].astype(float) * 0.0001 - 0.1, np.nan)
    np.testing.assert_array_equal(dataset["image"].sel(band="B02"), wanted.astype(np.float32))
    np.testing.assert_array_equal(
        dataset["image"].sel(band="classes"), np.where(valid[:, 1], image[:, 1], np.float32("nan"))
    )
    assert "scale_factor" not in dataset["image"].attrs
    assert "add_offset" not in dataset["image"].attrs


@pytest.mark.parametrize(
    ("dtype", "scale", "offset", "wanted"),
    [
        ("uint16", 0.0001, -0.1, "float32"),
        ("int16", -0.0001, 0, "float32"),
        ("uint16", 0.0001, 0, "float32"),
        ("uint16", 0.0001, 273.15, "float32"),
        ("uint16", 0.0001, 3000, "float64"),
        ("uint16", 1, 1e9, "float64"),
        ("uint16", 1e36, 0, "float64"),
        ("uint16", 1e-40, 0, "float64"),
        ("float32", 1, 0, "float32"),
        ("float32", 1, 273.15, "float64"),
        ("int32", 0.5, 0, "float64"),
    ],
)
def test_scaled_values_are_float32_only_where_that_tells_stored_ones_apart(
    items: list[pystac.Item], dtype: str, scale: float, offset: float, wanted: str
) -> None:
    chip = read(items, Window(0, 0, 10, 8))
    cube = scaled_by(chip, {"B02": (scale, offset), "classes": (1, 0)}, dtype)
    assert cube.to_xarray(scaled=True)["image"].dtype == wanted
    if np.dtype(dtype).kind != "f" and np.dtype(dtype).itemsize == 2:
        stored = np.arange(np.iinfo(dtype).min, np.iinfo(dtype).max + 1)
        physical = (stored * scale + offset).astype(wanted)
        assert np.isfinite(physical).all()
        assert len(np.unique(physical)) == len(stored)


def test_a_channel_that_is_twice_there_is_refused(items: list[pystac.Item]) -> None:
    cube = read(items, Window(0, 0, 10, 8))
    twice = (cube.manifest.channels[0],) * 4
    with pytest.raises(ManifestError, match="names a channel twice"):
        replace(cube, manifest=replace(cube.manifest, channels=twice)).to_xarray()


@pytest.mark.parametrize("chip", [-1, 1])
def test_a_chip_that_is_not_there_is_refused(items: list[pystac.Item], chip: int) -> None:
    with pytest.raises(ManifestError, match=f"no chip {chip} in a manifest of 1"):
        read(items, Window(0, 0, 10, 8)).to_xarray(chip)


def test_the_crs_is_there_as_cf_and_rioxarray_read_it(items: list[pystac.Item]) -> None:
    dataset = read(items, Window(0, 0, 10, 8), Window(20, 30, 10, 8)).to_xarray(1)
    for variable in dataset.data_vars.values():
        assert variable.attrs["grid_mapping"] == "spatial_ref"
    reference = dataset["spatial_ref"].attrs
    assert rasterio.CRS.from_wkt(reference["crs_wkt"]).to_epsg() == 32633
    numbers = [float(number) for number in reference["GeoTransform"].split()]
    assert rasterio.Affine.from_gdal(*numbers)[:6] == (10, 0, 500_300, 0, -10, 4_999_800)
    assert dataset["y"].attrs == {"axis": "Y", "standard_name": "projection_y_coordinate", "units": "metre"}
    assert dataset["x"].attrs == {"axis": "X", "standard_name": "projection_x_coordinate", "units": "metre"}


def test_degrees_are_latitude_and_longitude(items: list[pystac.Item]) -> None:
    cube = read(items, Window(0, 0, 10, 8))
    grid = Grid("EPSG:4326", 15, 45, 0.1, 0.2, HEIGHT, WIDTH)
    dataset = replace(cube, manifest=replace(cube.manifest, grid=grid)).to_xarray()
    assert dataset["y"].attrs == {"axis": "Y", "standard_name": "latitude", "units": "degrees_north"}
    assert dataset["x"].attrs == {"axis": "X", "standard_name": "longitude", "units": "degrees_east"}
    np.testing.assert_allclose(dataset["y"][:2], [44.95, 44.85])
    np.testing.assert_allclose(dataset["x"][:2], [15.1, 15.3])


def test_a_crs_that_nobody_knows_is_refused(items: list[pystac.Item]) -> None:
    cube = read(items, Window(0, 0, 10, 8))
    grid = Grid("EPSG:999999", 0, 0, 10, 10, HEIGHT, WIDTH)
    with pytest.raises(GridError, match="no CRS that PROJ knows"):
        replace(cube, manifest=replace(cube.manifest, grid=grid)).to_xarray()


@pytest.mark.parametrize("options", [{}, {"masked": False}, {"scaled": True}])
def test_netcdf_gives_back_what_was_written(items: list[pystac.Item], tmp_path: Path, options: dict[str, bool]) -> None:
    cube = scaled_by(read(items, Window(-3, 0, 40, 20)), {"B02": (0.0001, -0.1), "classes": (1, 0)})
    dataset = cube.to_xarray(**options)
    dataset.to_netcdf(tmp_path / "chip.nc", engine="scipy")
    with xr.open_dataset(tmp_path / "chip.nc", engine="scipy", decode_coords="all") as back:
        assert back["image"].encoding["grid_mapping"] == "spatial_ref"
        for variable in back.data_vars.values():
            variable.attrs["grid_mapping"] = "spatial_ref"  # where xarray moved it from
        xr.testing.assert_identical(back.load(), dataset)


def test_a_geotiff_has_the_pixels_names_and_place_of_a_chip(items: list[pystac.Item], tmp_path: Path) -> None:
    cube = read(items, Window(0, 0, 10, 8), Window(20, 30, 10, 8))
    cube.save_geotiff(tmp_path / "new" / "chip.tif", 1)
    with rasterio.open(tmp_path / "new" / "chip.tif") as file:
        pixels = file.read()
        assert file.crs.to_epsg() == 32633
        assert tuple(file.transform)[:6] == (10, 0, 500_300, 0, -10, 4_999_800)
        assert file.descriptions == ("2020-01/B02", "2020-01/classes", "2020-02/B02", "2020-02/classes")
        assert np.isnan(file.nodata)
    np.testing.assert_array_equal(np.isnan(pixels), ~cube.valid[1])
    np.testing.assert_array_equal(np.nan_to_num(pixels), cube.image[1])


def test_a_crs_without_a_code_is_written_too(items: list[pystac.Item], tmp_path: Path) -> None:
    cube = read(items, Window(0, 0, 10, 8))
    wkt = rasterio.CRS.from_string("+proj=laea +lat_0=50 +lon_0=11 +ellps=GRS80").to_wkt()
    grid = Grid(wkt, 0, 0, 10, 10, HEIGHT, WIDTH)
    replace(cube, manifest=replace(cube.manifest, grid=grid)).save_geotiff(tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.crs == rasterio.CRS.from_wkt(wkt)

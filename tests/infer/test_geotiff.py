import warnings

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.enums import ColorInterp
from rasterio.io import MemoryFile

from geomask.cog.layout import parse_layout
from geomask.grid import Grid
from geomask.infer.geotiff import BLOCK, NODATA, class_colours, encode_cog

HEIGHT, WIDTH = 2 * BLOCK + 88, 2 * BLOCK + 8
GRID = Grid("EPSG:32633", 500_000, 5_000_000, 10, 20, HEIGHT, WIDTH)


def classes(count: int, seed: int = 0) -> np.ndarray:
    """Patches of classes, a speckle, and two holes: a large one and one of single pixels."""
    rng = np.random.default_rng(seed)
    patches = rng.integers(0, count, (-(-HEIGHT // 30), -(-WIDTH // 30)))
    values = np.kron(patches, np.ones((30, 30), int))[:HEIGHT, :WIDTH]
    values = np.where(rng.random(values.shape) < 0.1, rng.integers(0, count, values.shape), values)
    values[100:180, 40:90] = NODATA
    values[rng.random(values.shape) < 0.05] = NODATA
    return values.astype(np.uint8)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return classes(4)


@pytest.fixture(scope="module")
def data(image: np.ndarray) -> bytes:
    return encode_cog(image, GRID, 4)


def test_a_tile_of_classes_is_a_cog_that_says_what_it_is(image: np.ndarray, data: bytes) -> None:
    with MemoryFile(data) as memory, memory.open() as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.tags(ns="IMAGE_STRUCTURE")["COMPRESSION"] == "DEFLATE"
        assert (file.read(1) == image).all()
        assert (file.dtypes, file.nodata, file.block_shapes) == (("uint8",), NODATA, [(BLOCK, BLOCK)])
        assert file.crs.to_string() == GRID.crs
        assert list(file.transform)[:6] == list(GRID.transform)
        assert file.overviews(1) == [2, 4]
        assert (file.read_masks(1) == np.where(image == NODATA, 0, 255)).all()


def test_its_header_comes_first_and_is_read_as_any_other(data: bytes) -> None:
    layout = parse_layout("a.tif", data[: 1 << 14], len(data))
    assert [(level.height, level.width) for level in layout.levels] == [(HEIGHT, WIDTH), (300, 260), (150, 130)]
    assert layout.grid == GRID


def test_classes_have_the_colours_of_the_items(data: bytes) -> None:
    with MemoryFile(data) as memory, memory.open() as file:
        table = file.colormap(1)
        assert file.colorinterp == (ColorInterp.palette,)
    assert [table[value] for value in range(4)] == [(*colour, 255) for colour in class_colours(4)]
    assert table[NODATA][:3] == (0, 0, 0)


def test_overviews_have_the_most_frequent_class_of_what_was_seen(image: np.ndarray, data: bytes) -> None:
    with MemoryFile(data) as memory, memory.open(overview_level=0) as file:
        found = file.read(1)
    rows, cols = HEIGHT // 2, WIDTH // 2
    blocks = image.reshape(rows, 2, cols, 2).swapaxes(1, 2).reshape(rows, cols, 4)
    counts = np.stack([(blocks == value).sum(-1) for value in range(4)])
    nothing = counts.max(0) == 0
    assert (found[nothing] == NODATA).all()
    among = np.take_along_axis(counts, np.minimum(found, 3)[None].astype(int), 0)[0]
    assert (found[~nothing] != NODATA).all()
    assert (among == counts.max(0))[~nothing].all()


def test_values_are_float32_with_nan_and_mean_overviews() -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(200, 30, (HEIGHT, WIDTH)).astype(np.float32)
    image[100:180, 40:90] = np.nan
    image[7, 9] = np.nan
    data = encode_cog(image, GRID, None)
    with MemoryFile(data) as memory, memory.open() as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.dtypes == ("float32",)
        assert np.isnan(file.nodata)
        np.testing.assert_array_equal(file.read(1), image)
        with pytest.raises(ValueError, match="color table"):
            file.colormap(1)
    with MemoryFile(data) as memory, memory.open(overview_level=0) as file:
        found = file.read(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of nothing but NaN
        want = np.nanmean(image.reshape(HEIGHT // 2, 2, WIDTH // 2, 2), axis=(1, 3))
    np.testing.assert_allclose(found, want, rtol=1e-5)


@settings(max_examples=10)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 255), st.booleans(), st.integers(0, 9))
def test_any_size_and_number_of_classes_comes_back(
    height: int, width: int, count: int, values: bool, seed: int
) -> None:
    grid = Grid("EPSG:4326", 10, 50, 1e-4, 2e-4, height, width)
    rng = np.random.default_rng(seed)
    image = (
        rng.normal(0, 1e6, (height, width)).astype("f4") if values else rng.integers(0, count, (height, width), "u1")
    )
    data = encode_cog(image, grid, None if values else count)
    assert encode_cog(image, grid, None if values else count) == data
    with MemoryFile(data) as memory, memory.open() as file:
        np.testing.assert_array_equal(file.read(1), image)
        assert file.bounds == pytest.approx(grid.bounds)


@pytest.mark.parametrize("threads", ["1", "4"])
def test_the_bytes_are_the_same_each_time_and_of_any_number_of_threads(
    threads: str, image: np.ndarray, data: bytes
) -> None:
    """Neither a name in memory nor a time is in them."""
    with rasterio.Env(GDAL_NUM_THREADS=threads):
        assert encode_cog(image, GRID, 4) == data


def test_a_crs_without_a_code_is_kept() -> None:
    text = rasterio.CRS.from_proj4("+proj=laea +lat_0=51 +lon_0=9 +ellps=GRS80 +units=m").to_wkt()
    grid = Grid(text, 0, 0, 10, 10, 3, 4)
    with MemoryFile(encode_cog(np.zeros((3, 4), np.uint8), grid, 2)) as memory, memory.open() as file:
        assert file.crs == rasterio.CRS.from_wkt(text)


@given(st.integers(1, 255))
def test_more_classes_change_no_colour_and_none_is_that_of_nodata(count: int) -> None:
    colours = class_colours(count)
    assert colours == class_colours(255)[:count]
    assert all(0 <= part <= 255 for colour in colours for part in colour)
    assert (0, 0, 0) not in colours


def test_the_colours_of_some_classes_differ() -> None:
    colours = np.array(class_colours(20))
    apart = np.abs(colours[:, None] - colours[None]).sum(-1) + 999 * np.eye(20)
    assert apart.min() >= 20

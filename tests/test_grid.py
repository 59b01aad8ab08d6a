import math

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from geomask.crs import same_crs
from geomask.errors import GridError
from geomask.grid import Grid, Window

UTM = "EPSG:32633"
GRID = Grid(UTM, 500_000, 5_000_000, 10, 10, 20, 30)

windows = st.builds(Window, st.integers(-30, 40), st.integers(-30, 40), st.integers(1, 30), st.integers(1, 30))


@st.composite
def sources(draw: st.DrawFn) -> Grid:
    """Grids of whole multiples of GRID's pixels whose edges fall on those of its pixels, near it or away from it."""
    multiple = draw(st.sampled_from([1, 2, 3, 6]))
    left, top = 500_000 + 10 * draw(st.integers(-30, 40)), 5_000_000 + 10 * draw(st.integers(-30, 40))
    return Grid(UTM, left, top, 10 * multiple, 10 * multiple, draw(st.integers(1, 20)), draw(st.integers(1, 20)))


def nearest(target: Grid, window: Window, source: Grid, pixels: np.ndarray) -> np.ndarray:
    """The source's pixel under the centre of each pixel of the window, one by one; -1 where there is none."""
    out = np.full((window.height, window.width), -1)
    for row in range(window.height):
        for col in range(window.width):
            y = target.top - (window.row_off + row + 0.5) * target.res_y
            x = target.left + (window.col_off + col + 0.5) * target.res_x
            i, j = math.floor((source.top - y) / source.res_y), math.floor((x - source.left) / source.res_x)
            if 0 <= i < source.height and 0 <= j < source.width:
                out[row, col] = pixels[i, j]
    return out


@given(windows, sources())
@settings(deadline=None)
def test_every_pixel_of_a_window_shows_the_source_pixel_under_its_centre(window: Window, source: Grid) -> None:
    pixels = np.arange(source.height * source.width).reshape(source.height, source.width)
    wanted = nearest(GRID, window, source, pixels)
    placement = GRID.place(window, source)
    if placement is None:
        assert (wanted == -1).all()
        return
    out = np.full(wanted.shape, -1)
    part = placement.source
    placement.paste(pixels[part.row_off : part.row_stop, part.col_off : part.col_stop], out)
    np.testing.assert_array_equal(out, wanted)


@given(windows, sources(), st.data())
@settings(deadline=None)
def test_a_level_of_any_size_shows_the_pixel_under_each_centre_and_may_be_pasted_in_parts(
    window: Window, source: Grid, data: st.DataObject
) -> None:
    size = data.draw(st.integers(1, source.height)), data.draw(st.integers(1, source.width))
    level, pixels = source.resized(*size), np.arange(size[0] * size[1]).reshape(size)
    wanted = nearest(GRID, window, level, pixels)
    placement = GRID.place(window, source, size)
    assert (placement is None) == (wanted == -1).all()
    if placement is None:
        return
    out, part = np.full(wanted.shape, -1), placement.source
    cut = data.draw(st.integers(0, part.height))
    for first, count in ((0, cut), (cut, part.height - cut)):
        if count:
            piece = placement.narrow(first, count)
            assert piece.source == Window(part.row_off + first, part.col_off, count, part.width)
            piece.paste(pixels[piece.source.row_off : piece.source.row_stop, part.col_off : part.col_stop], out)
    np.testing.assert_array_equal(out, wanted)


@given(st.lists(windows, max_size=5), sources(), st.data())
@settings(deadline=None)
def test_many_windows_are_covered_as_each_is_placed(places: list[Window], source: Grid, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, source.height)), data.draw(st.integers(1, source.width))
    rows = np.array([(w.row_off, w.col_off, w.height, w.width) for w in places], np.int64).reshape(-1, 4)
    met, parts = GRID.cover(rows, source, size)
    alone = [GRID.place(window, source, size) for window in places]
    assert met.tolist() == [number for number, placement in enumerate(alone) if placement]
    assert [Window(*part) for part in parts.tolist()] == [placement.source for placement in alone if placement]


@given(windows, sources())
@settings(deadline=None)
def test_a_placement_reads_no_pixel_that_it_does_not_show(window: Window, source: Grid) -> None:
    placement = GRID.place(window, source)
    if placement is not None:
        assert placement.source.within(source.height, source.width)
        out = np.full((window.height, window.width), -1)
        count = placement.source.height * placement.source.width
        placement.paste(np.arange(count).reshape(placement.source.height, placement.source.width), out)
        assert set(out.flat) - {-1} == set(range(count))


@pytest.mark.parametrize(
    "source",
    [
        Grid("EPSG:32634", 500_000, 5_000_000, 10, 10, 9, 9),
        Grid(UTM, 500_005, 5_000_000, 10, 10, 9, 9),
        Grid(UTM, 500_000, 5_000_002, 10, 10, 9, 9),
        Grid(UTM, 500_000, 5_000_000, 5, 5, 9, 9),
        Grid(UTM, 500_000, 5_000_000, 15, 15, 9, 9),
        Grid(UTM, 500_000, 5_000_000, 20.002, 20.002, 100, 9),
        Grid(UTM, 500_000, 5_000_000, 20, 10, 9, 9),
        Grid(UTM, 500_000, 5_000_000, 10, 20, 9, 9),
    ],
)
def test_grids_that_do_not_line_up_are_told_apart(source: Grid) -> None:
    assert not GRID.lines_up(source)
    assert GRID.lines_up(GRID)


def test_a_crs_that_is_none_is_refused() -> None:
    with pytest.raises(GridError, match="no CRS"):
        GRID.place(GRID.window, Grid("EPSG:0", 500_000, 5_000_000, 10, 10, 9, 9))


def test_an_overview_that_drifts_by_a_pixel_over_a_large_image_does_not_line_up() -> None:
    full = Grid(UTM, 500_000, 5_000_000, 10, 10, 10_981, 10_981)
    assert not full.lines_up(full.resized(5491, 5491))


def test_the_noise_of_coordinates_written_with_four_decimals_is_no_shift() -> None:
    noisy = Grid(UTM, 500_000.0001, 4_999_999.9999, 20, 20, 9, 9)
    placement = GRID.place(GRID.window, noisy)
    assert placement is not None
    assert placement.source == Window(0, 0, 9, 9)


def test_pixels_of_a_fraction_of_a_degree_line_up() -> None:
    gsd = 1 / 3710.7
    grid = Grid("EPSG:4326", 10.1, 50.2, gsd, gsd, 40_000, 40_000)
    source = Grid("EPSG:4326", 10.1 + 7000 * gsd, 50.2 - 9000 * gsd, 2 * gsd, 2 * gsd, 15_000, 15_000)
    placement = grid.place(Window(9002, 7004, 2, 2), source)
    assert placement is not None
    assert placement.source == Window(1, 2, 1, 1)


def test_a_crs_is_the_same_as_a_code_and_as_text() -> None:
    assert same_crs(UTM, CRS.from_epsg(32633).to_wkt())
    assert not same_crs(UTM, CRS.from_epsg(32634).to_wkt())


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (-1, 5)])
def test_an_empty_window_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(GridError, match="at least one row"):
        Window(0, 0, *size)


@pytest.mark.parametrize(
    ("window", "inside"),
    [
        (Window(0, 0, 20, 30), True),
        (Window(19, 29, 1, 1), True),
        (Window(1, 0, 20, 1), False),
        (Window(0, 1, 1, 30), False),
        (Window(-1, 0, 1, 1), False),
        (Window(0, -1, 1, 1), False),
    ],
)
def test_a_window_within_an_image_reaches_over_no_edge(window: Window, inside: bool) -> None:
    assert window.within(20, 30) is inside


@pytest.mark.parametrize(
    "numbers",
    [
        (math.nan, 0, 1, 1, 5, 5),
        (0, math.inf, 1, 1, 5, 5),
        (0, 0, 0, 1, 5, 5),
        (0, 0, 1, -1, 5, 5),
        (0, 0, 1, 1, 0, 5),
        (0, 0, 1, 1, 5, -1),
    ],
)
def test_a_grid_without_area_is_refused(numbers: tuple[float, float, float, float, int, int]) -> None:
    with pytest.raises(GridError, match="a grid"):
        Grid(UTM, *numbers)


@pytest.mark.parametrize("transform", [(10, 1, 0, 0, -10, 0), (10, 0, 0, 1, -10, 0), (10, 0, 0, 0, 10, 0)])
def test_a_raster_that_is_not_north_up_is_refused(transform: tuple[float, ...]) -> None:
    with pytest.raises(GridError, match="not north-up"):
        Grid.from_transform(UTM, transform, 5, 5)


@given(windows)
@settings(deadline=None)
def test_windows_transform_as_rasterio_says(window: Window) -> None:
    crop = GRID.crop(window)
    place = rasterio.windows.Window(window.col_off, window.row_off, window.width, window.height)
    affine = rasterio.Affine(*GRID.transform)
    assert crop.transform == tuple(rasterio.windows.transform(place, affine))[:6]
    assert crop.bounds == rasterio.windows.bounds(place, affine)
    assert Grid.from_transform(UTM, crop.transform, crop.height, crop.width) == crop


@given(windows, st.floats(-4.9, 4.9), st.floats(-4.9, 4.9))
@settings(deadline=None)
def test_bounds_lead_back_to_the_window_with_the_nearest_edges(window: Window, dx: float, dy: float) -> None:
    left, bottom, right, top = GRID.bounds_of(window)
    assert GRID.window_of((left + dx, bottom + dy, right + dx, top + dy)) == window


@pytest.mark.parametrize("bounds", [(500_000, 4_999_999, 500_100, 5_000_000), (0, 0, math.nan, 10)])
def test_bounds_of_less_than_half_a_pixel_are_no_window(bounds: tuple[float, float, float, float]) -> None:
    with pytest.raises(GridError):
        GRID.window_of(bounds)


@pytest.mark.parametrize("crs", ["https://example.com/crs", "/vsicurl/x", "crs.wkt", "", "+proj=utm +zone=33"])
def test_a_crs_that_gdal_would_go_and_read_is_refused(crs: str) -> None:
    with pytest.raises(GridError, match="CRS as text"):
        Grid(crs, 0, 0, 10, 10, 5, 5)

"""Levels are chosen and placed by their real sizes."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
from cogs import expected, write_cog

from geomask.grid import Grid, Window
from geomask.plan.compile import compile_manifest
from geomask.plan.manifest import Manifest
from geomask.plan.sources import index_selection
from geomask.read.reader import read_manifest
from geomask.selection import Channel, Selection
from geomask.stac.profile import Band
from geomask.stac.slots import make_slots

HEIGHT, WIDTH = 101, 90


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """101 x 90 pixels of 10 m; overviews of 51 x 45 and 13 x 12, which do not divide it."""
    return write_cog(tmp_path_factory.mktemp("levels") / "a.tif", height=HEIGHT, width=WIDTH, overviews=(2, 8))


def plan(path: Path, level: int | None, grid: Grid, chips: list[Window] | None = None) -> Manifest:
    item = pystac.Item("one", None, None, datetime(2020, 1, 5, tzinfo=UTC), {})
    item.add_asset("a", pystac.Asset(str(path)))
    selection = Selection(make_slots([item]), (Band("a", "a", 10),), (Channel(0, 0, level),))
    return compile_manifest(selection, [item], index_selection(selection, [item]), grid, chips)


@pytest.mark.parametrize(("level", "factor"), [(0, 2), (1, 8)])
def test_an_overview_that_does_not_divide_the_file_fills_its_grid_by_the_pixel_under_each_centre(
    path: Path, level: int, factor: int
) -> None:
    grid = Grid("EPSG:32633", 500_000, 5_000_000, 10, 10, HEIGHT, WIDTH)
    chips = [Window(0, 0, 40, 30), Window(57, 55, 40, 30), Window(80, 70, 40, 30)]
    manifest = plan(path, level, grid, chips)
    cube, _ = read_manifest(manifest)
    with rasterio.open(path, overview_level=level) as dataset:
        assert dataset.shape == (-(-HEIGHT // factor), -(-WIDTH // factor))
        stored, res_x, res_y = dataset.read(1), *dataset.res
    for number, chip in enumerate(chips):
        for row, col in np.ndindex(40, 30):
            y, x = chip.row_off + row, chip.col_off + col
            if y >= HEIGHT or x >= WIDTH:
                assert not cube.valid[number, 0, row, col]
                continue
            wanted = stored[int(10 * (y + 0.5) / res_y), int(10 * (x + 0.5) / res_x)]
            assert cube.image[number, 0, row, col] == wanted
            assert cube.valid[number, 0, row, col]


def test_a_coarser_grid_is_filled_from_the_overview_whose_pixels_are_as_large(tmp_path: Path) -> None:
    path = write_cog(tmp_path / "a.tif", height=160, width=128, overviews=(2, 4))
    for factor, level in ((1, None), (2, 0), (4, 1)):
        grid = Grid("EPSG:32633", 500_000, 5_000_000, 10 * factor, 10 * factor, 160 // factor, 128 // factor)
        manifest = plan(path, None, grid)
        assert [source.level for source in manifest.requests.sources] == [level]
        cube, _ = read_manifest(manifest)
        np.testing.assert_array_equal(cube.image[0, 0], expected(1, level, range(grid.height), range(grid.width)))
    manifest = plan(path, None, Grid("EPSG:32633", 500_000, 5_000_000, 30, 30, 53, 42))
    assert [source.level for source in manifest.requests.sources] == [0]
    cube, _ = read_manifest(manifest)
    rows, cols = ([(2 * at + 1) * 30 // 40 for at in range(count)] for count in (53, 42))  # under the centres
    np.testing.assert_array_equal(cube.image[0, 0], expected(1, 0, rows, cols))

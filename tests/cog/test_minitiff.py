from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from cogs import expected, write_cog
from rasterio.io import MemoryFile

from geomask.cog.layout import Layout, parse_layout
from geomask.cog.level import ByteRange
from geomask.cog.minitiff import cut_tiff
from geomask.grid import Window

WINDOW = Window(40, 35, 30, 20)
"""Of tiles of 32 x 32: rows 1 and 2, column 1."""


def source(path: Path) -> tuple[Layout, Callable[[ByteRange], bytes], list[ByteRange]]:
    """A layout, what gives its tiles, and the tiles that were asked for."""
    data, asked = path.read_bytes(), []

    def tile(piece: ByteRange) -> bytes:
        asked.append(piece)
        return data[piece.offset : piece.stop]

    return parse_layout(str(path), data, len(data)), tile, asked


def test_a_cut_holds_the_tiles_of_the_window_and_no_others(tmp_path: Path) -> None:
    layout, tile, asked = source(write_cog(tmp_path / "a.tif"))
    content, row, col = cut_tiff(layout, layout.level(None), {0}, WINDOW, tile)
    assert (row, col) == (8, 3)
    assert [piece.offset for piece in asked] == layout.level(None).offsets[0, 1:3, 1].tolist()
    assert len(asked) == 2
    assert sum(piece.length for piece in asked) < len(content) < sum(piece.length for piece in asked) + 1000
    with MemoryFile(content) as file, file.open() as dataset:
        np.testing.assert_array_equal(dataset.read(1), expected(1, None, range(32, 96), range(32, 64)))


@pytest.mark.parametrize("version", [None, 0, 1])
def test_a_cut_lies_where_its_pixels_lie(version: int | None, tmp_path: Path) -> None:
    layout, tile, _ = source(write_cog(tmp_path / "a.tif", height=300, width=260))
    content, row, col = cut_tiff(layout, layout.level(version), {0}, WINDOW, tile)
    place = rasterio.windows.Window(WINDOW.col_off - col, WINDOW.row_off - row, 1, 1)
    options = {} if version is None else {"overview_level": version}
    with rasterio.open(tmp_path / "a.tif", **options) as whole, MemoryFile(content) as file, file.open() as cut:
        assert tuple(cut.transform) == pytest.approx(tuple(whole.window_transform(place)))
        assert (cut.nodata, cut.dtypes) == (whole.nodata, whole.dtypes)


def test_the_last_tiles_end_with_the_image(tmp_path: Path) -> None:
    layout, tile, _ = source(write_cog(tmp_path / "a.tif"))
    content, row, col = cut_tiff(layout, layout.level(None), {0}, Window(99, 89, 1, 1), tile)
    with MemoryFile(content) as file, file.open() as dataset:
        assert dataset.shape == (4, 26)
        np.testing.assert_array_equal(dataset.read(1)[row:, col:], expected(1, None, [99], [89]))


@pytest.mark.parametrize("interleave", ["band", "tile"])
def test_of_bands_in_tiles_of_their_own_only_one_is_asked_for(interleave: str, tmp_path: Path) -> None:
    path = write_cog(tmp_path / "a.tif", bands=3, interleave=interleave, nodata=7)
    layout, tile, asked = source(path)
    content, _, _ = cut_tiff(layout, layout.level(None), {1}, WINDOW, tile)
    offsets = layout.level(None).offsets
    assert [piece.offset for piece in asked] == offsets[1, 1:3, 1].tolist()
    with MemoryFile(content) as file, file.open() as dataset:
        pixels = dataset.read()
    np.testing.assert_array_equal(pixels[1], expected(2, None, range(32, 96), range(32, 64)))
    assert (pixels[[0, 2]] == 7).all()


def test_of_bands_in_one_tile_all_come_with_it(tmp_path: Path) -> None:
    layout, tile, asked = source(write_cog(tmp_path / "a.tif", bands=3, interleave="pixel"))
    content, _, _ = cut_tiff(layout, layout.level(None), {0}, WINDOW, tile)
    assert len(asked) == 2
    with MemoryFile(content) as file, file.open() as dataset:
        for band in (1, 2, 3):
            np.testing.assert_array_equal(dataset.read(band), expected(band, None, range(32, 96), range(32, 64)))


def test_a_tile_that_the_file_does_not_hold_is_not_asked_for_and_reads_as_nodata(tmp_path: Path) -> None:
    def first_tile_only(_band: int, _level: Any, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return np.where((rows < 32) & (columns < 32), 5, 9)

    path = write_cog(tmp_path / "a.tif", nodata=9, values=first_tile_only, overviews=False, SPARSE_OK=True)
    layout, tile, asked = source(path)
    content, _, _ = cut_tiff(layout, layout.level(None), {0}, Window(0, 0, 64, 64), tile)
    assert len(asked) == 1
    with MemoryFile(content) as file, file.open() as dataset:
        pixels = dataset.read(1)
    assert (pixels[:32, :32] == 5).all()
    assert (pixels == 9).sum() == 64 * 64 - 32 * 32
    cut_tiff(layout, layout.level(None), {0}, Window(64, 64, 1, 1), tile)
    assert len(asked) == 1


def test_a_cut_is_written_in_the_byte_order_of_its_source(tmp_path: Path) -> None:
    path = write_cog(tmp_path / "a.tif", driver="GTiff", ENDIANNESS="BIG", compress="none")
    layout, tile, _ = source(path)
    content, row, col = cut_tiff(layout, layout.level(None), {0}, WINDOW, tile)
    assert content[:4] == b"MM\0\x2b"
    with MemoryFile(content) as file, file.open() as dataset:
        rows, cols = range(40, 70), range(35, 55)
        found = dataset.read(1)[row : row + 30, col : col + 20]
        np.testing.assert_array_equal(found, expected(1, None, rows, cols))

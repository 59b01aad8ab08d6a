import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geomask.cog.level import Level
from geomask.cog.prefix import BULGE, MARGIN, WORTH_NBYTES
from geomask.errors import GridError
from geomask.grid import Window
from geomask.plan.tiles import Tiles, find_tiles, window_array

HEIGHT, WIDTH, SIDE = 70, 50, 16
SHAPE = (2, 5, 4)


def level(mask: bool = False, compression: int = 50000, nbytes: int = 90) -> Level:
    """Two planes of 5 x 4 tiles, every seventh of which the file does not hold."""
    count = int(np.prod(SHAPE))
    offsets = np.arange(count).reshape(SHAPE) * 10 * nbytes
    lengths = np.where(np.arange(count).reshape(SHAPE) % 7, nbytes, 0)
    masks = Level(HEIGHT, WIDTH, 32, 32, 7 + np.arange(6).reshape(1, 3, 2), np.full((1, 3, 2), 3)) if mask else None
    return Level(HEIGHT, WIDTH, SIDE, SIDE, offsets, lengths, mask=masks, compression=compression, row_nbytes=SIDE)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    row, col = draw(st.integers(0, HEIGHT - 1)), draw(st.integers(0, WIDTH - 1))
    return Window(row, col, draw(st.integers(1, HEIGHT - row)), draw(st.integers(1, WIDTH - col)))


def touched(window: Window, side: int) -> list[tuple[int, int]]:
    pixels = ((r, c) for r in range(window.row_off, window.row_stop) for c in range(window.col_off, window.col_stop))
    return sorted({(row // side, col // side) for row, col in pixels})


@given(st.lists(windows(), max_size=4), st.sampled_from([(0,), (1,), (0, 1)]), st.booleans(), st.data())
@settings(deadline=None)
def test_tiles_are_those_that_the_windows_touch(
    places: list[Window], planes: tuple[int, ...], mask: bool, data: st.DataObject
) -> None:
    source = level(mask)
    tiles = find_tiles(source, planes, window_array(places))
    assert len(tiles.starts) == len(places) + 1
    for number, window in enumerate(places):
        at = [(plane, *tile) for plane in planes for tile in touched(window, SIDE) if source.lengths[plane, *tile]]
        wanted = [(int(source.offsets[tile]), 90) for tile in at]
        wanted += [(7 + 2 * row + col, 3) for row, col in touched(window, 32) if mask]
        found = slice(*tiles.starts[number : number + 2])
        assert list(zip(tiles.offsets[found], tiles.lengths[found], strict=True)) == wanted
        assert tiles.wholes[found].tolist() == [nbytes for _, nbytes in wanted]
    some = data.draw(st.permutations(range(len(places))))
    again = tiles.take(np.array(some, np.int64))
    alone = [find_tiles(source, planes, window_array([places[number]])) for number in some]
    joined = Tiles.join(alone)
    for one, other in ((again.starts, joined.starts), (again.offsets, joined.offsets), (again.lengths, joined.lengths)):
        np.testing.assert_array_equal(one, other)


def test_a_window_over_the_level_is_refused() -> None:
    for window in (Window(60, 0, 11, 5), Window(0, 40, 5, 11), Window(-1, 0, 5, 5)):
        with pytest.raises(GridError, match="reaches over the level of 70 x 50"):
            find_tiles(level(), (0,), window_array([window]))


@pytest.mark.parametrize(
    ("compression", "rows", "wanted"), [(8, 4, 0.25), (5, 4, 1.0), (1, 4, 64 / 90_000), (50000, 4, 1)]
)
def test_a_prefix_is_the_share_of_the_rows_and_a_margin(compression: int, rows: int, wanted: float) -> None:
    source = level(compression=compression, nbytes=90_000)
    tiles = find_tiles(source, (0,), window_array([Window(16, 0, 4, 5)]))
    margin = MARGIN + BULGE * np.sqrt(wanted * (1 - wanted)) if compression == 8 else 0
    assert tiles.lengths.tolist() == [np.ceil(90_000 * (wanted + margin))]
    assert tiles.wholes.tolist() == [90_000]
    assert tiles.whole().lengths.tolist() == [90_000]


def test_rows_below_the_image_are_no_part_of_the_share() -> None:
    source = level(compression=8, nbytes=90_000)
    tiles = find_tiles(source, (0,), window_array([Window(64, 0, 3, 5), Window(64, 0, 6, 5)]))
    share = 3 / 6  # of the last tile six rows lie in the image
    assert tiles.lengths.tolist() == [np.ceil(90_000 * (share + MARGIN + BULGE * share)), 90_000]


def test_a_prefix_that_would_spare_next_to_nothing_is_not_tried() -> None:
    for nbytes, spared in ((WORTH_NBYTES, False), (3 * WORTH_NBYTES, True)):
        tiles = find_tiles(level(compression=8, nbytes=nbytes), (0,), window_array([Window(16, 0, 1, 5)]))
        assert (tiles.lengths[0] < nbytes) == spared

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geomask.errors import SelectionError
from geomask.masks.grain import Grain

SLOTS, BANDS, SIZE = 3, 2, (5, 7)

SHAPES = {
    "channel": (6, 1, 1),
    "band": (2, 1, 1),
    "slot": (3, 1, 1),
    "version": (1, 1, 1),
    "pixel": (1, 5, 7),
    "subpixel": (6, 5, 7),
    "block:2x3": (1, 2, 3),
    "subblock:4x1": (6, 4, 1),
}


def unit_at(name: str, slot: int, band: int, row: int, column: int) -> tuple[int, int, int]:
    """The unit of a value, from the words of the documentation."""
    kind, _, blocks = name.partition(":")
    rows, columns = (int(part) for part in blocks.split("x")) if blocks else (1, 1)
    if kind.endswith("pixel"):
        rows, columns = SIZE
    group = {"channel": slot * BANDS + band, "band": band, "slot": slot}.get(kind, 0)
    group = slot * BANDS + band if kind.startswith("sub") else group
    return group, row * rows // SIZE[0], column * columns // SIZE[1]


@pytest.mark.parametrize(("name", "shape"), SHAPES.items())
def test_each_value_has_the_mask_of_its_unit(name: str, shape: tuple[int, int, int]) -> None:
    grain = Grain.of(name, SLOTS, BANDS, SIZE)
    assert (grain.shape, grain.units) == (shape, np.prod(shape))
    mask = torch.arange(grain.units).reshape(grain.shape)
    spread = grain.spread(mask, SIZE).expand(SLOTS * BANDS, *SIZE)
    for place in np.ndindex(SLOTS, BANDS, *SIZE):
        slot, band, row, column = place
        assert spread[slot * BANDS + band, row, column] == mask[unit_at(name, *place)]


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 9), st.integers(0, 9))
def test_blocks_of_any_grid_differ_by_at_most_a_pixel(rows: int, columns: int, more: int, wider: int) -> None:
    size = (rows + more, columns + wider)
    grain = Grain.of(f"block:{rows}x{columns}", 1, 1, size)
    counts = torch.bincount(
        grain.spread(torch.arange(grain.units).reshape(grain.shape), size).expand(1, *size).flatten()
    )
    assert len(counts) == grain.units
    heights, widths = (
        {length // blocks, -(-length // blocks)} for length, blocks in zip(size, (rows, columns), strict=True)
    )
    assert set(counts.tolist()) <= {height * width for height in heights for width in widths}


@pytest.mark.parametrize("name", ["pixels", "block", "block:0x2", "block:2", "subchannel", "block:6x2", "subblock:2x8"])
def test_what_is_no_grain_is_an_error(name: str) -> None:
    with pytest.raises(SelectionError, match=name.partition(":")[0]):
        Grain.of(name, SLOTS, BANDS, SIZE)

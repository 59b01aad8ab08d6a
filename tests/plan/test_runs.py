import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geomask.cog.level import ByteRange
from geomask.plan.runs import LEADER_GAP, join_runs, worthwhile_gap

SIZE = 400
"""Bytes of every file."""

Range = tuple[int, int, int, int]
"""File, offset, length, whole."""


@st.composite
def ranges(draw: st.DrawFn) -> list[Range]:
    """Of up to three files; tiles follow each other with gaps, and of one tile there may be several prefixes."""
    tiles = []
    for file in range(3):
        at = draw(st.integers(0, 60))
        for gap, whole in draw(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 40)), max_size=6)):
            tiles.append((file, at + gap, whole))
            at += gap + whole
    wanted = draw(st.lists(st.sampled_from(tiles), max_size=10)) if tiles else []
    return [(file, offset, draw(st.integers(1, whole)), whole) for file, offset, whole in wanted]


@given(ranges(), st.lists(st.integers(0, 100), min_size=3, max_size=3), st.sampled_from([0, 8, 25]))
def test_runs_cover_what_is_wanted_beyond_the_headers_and_join_over_gaps(
    wanted: list[Range], heads: list[int], gap: int
) -> None:
    columns = np.array(wanted, np.int64).reshape(-1, 4).T
    runs = join_runs(*columns, np.array(heads), gap)
    bytes_of = np.zeros((3, SIZE), bool)
    for file, offset, length, _ in wanted:
        bytes_of[file, max(offset, heads[file]) : offset + length] = True
    expected = []
    for file in range(3):
        places = np.flatnonzero(bytes_of[file])
        if len(places):
            parts = np.split(places, np.flatnonzero(np.diff(places) - 1 > gap) + 1)
            expected += [(file, ByteRange(int(part[0]), int(part[-1] - part[0] + 1))) for part in parts]
    assert list(runs) == expected
    longest: dict[tuple[int, int], tuple[int, int]] = {}
    for file, offset, length, whole in wanted:
        longest[file, offset] = max(longest.get((file, offset), (0, whole)), (length, whole))
    beyond = {
        (file, offset): (offset + length - max(offset, heads[file]), length < whole)
        for (file, offset), (length, whole) in longest.items()
    }
    tiles = sum(max(0, nbytes) for nbytes, partial in beyond.values() if not partial)
    prefixes = sum(max(0, nbytes) for nbytes, partial in beyond.values() if partial)
    assert (runs.tile_nbytes, runs.prefix_nbytes) == (tiles, prefixes)
    assert runs.nbytes == sum(run.length for _, run in expected)
    assert runs.gap_nbytes == runs.nbytes - bytes_of.sum()


@pytest.mark.parametrize(
    ("round_trip", "bandwidth", "gap"), [(0.05, 250_000, 12_499), (0.05, 250_001, 12_500), (0, 1e9, 8), (1e-6, 1, 8)]
)
def test_a_gap_is_worth_fetching_while_it_takes_less_than_a_round_trip(
    round_trip: float, bandwidth: float, gap: int
) -> None:
    assert worthwhile_gap(round_trip, bandwidth) == gap
    assert gap == LEADER_GAP or gap < round_trip * bandwidth

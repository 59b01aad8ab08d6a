from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geomask.cog.layout import ByteRange
from geomask.errors import SelectionError
from geomask.grid import Grid, Window
from geomask.plan.cost import Cost
from geomask.plan.manifest import LEADER_GAP, Manifest
from geomask.plan.request import ReadRequest

GRID = Grid("EPSG:32633", 0, 0, 10, 10, 64, 64)
SIZE = 4000
"""Bytes of every file."""


def read(channel: int, file: str, tiles: Sequence[ByteRange], header: int = 100, chip: int = 0) -> ReadRequest:
    window = Window(0, 0, 32, 32)
    return ReadRequest(
        *("item", None, "asset", file, "slot", str(channel), channel, chip, 1, None, window, tuple(tiles)),
        *(header, SIZE, None, "uint16", 0, 1.0, 0.0),
    )


def plan(requests: Sequence[ReadRequest], channels: int) -> Manifest:
    names = tuple(("slot", str(channel)) for channel in range(channels))
    return Manifest(GRID, (GRID.window,) * 3, names, tuple(requests), "digest")


@st.composite
def plans(draw: st.DrawFn) -> Manifest:
    """Up to six channels in up to three files; tiles follow with gaps, and channels and chips share them."""
    requests, channels = [], draw(st.integers(1, 6))
    files = []
    for name in "abc":
        steps = draw(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 90)), min_size=1, max_size=12))
        tiles, position = [], draw(st.integers(20, 200))
        for gap, length in steps:
            tiles.append(ByteRange(position + gap, length))
            position = tiles[-1].stop
        files.append((name, draw(st.integers(1, 900)), tiles))
    for channel in range(channels):
        name, header, tiles = draw(st.sampled_from(files))
        chosen = draw(st.lists(st.lists(st.sampled_from(tiles)), max_size=3))
        requests += [read(channel, name, some, header, chip) for chip, some in enumerate(chosen)]
    return plan(requests, channels)


def count(requests: Sequence[ReadRequest]) -> tuple[int, int, int]:
    """Bytes of headers, tiles and gaps, counted one by one."""
    headers = tiles = gaps = 0
    for file in {request.href for request in requests}:
        wanted = np.zeros(SIZE, bool)
        for request in requests:
            if request.href == file:
                header = request.header_nbytes
                for piece in request.ranges:
                    wanted[piece.offset : piece.stop] = True
        wanted[:header] = False
        places = np.flatnonzero(wanted)
        between = np.diff(places) - 1
        headers += header
        tiles += len(places)
        gaps += int(between[between <= LEADER_GAP].sum())
    return headers, tiles, gaps


@given(plans(), st.data())
@settings(deadline=None)
def test_the_cost_of_channels_is_the_bytes_of_their_plan_and_of_a_count_by_hand(
    whole: Manifest, data: st.DataObject
) -> None:
    cost = Cost.of(whole)
    channels = data.draw(st.sets(st.sampled_from(range(len(whole.channels)))))
    part = plan([request for request in whole.requests if request.channel in channels], len(whole.channels))
    assert cost.total(channels) == part.planned_nbytes == sum(count(part.requests))
    assert (part.header_nbytes, part.tile_nbytes, part.gap_nbytes) == count(part.requests)
    assert cost.dense == whole.planned_nbytes
    for channel in channels:
        alone = [request for request in whole.requests if request.channel == channel]
        assert cost.alone[channel] == sum(count(alone))


@given(plans(), st.data())
@settings(deadline=None)
def test_a_free_rider_is_a_channel_left_out_whose_file_is_read_and_that_adds_no_byte(
    whole: Manifest, data: st.DataObject
) -> None:
    cost = Cost.of(whole)
    kept = data.draw(st.sets(st.sampled_from(range(len(whole.channels)))))
    files = {request.channel: request.href for request in whole.requests}
    read_files = {files[channel] for channel in kept & set(files)}
    wanted = [
        channel
        for channel in sorted(set(files) - kept)
        if files[channel] in read_files and cost.total(kept | {channel}) == cost.total(kept)
    ]
    assert cost.free_riders(kept) == wanted


TILES = [ByteRange(1000, 300), ByteRange(2000, 500)]


def test_bands_in_one_tile_share_all_and_leaving_one_out_saves_nothing() -> None:
    cost = Cost.of(plan([read(channel, "pixel", TILES) for channel in range(3)], 3))
    assert cost.alone.tolist() == [900, 900, 900]
    assert cost.dense == cost.total([1]) == 900
    assert cost.shared == ((0, 1, 2),)
    assert cost.free_riders([1]) == [0, 2]


def test_bands_in_tiles_of_their_own_share_the_header_only() -> None:
    cost = Cost.of(plan([read(0, "band", TILES[:1]), read(1, "band", TILES[1:])], 2))
    assert cost.alone.tolist() == [400, 600]
    assert cost.dense == 900
    assert cost.shared == ((0, 1),)
    assert cost.free_riders([1]) == []


def test_files_of_their_own_share_nothing() -> None:
    cost = Cost.of(plan([read(0, "a", TILES), read(1, "b", TILES)], 3))
    assert cost.shared == ()
    assert cost.dense == 1800
    assert cost.free_riders([0]) == []


def test_a_channel_that_no_item_fills_costs_nothing_and_rides_with_nobody() -> None:
    cost = Cost.of(plan([read(0, "a", TILES)], 3))
    assert cost.alone.tolist() == [900, 0, 0]
    assert (cost.total([1, 2]), cost.dense) == (0, 900)
    assert cost.shared == ()


def test_a_tile_that_chips_share_counts_once() -> None:
    requests = [read(0, "a", TILES[:1], chip=0), read(0, "a", TILES, chip=1), read(0, "a", TILES[1:], chip=2)]
    assert Cost.of(plan(requests, 1)).dense == 900


def test_what_lies_in_the_header_costs_no_more_than_the_header() -> None:
    requests = [replace(request, header_nbytes=1200) for request in (read(0, "a", TILES[:1]), read(1, "a", TILES))]
    cost = Cost.of(plan(requests, 2))
    assert cost.alone.tolist() == [1200 + 100, 1200 + 100 + 500]


COST = Cost.of(plan([read(0, "a", TILES), read(1, "b", TILES[:1]), read(2, "c", TILES[1:])], 4))
"""900 + 400 + 600 bytes, and a channel that no item fills."""


@pytest.mark.parametrize(
    ("text", "nbytes"), [("100%", 1900), ("50%", 950), ("21.06%", 400), ("400", 400), ("1e3", 1000)]
)
def test_a_budget_is_a_share_of_dense_or_a_number_of_bytes(text: str, nbytes: int) -> None:
    assert COST.budget(text) == nbytes


@pytest.mark.parametrize("text", ["", "%", "ten", "10 %%", "5MB", "nan", "nan%", "inf"])
def test_a_budget_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(SelectionError, match="budget"):
        COST.budget(text)


@pytest.mark.parametrize("text", ["0", "-5%", "399", "21%", "100.1%", "1901"])
def test_a_budget_outside_what_there_is_to_choose_from_is_refused_with_the_limits(text: str) -> None:
    with pytest.raises(SelectionError, match=r"from 400 \(the cheapest channel\) to 1,900 \(all 4 channels\)"):
        COST.budget(text)

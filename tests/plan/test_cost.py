from pathlib import Path

import numpy as np
import pystac
import pytest
from cogs import write_cog
from costs import Blocks, cost_of, priced
from hypothesis import given, settings
from hypothesis import strategies as st
from items import START, write_items

from geomask.cog.level import ByteRange
from geomask.errors import SelectionError
from geomask.grid import Window
from geomask.plan.compile import compile_manifest
from geomask.plan.cost import Cost
from geomask.plan.runs import LEADER_GAP
from geomask.plan.sources import choose_grid, index_selection
from geomask.selection import Channel, Selection
from geomask.stac.profile import Band
from geomask.stac.slots import make_slots

SIZE = 4000
"""Bytes of every file."""

File = tuple[str, int, Blocks]


@st.composite
def files_of_channels(draw: st.DrawFn) -> dict[int, File]:
    """Up to six channels in up to three files; tiles follow with gaps, and channels and blocks share them."""
    files = []
    for name in "abc":
        steps = draw(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 90)), min_size=1, max_size=12))
        tiles, position = [], draw(st.integers(20, 200))
        for gap, length in steps:
            tiles.append(ByteRange(position + gap, length))
            position = tiles[-1].stop
        files.append((name, draw(st.integers(1, 900)), tiles))
    channels = {}
    for channel in range(draw(st.integers(1, 6))):
        name, header, tiles = draw(st.sampled_from(files))
        channels[channel] = (name, header, draw(st.lists(st.lists(st.sampled_from(tiles)), min_size=3, max_size=3)))
    return channels


def count(files: list[File]) -> int:
    """Bytes of headers, tiles and gaps, counted one by one."""
    total = 0
    for name in {name for name, _, blocks in files if any(blocks)}:
        wanted = np.zeros(SIZE, bool)
        for other, size, blocks in files:
            if other == name:
                header = size
                for piece in (piece for block in blocks for piece in block):
                    wanted[piece.offset : piece.stop] = True
        wanted[:header] = False
        places = np.flatnonzero(wanted)
        between = np.diff(places) - 1
        total += header + len(places) + int(between[between <= LEADER_GAP].sum())
    return total


@given(files_of_channels(), st.data())
@settings(deadline=None)
def test_the_cost_of_channels_is_that_of_a_count_by_hand(files: dict[int, File], data: st.DataObject) -> None:
    cost = cost_of(files, len(files), 3)
    channels = data.draw(st.sets(st.sampled_from(range(len(files)))))
    blocks = sorted(data.draw(st.sets(st.sampled_from(range(3)))))
    assert cost.total(channels) == count([files[channel] for channel in channels])
    some = [(name, header, [tiles[block] for block in blocks]) for name, header, tiles in files.values()]
    assert cost.total(channels, blocks) == count([some[channel] for channel in channels])
    assert cost.dense == count(list(files.values()))
    assert cost.alone.tolist() == [count([file]) for file in files.values()]


@given(files_of_channels(), st.data())
@settings(deadline=None)
def test_a_free_rider_is_a_channel_left_out_whose_file_is_read_and_that_adds_no_byte(
    files: dict[int, File], data: st.DataObject
) -> None:
    cost = cost_of(files, len(files), 3)
    kept = data.draw(st.sets(st.sampled_from(range(len(files)))))
    read = {files[channel][0] for channel in kept}
    wanted = [
        channel
        for channel in sorted(set(files) - kept)
        if files[channel][0] in read and cost.total(kept | {channel}) == cost.total(kept)
    ]
    assert cost.free_riders(kept) == wanted


TILES = [ByteRange(1000, 300), ByteRange(2000, 500)]


def test_bands_in_one_tile_share_all_and_leaving_one_out_saves_nothing() -> None:
    cost = cost_of({channel: ("pixel", 100, [TILES]) for channel in range(3)}, 3)
    assert cost.alone.tolist() == [900, 900, 900]
    assert cost.dense == cost.total([1]) == 900
    assert cost.free_riders([1]) == [0, 2]


def test_bands_in_tiles_of_their_own_share_the_header_only() -> None:
    cost = cost_of({0: ("band", 100, [TILES[:1]]), 1: ("band", 100, [TILES[1:]])}, 2)
    assert cost.alone.tolist() == [400, 600]
    assert cost.dense == 900
    assert cost.free_riders([1]) == []


def test_files_of_their_own_share_nothing() -> None:
    cost = cost_of({0: ("a", 100, [TILES]), 1: ("b", 100, [TILES])}, 3)
    assert cost.dense == 1800
    assert cost.free_riders([0]) == []


def test_a_channel_that_no_item_fills_costs_nothing_and_rides_with_nobody() -> None:
    cost = cost_of({0: ("a", 100, [TILES])}, 3)
    assert cost.alone.tolist() == [900, 0, 0]
    assert (cost.total([1, 2]), cost.dense) == (0, 900)
    assert cost.free_riders([0]) == []
    assert cost.nbytes.values.ravel().tolist() == [800, 0, 0]
    assert cost.header_nbytes.values.ravel().tolist() == [100, 0, 0]


def test_a_tile_that_blocks_share_counts_once_in_the_total_and_in_each_block() -> None:
    cost = cost_of({0: ("a", 100, [TILES[:1], TILES, TILES[1:]])}, 1, 3)
    assert cost.dense == 900
    assert cost.nbytes.dims == ("slot", "band", "level", "block")
    assert cost.nbytes.values.ravel().tolist() == [300, 800, 500]


def test_what_lies_in_the_header_costs_no_more_than_the_header() -> None:
    cost = cost_of({0: ("a", 1200, [TILES[:1]]), 1: ("a", 1200, [TILES])}, 2)
    assert cost.alone.tolist() == [1200 + 100, 1200 + 100 + 500]


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[pystac.Item]:
    """Two dates of two bands in tiles of 64, and of three in one file of interleaved pixels and tiles of 256."""
    folder = tmp_path_factory.mktemp("items")
    items = write_items(folder, dates=2, bands=("B02", "B03"), height=300, width=260)
    items[1].datetime = START.replace(month=3)
    for item in items:
        path = write_cog(folder / f"{item.id}rgb.tif", height=300, width=260, bands=3, interleave="pixel", block=256)
        item.add_asset("rgb", pystac.Asset(str(path)))
    return items


BANDS = (Band("B02", "B02", 10), Band("B03", "B03", 10), *(Band(f"c{n}", "rgb", 10, index=n) for n in (1, 2, 3)))
CHIPS = [Window(10, 20, 90, 80), Window(70, 70, 90, 80), Window(210, 180, 90, 80)]


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_the_cost_of_a_hard_selection_is_the_planned_bytes_of_its_manifest(
    items: list[pystac.Item], data: st.DataObject
) -> None:
    dense = Selection.dense(make_slots(items), BANDS)
    index = index_selection(dense, items)
    grid = choose_grid(dense, items, index)
    gap = data.draw(st.sampled_from([8, 500, 10_000]))
    cost = Cost.of(dense, items, index, grid, CHIPS, gap)
    kept = data.draw(st.sets(st.sampled_from(dense.channels)))
    levels = {channel: data.draw(st.sampled_from([None, 0, 1])) for channel in kept}
    selection = Selection(
        dense.slots, BANDS, tuple(Channel(channel.slot, channel.band, levels[channel]) for channel in kept)
    )
    blocks = sorted(data.draw(st.sets(st.sampled_from(range(3)), min_size=1)))
    chips = [CHIPS[block] for block in blocks]
    manifest = compile_manifest(selection, items, index, grid, chips, gap=gap)
    assert cost.total_of(selection, blocks) == manifest.planned_nbytes
    assert manifest.dense_nbytes == cost.total(range(len(dense.channels)), blocks)
    for channel in selection.channels:
        names = {"slot": dense.slots[channel.slot].name, "band": BANDS[channel.band].name}
        alone = compile_manifest(Selection(dense.slots, BANDS, (channel,)), items, index, grid, [CHIPS[0]], gap=0)
        level = -1 if channel.level is None else channel.level
        tiles = sum(request.nbytes for request in alone.requests)
        assert int(cost.nbytes.sel(**names, level=level)[0]) == tiles


def test_of_a_tile_a_block_costs_the_prefix_that_it_needs(items: list[pystac.Item]) -> None:
    dense = Selection.dense(make_slots(items), BANDS).keep([2])
    index = index_selection(dense, items)
    grid = choose_grid(dense, items, index)
    cost = Cost.of(dense, items, index, grid, [Window(0, 0, 60, 60), Window(0, 0, 256, 60)])
    few, all_rows = cost.nbytes.sel(level=-1, slot="2020-01", band="c1").values
    assert few < 0.4 * all_rows
    manifest = compile_manifest(dense, items, index, grid, [Window(0, 0, 60, 60)])
    assert manifest.prefix_nbytes > 0 == manifest.tile_nbytes


def test_a_level_that_a_file_lacks_has_no_price(items: list[pystac.Item], tmp_path: Path) -> None:
    bare = write_items(tmp_path, dates=1, bands=("B02",), overviews=False)
    path = write_cog(tmp_path / "deep.tif", height=100, width=90)
    bare[0].add_asset("deep", pystac.Asset(str(path)))
    selection = Selection.dense(make_slots(bare), (Band("B02", "B02", 10), Band("deep", "deep", 10)))
    index = index_selection(selection, bare)
    cost = Cost.of(selection, bare, index, choose_grid(selection, bare, index))
    assert cost.nbytes.level.values.tolist() == [-1, 0, 1]
    assert np.isnan(cost.nbytes.values[0, :, :, 0]).tolist() == [[False, True, True], [False, False, False]]


def test_a_file_that_gdal_reads_has_no_price_and_no_budget(tmp_path: Path) -> None:
    path = write_cog(tmp_path / "strips.tif", driver="GTiff", tiled=False, blockysize=4, overviews=False)
    item = pystac.Item("one", None, None, START, {}, assets={"a": pystac.Asset(str(path))})
    selection = Selection.dense(make_slots([item]), (Band("a", "a", 10),))
    index = index_selection(selection, [item])
    cost = Cost.of(selection, [item], index, choose_grid(selection, [item], index))
    assert cost.dense == 0
    assert np.isnan(cost.nbytes.values).all()
    with pytest.raises(SelectionError, match="2020-01/a has no price: GDAL reads its file"):
        cost.budget("100%")


COST = priced([900, 400, 600, 0])
"""Three channels, and one that no item fills."""


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

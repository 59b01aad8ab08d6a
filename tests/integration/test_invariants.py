"""The promises of docs/architecture.md, each shown on whole reads through a counting server."""

import hashlib
import json
import os
import random
import subprocess
import sys
import textwrap
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
from cogs import write_cog
from hypothesis import given, settings
from hypothesis import strategies as st

from geomask import fetch
from geomask.cog.gather import FIRST_READ
from geomask.cog.index import HeaderIndex, index_headers
from geomask.demo.server import Log, Server
from geomask.grid import Grid, Window
from geomask.plan.compile import compile_manifest
from geomask.plan.cost import Cost
from geomask.plan.manifest import Manifest
from geomask.plan.sources import index_selection
from geomask.read.cube import Cube
from geomask.read.reader import read_manifest
from geomask.selection import Channel, Selection
from geomask.stac.profile import Band
from geomask.stac.slots import make_slots

FILES: dict[str, dict[str, Any]] = {
    "red": {"holes": True},
    "stack": {"bands": 3, "interleave": "pixel", "compress": "zstd"},
    "planes": {"bands": 3, "interleave": "band", "holes": True},
    "swir": {"height": 160, "width": 128, "gsd": 20, "compress": "lzw"},
    "fine": {"block": 16, "height": 1000, "width": 900, "dtype": "uint8", "compress": "none", "overviews": False},
}
"""Of 10 m but for one; the tile tables of `fine` alone are longer than a first read."""
BANDS = (
    Band("red", "red", 10),
    *(Band(f"stack{index}", "stack", 10, index=index) for index in (1, 2, 3)),
    *(Band(f"planes{index}", "planes", 10, index=index) for index in (1, 2, 3)),
    Band("swir", "swir", 20),
    Band("fine", "fine", 10, dtype="uint8"),
)
GSD = {band.name: int(band.gsd) for band in BANDS}
STACK, PLANES = (1, 2, 3), (4, 5, 6)
"""Positions of the bands that lie in one file, pixel by pixel and band by band."""
GRID = Grid("EPSG:32633", 500_000, 5_000_000, 10, 10, 320, 256)
CHIPS = (Window(100, 100, 80, 80), Window(150, 100, 80, 80), Window(-40, 220, 80, 80))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    for date in range(2):
        for number, (name, options) in enumerate(FILES.items()):
            size = {"height": 320, "width": 256, "block": 64, "first": 1 + 20 * date + 4 * number}
            write_cog(folder / f"date {date}" / f"{name} #{number}%.tif", **{**size, **options})
    return folder


def items_of(folder: Path, server: Server | None = None) -> list[pystac.Item]:
    """Two months; through the server, or from the disk."""
    items = []
    for date in range(2):
        item = pystac.Item(f"date {date}", None, None, datetime(2020, 1 + date, 5, tzinfo=UTC), {})
        for number, name in enumerate(FILES):
            path = folder / item.id / f"{name} #{number}%.tif"
            item.add_asset(name, pystac.Asset(server.href(path) if server else str(path)))
        items.append(item)
    return items


def paths_of(selection: Selection) -> set[str]:
    """The files that hold the selected channels, as the server calls them."""
    numbers = {name: number for number, name in enumerate(FILES)}
    assets = {(channel.slot, selection.bands[channel.band].asset) for channel in selection.channels}
    return {f"date {slot}/{asset} #{numbers[asset]}%.tif" for slot, asset in assets}


def hrefs(items: list[pystac.Item]) -> list[str]:
    return [asset.href for item in items for asset in item.assets.values()]


def indexed(items: list[pystac.Item]) -> HeaderIndex:
    return index_headers(hrefs(items))


def check_wire(log: Log, headers: dict[str, int]) -> int:
    """No byte of a file was sent twice; returns those that belong to headers."""
    inside = 0
    for path, header in headers.items():
        spans = sorted((entry.start, entry.start + entry.length) for entry in log.entries if entry.path == path)
        assert all(stop <= start for (_, stop), (start, _) in pairwise(spans))
        inside += sum(stop - start for start, stop in spans if stop <= header)
        assert all(stop <= header or start >= header for start, stop in spans)
    return inside


def oracle(path: str, level: int | None, band: int, window: Window) -> np.ndarray:
    place = rasterio.windows.Window(window.col_off, window.row_off, window.width, window.height)
    with rasterio.open(path, **({} if level is None else {"overview_level": level})) as dataset:
        pixels: np.ndarray = dataset.read(band, window=place)
        return pixels


def check_pixels(cube: Cube, manifest: Manifest, local: dict[str, str]) -> None:
    """What the cube shows is what rasterio reads of the local files, and nodata, 0, beside it."""
    image = np.zeros_like(cube.image)
    for request in manifest.requests:
        source = request.source
        for channel, name, band in zip(source.channels, source.bands, source.indexes, strict=True):
            wanted = oracle(local[source.href], source.level, band, request.window)
            repeat = GSD[name] * 2 ** (0 if source.level is None else source.level + 1) // 10
            fine = wanted.repeat(repeat, 0).repeat(repeat, 1)
            chip = manifest.chips[request.chip]
            top, left = request.window.row_off * repeat - chip.row_off, request.window.col_off * repeat - chip.col_off
            rows, cols = np.arange(chip.height) - top, np.arange(chip.width) - left
            row, col = (rows >= 0) & (rows < fine.shape[0]), (cols >= 0) & (cols < fine.shape[1])
            image[request.chip, channel][np.ix_(row, col)] = fine[np.ix_(rows[row], cols[col])]
    np.testing.assert_array_equal(cube.image, image)
    np.testing.assert_array_equal(cube.valid, image != 0)


@st.composite
def decisions(draw: st.DrawFn) -> tuple[list[Channel], list[Window]]:
    """Some channels at some levels, and chips of one size; the first lies on all files, others may reach over."""
    places = st.tuples(st.integers(0, 1), st.integers(0, len(BANDS) - 1))
    chosen = draw(st.lists(places, min_size=1, max_size=8, unique=True))
    levels = st.none() | st.integers(0, 1)
    channels = [Channel(*place, None if BANDS[place[1]].name == "fine" else draw(levels)) for place in chosen]
    offsets = st.tuples(st.integers(-60, 330), st.integers(-60, 270))
    chips = [(draw(st.integers(0, 250)), draw(st.integers(0, 200))), *draw(st.lists(offsets, max_size=3))]
    side = draw(st.integers(1, 90))
    return channels, [Window(*offset, side, side) for offset in chips]


@given(decision=decisions(), data=st.data())
@settings(max_examples=25, deadline=None)
def test_any_selection_costs_and_moves_what_is_planned_and_reads_as_rasterio_does(
    decision: tuple[list[Channel], list[Window]], data: st.DataObject, folder: Path, running: Server
) -> None:
    channels, chips = decision
    items = items_of(folder, running)
    everything = Selection(make_slots(items), BANDS, tuple(channels))
    units = data.draw(st.sets(st.sampled_from(range(len(channels))), min_size=1))
    selection = everything.keep(sorted(units))

    running.reset()
    index = index_selection(selection, items)
    manifest = compile_manifest(selection, items, index, GRID, chips)
    cube, receipt = read_manifest(manifest, index)
    log = running.log()

    assert {entry.path for entry in log.entries} == paths_of(selection)
    whole = receipt.after(index)
    assert (log.nbytes, log.requests) == (whole.nbytes, whole.requests)
    assert (receipt.planned_nbytes, receipt.planned_requests) == (manifest.pixel_nbytes, len(manifest.runs))
    assert receipt.nbytes == receipt.planned_nbytes + sum(trip.nbytes for trip in receipt.refetches)
    assert receipt.requests == receipt.planned_requests + len(receipt.refetches)
    assert whole.header_nbytes == manifest.header_nbytes
    headers = {path: manifest.headers[running.href(path)] for path in paths_of(selection)}
    assert check_wire(log, headers) == whole.header_nbytes
    assert receipt.pixel_nbytes == manifest.tile_nbytes + manifest.prefix_nbytes + manifest.gap_nbytes

    again, cold = read_manifest(manifest)
    np.testing.assert_array_equal(again.image, cube.image)
    assert cold.planned_nbytes == manifest.planned_nbytes
    assert cold.planned_requests == manifest.planned_requests

    cost = Cost.of(everything, items, index_selection(everything, items), GRID, chips)
    assert cost.total(units) == manifest.planned_nbytes
    check_pixels(cube, manifest, dict(zip(hrefs(items), hrefs(items_of(folder)), strict=True)))


def test_every_kind_of_fault_is_counted_and_named_as_refetched(folder: Path, server: Server) -> None:
    items = items_of(folder, server)
    selection = Selection.dense(make_slots(items), BANDS)
    dense = compile_manifest(selection, items, index_selection(selection, items), GRID, CHIPS)
    clean, _ = read_manifest(dense)
    for kind, keep, times in (("status", 0, 3), ("truncate", 1000, 2), ("drop", 0, 2)):
        server.reset()
        for path in ("date 0/fine #4%.tif", "date 1/planes #2%.tif"):
            server.fail(path, kind, keep=keep, times=times)  # type: ignore[arg-type]
        index = index_selection(selection, items)
        server.fail("date 1/red #0%.tif", kind, keep=keep, times=1)  # type: ignore[arg-type]
        cube, receipt = read_manifest(dense, index)
        log, rests = server.log(), receipt.refetches
        receipt = receipt.after(index)
        assert (log.nbytes, log.requests) == (receipt.nbytes, receipt.requests)
        assert receipt.refetched_nbytes == keep * (2 * times + 1) + sum(trip.nbytes for trip in rests)
        assert receipt.nbytes == dense.planned_nbytes + receipt.refetched_nbytes
        assert receipt.retries == 2 * times + 1
        # the header of `fine` takes two requests
        assert receipt.requests == dense.planned_requests + 2 + receipt.retries + len(rests)
        np.testing.assert_array_equal(cube.image, clean.image)
        server.heal()


def test_a_header_that_grows_is_counted_apart_and_what_came_with_it_is_not_fetched_again(
    folder: Path, server: Server
) -> None:
    items = items_of(folder, server)[:1]
    selection = Selection.dense(make_slots(items), BANDS).keep([len(BANDS) - 1])
    index = index_selection(selection, items)
    (layout,) = index.values()
    assert len(layout.header) > FIRST_READ
    spans = [(entry.start, entry.length) for entry in server.log().entries]
    assert spans == [(0, FIRST_READ), (FIRST_READ, FIRST_READ)]
    manifest = compile_manifest(selection, items, index, GRID, [Window(0, 0, 400, 300)])
    lengths = [piece.length for request in manifest.requests for piece in request.ranges]
    assert manifest.tile_nbytes < sum(lengths)
    _, receipt = read_manifest(manifest, index)
    log = server.log()
    receipt = receipt.after(index)
    assert check_wire(log, {"date 0/fine #4%.tif": len(layout.header)}) == receipt.header_nbytes == 2 * FIRST_READ
    assert (log.nbytes, log.requests) == (manifest.planned_nbytes, manifest.planned_requests + 1)


def test_leaving_out_a_band_of_a_pixel_interleaved_file_saves_nothing_and_the_cost_says_so(folder: Path) -> None:
    items = items_of(folder)[:1]
    dense = Selection.dense(make_slots(items), BANDS)
    index = index_selection(dense, items)
    cost = Cost.of(dense, items, index, GRID, CHIPS)
    assert cost.total(STACK) == cost.total([1]) == cost.alone[2]
    assert cost.free_riders([0, 2]) == [1, 3]
    one = compile_manifest(dense.keep([2]), items, index, GRID, CHIPS)
    assert one.planned_nbytes == compile_manifest(dense.keep(STACK), items, index, GRID, CHIPS).planned_nbytes


def test_of_a_band_interleaved_file_only_the_tiles_of_one_band_are_fetched(folder: Path, server: Server) -> None:
    items = items_of(folder, server)[:1]
    selection = Selection.dense(make_slots(items), BANDS).keep([PLANES[1]])
    index = index_selection(selection, items)
    manifest = compile_manifest(selection, items, index, GRID, [GRID.window])
    server.reset()
    read_manifest(manifest, index)
    (layout,) = index.values()
    offsets, lengths = layout.level(None).offsets, layout.level(None).lengths
    spans = [(entry.start, entry.start + entry.length) for entry in server.log().entries]
    for plane in range(3):
        for start, length in zip(offsets[plane].flat, lengths[plane].flat, strict=True):
            came = any(first <= start and start + length <= stop for first, stop in spans)
            assert came == (plane == 1 and start + length > len(layout.header))
    cost = Cost.of(Selection.dense(make_slots(items), BANDS), items, indexed(items), GRID, CHIPS)
    assert not set(cost.free_riders([PLANES[1]])) & set(PLANES)
    assert cost.total(PLANES) > cost.alone[PLANES[0]]


@pytest.mark.parametrize("concurrency", [1, 3])
def test_results_do_not_depend_on_how_much_is_in_flight(
    concurrency: int, folder: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = items_of(folder, server)
    selection = Selection.dense(make_slots(items), BANDS)
    manifest = compile_manifest(selection, items, index_selection(selection, items), GRID, CHIPS)
    cube, receipt = read_manifest(manifest)
    monkeypatch.setattr(fetch, "CONCURRENCY", concurrency)
    again, slow = read_manifest(manifest)
    np.testing.assert_array_equal(cube.image, again.image)
    assert (receipt.nbytes, receipt.requests) == (slow.nbytes, slow.requests)


PROGRAM = """
    import hashlib, json, random, sys
    import pystac
    from geomask import compile_manifest, choose_grid, index_selection, make_slots, read_manifest
    from geomask import Manifest, Selection, Window
    from geomask.stac.profile import Band

    items = [pystac.Item.from_dict(document) for document in json.load(open(sys.argv[1]))]
    random.Random(sys.argv[3]).shuffle(items)
    bands = (Band("red", "red", 10), Band("swir", "swir", 20))
    selection = Selection.dense(make_slots(items), bands)
    index = index_selection(selection, items)
    grid = choose_grid(selection, items, index)
    manifest = compile_manifest(selection, items, index, grid, [Window(10, 10, 99, 99)])
    manifest.save(sys.argv[2])
    cube, _ = read_manifest(Manifest.load(sys.argv[2]))
    print(hashlib.sha256(cube.image.tobytes() + cube.valid.tobytes()).hexdigest())
"""


def test_results_depend_neither_on_the_time_zone_nor_on_the_order_of_items(folder: Path, tmp_path: Path) -> None:
    items = items_of(folder)
    items[0].datetime = datetime(2020, 2, 1, 0, 30)  # UTC, whatever the machine's zone
    items[1].datetime = datetime(2020, 1, 31, 23, 30, tzinfo=UTC)
    (tmp_path / "items.json").write_text(json.dumps([item.to_dict() for item in items]))
    found = set()
    for seed, zone in enumerate(("UTC", "America/New_York", "Asia/Tokyo")):
        plan = tmp_path / f"{seed}.geomask.jsonl"
        command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(tmp_path / "items.json"), str(plan), str(seed)]
        done = subprocess.run(command, env={**os.environ, "TZ": zone}, capture_output=True, text=True, check=True)
        found.add((done.stdout, hashlib.sha256(plan.read_bytes()).hexdigest()))
        assert Manifest.load(plan).channels[0] == ("2020-01", "red")
        assert Manifest.load(plan).requests[0].source.item == "date 1"
    assert len(found) == 1


REAL = Path(__file__).parents[2].parent / "shared" / "data" / "cog_S2A_29RKH"


@pytest.mark.parametrize("path", sorted(REAL.glob("*.tif")) or [REAL / "absent.tif"], ids=lambda path: path.stem)
def test_real_sentinel_2_reads_as_rasterio_reads_it(path: Path) -> None:
    if not path.exists():
        pytest.skip(f"real Sentinel-2 files are not at {REAL}")
    layout = index_headers([str(path)])[str(path)]
    item = pystac.Item("real", None, None, datetime(2020, 2, 19, tzinfo=UTC), {})
    item.add_asset("file", pystac.Asset(str(path)))
    bands = tuple(Band(f"b{index}", "file", 10, index=index, nodata=None) for index in range(1, layout.count + 1))
    draw = random.Random(path.stem)
    for level in (None, *range(len(layout.levels) - 1)):
        grid = layout.level_grid(level)
        rows, cols = draw.randint(1, grid.height), draw.randint(1, grid.width)
        chips = [
            Window(draw.randint(0, grid.height - rows), draw.randint(0, grid.width - cols), rows, cols)
            for _ in range(3)
        ]
        selection = Selection(make_slots([item]), bands, tuple(Channel(0, band, level) for band in range(len(bands))))
        manifest = compile_manifest(selection, [item], index_selection(selection, [item]), grid, chips)
        cube, receipt = read_manifest(manifest)
        assert bool(receipt.fallbacks) == (path.stem == "L2A_PVI")  # in strips
        if not receipt.fallbacks:
            assert receipt.nbytes == manifest.planned_nbytes + receipt.refetched_nbytes
            assert receipt.requests == manifest.planned_requests + len(receipt.refetches)
        for request in manifest.requests:
            for channel, band in enumerate(request.source.indexes):
                wanted = oracle(str(path), level, band, request.window)
                valid = np.ones(wanted.shape, bool) if layout.nodata is None else wanted != layout.nodata
                np.testing.assert_array_equal(cube.image[request.chip, channel], np.where(valid, wanted, 0))
                np.testing.assert_array_equal(cube.valid[request.chip, channel], valid)

import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import items as stac
import maps
import numpy as np
import pyarrow.parquet as pq
import pystac
import pytest
import rasterio

from geomask.cog.index import HeaderIndex
from geomask.demo.server import Server
from geomask.errors import FetchError, ItemError, RunError
from geomask.grid import Grid
from geomask.infer import draft, ground
from geomask.infer import run as infer_run
from geomask.infer.draft import Wish
from geomask.infer.extent import Extent
from geomask.infer.field import Field
from geomask.infer.geotiff import NODATA
from geomask.infer.ground import Ground
from geomask.infer.outbox import Outbox
from geomask.infer.run import estimate, infer
from geomask.infer.status import Status
from geomask.plan.manifest import Manifest
from geomask.stac.search import save_items

SIZE = (200, 170)


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """What computes is not what is tested here, nor how far the small network looks."""
    monkeypatch.setattr(infer_run, "choose_engine", lambda *_: ("eager", None))
    monkeypatch.setattr(draft, "find_field", lambda _: Field(2, 1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of four dates in two months, with holes and edges that no tile fits."""
    folder = tmp_path_factory.mktemp("some maps") / "a b"
    stac.write_items(folder, dates=4, bands=("B02", "B03"), height=SIZE[0], width=SIZE[1], holes=True)
    return folder


@pytest.fixture
def items(folder: Path, tmp_path: Path) -> list[pystac.Item]:
    return stac.write_items(folder, dates=4, bands=("B02", "B03"), height=SIZE[0], width=SIZE[1], holes=True)


@pytest.fixture
def run(items: list[pystac.Item], tmp_path: Path) -> Path:
    """It takes B03 of the first month and B02 of the second."""
    return maps.write_run(tmp_path / "run", items)


def served(items: list[pystac.Item], server: Server) -> list[pystac.Item]:
    found = [item.clone() for item in items]
    for item in found:
        for asset in item.assets.values():
            asset.href = server.href(Path(asset.href))
    return found


def test_tiles_put_together_are_one_pass_over_the_whole_scene(
    items: list[pystac.Item], run: Path, tmp_path: Path
) -> None:
    status = infer(run, items, tmp_path / "map", Wish(tile=64))
    assert (status.tiles, status.done, status.failed, status.empty) == (12, 12, 0, ())
    np.testing.assert_array_equal(maps.mosaic(tmp_path / "map"), maps.one_pass(run, items))


def test_values_are_one_pass_too(items: list[pystac.Item], tmp_path: Path) -> None:
    objective = {"task": "regression", "outputs": 1}
    run = maps.write_run(tmp_path / "run", items)
    record = json.loads((run / "run.json").read_text())
    record["objective"] |= objective
    record["settings"] |= {"task": "regression"}
    (run / "run.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match="does not fit"):  # three outputs, one value
        infer(run, items, tmp_path / "map")


def test_only_what_is_selected_is_asked_for_and_what_tiles_share_once(
    folder: Path, items: list[pystac.Item], run: Path, tmp_path: Path
) -> None:
    with Server(folder) as server:
        status = infer(run, served(items, server), tmp_path / "map", Wish(tile=64))
        log = server.log()
        whole = infer(run, served(items, server), tmp_path / "whole")
        alone = server.log()
    assert {entry.path for entry in log.entries} == {f"{items[0].id}/B03.tif", f"{items[3].id}/B02.tif"}
    assert (status.nbytes, status.requests) == (log.nbytes, log.requests)
    # in one tile all is one manifest: to the byte what was planned
    assert whole.nbytes == whole.planned_nbytes == alone.nbytes - log.nbytes
    # 12 tiles with halos make the same trips in smaller steps; prefixes of shared GeoTIFF tiles may be fetched longer
    assert log.nbytes <= 1.1 * whole.nbytes


def test_a_map_is_a_stac_collection_of_cogs(items: list[pystac.Item], run: Path, tmp_path: Path) -> None:
    infer(run, items, tmp_path / "my map", Wish(tile=128))
    collection = pystac.Collection.from_file(str(tmp_path / "my map" / "collection.json"))
    found = sorted(collection.get_items(), key=lambda item: item.id)
    assert [item.id for item in found] == [f"my-map-r0000{row}_c0000{col}" for row in (0, 1) for col in (0, 1)]
    item = found[0]
    assert (item.common_metadata.start_datetime, item.common_metadata.end_datetime) == (
        items[0].datetime,
        items[3].datetime,
    )
    with rasterio.open(item.assets["map"].get_absolute_href()) as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert (file.nodata, file.dtypes, file.shape) == (NODATA, ("uint8",), (128, 128))
        assert file.crs.to_string() == item.properties["proj:code"]
        assert file.colormap(1)[NODATA] == (0, 0, 0, 0)
    names = [entry["name"] for entry in item.assets["map"].extra_fields["classification:classes"]]
    assert names == ["water", "a_b", "wood", "nodata"]
    related = [link.get_absolute_href() for link in item.links if link.rel == "related"]
    assert Path(related[0]).is_file()
    assert Path(item.assets["manifest"].get_absolute_href()).is_file()


def test_two_makings_of_a_map_are_the_same_to_the_byte(items: list[pystac.Item], run: Path, tmp_path: Path) -> None:
    infer(run, items, tmp_path / "one" / "map", Wish(tile=128))
    infer(run, items[::-1], tmp_path / "two" / "map", Wish(tile=128))
    assert maps.contents(tmp_path / "one" / "map") == maps.contents(tmp_path / "two" / "map")


def test_a_second_run_does_nothing_anew_and_asks_each_file_once(
    folder: Path, items: list[pystac.Item], run: Path, tmp_path: Path
) -> None:
    with Server(folder) as server:
        online = served(items, server)
        before = infer(run, online, tmp_path / "map", Wish(tile=64))
        held = maps.contents(tmp_path / "map")
        server.reset()
        after = infer(run, online, tmp_path / "map")
        log = server.log()
    assert before == after
    assert maps.contents(tmp_path / "map") == held
    assert log.nbytes == 2  # a byte of each of two files


def test_what_was_cut_off_is_gone_on_with(
    items: list[pystac.Item], run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    infer(run, items, tmp_path / "whole" / "map", Wish(tile=64))
    finish, count = infer_run.Site.finish, iter(range(100))

    def finish_five(self: infer_run.Site, haul: object) -> object:
        if next(count) == 5:
            raise KeyboardInterrupt
        return finish(self, haul)  # type: ignore[arg-type]

    monkeypatch.setattr(infer_run.Site, "finish", finish_five)
    with pytest.raises(KeyboardInterrupt):
        infer(run, items, tmp_path / "cut" / "map", Wish(tile=64))
    place = tmp_path / "cut" / "map"
    assert Status.load(Outbox(place)).done == 5
    made = {path: path.stat().st_mtime_ns for path in (place / "tiles").iterdir()}
    monkeypatch.setattr(infer_run.Site, "finish", finish)
    (place / "tiles" / "r00001_c00001.tif#7").write_bytes(b"half")  # as a killed write leaves it
    assert infer(run, items, place).done == 12
    assert all(path.stat().st_mtime_ns == then for path, then in made.items())
    assert maps.contents(place) == maps.contents(tmp_path / "whole" / "map")


KILLED = """
import sys, time
from geomask.infer import draft, field, run, site
from geomask.infer.draft import Wish
from geomask.stac.search import load_items
run.choose_engine = lambda *_: ("eager", None)
draft.find_field = lambda _: field.Field(2, 1)
finish = site.Site.finish
def slow(self, haul):
    time.sleep(0.05)
    return finish(self, haul)
site.Site.finish = slow
if __name__ == "__main__":
    run.infer(sys.argv[1], load_items(sys.argv[2]), sys.argv[3], Wish(tile=64))
"""


def test_a_process_that_is_killed_again_and_again_loses_nothing(
    items: list[pystac.Item], run: Path, tmp_path: Path
) -> None:
    infer(run, items, tmp_path / "whole" / "map", Wish(tile=64))
    save_items(items, tmp_path / "items.json")
    (tmp_path / "script.py").write_text(KILLED)
    place = tmp_path / "killed" / "map"
    line = [sys.executable, tmp_path / "script.py", run, tmp_path / "items.json", place]
    kills = 0
    while True:
        process = subprocess.Popen(line, stderr=subprocess.PIPE)
        done = len(list((place / "ledger").glob("*.parquet"))) if place.exists() else 0
        while process.poll() is None and len(list((place / "ledger").glob("*.parquet"))) < done + 4:
            time.sleep(0.005)
        process.kill()
        _, said = process.communicate()
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, said
        kills += 1
    assert kills >= 2
    assert maps.contents(place) == maps.contents(tmp_path / "whole" / "map")


def test_another_map_is_not_written_over(items: list[pystac.Item], run: Path, tmp_path: Path) -> None:
    infer(run, items, tmp_path / "map", Wish(tile=128))
    for wish, said in [
        (Wish(tile=64), "tiling"),
        (Wish(Extent(crs="EPSG:32633", res=20.0)), "tiling"),
        (Wish(blend=True), "tiling"),
    ]:
        with pytest.raises(RunError, match=f"another map was begun there: {said} differ"):
            infer(run, items, tmp_path / "map", wish)
    with pytest.raises(RunError, match="items differ"):
        infer(run, items[:-1], tmp_path / "map")
    with pytest.raises(RunError, match="run differ"):
        infer(maps.write_run(tmp_path / "other", items, gsd=20.0), items, tmp_path / "map")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="holds something else"):
        infer(run, items, tmp_path / "full")
    with pytest.raises(RunError, match="is a file"):
        infer(run, items, tmp_path / "full" / "notes.txt")


def test_one_process_at_a_time_makes_a_map(items: list[pystac.Item], run: Path, tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    infer(run, items, tmp_path / "map")
    handle = os.open(tmp_path / "map", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(RunError, match="another process"):
        infer(run, items, tmp_path / "map")
    os.close(handle)
    assert infer(run, items, tmp_path / "map").done == 1


def test_a_file_that_changed_is_named_and_read_anew_when_asked(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    options = {"dates": 4, "bands": ("B02", "B03"), "height": SIZE[0], "width": SIZE[1]}
    items = stac.write_items(folder, **options)  # type: ignore[arg-type]
    run, place = maps.write_run(tmp_path / "run", items), tmp_path / "map"
    infer(run, items, place, Wish(tile=64))
    changed = Path(items[0].assets["B03"].href)
    with rasterio.open(changed) as file:
        profile, pixels = file.profile, file.read()
    pixels[:, :100] //= 2
    with rasterio.open(changed, "w", **profile) as file:
        file.write(pixels)
    with pytest.raises(RunError, match=r"1 files changed since the map was begun: .*B03\.tif; --refresh"):
        infer(run, items, place)
    assert infer(run, items, place, refresh=True).done == 12
    np.testing.assert_array_equal(maps.mosaic(place), maps.one_pass(run, items))
    changed.unlink()
    with pytest.raises(RunError, match=r"B03\.tif"):
        infer(run, items, place)


def test_what_cannot_be_read_is_nodata_with_its_reason_and_can_be_tried_again(
    items: list[pystac.Item], run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch, place = Ground.fetch, tmp_path / "map"

    def fail_in_a_corner(self: Ground, manifest: Manifest, index: HeaderIndex) -> object:
        if any(chip.row_off < 20 and chip.col_off < 20 for chip in manifest.chips):
            raise FetchError("b.tif: its server says 500")
        return fetch(self, manifest, index)

    monkeypatch.setattr(Ground, "fetch", fail_in_a_corner)
    monkeypatch.setattr(draft, "CHIP", 32)
    status = infer(run, items, place, Wish(tile=128))
    assert (status.failed, status.done) == (1, 4)
    assert [(failure.tile, failure.window) for failure in status.failures] == [("r00000_c00000", (0, 0, 32, 32))]
    assert status.failures[0].reason == "b.tif: its server says 500"
    with pytest.raises(RunError, match="1 of 4 tiles have pixels that could not be read"):
        status.check()
    got, want = maps.mosaic(place), maps.one_pass(run, items)
    assert (got[:32, :32] == NODATA).all()
    want_there = want.copy()
    want_there[:32, :32] = NODATA
    np.testing.assert_array_equal(got, want_there)

    monkeypatch.setattr(Ground, "fetch", fetch)
    assert infer(run, items, place).failed == 1  # not tried unless asked
    assert infer(run, items, place, retry_failed=True).failed == 0
    np.testing.assert_array_equal(maps.mosaic(place), want)
    infer(run, items, tmp_path / "whole" / "map", Wish(tile=128))
    assert maps.contents(place) == maps.contents(tmp_path / "whole" / "map")


def test_a_server_that_fails_leaves_nodata_and_never_ends_the_rest(
    folder: Path, items: list[pystac.Item], tmp_path: Path
) -> None:
    run = maps.write_run(tmp_path / "run", items, scaling=[[0.0001, 0.0]] * 4)
    with Server(folder) as server:
        server.fail(f"{items[0].id}/B03.tif", status=404, times=None)
        grid = Grid("EPSG:32633", 500_000, 5_000_000, 10, 10, *SIZE)
        status = infer(run, served(items, server), tmp_path / "map", Wish(grid=grid, tile=128))
    assert (status.failed, status.done) == (4, 4)
    assert "B03.tif: no such file" in status.failures[0].reason
    assert (maps.mosaic(tmp_path / "map") == NODATA).all()


def test_the_ledger_has_every_byte(folder: Path, items: list[pystac.Item], run: Path, tmp_path: Path) -> None:
    with Server(folder) as server:
        infer(run, served(items, server), tmp_path / "map", Wish(tile=128))
        log = server.log()
    rows = pq.read_table(tmp_path / "map" / "ledger").to_pylist()
    reads = [row for row in rows if row["kind"] == "read"]
    assert sum(row["nbytes"] + row["wasted"] for row in reads) == log.nbytes
    assert sum(row["requests"] for row in reads) == log.requests
    outputs = {row["href"]: row["nbytes"] for row in rows if row["kind"] == "output"}
    found = {
        path.relative_to(tmp_path / "map").as_posix(): path.stat().st_size
        for path in (tmp_path / "map" / "tiles").iterdir()
    }
    assert outputs == found
    assert {row["etag"] is not None for row in rows if row["kind"] == "source"} == {True}


def test_an_estimate_of_a_whole_map_is_what_its_manifest_says(
    folder: Path, items: list[pystac.Item], run: Path, tmp_path: Path
) -> None:
    with Server(folder) as server:
        online = served(items, server)
        found = estimate(run, online, tmp_path / "map")
        assert not (tmp_path / "map").exists()
        status = infer(run, online, tmp_path / "map")
    assert (found.nbytes, found.requests, found.tiles) == (status.nbytes, status.requests, 1)
    assert found.dense_nbytes is not None
    assert found.dense_nbytes > 1.5 * found.nbytes
    assert found.seconds(8e6) == found.nbytes / 1e6
    assert found.cost(2.0, 3.0) == pytest.approx(found.nbytes * 2e-9 + found.requests * 3e-3)


def test_a_box_and_an_area_in_degrees(items: list[pystac.Item], run: Path, tmp_path: Path) -> None:
    west, south, east, north = items[0].bbox or ()
    middle = ((west + east) / 2, (south + north) / 2)
    box = infer(run, items, tmp_path / "box", Wish(Extent(bbox=(west, south, *middle)), tile=64))
    part = maps.mosaic(tmp_path / "box")
    assert part.shape < SIZE
    assert box.tiles < 12
    triangle = [[west, south], [east, south], [west, north], [west, south]]
    area = {"type": "Polygon", "coordinates": [triangle]}
    cut = infer(run, items, tmp_path / "area", Wish(Extent(area=area), tile=64))
    got, want = maps.mosaic(tmp_path / "area"), maps.one_pass(run, items)
    assert cut.tiles < 12
    inside = got != NODATA
    np.testing.assert_array_equal(got[inside], want[inside])
    assert 0.4 < inside.sum() / (want != NODATA).sum() < 0.6
    assert got[-5, 5] == want[-5, 5]
    assert got[5, -5] == NODATA


def test_a_network_that_looks_at_everything_is_blended(items: list[pystac.Item], run: Path, tmp_path: Path) -> None:
    status = infer(run, items, tmp_path / "map", Wish(blend=True))
    assert status.failed == 0
    # one cut sees all of this scene
    np.testing.assert_array_equal(maps.mosaic(tmp_path / "map"), maps.one_pass(run, items))


def test_a_place_that_no_item_shows_is_refused(items: list[pystac.Item], run: Path, tmp_path: Path) -> None:
    away = Grid("EPSG:32633", 900_000, 5_000_000, 10, 10, 20, 20)
    with pytest.raises(ItemError, match="no item fills a selected channel"):
        infer(run, items, tmp_path / "map", Wish(grid=away))
    assert not (tmp_path / "map").exists()


def test_a_tile_that_no_item_shows_is_done_and_has_no_file(items: list[pystac.Item], run: Path, tmp_path: Path) -> None:
    wide = Grid("EPSG:32633", 500_000, 5_000_000, 10, 10, SIZE[0], SIZE[1] + 256)
    status = infer(run, items, tmp_path / "map", Wish(grid=wide, tile=256))
    assert (status.tiles, status.done) == (2, 2)
    assert [path.name for path in (tmp_path / "map" / "tiles").glob("*.tif")] == ["r00000_c00000.tif"]
    assert (maps.mosaic(tmp_path / "map")[:, 256:] == NODATA).all()


def test_values_of_another_scale_are_brought_to_that_of_the_training(items: list[pystac.Item], tmp_path: Path) -> None:
    run = maps.write_run(tmp_path / "run", items, scaling=[[0.0001, 0.0]] * 4)
    want = maps.one_pass(run, items)
    infer(run, items, tmp_path / "same")
    np.testing.assert_array_equal(maps.mosaic(tmp_path / "same"), want)
    other = [item.clone() for item in items]
    for item in other:
        for asset in item.assets.values():
            asset.extra_fields["raster:scale"] = 0.0002
    infer(run, other, tmp_path / "other")
    assert (maps.mosaic(tmp_path / "other") != want).mean() > 0.01  # twice as bright


def test_memory_does_not_grow_with_the_area(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ground, "KEPT", 1 << 18)  # as little, beside these scenes, as it is beside large ones
    peaks = []
    for side in (512, 1024):
        items = stac.write_items(tmp_path / str(side), dates=4, bands=("B02", "B03"), height=side, width=side)
        run = maps.write_run(tmp_path / f"run {side}", items)
        tracemalloc.start()
        infer(run, items, tmp_path / f"map {side}", Wish(tile=256))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.25 * peaks[0]


def test_a_server_that_is_down_ends_the_map_before_it_begins(
    folder: Path, items: list[pystac.Item], run: Path, tmp_path: Path
) -> None:
    with Server(folder) as server:
        online = served(items, server)
    with pytest.raises(FetchError):
        infer(run, online, tmp_path / "map")
    assert not (tmp_path / "map").exists()

"""Features that are written near the data, and maps that are made of them elsewhere."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import items as stac
import links
import maps
import numpy as np
import pyarrow.parquet as pq
import pystac
import pytest
from buckets import KEYS, forget_clouds, s3_server

from geomask.bottleneck.container import Container
from geomask.bottleneck.run import open_run
from geomask.cog.index import HeaderIndex
from geomask.demo.server import Server
from geomask.errors import FetchError, GridError, ItemError, RunError
from geomask.grid import Grid
from geomask.infer import basis, cluster, draft
from geomask.infer import run as infer_run
from geomask.infer.draft import Wish
from geomask.infer.extent import Extent
from geomask.infer.features import link_of
from geomask.infer.geotiff import NODATA
from geomask.infer.ground import Ground
from geomask.infer.job import Job
from geomask.infer.outbox import Outbox
from geomask.infer.run import encode, estimate, infer
from geomask.infer.status import Status
from geomask.plan.manifest import Manifest
from geomask.stac.search import load_items

SIZE = (120, 101)
#: Wider than the files, of an odd number of columns.
GRID = Grid("EPSG:32633", 500_000, 5_000_000, 10, 10, SIZE[0], SIZE[1] + 30)
KINDS: dict[str, dict[str, Any]] = {
    "one": {},
    "two": {"halvings": 1},
    "mix": {"near": (3, 0), "far": (2,)},
    "mix of two": {"halvings": 1, "far": (2, 0)},
}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(infer_run, "choose_engine", lambda *_: ("eager", None))
    with links.small(monkeypatch):
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of four dates in two months, with holes."""
    folder = tmp_path_factory.mktemp("some features") / "a b"
    stac.write_items(folder, dates=4, bands=("B02", "B03"), height=SIZE[0], width=SIZE[1], holes=True)
    return folder


@pytest.fixture
def items(folder: Path) -> list[pystac.Item]:
    return stac.write_items(folder, dates=4, bands=("B02", "B03"), height=SIZE[0], width=SIZE[1], holes=True)


@pytest.fixture
def run(items: list[pystac.Item], tmp_path: Path) -> Path:
    return links.write_run(tmp_path / "run", items)


def features(place: Path, **wish: Any) -> Wish:
    return Wish(features=str(place), **wish)


def hushed(items: list[pystac.Item], server: Server) -> list[pystac.Item]:
    """The items over a server, whose addresses are signed."""
    found = [item.clone() for item in items]
    for item in found:
        for asset in item.assets.values():
            asset.href = f"{server.href(Path(asset.href))}?sig=hush"
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_map_of_features_is_that_of_the_pixels(items: list[pystac.Item], tmp_path: Path, kind: str) -> None:
    run = links.write_run(tmp_path / "run", items, **KINDS[kind])
    infer(run, items, tmp_path / "one", Wish(grid=GRID))
    want = maps.mosaic(tmp_path / "one")
    assert len(np.unique(want)) > 2
    assert (want[:, SIZE[1] + 1 :] == NODATA).all()
    made = encode(run, items, tmp_path / "set", Wish(grid=GRID, tile=64))
    assert (made.product, made.done, made.failed) == ("features", 6, 0)
    for tile in (48, 512):
        status = infer(run, None, tmp_path / f"map {tile}", features(tmp_path / "set", tile=tile))
        np.testing.assert_array_equal(maps.mosaic(tmp_path / f"map {tile}"), want)
    assert (status.tiles, status.failed, status.features) == (1, 0, str(tmp_path / "set"))
    assert status.nbytes == status.planned_nbytes  # in one tile all is one manifest
    assert {row["href"].rpartition(".")[2] for row in sources(tmp_path / "map 512")} == (
        {"gmf", "tif"} if "mix" in kind else {"gmf"}
    )


def sources(place: Path) -> list[dict[str, Any]]:
    return [row for row in pq.read_table(place / "ledger").to_pylist() if row["kind"] == "source"]


def test_tiles_of_a_map_with_a_link_are_one_pass_too(items: list[pystac.Item], tmp_path: Path) -> None:
    run = links.write_run(tmp_path / "run", items, halvings=1)
    for place, wish in [("one", Wish()), ("many", Wish(tile=64))]:
        infer(run, items, tmp_path / place, wish)
    np.testing.assert_array_equal(maps.mosaic(tmp_path / "many"), maps.mosaic(tmp_path / "one"))


def test_blended_maps_are_equal_too(items: list[pystac.Item], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draft, "CHIP", 64)
    run = links.write_run(tmp_path / "run", items, halvings=1, around=1)
    infer(run, items, tmp_path / "one", Wish(blend=True, tile=64))
    encode(run, items, tmp_path / "set")
    infer(run, None, tmp_path / "two", features(tmp_path / "set", blend=True, tile=64))
    np.testing.assert_array_equal(maps.mosaic(tmp_path / "two"), maps.mosaic(tmp_path / "one"))


def test_what_is_written_is_a_stac_collection_of_containers(
    folder: Path, items: list[pystac.Item], run: Path, tmp_path: Path
) -> None:
    with Server(folder) as server:
        online = hushed(items, server)
        status = encode(run, online, tmp_path / "my set", Wish(tile=64))
        log = server.log()
        names = {f"{item.id}/{band}.tif" for item, band in zip(items[::3], ("B02", "B03"), strict=True)}
        assert names < {entry.path for entry in log.entries}  # B02 of the second month is not seen
        assert all("B02" not in entry.path for entry in log.entries if items[3].id in entry.path)
        assert (status.nbytes, status.requests) == (log.nbytes, log.requests)
        url = server.url
    place, loaded = tmp_path / "my set", open_run(run)
    link = link_of(loaded)
    found = {item.id: item for item in pystac.Collection.from_file(str(place / "collection.json")).get_items()}
    assert sorted(found) == [f"my-set-r0000{row}_c0000{col}" for row in (0, 1) for col in (0, 1)]
    item = found["my-set-r00001_c00001"]
    asset = item.assets["features"]
    assert (asset.media_type, asset.roles) == ("application/vnd.geomask.features", ["data"])
    path = Path(asset.get_absolute_href() or "")
    data = path.read_bytes()
    assert (path.name, asset.extra_fields["file:size"]) == ("r00001_c00001.gmf", len(data))
    made = Container.decode(data, link.tables, item.properties["geomask:model"], (SIZE[0] - 64, SIZE[1] - 64))
    assert item.properties["geomask:tables"] == link.tables.digest
    assert (item.properties["geomask:stride"], item.properties["geomask:latents"]) == (1, link.tables.latents)
    assert made.latents.any()
    assert Manifest.load(item.assets["manifest"].get_absolute_href() or "").planned_nbytes > 0
    said = json.loads((place / "features.json").read_text())
    assert said["tiles"] == {path.stem: path.stat().st_size for path in (place / "tiles").glob("*.gmf")}
    assert said["selection"] == item.properties["geomask:selection"] == status.selection
    assert not (place / "map.vrt").exists()
    kept = load_items(place / "items.json")
    assert [item.id for item in kept] == [item.id for item in items]
    assert {asset.href.startswith(url) for item in kept for asset in item.assets.values()} == {True}
    written = (path.read_bytes() for path in place.rglob("*") if path.is_file() and path.parent.name != "run")
    assert not any(b"hush" in data for data in written)


def test_a_second_run_does_nothing_and_what_was_cut_off_is_gone_on_with(
    items: list[pystac.Item], run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode(run, items, tmp_path / "whole" / "set", Wish(tile=48))
    finish, count, place = infer_run.Site.finish, iter(range(100)), tmp_path / "cut" / "set"

    def finish_three(self: infer_run.Site, haul: object) -> object:
        if next(count) == 3:
            raise KeyboardInterrupt
        return finish(self, haul)  # type: ignore[arg-type]

    monkeypatch.setattr(infer_run.Site, "finish", finish_three)
    with pytest.raises(KeyboardInterrupt):
        encode(run, items, place, Wish(tile=48))
    assert Status.load(Outbox(place)).done == 3
    with pytest.raises(RunError, match="holds no features, or not all of them yet; `geomask encode` makes them"):
        infer(run, None, tmp_path / "map", features(place))
    monkeypatch.setattr(infer_run.Site, "finish", finish)
    then = {path: path.stat().st_mtime_ns for path in (place / "tiles").iterdir()}
    assert encode(run, items, place).done == 9
    assert all(path.stat().st_mtime_ns == when for path, when in then.items())
    assert maps.contents(place) == maps.contents(tmp_path / "whole" / "set")
    then = {path: path.stat().st_mtime_ns for path in (place / "tiles").iterdir()}
    assert encode(run, items, place).done == 9
    assert then == {path: path.stat().st_mtime_ns for path in (place / "tiles").iterdir()}


def test_a_map_of_features_is_gone_on_with_and_names_what_changed(
    items: list[pystac.Item], run: Path, tmp_path: Path
) -> None:
    encode(run, items, tmp_path / "set", Wish(tile=64))
    wish, place = features(tmp_path / "set", tile=64), tmp_path / "map"
    first = infer(run, None, place, wish)
    assert infer(run, items, place, wish) == first
    told = maps.mosaic(place)
    for other in (Wish(tile=64), features(tmp_path / "set", tile=48)):
        with pytest.raises(RunError, match=r"another map was begun there: (features|tiling)"):
            infer(run, items, place, other)
    with pytest.raises(RunError, match="other items"):
        infer(run, items[:3], place, wish)
    changed = tmp_path / "set" / "tiles" / "r00001_c00000.gmf"
    data = changed.read_bytes()
    changed.write_bytes(data[:-1])
    with pytest.raises(RunError, match=r"1 files changed since the map was begun: .*r00001_c00000\.gmf; --refresh"):
        infer(run, None, place, wish)
    status = infer(run, None, place, wish, refresh=True)
    assert (status.done, status.failed) == (4, 4)  # all of them look over its border
    assert "changed since it was planned" in status.failures[0].reason
    changed.write_bytes(data)
    assert infer(run, None, place, wish, retry_failed=True).failed == 0
    np.testing.assert_array_equal(maps.mosaic(place), told)


def test_features_and_maps_are_not_written_over_each_other(items: list[pystac.Item], run: Path, tmp_path: Path) -> None:
    encode(run, items, tmp_path / "set")
    infer(run, items, tmp_path / "map")
    with pytest.raises(RunError, match="set holds features of `geomask encode`, not a map; name another folder"):
        infer(run, items, tmp_path / "set")
    with pytest.raises(RunError, match="map holds a map of `geomask infer`, not features; name another folder"):
        encode(run, items, tmp_path / "map")
    with pytest.raises(RunError, match="holds something else than features"):
        encode(run, items, tmp_path / "run")
    with pytest.raises(RunError, match="other features were begun there: items differ"):
        encode(run, items[:3], tmp_path / "set")
    with pytest.raises(RunError, match="map holds no features"):
        infer(run, None, tmp_path / "other", features(tmp_path / "map"))


def test_another_teacher_makes_its_map_of_the_same_features_and_another_encoder_does_not(
    items: list[pystac.Item], run: Path, tmp_path: Path
) -> None:
    encode(run, items, tmp_path / "set")
    teacher = links.write_run(tmp_path / "teacher", items, teacher=1)
    infer(teacher, items, tmp_path / "one")
    infer(teacher, None, tmp_path / "two", features(tmp_path / "set"))
    np.testing.assert_array_equal(maps.mosaic(tmp_path / "two"), maps.mosaic(tmp_path / "one"))
    assert (maps.mosaic(tmp_path / "one") != NODATA).any()
    for other, said in [
        (links.write_run(tmp_path / "seed", items, seed=1), "features of another model"),
        (maps.write_run(tmp_path / "plain", items), "sends no features"),
    ]:
        with pytest.raises(RunError, match=said):
            infer(other, None, tmp_path / "three", features(tmp_path / "set"))
    with pytest.raises(RunError, match="sends no features"):
        encode(tmp_path / "plain", items, tmp_path / "four")
    with pytest.raises(RunError, match="features of other items"):
        infer(run, items[:3], tmp_path / "five", features(tmp_path / "set"))
    with pytest.raises(GridError, match="theirs: leave out grid, CRS and box"):
        features(tmp_path / "set", extent=Extent(crs="EPSG:32633", res=10.0))
    with pytest.raises(ItemError, match="nothing says what to read"):
        infer(run, None, tmp_path / "six")


def test_of_an_area_so_much_is_made_that_a_map_is_the_same(items: list[pystac.Item], run: Path, tmp_path: Path) -> None:
    west, south, east, north = items[0].bbox or ()
    triangle = [[west, south], [(west + east) / 2, south], [west, north], [west, south]]
    extent = Extent(area={"type": "Polygon", "coordinates": [triangle]})
    infer(run, items, tmp_path / "one", Wish(extent))
    cut = encode(run, items, tmp_path / "set", Wish(extent, tile=32))
    whole = encode(run, items, tmp_path / "whole", Wish(tile=32))
    assert 0 < cut.output_nbytes < 0.8 * whole.output_nbytes
    want = maps.mosaic(tmp_path / "one")
    infer(run, None, tmp_path / "two", features(tmp_path / "set"))
    np.testing.assert_array_equal(maps.mosaic(tmp_path / "two")[: len(want), : want.shape[1]], want)
    infer(run, None, tmp_path / "three", features(tmp_path / "whole", extent=extent))
    told = maps.mosaic(tmp_path / "three") != NODATA  # of all tiles; the area is named where the map is made
    assert told.sum() == (want != NODATA).sum()


def test_what_cannot_be_read_is_not_seen_and_is_said_at_both_ends(
    items: list[pystac.Item], run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch, place = Ground.fetch, tmp_path / "cut" / "set"

    def fail_in_a_corner(self: Ground, manifest: Manifest, index: HeaderIndex) -> object:
        if any(chip.row_off < 20 and chip.col_off < 20 for chip in manifest.chips):
            raise FetchError("b.tif: its server says 500")
        return fetch(self, manifest, index)

    monkeypatch.setattr(Ground, "fetch", fail_in_a_corner)
    monkeypatch.setattr(draft, "CHIP", 32)
    status = encode(run, items, place, Wish(tile=64))
    assert [(failure.tile, failure.window) for failure in status.failures] == [("r00000_c00000", (0, 0, 32, 32))]
    with pytest.raises(RunError, match="1 of 4 tiles have pixels that could not be read"):
        status.check()
    with pytest.warns(UserWarning, match="1 tiles of .*set have pixels that could not be read"):
        infer(run, None, tmp_path / "map", features(place))
    assert (maps.mosaic(tmp_path / "map")[:32, :32] == NODATA).all()
    monkeypatch.setattr(Ground, "fetch", fetch)
    assert encode(run, items, place, retry_failed=True).failed == 0
    encode(run, items, tmp_path / "whole" / "set", Wish(tile=64))
    assert maps.contents(place) == maps.contents(tmp_path / "whole" / "set")


def test_a_container_that_is_gone_leaves_nodata_and_never_ends_the_rest(
    items: list[pystac.Item], run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draft, "CHIP", 32)
    encode(run, items, tmp_path / "set", Wish(tile=64))
    infer(run, None, tmp_path / "whole", features(tmp_path / "set"))
    gone = tmp_path / "set" / "tiles" / "r00000_c00001.gmf"
    gone.unlink()
    status = infer(run, None, tmp_path / "map", features(tmp_path / "set"))
    assert "r00000_c00001.gmf: no such file" in status.failures[0].reason
    with pytest.raises(RunError, match="1 of 1 tiles have pixels"):
        status.check()
    got, want = (maps.mosaic(tmp_path / name) for name in ("map", "whole"))
    told = got != NODATA
    np.testing.assert_array_equal(got[told], want[told])
    assert not told[:64, 64:].any()
    assert told[:60, :30].any()
    assert told[96:, 64:].any()


def test_an_estimate_is_what_it_takes(
    items: list[pystac.Item], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = links.write_run(tmp_path / "run", items, far=(2,))
    found = estimate(run, items, tmp_path / "set", product="features")
    assert not (tmp_path / "set").exists()
    made = encode(run, items, tmp_path / "set")
    assert (found.nbytes, found.requests, found.tiles) == (made.nbytes, made.requests, 1)
    far = estimate(run, None, tmp_path / "map", features(tmp_path / "set"))
    status = infer(run, None, tmp_path / "map", features(tmp_path / "set"))
    assert (far.nbytes, far.requests, far.dense_nbytes) == (status.nbytes, status.requests, None)
    size = (tmp_path / "set" / "tiles" / "r00000_c00000.gmf").stat().st_size
    assert size < far.nbytes < made.nbytes


def test_workers_make_the_same_features_and_the_same_map(items: list[pystac.Item], run: Path, tmp_path: Path) -> None:
    """What a worker does, in this process; tests/infer/test_cluster.py has them in their own."""
    encode(run, items, tmp_path / "set", Wish(tile=64))
    infer(run, None, tmp_path / "map", features(tmp_path / "set", tile=64))
    batch = [(3, [item.to_dict(include_self_link=True, transform_hrefs=False) for item in (items[0], items[3])])]
    for place in (tmp_path / "map", tmp_path / "set"):
        job, held = Job.load(Outbox(place)), maps.contents(place)
        for path in [*place.rglob("r00001_c00001.*")]:
            path.unlink()
        assert cluster.make_batch(str(place), job.digest, batch, None) == [(3, 0)]
        assert maps.contents(place) == held


def test_features_in_a_bucket_are_those_on_a_disk_and_so_is_their_map(
    items: list[pystac.Item], run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode(run, items, tmp_path / "disk" / "set", Wish(tile=64))
    infer(run, None, tmp_path / "one", features(tmp_path / "disk" / "set"))
    (tmp_path / "s3" / "bucket").mkdir(parents=True)
    with s3_server(tmp_path / "s3") as host:
        forget_clouds(tmp_path, monkeypatch)
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": f"http://{host}"}.items():
            monkeypatch.setenv(name, value)
        encode(run, items, "s3://bucket/below/set", Wish(tile=64))
        box = Outbox("s3://bucket/below/set")
        found = {name: data for name in box.names() if (data := box.get(name)) is not None}
        status = infer(run, None, tmp_path / "two", Wish(features="s3://bucket/below/set/"))
        assert infer(run, None, tmp_path / "two", Wish(features="s3://bucket/below/set")) == status
    assert (status.failed, status.requests, status.nbytes) == (0, 4, status.planned_nbytes)
    assert {row["href"].rpartition("/")[0] for row in sources(tmp_path / "two")} == {"s3://bucket/below/set/tiles"}
    mine = maps.contents(tmp_path / "disk" / "set")
    assert {name: data for name, data in found.items() if not name.startswith("ledger/")} == mine
    np.testing.assert_array_equal(maps.mosaic(tmp_path / "two"), maps.mosaic(tmp_path / "one"))


def test_pixels_that_only_the_other_machine_has_are_asked_for(
    items: list[pystac.Item], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = links.write_run(tmp_path / "run", items, far=(2,))
    encode(run, items, tmp_path / "set")
    monkeypatch.setattr(Outbox, "is_local", property(lambda self: "set" not in self.place))
    with pytest.raises(RunError, match="from files of its own machine, and this run reads some of them too; give the"):
        basis.Basis.of(run, None, features(tmp_path / "set"))
    assert basis.Basis.of(run, items, features(tmp_path / "set")).items


def test_jobs_of_before_are_still_read(items: list[pystac.Item], run: Path, tmp_path: Path) -> None:
    infer(run, items, tmp_path / "map")
    said = json.loads((tmp_path / "map" / "job.json").read_text())
    assert said["geomask"] == "map"
    older = {name: value for name, value in said.items() if name not in ("features", "model", "margin")}
    assert Job.from_dict(older) == Job.from_dict(said) == Job.load(Outbox(tmp_path / "map"))
    with pytest.raises(RunError, match="no geomask map"):
        Job.from_dict(said | {"geomask": "run"})
    with pytest.raises(RunError, match="is no text"):
        Job.from_dict(said | {"features": 7})

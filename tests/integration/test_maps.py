"""Maps as others see them: in a bucket, through odc-stac, and from the command line with Ctrl-C in the middle."""

import signal
import subprocess
import time
from pathlib import Path

import items as stac
import maps
import numpy as np
import odc.stac
import pystac
import pytest
from buckets import KEYS, forget_clouds, s3_server
from conftest import SCRIPT

from geomask.demo.server import Server
from geomask.infer import draft
from geomask.infer import run as infer_run
from geomask.infer.draft import Wish
from geomask.infer.field import Field
from geomask.infer.outbox import Outbox
from geomask.infer.run import infer
from geomask.infer.status import Status
from geomask.stac.search import save_items

SIZE = (200, 170)


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(infer_run, "choose_engine", lambda *_: ("eager", None))
    monkeypatch.setattr(draft, "find_field", lambda _: Field(2, 1))


@pytest.fixture
def items(tmp_path: Path) -> list[pystac.Item]:
    return stac.write_items(tmp_path / "a b", dates=4, bands=("B02", "B03"), height=SIZE[0], width=SIZE[1], holes=True)


@pytest.fixture
def run(items: list[pystac.Item], tmp_path: Path) -> Path:
    return maps.write_run(tmp_path / "run", items)


def test_a_map_in_a_bucket_is_the_one_on_a_disk_and_is_gone_on_with(
    items: list[pystac.Item], run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "s3" / "bucket").mkdir(parents=True)
    with s3_server(tmp_path / "s3") as host:
        forget_clouds(tmp_path, monkeypatch)
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": f"http://{host}"}.items():
            monkeypatch.setenv(name, value)
        status = infer(run, items, "s3://bucket/below/map", Wish(tile=128))
        box = Outbox("s3://bucket/below/map")
        box.remove("ledger/r00001_c00001.parquet")  # as if it had been cut off before that
        assert Status.load(box).done == 3
        assert infer(run, items, "s3://bucket/below/map").done == status.done == 4
        found = {name: data for name in box.names() if (data := box.get(name)) is not None}
    infer(run, items, tmp_path / "disk" / "map", Wish(tile=128))
    mine = maps.contents(tmp_path / "disk" / "map")
    assert {name: data for name, data in found.items() if not name.startswith("ledger/")} == mine


# What affine 3.1 and shapely 2.1 deprecate, odc-geo still calls.
@pytest.mark.filterwarnings(
    "ignore:Use `@` matmul:PendingDeprecationWarning", "ignore:The 'shapely.ops:DeprecationWarning"
)
def test_odc_stac_opens_a_map_as_it_is(items: list[pystac.Item], run: Path, tmp_path: Path) -> None:
    infer(run, items, tmp_path / "map", Wish(tile=64))
    collection = pystac.Collection.from_file(str(tmp_path / "map" / "collection.json"))
    cube = odc.stac.load(list(collection.get_items()), bands=["map"])
    assert cube["map"].dtype == np.uint8
    assert cube["map"].attrs["nodata"] == 255
    np.testing.assert_array_equal(cube["map"].isel(time=0).to_numpy(), maps.mosaic(tmp_path / "map"))


@pytest.mark.parametrize("workers", [[], ["--workers", "1"]])
def test_ctrl_c_ends_a_map_at_once_and_the_same_command_goes_on(
    items: list[pystac.Item], run: Path, tmp_path: Path, workers: list[str]
) -> None:
    with Server(tmp_path / "a b", bandwidth=5e5) as server:
        for item in items:
            for asset in item.assets.values():
                asset.href = server.href(Path(asset.href))
        save_items(items, tmp_path / "items.json")
        place = tmp_path / "the map"
        line = [SCRIPT, "infer", run, tmp_path / "items.json", "-o", place, "--tile", "32", *workers]
        process = subprocess.Popen([*map(str, line)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            while process.poll() is None and not list((place / "ledger").glob("r*.parquet")):
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            start = time.monotonic()
            said, errors = process.communicate(timeout=60)
        finally:
            process.kill()
        assert (process.returncode, said) == (130, "")
        assert errors.endswith("Interrupted.\n")
        assert "Traceback" not in errors
        assert time.monotonic() - start < 30
    assert not [path for path in place.rglob("*") if "#" in path.name]
    before = Status.load(Outbox(place))
    assert 0 < before.done < before.tiles

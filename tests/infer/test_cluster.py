"""Maps made by workers of dask.distributed, in processes of their own."""

import os
import signal
from pathlib import Path

import items as stac
import maps
import pytest
from distributed import Client, LocalCluster

from geomask.errors import RunError
from geomask.infer import cluster, draft
from geomask.infer import run as infer_run
from geomask.infer.draft import Wish
from geomask.infer.field import Field
from geomask.infer.run import infer
from geomask.stac.search import load_items, save_items

WISH = Wish(tile=64)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a run, its items beside it, and the map that one process makes of them."""
    monkeypatch.setattr(infer_run, "choose_engine", lambda *_: ("eager", None))
    monkeypatch.setattr(draft, "find_field", lambda _: Field(2, 1))
    items = stac.write_items(tmp_path / "files", dates=4, bands=("B02", "B03"), height=200, width=170, holes=True)
    save_items(items, tmp_path / "items.json")
    maps.write_run(tmp_path / "run", items)
    infer(tmp_path / "run", items, tmp_path / "alone" / "map", WISH)
    return tmp_path


def test_a_lost_workers_tiles_are_made_elsewhere_and_the_map_is_the_same(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "REQUESTS", 1)
    monkeypatch.setattr(infer_run, "REQUESTS", 1)  # a task for each tile
    items = load_items(place / "items.json")
    with LocalCluster(
        n_workers=2,
        threads_per_worker=2,
        dashboard_address="127.0.0.1:0",
        local_directory=place / "dask",
        memory_limit=0,
    ) as workers:
        with Client(workers) as client:
            pids = client.run(os.getpid)
        lost = next(iter(pids.values()))

        def lose(done: int | None = None, total: int | None = None) -> None:
            if done == 3:
                os.kill(lost, signal.SIGKILL)

        status = infer(
            place / "run", items, place / "many" / "map", WISH, scheduler=workers.scheduler_address, on_done=lose
        )
    assert (status.done, status.failed) == (12, 0)
    assert maps.contents(place / "many" / "map") == maps.contents(place / "alone" / "map")


def test_workers_of_this_machine_make_the_same_map(place: Path) -> None:
    items = load_items(place / "items.json")
    status = infer(place / "run", items, place / "many" / "map", WISH, workers=2)
    assert status.done == 12
    assert maps.contents(place / "many" / "map") == maps.contents(place / "alone" / "map")


def test_a_scheduler_that_does_not_answer_is_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "PATIENCE", 1)
    with (
        pytest.raises(RunError, match=r"no scheduler answers at tcp://127\.0\.0\.1:9"),
        cluster.open_cluster("tcp://127.0.0.1:9", 0),
    ):
        pass


def test_workers_that_see_another_map_say_so(place: Path) -> None:
    with pytest.raises(RunError, match="another map on a worker"):
        cluster.make_batch(str(place / "alone" / "map"), "0" * 64, [(0, [])], None)
    with pytest.raises(RunError, match="holds no map"):
        cluster.make_batch(str(place / "nothing"), "0" * 64, [(0, [])], None)

"""``geomask chips``, and training from what it makes when nothing else is there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import geopandas
import items as stac
import numpy as np
import pytest
import rasterio
import shapely
from click.testing import CliRunner, Result

from geomask.chips.store import ChipStore
from geomask.cog.index import index_headers
from geomask.selection import Selection
from geomask.stac.search import load_items, save_items
from geomask.train.run import load_run

SCRIPT = Path(sys.executable).with_name("geomask")
(ENTRY,) = entry_points(group="console_scripts", name="geomask")


def call(*args: object) -> Result:
    return CliRunner().invoke(ENTRY.load(), [*map(str, args)], catch_exceptions=False)


def run(*args: object) -> dict[str, Any]:
    """What a command prints, run in this process: torch takes its seconds once."""
    result = call(*args)
    assert result.exit_code == 0, result.stderr
    said: dict[str, Any] = json.loads(result.stdout)
    return said


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four dates of two bands, and labels in both kinds of files."""
    work = tmp_path_factory.mktemp("some work & more")
    save_items(stac.write_items(work / "data", dates=4, bands=("B02", "B03"), holes=True), work / "items.json")
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 500_000, 0, -10, 5_000_000)}
    with rasterio.open(work / "l.tif", "w", "GTiff", height=100, width=90, count=1, dtype="uint8", **place) as file:
        file.write((np.add.outer(np.arange(100), np.arange(90)) // 7 % 3).astype("uint8"), 1)
    areas = [shapely.box(500_000, 4_999_000, 500_450, 5_000_000), shapely.box(500_450, 4_999_000, 500_900, 5_000_000)]
    frame = geopandas.GeoDataFrame({"crop": ["wheat", "maize"]}, geometry=areas, crs="EPSG:32633")
    frame.to_file(work / "fields.gpkg")
    return work


@pytest.fixture(scope="module")
def made(work: Path) -> dict[str, Any]:
    return run("chips", work / "items.json", "-o", work / "a store", "--labels", work / "l.tif", "--size", 20, *BANDS)


BANDS = ("--bands", "B02,B03")


def test_chips_are_read_and_summed_up(made: dict[str, Any], work: Path) -> None:
    store = ChipStore(work / "a store")
    assert made["chips"] == len(store) == 25
    assert made["size"] == [20, 20]
    assert made["channels"] == ["2020-01/B02", "2020-01/B03", "2020-02/B02", "2020-02/B03"]
    assert made["spent"]["nbytes"] == made["planned_bytes"]
    assert made["stored_bytes"] == sum(
        path.stat().st_size for path in (work / "a store").glob("[imvw]*/c/**/*") if path.is_file()
    )
    assert made["digest"] == store.record.digest


def test_a_second_run_reads_nothing(made: dict[str, Any], work: Path, tmp_path: Path) -> None:
    shutil.copytree(work / "a store", tmp_path / "store")
    line = ["chips", work / "items.json", "-o", tmp_path / "store", "--labels", work / "l.tif", "--size", 20, *BANDS]
    again = run(*line)
    assert again["spent"] == made["spent"]
    assert again["digest"] == made["digest"]
    (tmp_path / "store" / "image" / "c" / "0" / "0" / "0" / "0").unlink()
    assert run(*line)["spent"]["parts"] == 2
    result = call(*line[:-3], 25, *BANDS)
    assert result.exit_code == 1
    assert "made from something else" in result.stderr
    assert result.stderr.count("\n") == 1


def test_it_trains_where_nothing_but_the_store_is(made: dict[str, Any], work: Path, tmp_path: Path) -> None:
    """The store alone in another folder, and every file that it was read from moved away."""
    shutil.copytree(work / "a store", tmp_path / "store")
    (work / "data").rename(work / "gone")
    try:
        said = run("train", tmp_path / "store", "-o", tmp_path / "run", "--budget", "60%", "--steps", 20)
    finally:
        (work / "gone").rename(work / "data")
    trained = load_run(tmp_path / "run")
    assert said["classes"] == ["class 0", "class 1", "class 2"]
    assert said["channels"] == trained.selection.names
    assert 0 < said["planned_bytes"] <= 0.6 * said["dense_bytes"]


def test_trained_from_chips_or_from_items_a_run_is_the_same(made: dict[str, Any], work: Path, tmp_path: Path) -> None:
    options = ["--method", "dense", "--steps", 20, "--seed", 3]
    with_whole_cells = ["--bbox", 500_000, 4_999_000, 500_800, 5_000_000]
    run(
        "chips",
        work / "items.json",
        "-o",
        tmp_path / "store",
        "--labels",
        work / "l.tif",
        "--size",
        20,
        *BANDS,
        *with_whole_cells,
    )
    from_items = [work / "items.json", "--labels", work / "l.tif", "--cell", 20, *BANDS]
    one = run("train", tmp_path / "store", "-o", tmp_path / "one", *options)
    other = run("train", *from_items, "-o", tmp_path / "other", *options)
    assert len(ChipStore(tmp_path / "store")) == 20  # the grid's whole cells
    for name in ("channels", "classes", "scores"):
        assert one[name] == other[name]
    assert (tmp_path / "one" / "model.safetensors").read_bytes() == (
        tmp_path / "other" / "model.safetensors"
    ).read_bytes()


def test_a_vector_file_an_explicit_grid_and_kept_headers(work: Path, tmp_path: Path) -> None:
    found = load_items(work / "items.json")
    index_headers(asset.href for item in found for asset in item.assets.values()).save(tmp_path / "headers.parquet")
    grid = ["--crs", "EPSG:32633", "--res", 20, "--bbox", 500_010, 4_999_505, 500_390, 4_999_990]
    said = run(
        *("chips", work / "items.json", "-o", tmp_path / "store", *BANDS, *grid, "--size", 8, "--stride", 4),
        *("--labels", work / "fields.gpkg", "--column", "crop", "--index", tmp_path / "headers.parquet"),
    )
    store = ChipStore(tmp_path / "store")
    assert said["classes"] == ["maize", "wheat"]
    assert (store.grid.left, store.grid.top, store.grid.res_y) == (500_000, 5_000_000, 20)
    assert (store.grid.height, store.grid.width) == (25, 20)
    assert (store[0]["mask"] == 1).all()
    overlapping = call("train", tmp_path / "store", "-o", tmp_path / "run")
    assert overlapping.exit_code == 1
    assert "overlap" in overlapping.stderr


def test_what_a_run_selected_on_another_year(work: Path, tmp_path: Path) -> None:
    found = load_items(work / "items.json")
    line = ["chips", work / "items.json", "-o", tmp_path / "all", *BANDS, "--size", 50]
    run(*line)
    kept = Selection.load(tmp_path / "all" / "selection.json").keep([1, 2])
    kept.save(tmp_path / "selection.json")
    for item in found:
        item.datetime = item.datetime.replace(year=2022)
    save_items(found, tmp_path / "later.json")
    result = call(
        "chips",
        tmp_path / "later.json",
        "-o",
        tmp_path / "some",
        "--selection",
        tmp_path / "selection.json",
        "--size",
        50,
    )
    assert result.exit_code == 0, result.stderr
    assert "slots moved by +2 years" in result.stderr
    assert json.loads(result.stdout)["channels"] == ["2022-01/B03", "2022-02/B02"]
    one, other = ChipStore(tmp_path / "some")[0], ChipStore(tmp_path / "all")[0]
    assert one["image"].tolist() == other["image"][[1, 2]].tolist()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--crs", "EPSG:32633"], 2, "--crs and --res say only together"),
        (["--cuts", "3"], 2, "are about --labels"),
        (["--selection", "x.json", "--bands", "B02"], 2, "--selection has its own bands"),
        (["--labels", "l.tif", "--cuts", "3,2"], 2, "must be finite and ascend"),
        (["--labels", "nothing.tif"], 1, "cannot read labels from nothing.tif"),
        (["--selection", "nothing.json"], 1, "cannot read the selection nothing.json"),
        (["--index", "nothing.parquet"], 1, "nothing.parquet"),
        (["--size", "0"], 2, "--size"),
        (["--res", "-3"], 2, "--res"),
        (["--bbox", "0", "0", "10", "10"], 2, "do not meet the grid"),
        (["--crs", "nonsense", "--res", "10"], 1, "nonsense"),
        (["--crs", "EPSG:32633", "--res", "10", "--bbox", "0", "0", "100", "100"], 1, "no item meets the grid"),
        (
            ["--crs", "EPSG:32633", "--res", "10", "--bbox", "9", "0", "1", "9"],
            1,
            "bounds are left, bottom, right, top",
        ),
        (["--crs", "EPSG:32633", "--res", "0.001"], 1, "smaller area, larger pixels"),
        (["--bands", "B99"], 1, "B99"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], code: int, words: str
) -> None:
    monkeypatch.chdir(work)
    bands = [] if "--bands" in options or "--selection" in options else BANDS
    result = call("chips", "items.json", "-o", tmp_path / "store", *bands, *options)
    assert result.exit_code == code
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--bands", "B02"], "a folder of chips has its own bands"),
        (["--labels", "l.tif"], "has its own labels"),
        (["--cell", "10"], "has its own cell"),
    ],
)
def test_a_store_decides_what_is_trained_on(
    made: dict[str, Any], work: Path, tmp_path: Path, options: list[str], words: str
) -> None:
    result = call("train", work / "a store", "-o", tmp_path / "run", *options)
    assert result.exit_code == 2
    assert words in result.stderr


def test_items_need_labels_and_a_folder_has_to_be_a_store(work: Path, tmp_path: Path) -> None:
    result = call("train", work / "items.json", "-o", tmp_path / "run")
    assert (result.exit_code, "Missing option '--labels'" in result.stderr) == (2, True)
    result = call("train", work, "-o", tmp_path / "run")
    assert (result.exit_code, "is no chip store" in result.stderr) == (1, True)


def test_ctrl_c_leaves_whole_parts_and_the_same_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a server that takes a tenth of a second for each request, stopped when the first part is there."""
    from geomask.demo.server import Server

    options: dict[str, Any] = {"height": 256, "width": 256, "block": 64, "overviews": False, "compress": "none"}
    found = stac.write_items(tmp_path / "data", dates=6, bands=("B02", "B03"), predictor=1, **options)
    with Server(tmp_path / "data", latency=0.1) as server:
        for item in found:
            for asset in item.assets.values():
                asset.href = server.href(str(Path(asset.href).relative_to(tmp_path / "data")))
        save_items(found, tmp_path / "items.json")
        program = (
            "import sys; from geomask.chips import store_plan; store_plan.PART_NBYTES = 1 << 16;"
            "from geomask.cli.main import geomask; sys.exit(geomask())"
        )
        command = ["chips", tmp_path / "items.json", "-o", tmp_path / "store", *BANDS, "--size", 16]
        line = map(str, [sys.executable, "-c", program, *command])
        process = subprocess.Popen([*line], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        first = tmp_path / "store" / "valid" / "c" / "0" / "0" / "0" / "0"
        for _ in range(1200):
            if first.exists() or process.poll() is not None:
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 130, stderr.decode()
        assert b"Traceback" not in stderr
        done = sorted(os.listdir(tmp_path / "store" / "valid" / "c"))
        assert 0 < len(done) < 16
        monkeypatch.setattr("geomask.chips.store_plan.PART_NBYTES", 1 << 16)
        said = run(*command)
    assert said["spent"]["parts"] <= 17
    assert len(ChipStore(tmp_path / "store")) == 256

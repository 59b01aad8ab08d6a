"""Each command alone on files, one after the other from search to map: over a server, from a folder, in a pipe."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
from click.testing import CliRunner

from geomask.demo.run import SEARCH
from geomask.demo.server import Server
from geomask.plan.manifest import Manifest
from geomask.selection import Selection
from geomask.stac.search import load_items, save_items
from geomask.train.run import load_run

SCRIPT = Path(sys.executable).with_name("geomask")
(ENTRY,) = entry_points(group="console_scripts", name="geomask")
CLEAR = ["--query", "eo:cloud_cover<30"]
QUICK = ["--cuts", "30,70,85", "--slots", "season", "--bands", "red,nir08", "--budget", "30%", "--steps", "20"]


def run(*args: object) -> str:
    """What a command prints, run in this process: torch takes its seconds once."""
    result = CliRunner().invoke(ENTRY.load(), [*map(str, args)], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return result.stdout


@dataclass(frozen=True)
class Ended:
    """A process that has ended."""

    code: int
    stdout: str
    stderr: str
    """As it stays on a terminal: a progress bar is wiped from the start of its line."""


def ended(process: subprocess.Popen[bytes]) -> Ended:
    stdout, stderr = (output.decode() for output in process.communicate(timeout=120))
    shown = [line.rpartition("\r")[2] for line in stderr.split("\n")]  # text=True would turn \r into \n
    return Ended(process.returncode, stdout, "\n".join(shown))


def start(*line: object, shell: bool = False) -> subprocess.Popen[bytes]:
    command = str(line[0]) if shell else [str(word) for word in line]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, shell=shell)


@pytest.fixture(scope="module")
def server(published: Path) -> Iterator[Server]:
    with Server(published.parent) as running:
        yield running


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("some work & more")


@pytest.fixture(scope="module")
def items(server: Server, work: Path) -> Path:
    run("search", server.href("catalog.json"), *CLEAR, "--save", work / "items.json")
    return work / "items.json"


@pytest.fixture(scope="module")
def trained(published: Path, items: Path, work: Path) -> Ended:
    """``geomask train`` as a user runs it."""
    labels = published.parent / "labels.tif"
    return ended(start(SCRIPT, "train", items, "--labels", labels, *QUICK, "-o", work / "a run"))


@pytest.fixture(scope="module")
def run_folder(trained: Ended, work: Path) -> Path:
    assert trained.code == 0, trained.stderr
    return work / "a run"


@pytest.fixture(scope="module")
def manifest(items: Path, run_folder: Path, work: Path) -> Path:
    run("plan", items, "--selection", run_folder / "selection.json", "-o", work / "planned.geomask.jsonl")
    return work / "planned.geomask.jsonl"


# --- what each prints and writes --------------------------------------------------------------------------------------


def test_search_finds_the_same_in_a_folder_and_on_a_server(server: Server, published: Path, items: Path) -> None:
    local = json.loads(run("search", published, *CLEAR))
    assert local["type"] == "FeatureCollection"
    assert [feature["id"] for feature in local["features"]] == [item.id for item in load_items(items)]
    assert len(local["features"]) == 7
    assert all(Path(asset["href"]).is_file() for item in local["features"] for asset in item["assets"].values())
    assert all(asset.href.startswith(server.url) for item in load_items(items) for asset in item.assets.values())


def test_train_prints_its_record_and_writes_a_run(trained: Ended, run_folder: Path) -> None:
    printed = json.loads(trained.stdout)
    assert trained.stderr == ""
    names = ["checkpoints", "metrics.csv", "model.safetensors", "run.json", "selection.json"]
    assert sorted(file.name for file in run_folder.iterdir()) == names
    record = json.loads((run_folder / "run.json").read_text())
    assert printed["channels"] == Selection.load(run_folder / "selection.json").names
    assert printed["planned_bytes"] == record["planned_nbytes"] <= 0.3 * printed["dense_bytes"]
    assert printed["scores"] == record["scores"]
    assert printed["run"] == str(run_folder)


def test_train_does_not_depend_on_where_the_items_lie(published: Path, run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "local.json").write_text(run("search", published, *CLEAR))
    labels = published.parent / "labels.tif"
    run("train", tmp_path / "local.json", "--labels", labels, *QUICK, "-o", tmp_path / "run")
    here, there = (json.loads((folder / "run.json").read_text()) for folder in (tmp_path / "run", run_folder))
    assert here == there
    selections = [(folder / "selection.json").read_bytes() for folder in (tmp_path / "run", run_folder)]
    assert selections[0] == selections[1]


def test_plan_prints_what_it_would_write(items: Path, run_folder: Path, manifest: Path) -> None:
    done = ended(start(SCRIPT, "plan", items, "--selection", run_folder / "selection.json"))
    assert done == Ended(0, manifest.read_text(), Manifest.load(manifest).summary() + "\n")
    assert all(isinstance(json.loads(line), dict) for line in done.stdout.splitlines())


def test_plan_of_a_part_is_less(items: Path, run_folder: Path, manifest: Path, tmp_path: Path) -> None:
    whole = Manifest.load(manifest)
    left, top = whole.grid.left, whole.grid.top
    box = [left - 1e9, top - 320, left + 320, top + 1e9]  # what lies beyond the files is cut off
    run("plan", items, "--selection", run_folder / "selection.json", "--bbox", *box, "-o", tmp_path / "part.jsonl")
    part = Manifest.load(tmp_path / "part.jsonl")
    assert part.grid.bounds == (left, top - 320, left + 320, top)
    assert (part.channels, part.selection) == (whole.channels, whole.selection)
    assert part.tile_nbytes <= whole.tile_nbytes
    assert list(part.files) == list(whole.files)


def test_read_fetches_what_was_planned(server: Server, manifest: Path, tmp_path: Path) -> None:
    planned = Manifest.load(manifest)
    server.reset()
    receipt = json.loads(run("read", manifest, "-o", tmp_path / "the cube.tif"))
    log = server.log()
    assert receipt["nbytes"] == receipt["planned_nbytes"] == planned.planned_nbytes == log.nbytes
    assert receipt["requests"] == receipt["planned_requests"] == planned.planned_requests == log.requests
    with rasterio.open(tmp_path / "the cube.tif") as cube:
        assert cube.descriptions == tuple("/".join(channel) for channel in planned.channels)
        assert cube.shape == (planned.grid.height, planned.grid.width)
        for source in planned.requests.sources:
            pixels = cube.read(source.channels[0] + 1)
            path = server.directory / source.href.removeprefix(server.url)
            with rasterio.open(path) as dataset:
                repeat = round(dataset.res[0] / cube.res[0])
                stored = dataset.read(1).repeat(repeat, 0).repeat(repeat, 1)
            np.testing.assert_array_equal(np.nan_to_num(pixels), stored)  # nodata is 0 in the file
            np.testing.assert_array_equal(np.isnan(pixels), stored == 0)


def test_infer_writes_a_map_and_its_item(run_folder: Path, items: Path, tmp_path: Path) -> None:
    printed = json.loads(run("infer", run_folder, items, "-o", tmp_path / "the map"))
    assert printed["nbytes"] == printed["planned_nbytes"]
    assert printed["map"] == str(tmp_path / "the map")
    (item,) = pystac.Collection.from_file(str(tmp_path / "the map" / "collection.json")).get_items()
    path = Path(item.assets["map"].get_absolute_href() or "")
    assert path == tmp_path / "the map" / "tiles" / "r00000_c00000.tif"
    with rasterio.open(path) as dataset:
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        classes = dataset.read(1)
    assert set(np.unique(classes)) <= {0, 1, 2, 3, 255}
    assert item.properties["geomask:selection"] == load_run(run_folder).selection.digest


def test_what_a_map_will_take_and_what_it_took(run_folder: Path, items: Path, tmp_path: Path) -> None:
    line = ["infer", run_folder, items, "-o", tmp_path / "map"]
    prices = ["--price-per-gb", "90", "--price-per-1000", "0.4"]
    before = json.loads(run(*line, "--dry-run", "--bandwidth", "8Mbit", *prices))
    assert not (tmp_path / "map").exists()
    done = json.loads(run(*line))
    after = json.loads(run("status", tmp_path / "map", *prices))
    assert after == {**done, "cost": before["cost"]}
    assert (before["nbytes"], before["requests"], before["tiles"]) == (done["nbytes"], done["requests"], 1)
    assert before["dense_nbytes"] > before["nbytes"] == before["seconds"] * 1e6
    assert before["cost"] == pytest.approx(before["nbytes"] * 90e-9 + before["requests"] * 0.4e-3)


def test_what_could_not_be_read_ends_with_one_line_after_the_map(run_folder: Path, items: Path, tmp_path: Path) -> None:
    found = load_items(items)
    selection = load_run(run_folder).selection
    lost = selection.bands[selection.channels[0].band].asset
    for item in found:
        item.assets[lost].href += ".gone"
    save_items(found, tmp_path / "items.json")
    line = ["infer", run_folder, tmp_path / "items.json", "--crs", "EPSG:3035", "--res", "10", "-o", tmp_path / "map"]
    result = CliRunner().invoke(ENTRY.load(), [*map(str, line)])
    assert result.exit_code == 1
    said = json.loads(result.stdout)
    assert said["failed"] == said["done"] == said["tiles"]
    assert ".gone: no such file" in said["failures"][0]["reason"]
    errors = result.stderr.rpartition("\r")[2]
    assert errors.startswith(f"Error: {said['failed']} of {said['tiles']} tiles have pixels that could not be read")
    assert "--retry-failed" in errors


def test_infer_searches_a_catalog_and_maps_a_part_of_it(published: Path, run_folder: Path, tmp_path: Path) -> None:
    item = load_items(published)[0]
    west, south, east, north = item.bbox or ()
    box = [west, south, (west + east) / 2, (south + north) / 2]
    period = f"{item.datetime:%Y}-01-01/.."
    printed = json.loads(
        run("infer", run_folder, published, "--datetime", period, "--bbox", *map(str, box), "-o", tmp_path / "map")
    )
    with rasterio.open(tmp_path / "map" / "map.vrt") as dataset:
        assert max(dataset.shape) < 70
    assert printed["done"] == printed["tiles"] == 1


@pytest.mark.parametrize("where", ["folder", "server"])
def test_a_shell_pipe_from_search_to_pixels(
    where: str, server: Server, published: Path, run_folder: Path, tmp_path: Path
) -> None:
    catalog = str(published) if where == "folder" else server.href("catalog.json")
    search, selection = [SCRIPT, "search", catalog, *CLEAR], run_folder / "selection.json"
    plan, read = [SCRIPT, "plan", "-", "--selection", selection], [SCRIPT, "read", "-", "-o", tmp_path / "cube.tif"]
    pipe = " | ".join(shlex.join(map(str, command)) for command in (search, plan, read))
    done = ended(start(pipe, shell=True))
    assert done.code == 0, done.stderr
    receipt, channels = json.loads(done.stdout), len(Selection.load(selection).channels)
    assert done.stderr.startswith(f"{channels} channels of ")
    assert f" {receipt['planned_requests']} requests, {receipt['planned_nbytes']:,} bytes (" in done.stderr
    assert done.stderr.count("\n") == 1
    with rasterio.open(tmp_path / "cube.tif") as cube:
        assert cube.count == channels


def test_standard_output_may_be_named(manifest: Path, items: Path, run_folder: Path) -> None:
    done = ended(start(SCRIPT, "plan", items, "--selection", run_folder / "selection.json", "-o", "/dev/stdout"))
    assert (done.code, done.stdout) == (0, manifest.read_text())
    assert Path("/dev/stdout").is_symlink()


# --- the demo ---------------------------------------------------------------------------------------------------------


def test_single_commands_repeat_the_demo(demo_folder: Path, demo_output: str, tmp_path: Path) -> None:
    """What the demo does in one go over a server, commands do one by one on its folder."""
    clear = ["--datetime", SEARCH["datetime"], "--query", *SEARCH["query"]]
    items, learned = tmp_path / "items.json", demo_folder / "runs" / "learned-f0-s0"
    run("search", demo_folder / "catalog" / "catalog.json", *clear, "--save", items)
    assert [item.id for item in load_items(items)] == [item.id for item in load_items(demo_folder / "items.json")]

    run("plan", items, "--selection", learned / "selection.json", "-o", tmp_path / "learned.geomask.jsonl")
    theirs = Manifest.load(demo_folder / "manifests" / "learned.geomask.jsonl")
    assert Manifest.load(tmp_path / "learned.geomask.jsonl").summary() == theirs.summary()
    assert theirs.summary() in demo_output

    # A copy: a run keeps the receipt of its last inference, and the demo's folder is shared by the tests.
    mine = shutil.copytree(learned, tmp_path / "learned")
    receipt = json.loads(run("infer", mine, items, "-o", tmp_path / "map"))
    counted = json.loads((learned / "receipt.json").read_text())["server"]
    assert receipt["nbytes"] == theirs.planned_nbytes == counted["bytes"]
    kept = json.loads((mine / "receipt.json").read_text())
    assert (kept["pixel_nbytes"], kept["selection"]) == (counted["pixel_bytes"], theirs.selection)
    assert pixels(tmp_path / "map" / "map.vrt") == pixels(demo_folder / "maps" / "learned" / "map.vrt")

    shutil.copytree(demo_folder / "runs", tmp_path / "report" / "runs")
    assert run("report", tmp_path / "report") in demo_output
    assert demo_output.endswith(f"report: {demo_folder / 'report.html'}\n")


def pixels(path: Path) -> bytes:
    with rasterio.open(path) as dataset:
        return bytes(dataset.read().tobytes())


# --- again and in between ---------------------------------------------------------------------------------------------


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_second_run_replaces_the_first(published: Path, items: Path, manifest: Path, tmp_path: Path) -> None:
    train = ["train", items, "--labels", published.parent / "labels.tif", *QUICK, "-o", tmp_path / "run"]
    lines: list[list[Any]] = [
        [*train, "--method", "uniform"],
        ["plan", items, "--selection", tmp_path / "run" / "selection.json", "-o", tmp_path / "m.jsonl"],
        ["read", manifest, "-o", tmp_path / "cube.tif"],
        ["infer", tmp_path / "run", items, "-o", tmp_path / "map"],
    ]
    for line in lines:
        run(*line)
    once = files(tmp_path)
    run(*train, "--method", "dense")
    for line in lines[1:-1]:
        run(*line)
    # a map stays what it was begun as, and the receipt of it went with the run that made it
    assert files(tmp_path) == [name for name in once if name != "run/receipt.json"]
    assert "another map was begun there" in CliRunner().invoke(ENTRY.load(), [*map(str, lines[-1])]).stderr
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["method"], record["planned_nbytes"]) == ("dense", record["dense_nbytes"])
    assert len(Manifest.load(tmp_path / "m.jsonl").channels) == len(load_run(tmp_path / "run").selection.channels) == 14


def test_ctrl_c_in_the_middle_of_training(server: Server, published: Path, items: Path, tmp_path: Path) -> None:
    labels, out = published.parent / "labels.tif", tmp_path / "run"
    server.reset()
    with start(SCRIPT, "train", items, "--labels", labels, *QUICK, "--steps", 10**7, "-o", out) as process:
        try:
            wait_until_all_is_read(server)
            process.send_signal(signal.SIGINT)
            assert ended(process) == Ended(130, "", "Interrupted.\n")
        finally:
            process.kill()
    # What `--resume` goes on from may be there, and nothing else: no run, and no draft.
    resumable = {"run", "run/checkpoints", "run/checkpoints/0000.safetensors", "run/metrics.csv"}
    assert set(files(tmp_path)) <= resumable


def wait_until_all_is_read(server: Server) -> None:
    """Until there were requests, and then none for two seconds: by then it trains."""
    deadline, seen, since = time.monotonic() + 120, 0, time.monotonic()
    while time.monotonic() < deadline:
        if (count := server.log().requests) != seen:
            seen, since = count, time.monotonic()
        if seen and time.monotonic() - since > 2:
            return
        time.sleep(0.1)
    pytest.fail("nothing was read")

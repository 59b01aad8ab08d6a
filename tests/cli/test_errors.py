"""What goes wrong is one line that names the thing, with an exit code, and leaves nothing behind: every command."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import rasterio
from click.testing import CliRunner, Result
from items import write_items
from rasterio.transform import from_origin
from runs import write_run

from geomask.plan.compile import compile_manifest
from geomask.plan.sources import choose_grid, index_selection
from geomask.selection import Selection
from geomask.stac.profile import Band
from geomask.stac.search import save_items
from geomask.stac.slots import Slot, make_slots

SCRIPT = Path(sys.executable).with_name("geomask")
(ENTRY,) = entry_points(group="console_scripts", name="geomask")
COMMANDS = sorted(ENTRY.load().commands)
BANDS = (Band("B04", "B04", 10, "red"), Band("B08", "B08", 10, "nir"))

USAGE, FAILURE = 2, 1


def run(line: str, places: dict[str, Path], stdin: str | None = None) -> Result:
    """Run a line in which names of `places` stand for their paths, also before a slash."""
    args = []
    for word in shlex.split(line):
        name, slash, rest = word.partition("/")
        args.append(f"{places[name]}{slash}{rest}" if name in places else word)
    return CliRunner().invoke(ENTRY.load(), args, input=stdin, catch_exceptions=False)


def assert_one_line(result: Result, code: int, said: str) -> None:
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    line = result.stderr.rpartition("\r")[2]  # a progress bar begins with one, and is wiped with one
    assert line.startswith("Error: ")
    assert line.count("\n") == 1
    assert line.endswith("\n")
    assert said in line


def snapshot(*folders: Path) -> dict[str, tuple[int, int]]:
    paths = [path for folder in folders for path in (folder, *folder.rglob("*"))]
    return {str(path): (path.lstat().st_size * path.is_file(), path.lstat().st_mtime_ns) for path in paths}


# --- what the commands are given --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By name: sound and broken inputs of every kind, in folders with a space in their names."""
    folder = tmp_path_factory.mktemp("some inputs")
    sound = write_items(folder / "sound", dates=5, bands=("B04", "B08"))
    save_items(sound, folder / "items.json")
    slots = make_slots(sound)
    dense = Selection.dense(slots, BANDS)
    dense.save(folder / "selection.json")
    index = index_selection(dense, sound)
    compile_manifest(dense, sound, index, choose_grid(dense, sound, index)).save(folder / "sound.geomask.jsonl")
    for kind in ("cut", "text", "gone"):
        _write_broken(folder, kind)
    Selection.dense(slots, [Band("odd", "B99", 10)]).save(folder / "odd band.json")
    july = Slot(datetime(1999, 7, 1, tzinfo=UTC), datetime(1999, 8, 1, tzinfo=UTC), "1999-07")
    Selection.dense([july], BANDS).save(folder / "other dates.json")
    _write_variants(folder)
    _write_labels(folder)
    _write_runs(folder, slots)
    (folder / "empty.json").write_text('{"type": "FeatureCollection", "features": []}')
    (folder / "words.txt").write_text("these are words, no data")
    (folder / "odd.yaml").write_text("bands: [{name: odd, asset: B99, gsd: 10}]")
    names = {
        "ITEMS": "items.json",
        "EMPTY": "empty.json",
        "WORDS": "words.txt",
        "FOLDER": "sound",
        "SELECTION": "selection.json",
        "ODD_BAND": "odd band.json",
        "OTHER_DATES": "other dates.json",
        "OLD_SELECTION": "old selection.json",
        "MANIFEST": "sound.geomask.jsonl",
        "OLD_MANIFEST": "old.geomask.jsonl",
        "HALF_MANIFEST": "half.geomask.jsonl",
        "NO_CHIP": "no chip.geomask.jsonl",
        "CUT": "cut.json",
        "TEXT": "text.json",
        "GONE": "gone.json",
        "CUT_MANIFEST": "cut.geomask.jsonl",
        "GONE_MANIFEST": "gone.geomask.jsonl",
        "LABELS": "labels.tif",
        "FAR_LABELS": "far labels.tif",
        "OTHER_CRS": "other crs.tif",
        "NEGATIVE": "negative.tif",
        "ODD_PROFILE": "odd.yaml",
        "RUN": "runs/dense-f0-s0",
        "OLD_RUN": "runs/dense-f1-s0",
        "BROKEN_RUN": "runs/dense-f2-s0",
        "HALF_RUN": "runs/dense-f0-s1",
    }
    return {name: folder / path for name, path in names.items()}


def _write_broken(folder: Path, kind: str) -> None:
    """Items of which a file is cut short, is text, or is gone, and the manifest from when it was not."""
    items = write_items(folder / kind, dates=1, bands=("B04", "B08"))
    save_items(items, folder / f"{kind}.json")
    dense = Selection.dense(make_slots(items), BANDS)
    index = index_selection(dense, items)
    manifest = compile_manifest(dense, items, index, choose_grid(dense, items, index))
    manifest.save(folder / f"{kind}.geomask.jsonl")
    path = Path(items[0].assets["B08"].href)
    if kind == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    elif kind == "text":
        path.write_text("these are words, no pixels")
    else:
        path.unlink()


def _write_variants(folder: Path) -> None:
    """A selection and a manifest of another version, a manifest that breaks off, one of no chip."""
    selection = json.loads((folder / "selection.json").read_text())
    (folder / "old selection.json").write_text(json.dumps({**selection, "version": 0}))
    head, *requests = (folder / "sound.geomask.jsonl").read_text().splitlines()
    lines = {
        "old": [json.dumps({**json.loads(head), "version": 0}), *requests],
        "half": [head, requests[0][:-20]],
        "no chip": [json.dumps({**json.loads(head), "chips": []})],
    }
    for name, text in lines.items():
        (folder / f"{name}.geomask.jsonl").write_text("\n".join(text) + "\n")


def _write_labels(folder: Path) -> None:
    classes = np.indices((100, 90)).sum(0) // 40
    places: dict[str, Any] = {
        "labels": {"crs": "EPSG:32633", "transform": from_origin(500_000, 5_000_000, 10, 10)},
        "far labels": {"crs": "EPSG:32633", "transform": from_origin(700_000, 5_000_000, 10, 10)},
        "other crs": {"crs": "EPSG:3035", "transform": from_origin(500_000, 5_000_000, 10, 10)},
        "negative": {"crs": "EPSG:32633", "transform": from_origin(500_000, 5_000_000, 10, 10)},
    }
    for name, place in places.items():
        values = classes - 7 if name == "negative" else classes
        shape = {"driver": "GTiff", "height": 100, "width": 90, "count": 1, "dtype": "int16"}
        with rasterio.open(folder / f"{name}.tif", "w", **shape, **place) as file:
            file.write(values.astype("int16"), 1)


def _write_runs(folder: Path, slots: tuple[Slot, ...]) -> None:
    """A sound run, one of another version, one whose weights are damaged, one without its record."""
    write_run(folder / "runs", "dense", 0, bands=BANDS, slots=slots)
    old, broken, half = (
        write_run(folder / "runs", "dense", f, s, bands=BANDS, slots=slots) for f, s in ((1, 0), (2, 0), (0, 1))
    )
    record = json.loads((old / "run.json").read_text())
    (old / "run.json").write_text(json.dumps({**record, "version": 0}))
    weights = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    (half / "run.json").unlink()


# --- every command ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_option(command: str) -> None:
    result = run(f"{command} --nonsense", {})
    assert_one_line(result, USAGE, "--nonsense")
    assert f"geomask {command} --help" in result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_an_argument_too_many(command: str) -> None:
    parameters = ENTRY.load().commands[command].params
    words = ["x" for parameter in parameters if isinstance(parameter, click.Argument)]
    needed = [
        f"{parameter.opts[0]} x" for parameter in parameters if parameter.required and parameter.opts[0][0] == "-"
    ]
    assert_one_line(run(" ".join([command, *words, "surplus", *needed]), {}), USAGE, "surplus")


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ("catalogs", "demo", "manifest")])
def test_an_argument_too_few(command: str) -> None:
    assert_one_line(run(command, {}), USAGE, "Missing argument")


def test_a_command_that_is_none() -> None:
    assert_one_line(run("lern", {}), USAGE, "lern")


PROCESSES = {
    "catalogs": ("catalogs gone.yaml", "gone.yaml"),
    "search": ("search gone.json", "gone.json"),
    "chips": ("chips gone.json -o chips", "gone.json"),
    "train": ("train gone.json --labels gone.tif -o run", "gone.json"),
    "encode": ("encode gone.json --run gone -o out", "gone.json"),
    "plan": ("plan - --selection gone.json", "gone.json"),
    "index": ("index gone.json -o headers.parquet", "gone.json"),
    "manifest": ("manifest validate gone.jsonl", "gone.jsonl"),
    "read": ("read gone.jsonl -o cube.tif", "gone.jsonl"),
    "infer": ("infer gone - -o map", "standard input is no JSON: it is empty"),
    "serve-features": ("serve-features gone.json --run gone", "gone is no finished run"),
    "status": ("status gone", "gone holds no map"),
    "demo": ("demo --out words.txt", "words.txt"),
    "export": ("export gone -o out", "gone is no finished run"),
    "report": ("report gone", "gone"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_process_says_it_on_stderr(command: str, tmp_path: Path) -> None:
    """As a user runs it: here a third party's warning would show too."""
    line, said = PROCESSES[command]
    (tmp_path / "words.txt").write_text("in the way")
    before = snapshot(tmp_path)
    done = subprocess.run(
        [SCRIPT, *shlex.split(line)], cwd=tmp_path, input="", capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (USAGE if command == "demo" else FAILURE, "", 1)
    assert done.stderr.startswith("Error: ")
    assert said in done.stderr
    assert snapshot(tmp_path) == before


# --- one command each -------------------------------------------------------------------------------------------------

SEARCH = [
    ("nowhere.json", FAILURE, "no such file: nowhere.json"),
    ("WORDS", FAILURE, "words.txt is no JSON"),
    ("FOLDER", FAILURE, "is a folder"),
    ("EMPTY", FAILURE, "empty.json holds no items"),
    ("ITEMS --ids none", FAILURE, 'ids ["none"]'),
    ("ITEMS --bbox 1 2 3", USAGE, "--bbox"),
    ("ITEMS --save OUT", FAILURE, "the output"),
    ("ITEMS --save WORDS/below.json", FAILURE, "words.txt/below.json"),
    ("ITEMS --save /dev/full", FAILURE, "No space left"),
]
PLAN = [
    ("nowhere.json --selection SELECTION", FAILURE, "nowhere.json"),
    ("WORDS --selection SELECTION", FAILURE, "words.txt is no JSON"),
    ("EMPTY --selection SELECTION", FAILURE, "empty.json holds no items"),
    ("ITEMS --selection nowhere.json", FAILURE, "nowhere.json: No such file"),
    ("ITEMS --selection WORDS", FAILURE, "words.txt is no JSON"),
    ("ITEMS --selection ITEMS", FAILURE, "items.json: this is no geomask selection"),
    ("ITEMS --selection FOLDER", FAILURE, "sound: Is a directory"),
    ("ITEMS --selection OLD_SELECTION", FAILURE, "version 0"),
    ("ITEMS --selection ODD_BAND", FAILURE, "B99"),
    ("ITEMS --selection OTHER_DATES", FAILURE, "1999-07"),
    ("ITEMS", USAGE, "--selection"),
    ("CUT --selection SELECTION", FAILURE, "B08.tif is cut short"),
    ("TEXT --selection SELECTION", FAILURE, "B08.tif is no"),
    ("GONE --selection SELECTION", FAILURE, "B08.tif: no such file"),
    ("ITEMS --selection SELECTION -o OUT", USAGE, "the output"),
    ("ITEMS --selection SELECTION -o WORDS/below.jsonl", FAILURE, "words.txt/below.jsonl"),
    ("ITEMS --selection SELECTION -o /dev/full", FAILURE, "No space left"),
    ("ITEMS --selection SELECTION --bbox 1 2 3", USAGE, "--bbox"),
    ("ITEMS --selection SELECTION --bbox 0 0 9 9", USAGE, "9.0) do not meet the grid, which reaches over (500000"),
    ("ITEMS --selection SELECTION --bbox 500900 4999000 500000 5000000", USAGE, "do not meet"),
    ("ITEMS --selection SELECTION --bbox nan 4999000 500900 5000000", USAGE, "nan"),
]
READ = [
    ("nowhere.jsonl -o OUT/cube.tif", FAILURE, "nowhere.jsonl: No such file"),
    ("FOLDER -o OUT/cube.tif", FAILURE, "sound: Is a directory"),
    ("WORDS -o OUT/cube.tif", FAILURE, "words.txt: line 1"),
    ("ITEMS -o OUT/cube.tif", FAILURE, "items.json: line 1: this is no geomask manifest"),
    ("OLD_MANIFEST -o OUT/cube.tif", FAILURE, "version 0"),
    ("HALF_MANIFEST -o OUT/cube.tif", FAILURE, "line 2"),
    ("NO_CHIP -o OUT/cube.tif", FAILURE, "0 chips"),
    ("CUT_MANIFEST -o OUT/cube.tif", FAILURE, "B08.tif"),
    ("GONE_MANIFEST -o OUT/cube.tif", FAILURE, "B08.tif: no such file"),
    ("MANIFEST", USAGE, "--out"),
    ("MANIFEST -o OUT", USAGE, "the output"),
    ("MANIFEST -o WORDS/below.tif", FAILURE, "words.txt/below.tif"),
]
INFER = [
    ("nowhere ITEMS -o OUT/map", FAILURE, "nowhere is no finished run"),
    ("WORDS ITEMS -o OUT/map", FAILURE, "words.txt"),
    ("FOLDER ITEMS -o OUT/map", FAILURE, "sound is no finished run"),
    ("HALF_RUN ITEMS -o OUT/map", FAILURE, "no run.json"),
    ("OLD_RUN ITEMS -o OUT/map", FAILURE, "version 0"),
    ("BROKEN_RUN ITEMS -o OUT/map", FAILURE, "model.safetensors"),
    ("RUN nowhere.json -o OUT/map", FAILURE, "nowhere.json"),
    ("RUN WORDS -o OUT/map", FAILURE, "words.txt is no JSON"),
    ("RUN EMPTY -o OUT/map", FAILURE, "empty.json holds no items"),
    ("RUN CUT -o OUT/map", FAILURE, "B08.tif is cut short"),
    ("RUN TEXT -o OUT/map", FAILURE, "B08.tif is no"),
    ("RUN GONE -o OUT/map", FAILURE, "B08.tif: no such file"),
    ("RUN ITEMS", USAGE, "--out"),
    ("RUN ITEMS -o WORDS", FAILURE, "words.txt is a file"),
    ("RUN ITEMS -o WORDS/below", FAILURE, "words.txt/below"),
    ("RUN ITEMS -o FOLDER", FAILURE, "sound holds something else than a map"),
    ("RUN ITEMS -o OUT/map --crs EPSG:32633", USAGE, "--crs and --res say only together"),
    ("RUN ITEMS -o OUT/map --crs nowhere:7 --res 10", FAILURE, "nowhere:7"),
    ("RUN ITEMS -o OUT/map --bbox 1 2 3", USAGE, "4 numbers"),
    ("RUN ITEMS -o OUT/map --bbox 1 2 3 4", FAILURE, "nothing in"),
    ("""RUN ITEMS -o OUT/map --aoi '{"type":"Point","coordinates":[1,2]}'""", FAILURE, "nothing in"),
    ("RUN ITEMS -o OUT/map --tile 0", USAGE, "--tile"),
    ("RUN ITEMS -o OUT/map --workers 1 --scheduler tcp://127.0.0.1:9", USAGE, "choose one"),
    ("RUN ITEMS -o OUT/map --bandwidth 8Mbit", USAGE, "--bandwidth is of a --dry-run"),
    ("RUN ITEMS -o OUT/map --datetime yesterday", FAILURE, "yesterday"),
]
TRAIN = [
    ("nowhere.json --labels LABELS", FAILURE, "nowhere.json"),
    ("WORDS --labels LABELS", FAILURE, "words.txt is no JSON"),
    ("EMPTY --labels LABELS", FAILURE, "empty.json holds no items"),
    ("CUT --labels LABELS", FAILURE, "B08.tif is cut short"),
    ("TEXT --labels LABELS", FAILURE, "B08.tif is no"),
    ("GONE --labels LABELS", FAILURE, "B08.tif: no such file"),
    ("ITEMS", USAGE, "--labels"),
    ("ITEMS --labels nowhere.tif", FAILURE, "nowhere.tif"),
    ("ITEMS --labels WORDS", FAILURE, "words.txt"),
    ("ITEMS --labels FAR_LABELS", FAILURE, "far labels.tif"),
    ("ITEMS --labels OTHER_CRS", FAILURE, "other crs.tif do not meet the grid"),
    ("ITEMS --labels NEGATIVE", FAILURE, "negative.tif hold the class -7"),
    ("ITEMS --labels LABELS --cuts 3,x", USAGE, "'3,x'"),
    ("ITEMS --labels LABELS --cuts 3,2", USAGE, "'3,2'"),
    ("ITEMS --labels LABELS --cuts nan", USAGE, "'nan'"),
    ("ITEMS --labels LABELS --fold 3", USAGE, "3 is none of the 3 splits"),
    ("ITEMS --labels LABELS --fold -1", USAGE, "-1 is none"),
    ("ITEMS --labels LABELS --folds 1", USAGE, "--folds"),
    ("ITEMS --labels LABELS --cell 90", FAILURE, "too few for 3 folds"),
    ("ITEMS --labels LABELS --cell 101", FAILURE, "cells of 101 pixels"),
    ("ITEMS --labels LABELS --steps 0", USAGE, "--steps"),
    ("ITEMS --labels LABELS --seed x", USAGE, "--seed"),
    ("ITEMS --labels LABELS --method best", USAGE, "best"),
    ("ITEMS --labels LABELS --slots week", USAGE, "week"),
    ("ITEMS --labels LABELS --bands B04,teal", FAILURE, "no band teal"),
    ("ITEMS --labels LABELS --bands B04,red", FAILURE, "two bands have one name: B04, B04"),
    ("ITEMS --labels LABELS --profile nowhere", FAILURE, "no profile nowhere"),
    ("ITEMS --labels LABELS --profile WORDS", FAILURE, "words.txt has no list of bands"),
    ("ITEMS --labels LABELS --profile ODD_PROFILE", FAILURE, "B99"),
    ("ITEMS --labels LABELS --budget 101%", FAILURE, "budget of 101%"),
    ("ITEMS --labels LABELS --budget 99999999", FAILURE, "budget of 99999999"),
    ("ITEMS --labels LABELS --budget 0%", FAILURE, "budget of 0%"),
    ("ITEMS --labels LABELS --budget -5", FAILURE, "budget of -5"),
    ("ITEMS --labels LABELS --budget nan", FAILURE, "budget of nan"),
    ("ITEMS --labels LABELS --budget little", FAILURE, "'little'"),
    ("ITEMS --labels LABELS --budget 2s", USAGE, "2s needs a --bandwidth"),
    ("ITEMS --labels LABELS --budget 9s --bandwidth 1Gbit", FAILURE, "budget of 9s"),
    ("ITEMS --labels LABELS --bandwidth fast", USAGE, "'fast' is no bandwidth"),
    ("ITEMS --labels LABELS --budget 50% --budgets 20%,50%", USAGE, "--budget is one and --budgets are several"),
    ("ITEMS --labels LABELS --budgets 20%,much", FAILURE, "'much'"),
    ("ITEMS --labels LABELS --budgets 20%,50% --method random", USAGE, "--method random has one --budget"),
    ("ITEMS --labels LABELS --budgets 20%,50% -o FOLDER", FAILURE, "sound holds"),
    ("ITEMS --labels LABELS --levels 0.5", USAGE, "--levels"),
    ("ITEMS --labels LABELS --levels=-1", USAGE, "--levels"),
    ("ITEMS --labels LABELS --grain pixel", USAGE, "pixel"),
    ("ITEMS --labels LABELS -o WORDS", USAGE, "words.txt"),
    ("ITEMS --labels LABELS -o WORDS/below --method dense --steps 1", FAILURE, "words.txt/below"),
    ("ITEMS --labels LABELS -o FOLDER --method dense --steps 1", FAILURE, "sound holds something else"),
]
DEMO = [
    ("--out OUT/demo --latency soon", USAGE, "'soon' is no duration"),
    ("--out OUT/demo --latency -1ms", USAGE, "-1ms"),
    ("--out OUT/demo --bandwidth 0Mbit", USAGE, "'0Mbit' is no bandwidth"),
    ("--out WORDS", USAGE, "words.txt"),
    ("--out WORDS/below", FAILURE, "words.txt/below"),
]
REPORT = [
    ("nowhere", FAILURE, "nowhere"),
    ("FOLDER", FAILURE, "sound holds no finished run"),
    ("WORDS", FAILURE, "words.txt"),
    ("OLD_RUN", FAILURE, "version 2"),
]


@pytest.mark.parametrize(("line", "code", "said"), SEARCH)
def test_search(inputs: dict[str, Path], tmp_path: Path, line: str, code: int, said: str) -> None:
    check(f"search {line}", code, said, inputs, tmp_path)


@pytest.mark.parametrize(("line", "code", "said"), PLAN)
def test_plan(inputs: dict[str, Path], tmp_path: Path, line: str, code: int, said: str) -> None:
    check(f"plan {line}", code, said, inputs, tmp_path)


@pytest.mark.parametrize(("line", "code", "said"), READ)
def test_read(inputs: dict[str, Path], tmp_path: Path, line: str, code: int, said: str) -> None:
    check(f"read {line}", code, said, inputs, tmp_path)


@pytest.mark.parametrize(("line", "code", "said"), INFER)
def test_infer(inputs: dict[str, Path], tmp_path: Path, line: str, code: int, said: str) -> None:
    check(f"infer {line}", code, said, inputs, tmp_path)


@pytest.mark.parametrize(("line", "code", "said"), TRAIN)
def test_train(inputs: dict[str, Path], tmp_path: Path, line: str, code: int, said: str) -> None:
    bands = "" if "--bands" in line or "--profile" in line else " --bands B04,B08"
    budget = "" if "--budget" in line else " --budget 50%"  # a channel of a file this small is more than a tenth
    out = "" if "-o " in line else " -o OUT/run"
    check(f"train {line}{bands}{budget}{out}", code, said, inputs, tmp_path)


@pytest.mark.parametrize(("line", "code", "said"), DEMO)
def test_demo(inputs: dict[str, Path], tmp_path: Path, line: str, code: int, said: str) -> None:
    check(f"demo {line}", code, said, inputs, tmp_path)


def test_demo_in_a_folder_of_other_things(tmp_path: Path) -> None:
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "labels.tif").write_text("somebody's own")
    before = snapshot(tmp_path)
    result = run("demo --out OUT", {"OUT": tmp_path})
    assert_one_line(result, FAILURE, "catalog already holds labels.tif, not from this demo")
    assert snapshot(tmp_path) == before


def test_demo_without_its_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nrt", None)
    assert_one_line(run("demo --out OUT/demo", {"OUT": tmp_path}), FAILURE, "pip install 'geomask[demo]'")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif("report" not in COMMANDS, reason="there is no report yet")
@pytest.mark.parametrize(("line", "code", "said"), REPORT)
def test_report(inputs: dict[str, Path], tmp_path: Path, line: str, code: int, said: str) -> None:
    check(f"report {line}", code, said, inputs, tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        "search ITEMS --save OUT/found.json",
        "plan ITEMS --selection SELECTION -o OUT/below/m.geomask.jsonl",
        "read MANIFEST -o OUT/cube.tif",
        "infer RUN ITEMS -o OUT/map",
        "train ITEMS --labels LABELS --bands B04,B08 --method dense --budget 50% --steps 1 -o OUT/run",
        "demo --out OUT/demo",
    ],
)
def test_a_folder_that_cannot_be_written_to(inputs: dict[str, Path], tmp_path: Path, line: str) -> None:
    out = tmp_path / "the output"
    out.mkdir(mode=0o500)
    if os.access(out, os.W_OK):
        pytest.skip("root may write anywhere")
    assert_one_line(run(line, {**inputs, "OUT": out}), FAILURE, "Permission denied")
    assert list(out.iterdir()) == []


def check(line: str, code: int, said: str, inputs: dict[str, Path], tmp_path: Path) -> None:
    """Run a line that goes wrong: it says so, and every file and folder is as it was."""
    if "/dev/full" in line and not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    out = tmp_path / "the output"
    out.mkdir()
    before = snapshot(tmp_path, inputs["ITEMS"].parent)
    assert_one_line(run(line, {**inputs, "OUT": out}), code, said)
    assert snapshot(tmp_path, inputs["ITEMS"].parent) == before

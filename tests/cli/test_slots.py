"""Slots on the command line: the rule of a run, and runs of one year on items of another."""

from __future__ import annotations

import json
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
from click.testing import CliRunner, Result
from items import write_items
from rasterio.transform import from_origin
from runs import write_run

from geomask.plan.manifest import Manifest
from geomask.selection import Selection
from geomask.stac.profile import Band
from geomask.stac.slot_rule import parse_slots
from geomask.stac.slots import make_slots

(ENTRY,) = entry_points(group="console_scripts", name="geomask")
BANDS = (Band("B04", "B04", 10, "red"), Band("B08", "B08", 10, "nir"))


def run(*args: object) -> Result:
    return CliRunner().invoke(ENTRY.load(), [*map(str, args)], catch_exceptions=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``items.json`` of January and February 2020, and ``other.json`` of the same files three years later."""
    folder = tmp_path_factory.mktemp("slots")
    items = write_items(folder / "files", dates=5, bands=("B04", "B08"))
    pystac.ItemCollection(items).save_object(str(folder / "items.json"))
    pystac.ItemCollection(later(items)).save_object(str(folder / "other.json"))
    profile = {"crs": "EPSG:32633", "transform": from_origin(500_000, 5_000_000, 10, 10), "dtype": "uint8", "count": 1}
    with rasterio.open(folder / "labels.tif", "w", height=100, width=90, **profile) as file:
        file.write((np.indices((100, 90)).sum(0) // 40 % 2).astype("uint8"), 1)
    return folder


def later(items: list[pystac.Item]) -> list[pystac.Item]:
    moved = [item.clone() for item in items]
    for item in moved:
        assert item.datetime
        item.datetime = item.datetime.replace(year=item.datetime.year + 3)
    return moved


def save(folder: Path, rule: str) -> Path:
    items = list(pystac.ItemCollection.from_file(str(folder / "items.json")))
    path = folder / f"{rule.partition(':')[0]}.json"
    Selection.dense(make_slots(items, rule), BANDS, parse_slots(rule)).save(path)
    return path


@pytest.mark.parametrize(
    ("rule", "slots", "note"),
    [
        ("month", ["2023-01", "2023-02"], "Note: slots moved by +3 years, to those from 2023-01 to 2023-02."),
        ("days:1-9,10-50", ["2023-001-009", "2023-010-050"], "Note: slots moved by +3 years"),
        ("clearest:2", ["clear-1", "clear-2"], "Note: the clearest days of these items: 2023-01-05, 2023-01-15."),
    ],
)
def test_a_plan_on_items_of_another_year_says_how_slots_moved(
    rule: str, slots: list[str], note: str, folder: Path, tmp_path: Path
) -> None:
    selection, plan = save(folder, rule), tmp_path / "m.geomask.jsonl"
    done = run("plan", folder / "other.json", "--selection", selection, "-o", plan)
    assert done.exit_code == 0, done.stderr
    assert note in done.stderr
    manifest = Manifest.load(plan)
    assert manifest.channels == tuple((slot, band.name) for slot in slots for band in BANDS)
    assert not manifest.empty


def test_a_plan_on_the_items_of_the_run_moves_nothing(folder: Path, tmp_path: Path) -> None:
    selection, plan = save(folder, "season"), tmp_path / "m.geomask.jsonl"
    done = run("plan", folder / "items.json", "--selection", selection, "-o", plan)
    assert done.exit_code == 0, done.stderr
    assert "moved" not in done.stderr
    assert Manifest.load(plan).selection == Selection.load(selection).digest


def test_a_run_infers_on_items_of_another_year(folder: Path, tmp_path: Path) -> None:
    items = list(pystac.ItemCollection.from_file(str(folder / "items.json")))
    trained = write_run(tmp_path, slots=make_slots(items), bands=BANDS)
    done = run("infer", trained, folder / "other.json", "-o", tmp_path / "map")
    assert done.exit_code == 0, done.stderr
    assert done.stderr.count("slots moved by +3 years") == 1
    with rasterio.open(tmp_path / "map" / "map.vrt") as file:
        assert (file.read(1) != file.nodata).all()
    assert "moved" not in run("infer", trained, folder / "items.json", "-o", tmp_path / "own").stderr


def test_a_run_keeps_the_rule_and_the_profile_that_it_was_trained_with(folder: Path, tmp_path: Path) -> None:
    options = ["--bands", "B04,B08", "--slots", "clearest:2", "--mosaic", "nearest", "--method", "dense"]
    sizes = ["--cell", "30", "--steps", "1", "-o", tmp_path / "run"]
    done = run("train", folder / "items.json", "--labels", folder / "labels.tif", *options, *sizes)
    assert done.exit_code == 0, done.stderr
    selection = Selection.load(tmp_path / "run" / "selection.json")
    assert selection.rule == parse_slots("clearest:2", "nearest")
    assert selection.profile == "local"
    assert [slot.name for slot in selection.slots] == ["clear-1", "clear-2"]
    assert json.loads(done.stdout)["channels"] == selection.names


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--slots", "week", "no rule for slots: 'week'; write month, season, clearest:4"),
        ("--slots", "days:0-10", "windows differ and lie within days 1 to 366, unlike 0-10"),
        ("--mosaic", "median", "'median' is not one of 'least-cloudy', 'first', 'nearest'"),
    ],
)
def test_what_is_no_rule_is_a_usage_error(option: str, value: str, message: str, folder: Path, tmp_path: Path) -> None:
    labels = ["--labels", folder / "labels.tif", "-o", tmp_path / "run"]
    done = run("train", folder / "items.json", *labels, option, value)
    assert done.exit_code == 2
    assert message in done.stderr


def test_more_days_than_there_are_is_one_line(folder: Path, tmp_path: Path) -> None:
    labels = ["--labels", folder / "labels.tif", "--bands", "red", "-o", tmp_path / "run"]
    done = run("train", folder / "items.json", *labels, "--slots", "clearest:6")
    assert (done.exit_code, done.stderr) == (1, "Error: items of 5 days have no 6 clearest ones; ask for fewer\n")


@pytest.mark.filterwarnings("default::geomask.errors.ItemWarning")
def test_items_that_contradict_their_files_are_warned_of_in_a_line_each_and_not_for_ever(
    folder: Path, tmp_path: Path
) -> None:
    items = write_items(folder / "files", dates=5, bands=("B04", "B08"))
    for number, item in enumerate(items):
        item.id = f"{number}\n\x1b[31m"
        for asset in item.assets.values():
            asset.extra_fields |= {"proj:shape": [1, 2], "proj:code": "EPSG:32601"}
    pystac.ItemCollection(items).save_object(str(tmp_path / "items.json"))
    Selection.dense(make_slots(items, "clearest:5"), BANDS, "clearest:5").save(tmp_path / "selection.json")
    result = run(
        "plan", tmp_path / "items.json", "--selection", tmp_path / "selection.json", "-o", tmp_path / "p.jsonl"
    )
    assert result.exit_code == 0, result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("Warning: ")]
    assert lines[0].startswith("Warning: item 0 ?[31m, asset B04: proj:shape is [1, 2] where the header of ")
    assert (len(lines), lines[-1]) == (11, "Warning: 10 more like these.")  # of 5 items, 2 files, 2 fields

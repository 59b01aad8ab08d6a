"""``geomask train --budgets``: a run for each, and a table of all."""

import json
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from geomask.plan.manifest import Manifest
from geomask.train.pareto import Pareto
from geomask.train.run import load_run

(ENTRY,) = entry_points(group="console_scripts", name="geomask")


def run(*args: object) -> Result:
    return CliRunner().invoke(ENTRY.load(), [*map(str, args)], catch_exceptions=False)


@pytest.fixture(scope="module")
def items(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("curve items") / "items.json"
    assert run("search", published, "--query", "eo:cloud_cover<30", "--save", path).exit_code == 0
    return path


def train(items: Path, published: Path, out: Path, *options: object) -> Result:
    labels = ["--labels", published.parent / "labels.tif", "--cuts", "30,70,85", "--slots", "season"]
    return run("train", items, *labels, "--bands", "red,nir08", "--steps", 10, "-o", out, *options)


def test_several_budgets_are_several_runs_and_one_table(items: Path, published: Path, tmp_path: Path) -> None:
    done = train(items, published, tmp_path / "curve", "--budgets", "30%,60%,0.1s", "--bandwidth", "8Mbit/s")
    assert done.exit_code == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["run"] == str(tmp_path / "curve")
    assert [row["budget"] for row in printed["pareto"]] == ["60%", "0.1s", "30%"]
    assert printed["pareto"][1]["budget_nbytes"] == 100_000
    pareto = Pareto.load(tmp_path / "curve" / "pareto.parquet")
    assert pareto.rows() == printed["pareto"]
    for point in pareto.points:
        record = load_run(tmp_path / "curve" / point.budget).record
        assert record.planned_nbytes == point.nbytes <= point.budget_nbytes
        assert point.seconds == pytest.approx(point.nbytes / 1e6)


def test_overview_levels_end_in_the_selection_and_the_plan(items: Path, published: Path, tmp_path: Path) -> None:
    done = train(items, published, tmp_path / "run", "--levels", "0", "--method", "priced", "--budget", "30%")
    assert done.exit_code == 0, done.stderr
    trained, plan = load_run(tmp_path / "run"), tmp_path / "plan.geomask.jsonl"
    assert 0 in {channel.level for channel in trained.selection.channels}
    assert run("plan", items, "--selection", tmp_path / "run" / "selection.json", "-o", plan).exit_code == 0
    assert Manifest.load(plan).planned_nbytes == trained.record.planned_nbytes


def test_a_folder_of_chips_has_no_levels(items: Path, tmp_path: Path) -> None:
    done = run("train", tmp_path, "--levels", "0", "-o", tmp_path / "run")
    assert done.exit_code == 2
    assert "leave --levels out" in done.stderr

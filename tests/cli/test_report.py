"""`geomask report`, reached as users reach it: what it prints, what it leaves, how it fails."""

from importlib.metadata import entry_points
from pathlib import Path

import pytest
import runs
from click.testing import CliRunner, Result

from geomask.report.summary import read_summary, summarise, table

(ENTRY,) = entry_points(group="console_scripts", name="geomask")
OUTPUTS = ("summary.json", "report.html")


def run(*args: object) -> Result:
    return CliRunner().invoke(ENTRY.load(), ["report", *map(str, args)])


def left(folder: Path) -> list[str]:
    return [name for name in OUTPUTS if (folder / name).exists()]


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    return runs.write_demo(tmp_path / "demo", folds=1, seeds=2)


def test_the_table_goes_to_stdout_and_the_rest_to_files(demo: Path) -> None:
    result = run(demo)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == table(summarise(demo)) + "\n"
    assert result.stderr == f"report: {demo / 'report.html'}\n"
    assert read_summary(demo) == summarise(demo)
    assert left(demo) == list(OUTPUTS)


def test_it_may_be_run_again_under_another_name(demo: Path) -> None:
    run(demo)
    assert run(demo, "--case", "second").exit_code == 0
    assert {row.case for row in read_summary(demo).rows} == {"second"}
    assert "geomask: second" in (demo / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("args", [[], ["a", "b"], ["a", "--cse", "x"]], ids=str)
def test_a_command_line_that_makes_no_sense_ends_with_2(args: list[str]) -> None:
    result = run(*args)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.endswith("see geomask report --help\n")


def test_a_folder_without_runs_ends_with_1(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"Error: {tmp_path} holds no finished run")
    assert result.stderr.count("\n") == 1
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    "path", ["maps/learned.tif", "runs/learned-f0-s1/selection.json", "runs/dense-f0-s0/receipt.json"]
)
def test_a_broken_file_ends_with_1_and_leaves_nothing_half_written(demo: Path, path: str) -> None:
    (demo / path).write_text("{")
    result = run(demo)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert str(demo / path) in result.stderr
    assert result.stderr.count("\n") == 1
    assert left(demo) == []

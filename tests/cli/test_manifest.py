"""``geomask manifest``: what is sound, what is not, and what a reader fetches."""

from __future__ import annotations

import json
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from manifests import FOREIGN, LOCAL, MANIFEST, SIGNED

(ENTRY,) = entry_points(group="console_scripts", name="geomask")
FORMS = ["jsonl", "parquet"]
LINES = list(MANIFEST.lines())


def run(*args: object, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(ENTRY.load(), ["manifest", *map(str, args)], input=stdin, catch_exceptions=False)


@pytest.mark.parametrize("form", FORMS)
def test_a_sound_file_is_valid_and_summed_up(form: str, tmp_path: Path) -> None:
    path = tmp_path / f"a b.geomask.{form}"
    MANIFEST.save(path)
    result = run("validate", path)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{path} is a valid manifest: {MANIFEST.summary()}\n"


def test_standard_input_is_json_lines() -> None:
    result = run("validate", "-", stdin="\n".join(LINES))
    assert (result.exit_code, result.stdout) == (0, f"- is a valid manifest: {MANIFEST.summary()}\n")
    result = run("explain", "-", stdin="\n".join(LINES))
    assert (result.exit_code, result.stdout.count("\n"), result.stderr) == (0, 5, f"{MANIFEST.summary()}\n")


def test_faults_that_the_schema_finds_are_listed_up_to_ten(tmp_path: Path) -> None:
    broken = json.dumps({**json.loads(LINES[1]), "chip": -1, "level": "first"})
    (tmp_path / "odd.jsonl").write_text("\n".join([LINES[0], broken, "{", *[broken] * 9]))
    result = run("validate", tmp_path / "odd.jsonl")
    assert (result.exit_code, result.stdout) == (1, "")
    *faults, last = result.stderr.splitlines()
    assert len(faults) == 10
    assert faults[:2] == [
        "line 2: level: 'first' is not of type 'integer', 'null'",
        "line 2: chip: -1 is less than the minimum of 0",
    ]
    assert faults[2].startswith("line 3: no JSON: ")
    assert last == f"Error: {tmp_path / 'odd.jsonl'} is no valid manifest; see the lines above"


def test_a_fault_beyond_the_schema_is_one_line(tmp_path: Path) -> None:
    beyond = json.dumps({**json.loads(LINES[1]), "nbytes": 301})
    (tmp_path / "odd.jsonl").write_text("\n".join([LINES[0], beyond]))
    result = run("validate", tmp_path / "odd.jsonl")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(
        f"Error: {tmp_path / 'odd.jsonl'}: line 2: the bytes of {SIGNED.href} do not add up"
    )
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "an empty file is no manifest"),
        (b"words", "line 1: no JSON"),
        (b"\xff\xfe", "after line 0: no text in UTF-8"),
        (LINES[0].replace('"version": 3', '"version": 1').encode(), "line 1: version: 3 was expected"),
    ],
)
def test_what_is_no_manifest(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "odd.jsonl").write_bytes(content)
    for args, stdin in (((tmp_path / "odd.jsonl",), None), (("-",), content)):
        result = run("validate", *args, stdin=stdin)
        assert (result.exit_code, result.stdout) == (1, "")
        assert said in result.stderr


@pytest.mark.parametrize("command", ["validate", "explain"])
@pytest.mark.parametrize("name", ["gone.jsonl", "gone.parquet", "."])
def test_what_cannot_be_read(command: str, name: str, tmp_path: Path) -> None:
    result = run(command, tmp_path / name)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert result.stderr.startswith(f"Error: cannot read the manifest {tmp_path / name}: ")


def test_a_parquet_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text(LINES[0])
    result = run("validate", tmp_path / "a.parquet")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert "a.parquet: this is no Parquet, or it is damaged" in result.stderr


@pytest.mark.parametrize("form", FORMS)
def test_explain_lists_what_a_reader_fetches(form: str, tmp_path: Path) -> None:
    MANIFEST.save(tmp_path / f"a.{form}")
    result = run("explain", tmp_path / f"a.{form}")
    assert (result.exit_code, result.stderr) == (0, f"{MANIFEST.summary()}\n")
    rows = [line.split(maxsplit=3) for line in result.stdout.splitlines()]
    assert rows == [
        ["offset", "length", "what", "href"],
        ["0", "600", "header", SIGNED.href],
        ["0", "800", "header", LOCAL.href],
        ["700", "305", "pixels", SIGNED.href],
        ["800", "100", "pixels", LOCAL.href],
    ]
    assert FOREIGN.href not in result.stdout


def test_explain_as_json_adds_up(tmp_path: Path) -> None:
    MANIFEST.save(tmp_path / "a.jsonl")
    result = run("explain", tmp_path / "a.jsonl", "--json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert rows[2] == {"href": SIGNED.href, "offset": 700, "length": 305, "what": "pixels"}
    assert sum(row["length"] for row in rows) == MANIFEST.planned_nbytes
    assert len(rows) == MANIFEST.planned_requests


def test_both_commands_are_listed() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert "validate" in result.stdout
    assert "explain" in result.stdout


@pytest.mark.parametrize(
    "line", [["validate"], ["explain"], ["validate", "a", "b"], ["explain", "a", "--yaml"], ["mend"]]
)
def test_a_command_line_that_makes_no_sense(line: list[str]) -> None:
    result = run(*line)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert result.stderr.startswith("Error: ")

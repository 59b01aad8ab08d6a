"""`geomask search`, reached as users reach it: command lines, pipes, exit codes, what is left behind."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click
import pystac_client.cli
import pytest
from click.testing import CliRunner, Result
from items import write_items

import geomask.stac.search
from geomask.errors import SearchError
from geomask.selection import Selection
from geomask.stac.band import Band
from geomask.stac.search import load_found, save_items
from geomask.stac.slots import make_slots

SHARED = Path(__file__).parents[3] / "shared" / "data" / "stac"
SCRIPT = Path(sys.executable).with_name("geomask")
(ENTRY,) = entry_points(group="console_scripts", name="geomask")


def run(*args: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(ENTRY.load(), ["search", *map(str, args)], input=stdin)


def names(result: Result) -> list[str]:
    assert result.exit_code == 0, result.stderr
    return [feature["id"] for feature in json.loads(result.stdout)["features"]]


def item(name: str, lon: float, cloud: int, collection: str, day: int) -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": collection,
        "geometry": {"type": "Point", "coordinates": [lon, 0]},
        "bbox": [lon, 0, lon, 0],
        "properties": {"datetime": f"2020-01-{day:02}T00:00:00Z", "eo:cloud_cover": cloud},
        "links": [],
        "assets": {"red": {"href": f"{name}.tif"}},
    }


@pytest.fixture
def items(tmp_path: Path) -> Path:
    path = tmp_path / "items.geojson"
    features = [item("a", -5, 10, "x", 1), item("b", 5, 20, "y", 2), item("c", 15, 30, "z", 3)]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


# --- the command lines of stac-client ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("URL", "abc"),
        ("URL -c x y", "ab"),
        ("URL --collections x --ids a b c", "a"),
        ("-c x y -- URL", "ab"),
        ("--ids b --limit 1 URL", "b"),
        ("URL --bbox -10 -1 6 1", "ab"),
        ("--bbox -10 -1 6 1 URL", "ab"),
        ("URL --datetime 2020-01-02/..", "bc"),
        ("URL --query eo:cloud_cover<25 eo:cloud_cover>=20", "b"),
        ('URL --query {"eo:cloud_cover":{"lt":15}}', "a"),
        ('URL --filter {"op":"<","args":[{"property":"eo:cloud_cover"},15]}', "a"),
        ("URL --filter eo:cloud_cover>15 --filter-lang cql2-text", "bc"),
        ('URL --intersects {"type":"Point","coordinates":[5,0]}', "b"),
        ("URL --sortby=-eo:cloud_cover", "cba"),
        ("URL --sortby collection id --max-items 2", "ab"),
        ("URL --fields id properties.eo:cloud_cover --limit 2", "abc"),
        ("URL --method GET --limit 1 --ids a c", "ac"),
        ("URL --headers Key=Value Other=a=b --ids c", "c"),
        ("URL --ignore --ids a", "a"),
        ("URL --error missing-link no-conforms-to --ids a", "a"),
        ("URL --logging INFO --add-conforms-to SORT QUERY --ids a", "a"),
    ],
)
def test_a_line_of_stac_client_means_the_same(
    items: Path, monkeypatch: pytest.MonkeyPatch, line: str, found: str
) -> None:
    args = [str(items) if part == "URL" else part for part in line.split()]
    theirs = pystac_client.cli.parse_args(["search", *args])
    asked: dict[str, Any] = {}
    search_features = geomask.stac.search.search_features
    monkeypatch.setattr("logging.basicConfig", lambda **_: None)  # it would outlive the test
    monkeypatch.setattr(
        geomask.stac.search,
        "search_features",
        lambda client, **given: asked.update(given) or search_features(client, **given),
    )
    assert names(run(*args)) == list(found)
    if "intersects" in asked:
        theirs["intersects"] = json.loads(theirs["intersects"])
    told = {name: theirs[name] for name in asked if name != "bbox"}
    assert told == {name: value for name, value in asked.items() if name != "bbox"}
    assert [float(number) for number in theirs.get("bbox", [])] == (asked.get("bbox") or [])
    unasked = {"method", "filter_lang"}  # defaults of stac-client that a form without the option implies
    searched = geomask.stac.search.SearchParameters.__annotations__.keys()
    assert {name for name in theirs if name in searched} - unasked == asked.keys() - unasked


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("URL --sortby -eo:cloud_cover", "cba"),  # argparse takes it for an option
        ("URL --sortby -collection id", "cba"),  # -c, were it not for the list
        ("URL --fields -assets -c x", "a"),
        ("URL --bbox -10,-1,6,1", "ab"),
        ("URL --bbox -10 -1 0 6 1 100", "ab"),
        ("URL --ids a --ids b", "ab"),
        ("URL --filter eo:cloud_cover>15", "bc"),
        ("URL --method get -cx", "a"),
    ],
)
def test_lines_that_stac_client_refuses(items: Path, line: str, found: str) -> None:
    assert names(run(*(items if part == "URL" else part for part in line.split()))) == list(found)


@pytest.mark.parametrize("kind", ["geometry", "Feature", "FeatureCollection"])
def test_intersects_reads_a_file(items: Path, tmp_path: Path, kind: str) -> None:
    point = {"type": "Point", "coordinates": [5, 0]}
    feature = {"type": "Feature", "properties": {}, "geometry": point}
    kinds = {"geometry": point, "Feature": feature, "FeatureCollection": {"type": kind, "features": [feature]}}
    area = tmp_path / "area.geojson"
    area.write_text(json.dumps(kinds[kind]))
    assert names(run(items, "--intersects", area)) == ["b"]


# --- what comes out ---------------------------------------------------------------------------------------------------


def test_hrefs_come_out_absolute(items: Path) -> None:
    (feature,) = json.loads(run(items, "--ids", "a").stdout)["features"]
    assert feature["assets"]["red"]["href"] == str(items.parent / "a.tif")


def test_matched_is_a_number_and_nothing_else(items: Path) -> None:
    assert run(items, "--matched", "--bbox", -10, -1, 6, 1).output == "2\n"
    assert run(items, "--matched", "--ids", "none").output == "0\n"


def test_save_writes_the_file_and_prints_nothing(items: Path, tmp_path: Path) -> None:
    saved = tmp_path / "new" / "found.geojson"
    result = run(items, "--save", saved, "--ids", "a", "b")
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"2 items in {saved}" in result.stderr
    assert names(run(saved)) == ["a", "b"]


@pytest.mark.parametrize("name", ["found.geojson", "found.parquet", "found.ndjson"])
def test_save_chooses_the_form_by_the_suffix(items: Path, tmp_path: Path, name: str) -> None:
    saved = tmp_path / name
    assert run(items, "--save", saved, "--ids", "a", "b").exit_code == 0
    starts = {".geojson": b'{"type": "FeatureCollection"', ".parquet": b"PAR1", ".ndjson": b'{"type": "Feature"'}
    assert saved.read_bytes().startswith(starts[saved.suffix])
    assert names(run(saved, "--query", "eo:cloud_cover>15")) == ["b"]


def test_the_search_is_noted_and_one_within_another(items: Path, tmp_path: Path) -> None:
    document = json.loads(run(items, "--bbox", -10, -1, 6, 1, "--headers", "Key=sesame", "--max-items", 2).stdout)
    first = {"url": str(items), "parameters": {"bbox": [-10, -1, 6, 1], "max_items": 2}}
    assert document["search"] == first
    second = json.loads(run("-", "--ids", "a", stdin=json.dumps(document)).stdout)["search"]
    assert second == {"url": "standard input", "parameters": {"ids": ["a"]}, "within": first}
    saved = tmp_path / "found.parquet"
    run(items, "--bbox", -10, -1, 6, 1, "--max-items", 2, "--save", saved)
    assert load_found(saved).search == first


@pytest.mark.filterwarnings("always::geomask.stac.pages.ServerWarning")
def test_what_a_server_lacks_is_one_line_of_warning(items: Path) -> None:
    line = [items, "--query", "eo:cloud_cover>15", "--sortby", "-id", "--remove-conforms-to", "QUERY"]
    result = run(*line)
    assert names(result) == ["c", "b"]
    assert result.stderr.startswith("Warning: ")
    assert "item-search#query" in result.stderr
    assert result.stderr.count("\n") == 1
    assert run(*line, "--ignore", "does-not-conform-to").stderr == ""
    assert_one_line(run(*line, "--error", "does-not-conform-to"), 1, "item-search#query")


def test_reads_standard_input(items: Path) -> None:
    assert names(run("-", "--ids", "a", stdin=items.read_text())) == ["a"]
    assert names(run("--ids", "a", "-", stdin=items.read_text())) == ["a"]


# --- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "URL|PATH|-"),
        ("-c a URL", "URL|PATH|-"),  # the list has swallowed it
        ("URL other", "other"),
        ("URL --bbox 1 2 3", "not 3"),
        ("URL --bbox", "at least one value"),
        ("URL --bbox x", "at least one value"),
        ("URL --ids --limit 5", "at least one value"),
        ("URL --datetime yesterday", "yesterday"),
        ("URL --datetime 2020-13", "2020-13"),
        ("URL --datetime 2020-02/2020-01", "before its start"),
        ("URL --query cloudy", "cloudy"),
        ("URL --filter {", "--filter"),
        ("URL --filter a<<b", "filter"),
        ("URL --intersects nowhere.json", "nowhere.json"),
        ("URL --intersects {", "--intersects"),
        ('URL --intersects {"type":"Square"}', "Square"),
        ('URL --intersects {"type":"FeatureCollection","features":[]}', "0 features"),
        ('URL --intersects {"type":"Feature","geometry":null}', "no geometry"),
        ("URL --limit 0", "--limit"),
        ("URL --max-items many", "many"),
        ("URL --method PUT", "PUT"),
        ("URL --headers Key", "KEY=VALUE"),
        ("URL --ignore nonsense", "nonsense"),
        ("URL --add-conforms-to NONSENSE", "NONSENSE"),
        ("URL --limt 5", "--limt"),
        ("URL --sortby --ids a", "--sortby"),
    ],
)
def test_a_line_that_makes_no_sense_exits_2(items: Path, line: str, said: str) -> None:
    result = run(*(items if part == "URL" else part for part in line.split()))
    assert_one_line(result, 2, said)
    assert "geomask search --help" in result.stderr


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("gone.json", "no such file: gone.json"),
        ("URL --ids none", 'fits ids ["none"]; try other ids'),
        ("URL --bbox 50 50 51 51", "larger bbox"),
        ("URL --query eo:cloud_cover<much", "much"),
        ("URL --clear-conforms-to", "ITEM_SEARCH"),
        ("URL --remove-conforms-to ITEM_SEARCH", "ITEM_SEARCH"),
        ("URL --save URL/below", "cannot write"),
        ("http://127.0.0.1:9/", "http://127.0.0.1:9/"),
    ],
)
def test_what_cannot_be_answered_exits_1(items: Path, line: str, said: str) -> None:
    assert_one_line(run(*(part.replace("URL", str(items)) for part in line.split())), 1, said)


def assert_one_line(result: Result, exit_code: int, said: str) -> None:
    assert result.exit_code == exit_code, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert said in result.stderr


def test_saving_onto_a_folder_exits_1(items: Path, tmp_path: Path) -> None:
    assert_one_line(run(items, "--save", tmp_path), 1, str(tmp_path))


def test_a_failure_leaves_nothing_half_written(items: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = tmp_path / "out" / "found.geojson"
    assert_one_line(run(items, "--save", saved, "--ids", "none"), 1, "none")
    assert not saved.parent.exists()

    def failing(*_: Any) -> None:
        raise PermissionError(13, "Permission denied", str(saved))

    assert run(items, "--save", saved).exit_code == 0
    before = saved.read_text()
    monkeypatch.setattr(Path, "replace", failing)
    assert_one_line(run(items, "--save", saved, "--ids", "a"), 1, f"Permission denied: {saved}")
    assert saved.read_text() == before
    assert [file.name for file in saved.parent.iterdir()] == [saved.name]


def test_an_error_of_many_lines_is_printed_as_one(items: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any, **__: Any) -> None:
        raise SearchError("this\nand that")

    monkeypatch.setattr(geomask.stac.search, "search_features", failing)
    assert_one_line(run(items), 1, "this and that")


def test_ctrl_c_exits_130(items: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(geomask.stac.search, "search_features", interrupted)
    result = run(items)
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "Interrupted.\n")


def test_the_group_is_a_plain_click_group() -> None:
    group = ENTRY.load()
    assert isinstance(group, click.Group)
    assert group.name == "geomask"
    assert "search" in group.commands


# --- real processes ---------------------------------------------------------------------------------------------------


def test_output_pipes_on(items: Path) -> None:
    first = subprocess.Popen([SCRIPT, "search", items, "--ids", "a", "b"], stdout=subprocess.PIPE)
    second = subprocess.run(
        [SCRIPT, "search", "-", "--query", "eo:cloud_cover>15"], stdin=first.stdout, capture_output=True, text=True
    )
    assert first.stdout is not None
    first.stdout.close()
    assert (first.wait(), second.returncode, second.stderr) == (0, 0, "")
    assert [feature["id"] for feature in json.loads(second.stdout)["features"]] == ["b"]


def test_a_plan_knows_the_search_that_it_is_of(tmp_path: Path) -> None:
    found = write_items(tmp_path, dates=1, bands=["B02"])
    save_items(found, tmp_path / "items.parquet")
    Selection.dense(make_slots(found), [Band("B02", "B02", 10)]).save(tmp_path / "selection.json")
    first = subprocess.Popen([SCRIPT, "search", tmp_path / "items.parquet"], stdout=subprocess.PIPE)
    line = [SCRIPT, "plan", "-", "--selection", tmp_path / "selection.json"]
    planned = subprocess.run(line, stdin=first.stdout, capture_output=True, text=True)
    assert first.stdout is not None
    first.stdout.close()
    assert (first.wait(), planned.returncode) == (0, 0), planned.stderr
    header = json.loads(planned.stdout.splitlines()[0])
    assert header["search"] == {"url": str(tmp_path / "items.parquet"), "parameters": {}}


def test_an_empty_search_in_a_pipe_is_told_by_both(items: Path) -> None:
    first = subprocess.run([SCRIPT, "search", items, "--ids", "none"], capture_output=True, text=True)
    second = subprocess.run([SCRIPT, "search", "-"], input=first.stdout, capture_output=True, text=True)
    assert (first.returncode, second.returncode) == (1, 1)
    assert "standard input is no JSON: it is empty" in second.stderr


def test_a_reader_that_leaves_early_is_no_error_to_report(items: Path, tmp_path: Path) -> None:
    many = [item(f"i{number}", 0, 0, "x", 1) for number in range(2000)]
    path = tmp_path / "many.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": many}))
    process = subprocess.Popen([SCRIPT, "search", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    process.wait()


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs shared/data/stac")
def test_real_items() -> None:
    source = SHARED / "site2-2020_jun_jul-35MNM.geojson"
    line = ["--bbox", "26.9", "-8.1", "27.2", "-7.9", "--datetime", "2020-07", "--query", "eo:cloud_cover<0.005"]
    process = subprocess.run([SCRIPT, "search", source, *line], capture_output=True, text=True)
    assert (process.returncode, process.stderr) == (0, "")
    found = json.loads(process.stdout)["features"]
    times = [feature["properties"]["datetime"] for feature in found]
    assert times == sorted(times)
    assert {feature["id"][:19] for feature in found} == {"S2B_MSIL2A_20200726", "S2A_MSIL2A_20200731"}

import re
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("benchmarks")


def tiny():
    """2 dates x 4 bands of 1400 x 1400 pixels: at the 8x overview 175 x 175, 4 GeoTIFF tiles."""
    from scene import Scene

    return Scene(side=1400, tile=128, window=64, bands=4, dates=2)


def test_a_quick_run_has_every_figure_of_every_case(cache: Path, capsys: pytest.CaptureFixture[str]):
    import read
    from table import Figures

    only = "geomask,geomask --no-prefix,rasterio"
    read.main(["--quick", "--only", only, "--json", str(cache / "read.json")], tiny(), cache)
    figures = Figures.load(cache / "read.json")
    value = {(row.contender, row.case, row.metric): row.value for row in figures.rows}
    assert [row.note for row in figures.rows if row.value is None] == []
    assert {row.contender for row in figures.rows} == set(only.split(","))
    assert figures.cases == [f"{case}/{state}" for case in ("A", "A1", "B", "C", "random") for state in read.STATES]
    assert {row.value for row in figures.rows if row.metric == "exact"} == {1.0}
    for case, files in {"A": 6, "A1": 6, "B": 8, "C": 6, "random": 1}.items():
        for contender in ("geomask", "geomask --no-prefix"):
            headers = value[contender, f"{case}/cold", "requests"] - value[contender, f"{case}/kept", "requests"]
            assert headers <= files
        nbytes, ratio = (value["geomask --no-prefix", f"{case}/kept", metric] for metric in ("bytes", "ratio"))
        assert nbytes - nbytes / ratio <= 24 * files  # beyond whole tiles at most 3 gaps of 8 bytes a file
    assert len(re.findall("^  geomask ", capsys.readouterr().out, re.MULTILINE)) == 2 * len(figures.cases)
    assert list((cache / "read").glob("served-*")) == []


def test_a_contender_that_does_not_start_is_rows_that_say_why(tmp_path: Path):
    import read
    from contenders import Contender
    from jobs import make_cases

    run = read.Run(make_cases(tiny(), True), bench=None, environments=tmp_path)
    run.measure(Contender("missing", "no_such_file", "numpy"))
    rows = run.figures().rows
    assert len(rows) == 5 * 2 * 5
    assert {row.value for row in rows} == {None}
    assert {row.note for row in rows} == {
        "does not start: ModuleNotFoundError: No module named 'contenders.no_such_file'"
    }


def test_an_environment_that_cannot_be_made_says_what_uv_said(tmp_path: Path):
    from environments import SetupError, environment

    with pytest.raises(SetupError, match="no version of a distribution"):
        environment(tmp_path, "broken", ("no version of a distribution",))


def test_an_unknown_contender_is_named(capsys: pytest.CaptureFixture[str]):
    import read

    with pytest.raises(SystemExit):
        read.main(["--only", "geomask,gdal"])
    assert "no contender gdal; there are geomask, geomask --no-prefix, rasterio" in capsys.readouterr().err


def test_places_lie_as_the_cases_say():
    from jobs import OVERVIEW, make_cases
    from scene import Scene

    scene = Scene()
    cases = {case.name: case for case in make_cases(scene, quick=False)}
    for name, tiles in {"A": 2, "A1": 1, "B": 2, "C": 2}.items():
        side = scene.level_side(OVERVIEW if name == "C" else None)
        for offset in sum(cases[name].places, ()):
            assert 0 <= offset <= side - scene.window
            assert (offset + scene.window - 1) // scene.tile - offset // scene.tile == tiles - 1
    assert cases["A"].places == cases["B"].places
    assert len(set(cases["random"].places)) == 100
    assert make_cases(scene, quick=True)[0].places == cases["A"].places[2:3]


def test_places_need_a_typical_share_of_the_last_tile():
    from jobs import make_cases
    from scene import Scene

    scene = Scene()
    crossing = make_cases(scene, quick=False)[0]
    shares = [(row + scene.window) % scene.tile / scene.tile for row, _ in crossing.places]
    # evenly over 0 to a half: one share in each fifth
    assert [int(share * 10) for share in shares] == [0, 1, 2, 3, 4]
    anywhere = make_cases(scene, quick=False)[4]
    shares = [(row + scene.window) % scene.tile / scene.tile for row, _ in anywhere.places]
    assert sum(shares) / len(shares) == pytest.approx(0.5, abs=0.01)


def test_a_reader_that_dies_or_hangs_is_stopped_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import measure
    from contenders import Contender

    script = tmp_path / "worker.py"
    hello = 'import sys\nprint(\'{"version": "1", "keeps_headers": true}\', flush=True)\nsys.stdin.readline()\n'
    monkeypatch.setattr(measure, "SCRIPT", script)
    for ending, why in {
        "sys.exit('out of memory')": "code 1: out of memory",
        "sys.stdin.readline()": "within 3 s",
    }.items():
        script.write_text(hello + ending)
        monkeypatch.setattr(measure, "PATIENCE", 3.0)
        worker = measure.Worker(Contender("", "", ""), Path(sys.executable))
        with pytest.raises(measure.ContenderError, match=why):
            worker.ask(job={})
        assert worker.ended
        with pytest.raises(measure.ContenderError):
            worker.ask(job={})
        worker.close()

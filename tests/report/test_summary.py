"""The table: means, intervals, paired gains, and what cannot stand in one table."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import runs
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from geomask.errors import RunError
from geomask.report import outcome
from geomask.report.outcome import find_runs, load_outcomes
from geomask.report.summary import (
    UNITS,
    Row,
    Summary,
    bytes_text,
    mean_interval,
    read_summary,
    summarise,
    table,
    write_summary,
)
from geomask.train.baselines import Method

finite = st.floats(-1e6, 1e6)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.write_demo(tmp_path_factory.mktemp("demo"), folds=2, seeds=2)


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


# --- intervals --------------------------------------------------------------------------------------------------------


@given(st.lists(finite, min_size=2, max_size=30))
def test_the_interval_is_that_of_scipy(values: list[float]) -> None:
    mean, low, high = mean_interval(values)
    assert low <= mean <= high
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    if error > 0:
        expected = scipy.stats.t.interval(0.95, len(values) - 1, mean, error)
        assert (low, high) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@given(st.lists(finite, min_size=2, max_size=9), st.randoms())
def test_the_interval_does_not_depend_on_the_order(values: list[float], random: Any) -> None:
    shuffled = random.sample(values, len(values))
    assert mean_interval(shuffled) == mean_interval(values)


@given(finite)
def test_a_single_value_has_no_width(value: float) -> None:
    assert mean_interval([value]) == (value, value, value)


# --- the rows ---------------------------------------------------------------------------------------------------------


def test_gains_are_paired_by_split_and_seed(tmp_path: Path) -> None:
    runs.write_run(tmp_path, "dense", 0, 0, score=0.70)
    runs.write_run(tmp_path, "dense", 1, 0, score=0.80)
    runs.write_run(tmp_path, "learned", 0, 0, score=0.72)
    runs.write_run(tmp_path, "learned", 1, 0, score=0.79)
    runs.write_run(tmp_path, "learned", 1, 1, score=0.10)  # no dense run beside it
    summary = summarise(tmp_path)
    gain, score = summary.row("learned", "gain_over_dense"), summary.row("learned", "score")
    assert gain is not None
    assert score is not None
    assert (gain.n, score.n) == (2, 3)
    # differences 0.02 and -0.01: deviation 0.03 / sqrt(2), over sqrt(2), times t(1) = 12.7062
    assert gain.value == pytest.approx(0.005)
    assert gain.high - gain.value == pytest.approx(12.7062 * 0.015, rel=1e-5)
    assert summary.row("dense", "gain_over_dense") is None


def test_the_majority_has_one_score_a_split(tmp_path: Path) -> None:
    for fold, majority in enumerate((0.4, 0.5)):
        for seed in range(3):
            runs.write_run(tmp_path, "dense", fold, seed, score=0.7, scores={"test": 0.7, "majority": majority})
    summary = summarise(tmp_path)
    score, gain = summary.row("majority", "score"), summary.row("majority", "gain_over_dense")
    assert score is not None
    assert gain is not None
    assert (score.n, gain.n) == (2, 6)
    assert score.value == pytest.approx(0.45)
    assert gain.value == pytest.approx(-0.25)
    assert summary.row("majority", "bytes") is None


def test_rows_are_tidy(demo: Path) -> None:
    summary = summarise(demo, case="tiny")
    assert summary.contenders == ["dense", "learned", "random", "uniform", "majority"]
    assert {row.case for row in summary.rows} == {"tiny"}
    assert all(row.unit == UNITS[row.metric] for row in summary.rows)
    assert len({(row.contender, row.metric) for row in summary.rows}) == len(summary.rows)
    assert all(row.low <= row.value <= row.high for row in summary.rows)
    assert set(summary.machine) == {"platform", "processors", "python"}
    assert summary.versions["geomask"]


def test_bytes_are_the_servers_where_it_counted(tmp_path: Path) -> None:
    runs.write_run(tmp_path, "dense", 0, 0, receipt=runs.make_receipt(1000, 7))
    alone = runs.make_receipt(1000, 7, served=False)
    runs.write_run(tmp_path, "learned", 0, 0, receipt=alone | {"refetched_nbytes": 5, "seconds": 0.25})
    summary = summarise(tmp_path)
    found = {
        (row.contender, row.metric): row.value for row in summary.rows if row.metric in ("bytes", "requests", "seconds")
    }
    assert found == {
        ("dense", "bytes"): 1000,
        ("dense", "requests"): 8,
        ("dense", "seconds"): 1.5,
        ("learned", "bytes"): 1005,
        ("learned", "requests"): 7,
        ("learned", "seconds"): 0.25,
    }


def test_runs_without_a_receipt_have_only_scores(tmp_path: Path) -> None:
    runs.write_run(tmp_path, "dense", 0, 0)
    runs.write_run(tmp_path, "dense", 1, 0, receipt=runs.make_receipt(1000, 7))
    runs.write_run(tmp_path, "learned", 0, 0)
    summary = summarise(tmp_path)
    nbytes, score = summary.row("dense", "bytes"), summary.row("dense", "score")
    assert nbytes is not None
    assert score is not None
    assert (nbytes.n, score.n) == (1, 2)
    assert [row.metric for row in summary.rows if row.contender == "learned"] == ["score", "gain_over_dense"]


# --- files ------------------------------------------------------------------------------------------------------------

words = st.text(st.characters(codec="utf-8"), max_size=9)
rows = st.builds(Row, words, words, words, finite, words, st.integers(1, 99), finite, finite)
mappings = st.dictionaries(words, words, max_size=3)


@given(summary=st.builds(Summary, words, mappings, mappings, st.lists(rows, max_size=4).map(tuple)))
def test_a_summary_is_read_back_equal(tmp_path_factory: pytest.TempPathFactory, summary: Summary) -> None:
    folder = tmp_path_factory.getbasetemp() / "summary"
    path = write_summary(summary, folder)
    assert path == folder / "summary.json"
    assert read_summary(folder) == summary


def test_a_summary_holds_what_machines_look_for(demo: Path, tmp_path: Path) -> None:
    write_summary(summarise(demo), tmp_path)
    document = json.loads((tmp_path / "summary.json").read_text())
    assert list(document) == ["date", "machine", "versions", "rows"]
    assert list(document["rows"][0]) == ["contender", "case", "metric", "value", "unit", "n", "low", "high"]
    assert str(demo) not in json.dumps(document)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"date": "", "machine": {}, "versions": {}, "rows": [1]}',
        '{"date": "", "machine": {}, "versions": {}, "rows": [{"contender": "dense"}]}',
        '{"date": "", "machine": 3, "versions": {}, "rows": []}',
        '{"date": "", "machine": {}, "versions": {}, "rows": [{"contender": "", "case": "", "metric": "", "value": "x",'
        ' "unit": "", "n": 1, "low": 0, "high": 0}]}',
    ],
)
def test_a_broken_summary_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "summary.json").write_text(text)
    with pytest.raises(RunError, match=r"summary\.json"):
        read_summary(tmp_path)


def test_an_absent_summary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="No such file"):
        read_summary(tmp_path)


# --- runs -------------------------------------------------------------------------------------------------------------


def test_runs_are_found_from_a_demo_from_their_folder_and_from_one(demo: Path) -> None:
    found = find_runs(demo)
    assert len(found) == 16
    assert find_runs(demo / "runs") == found
    assert find_runs(found[0]) == [found[0]]


def test_an_unfinished_run_is_none(tmp_path: Path) -> None:
    run = runs.write_run(tmp_path)
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "selection.json").write_text("{}")
    assert find_runs(tmp_path) == [run]
    (run / "run.json").unlink()
    with pytest.raises(RunError, match="no finished run"):
        find_runs(tmp_path)


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_a_folder_without_runs_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=name):
        summarise(tmp_path / name)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"budget": "5%"}, "budget: 25%, 5%"),
        ({"folds": 5}, "number of splits: 3, 5"),
        ({"method": "learned", "fold": 0}, "one method, split and seed"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(tmp_path: Path, other: dict[str, Any], message: str) -> None:
    runs.write_run(tmp_path, "learned", 0, 0)
    run = runs.write_run(tmp_path, "random", 1, 0)
    change(run / "run.json", **other)
    with pytest.raises(RunError, match=message):
        load_outcomes(tmp_path)


def test_the_dense_runs_may_name_any_budget(tmp_path: Path) -> None:
    runs.write_run(tmp_path, "learned", 0, 0)
    runs.write_run(tmp_path, "dense", 0, 0, budget="100%")
    assert len(load_outcomes(tmp_path)) == 2


@pytest.mark.parametrize(
    "values",
    [
        {"geomask": "selection"},
        {"version": 99},
        {"method": 3},
        {"method": "<b>"},
        {"method": "majority"},
        {"fold": "one"},
        {"seed": None},
        {"scores": [1]},
        {"scores": {"test": 0.5}},
        {"scores": {"test": math.nan, "majority": 0.5}},
        {"scores": {"test": 10**400, "majority": 0.5}},
        {"scores": {"test": True, "majority": 0.5}},
    ],
    ids=str,
)
def test_a_broken_record_is_refused(tmp_path: Path, values: dict[str, Any]) -> None:
    change(runs.write_run(tmp_path) / "run.json", **values)
    with pytest.raises(RunError, match=r"learned-f0-s0.run\.json"):
        load_outcomes(tmp_path)


@pytest.mark.parametrize(
    "values",
    [{"seconds": None}, {"server": {"bytes": 1}}, {"server": None, "header_nbytes": "many"}],
    ids=str,
)
def test_a_broken_receipt_is_refused(tmp_path: Path, values: dict[str, Any]) -> None:
    run = runs.write_run(tmp_path, receipt=runs.make_receipt(1000, 7) | values)
    with pytest.raises(RunError, match=r"receipt\.json: (seconds|header_bytes|header_nbytes) is"):
        load_outcomes(run)


def test_the_table_knows_every_method() -> None:
    assert set(outcome.METHODS) == set(get_args(Method))


def test_a_report_needs_neither_torch_nor_pyplot(demo: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from geomask.report.summary import *; from geomask.report.page import *; "
        "page = render_page(Path(sys.argv[1]), summarise(sys.argv[1])); "
        "print(len(page), *{'torch', 'matplotlib.pyplot', 'pandas'} & set(sys.modules))"
    )
    output = subprocess.run([sys.executable, "-c", program, demo], check=True, capture_output=True, text=True).stdout
    size, *loaded = output.split()
    assert int(size) > 10_000
    assert loaded == []


# --- the table --------------------------------------------------------------------------------------------------------


def test_the_table_is_aligned_and_in_points() -> None:
    def row(contender: str, metric: str, value: float, half: float, n: int) -> Row:
        return Row(contender, "demo", metric, value, UNITS[metric], n, value - half, value + half)

    rows = (
        row("dense", "score", 0.7, 0.01, 9),
        row("dense", "bytes", 1_520_000, 0, 9),
        row("dense", "requests", 264, 0, 9),
        row("dense", "seconds", 3.208, 0, 9),
        row("learned", "score", 0.712, 0, 1),
        row("learned", "gain_over_dense", 0.012, 0, 1),
        row("learned", "bytes", 152_000, 0, 1),
        row("majority", "score", 0.456, 0.02, 3),
        row("majority", "gain_over_dense", -0.244, 0.02, 9),
    )
    assert table(Summary("2020-01-01", {}, {}, rows)).splitlines() == [
        "contender  n    score, %  gain over dense, points    bytes  of dense  requests  seconds",
        "dense      9  70.0 ± 1.0                           1.52 MB   100.0 %       264     3.21",
        "learned    1        71.2                     +1.2   152 KB    10.0 %",
        "majority   3  45.6 ± 2.0              -24.4 ± 2.0",
    ]


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (999.6, "1.00 KB"),
        (1000, "1.00 KB"),
        (9_996, "10.0 KB"),
        (80_900, "80.9 KB"),
        (331_000, "331 KB"),
        (999_600, "1.00 MB"),
        (1_520_000, "1.52 MB"),
        (12_345_678_900, "12.3 GB"),
    ],
)
def test_bytes_for_people(nbytes: float, text: str) -> None:
    assert bytes_text(nbytes) == text

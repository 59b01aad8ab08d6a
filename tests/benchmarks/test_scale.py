"""The benchmark of scale, on a catalog of a few items."""

import json
from pathlib import Path

import pytest


def test_a_small_world_is_planned_scheduled_and_mapped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import scale

    only = "errands,planning,tile"
    line = ["--only", only, "--json", str(tmp_path / "figures.json")]
    scale.main(line, tmp_path / "cache", items=40, chips=1024, real=512)
    document = json.loads((tmp_path / "figures.json").read_text())
    found = {(row["contender"], row["case"], row["metric"]): row["value"] for row in document["rows"]}
    assert found["client", "errands", "chips"] == 1024
    assert found["one process", "tile", "bytes"] > 8 * 256**2 / 8
    assert all(value > 0 for (_, _, metric), value in found.items() if metric != "memory")  # of few items: nothing
    assert "errands" in capsys.readouterr().out


def test_hours_follow_from_what_was_measured() -> None:
    import scale

    measured = [
        *scale.rows("one process", "tile", network=36.0, reading=18.0, bytes=1e6),
        *scale.rows("worker", "planning", milliseconds=3.6),
        *scale.rows("scheduler", "scheduling", milliseconds=0.36),
        *scale.rows("client", "errands", milliseconds=0.036),
    ]
    hours = {row.contender: row.value for row in scale.reckoned(measured)}
    chips = 10.2e12 / 2560**2
    assert hours["scheduler"] == pytest.approx(chips * 1e-7)
    assert hours["network, 64 cores"] == pytest.approx(chips * 1e-5 / 64)
    assert hours["link, 10 Gbit/s, all channels"] == pytest.approx(15 * chips * 8e6 / 1e10 / 3600)
    assert scale.reckoned(measured[:-1]) == []

import json
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, _scripts: None) -> None:
    import step
    from step import Case

    monkeypatch.setattr(step, "CHIPS", 2)
    monkeypatch.setattr(step, "SIDE", 8)
    monkeypatch.setattr(step, "CASES", (Case("small", 12), Case("timm:resnet10t", 12)))


def test_every_mask_is_held_against_the_networks_own_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from step import MASKS, Case, main

    names = [*MASKS, "channels first", "bf16"]
    case = Case("small", 12)
    main(["--quick", "--only", f"small/12,{','.join(names)}", "--json", str(tmp_path / "f.json")], [case])
    document = json.loads((tmp_path / "f.json").read_text())
    rows = document["rows"]
    assert {row["contender"] for row in rows} == set(names)
    assert {(row["case"], row["metric"]) for row in rows} == {("small/12", "seconds"), ("small/12", "ratio")}
    own = [row for row in rows if row["contender"] == "network" and row["metric"] == "ratio"]
    assert [(row["value"], row["low"], row["high"]) for row in own] == [(1.0, 1.0, 1.0)]
    assert all(row["value"] > 0 and row["n"] == 10 for row in rows)
    assert document["machine"]["device"] == "1 thread(s)"
    assert "ratio (quartiles)" in capsys.readouterr().out


def test_a_contender_that_fails_is_a_row_that_says_why(tmp_path: Path) -> None:
    """A network of chips cannot learn pixels."""
    from step import Case, main

    main(["--quick", "--only", "network,any", "--json", str(tmp_path / "f.json")], [Case("timm:resnet10t", 12)])
    rows = json.loads((tmp_path / "f.json").read_text())["rows"]
    assert len(rows) == 4
    assert all(row["value"] is None and "network of pixels" in row["note"] for row in rows)


def test_an_unknown_name_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    from step import CONTENDERS, MASKS, WAYS, main

    with pytest.raises(SystemExit) as ended:
        main(["--only", "fastest"])
    assert ended.value.code == 2
    assert "no contender or case fastest" in capsys.readouterr().err
    assert set(CONTENDERS) == {*MASKS, *WAYS}

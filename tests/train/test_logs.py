import csv
import sys
from pathlib import Path

import pytest

from geomask.chips.split import make_splits
from geomask.chips.store import Chips
from geomask.errors import RunError
from geomask.masks.any import AnyMask
from geomask.masks.grain import Grain
from geomask.masks.selector import ConcreteSelector
from geomask.train.journal import Journal
from geomask.train.logs import COLUMNS, Log, Row
from geomask.train.step import Settings, Training

SPLIT = make_splits(12)[0]


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_log_has_a_row_every_so_many_steps_and_at_the_end_of_a_leg(chips: Chips, tmp_path: Path) -> None:
    settings, made = Settings(steps=20, check_every=4), []
    journal = Journal(tmp_path, lambda: made.append(1))
    trained = Training(chips, SPLIT, ConcreteSelector(12, 3), settings, 0, journal).finish()
    found = rows(tmp_path)
    assert len(made) == 20
    assert [int(row["step"]) for row in found] == [4, 8, 12, 15, 16, 20]  # 15: the turn
    assert [(int(row["step"]), float(row["validation"])) for row in found if row["validation"]] == list(trained.curve)
    assert {row["spent"] for row in found} == {""}  # it knows no prices
    assert [float(row["rate"]) for row in found][:3] == pytest.approx([3e-3 * 0.4, 3e-3 * 0.8, 3e-3])
    assert all(row["loss"] == row["task"] for row in found)


def test_what_a_mask_spends_and_is_fined_is_in_the_log(chips: Chips, tmp_path: Path) -> None:
    mask = AnyMask(Grain(tuple(range(12))), fine=0.5)
    Training(chips, SPLIT, mask, Settings(steps=4, check_every=2), 0, Journal(tmp_path)).freeze()
    for row in rows(tmp_path):
        assert float(row["loss"]) - float(row["task"]) == pytest.approx(0.5 * float(row["spent"]), abs=1e-6)


def row(training: int, step: int) -> Row:
    return Row(training, step, 1.0, 0.5, None, 1e-3, None)


def test_what_is_made_again_is_dropped(tmp_path: Path) -> None:
    log = Log(tmp_path)
    for number, step in ((0, 5), (0, 10), (1, 5), (0, 15)):
        log.add(row(number, step))
    log.save()
    again = Log(tmp_path)
    again.load()
    again.rewind(0, 12)
    again.rewind(1, 5)
    again.save()
    assert [(found["training"], found["step"]) for found in rows(tmp_path)] == [("0", "5"), ("0", "10"), ("1", "5")]


def test_a_log_of_other_columns_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,loss\n1,2\n")
    with pytest.raises(RunError, match="other columns"):
        Log(tmp_path).load()


def test_without_tensorboard_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(RunError, match=r"pip install 'geomask\[tensorboard\]'"):
        Log(tmp_path, tensorboard=True)
    assert not any(tmp_path.iterdir())


def test_tensorboard_gets_what_is_known_of_each_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[object, ...]] = []

    class Writer:
        def __init__(self, folder: str, purge_step: int) -> None:
            said.append((Path(folder).relative_to(tmp_path).as_posix(), purge_step))

        def add_scalar(self, name: str, value: float, step: int) -> None:
            said.append((name, value, step))

        def flush(self) -> None:
            said.append(("flush",))

    monkeypatch.setattr("geomask.train.logs.load_tensorboard", lambda: Writer)
    log = Log(tmp_path, tensorboard=True)
    log.add(row(2, 30))
    log.save()
    values = [("loss", 1.0, 30), ("task", 0.5, 30), ("rate", 1e-3, 30)]
    assert said == [("tensorboard/0002", 30), *values, ("flush",)]
    assert COLUMNS[:2] == ["training", "step"]

from collections.abc import Callable
from pathlib import Path

import pytest

from geomask.errors import RunError, SelectionError
from geomask.selection import Selection
from geomask.train.curve import train_curve
from geomask.train.journal import Journal
from geomask.train.pareto import Pareto
from geomask.train.run import load_run
from geomask.train.score import score
from geomask.train.settings import Settings
from geomask.train.task import Task

QUICK = Settings(steps=40, check_every=20)


@pytest.fixture(scope="module")
def curve(task: Task, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Pareto]:
    folder = tmp_path_factory.mktemp("curves") / "a curve"
    settings = Settings(steps=120, check_every=60)
    return folder, train_curve(task, ["20%", "3500", "50%"], 0, 0, settings, folder, bandwidth=8e3)


def test_each_budget_is_a_run_within_it_the_largest_first(curve: tuple[Path, Pareto], task: Task) -> None:
    folder, pareto = curve
    assert [(point.budget, point.budget_nbytes) for point in pareto.points] == [
        ("50%", 6000),
        ("3500", 3500),
        ("20%", 2400),
    ]
    assert [point.nbytes for point in pareto.points] == [6000, 3000, 2000]
    assert [point.channels for point in pareto.points] == [6, 3, 2]
    assert [point.requests for point in pareto.points] == [12, 6, 4]  # a header and a run of each file
    assert [point.seconds for point in pareto.points] == [6, 3, 2]
    for point in pareto.points:
        run = load_run(folder / point.budget)
        assert run.record.planned_nbytes == point.nbytes
        assert run.record.scores["test"] == point.test
        assert run.record.scores["validation"] == max(point.tuned_validation, point.retrained_validation)
        assert len(Selection.load(folder / point.budget / "selection.json").channels) == point.channels


def test_the_table_lies_with_the_runs_and_nothing_else(curve: tuple[Path, Pareto]) -> None:
    folder, pareto = curve
    assert Pareto.load(folder / "pareto.parquet") == pareto
    assert sorted(path.name for path in folder.iterdir()) == ["20%", "3500", "50%", "pareto.parquet"]


def test_two_channels_that_tell_are_found_all_the_way_down(curve: tuple[Path, Pareto], task: Task) -> None:
    folder, pareto = curve
    run = load_run(folder / "20%")
    kept = [task.selection.channels.index(channel) for channel in run.selection.channels]
    assert kept == [4, 9]  # `TELLING` of the chips
    part = task.chips.image[:, kept]
    assert pareto.points[-1].test > 0.8
    small = type(task.chips)(part, task.chips.valid[:, kept], task.chips.labels, task.chips.windows, 2)
    assert score(run.model, small, task.splits[0].test) == pareto.points[-1].test


def test_later_budgets_begin_with_the_network_before_at_its_budget(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from geomask.train import curve as module

    made = []

    class Watched(module.Training):
        def __init__(self, *args: object, **options: object) -> None:
            made.append((args[2], args[3], options.get("start")))
            super().__init__(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "Training", Watched)
    train_curve(task, ["20%", "50%"], 0, 0, QUICK, tmp_path / "curve")
    (first, first_settings, nothing), _, (second, second_settings, start), (hard, full, fresh) = made
    assert nothing is None
    assert fresh is None
    assert start
    assert (first_settings.steps, second_settings.steps, full.steps) == (40, 20, 40)
    assert second.scores is first.scores
    assert hard.is_hard
    fifth = type(second)(second.grain, second.market.prices, 2400, first=6000)
    assert fifth._spend == pytest.approx(6000 / second.market.unit)


@pytest.mark.parametrize(
    ("budgets", "error", "said"),
    [
        (["20%", "2400"], SelectionError, "another number of bytes"),
        (["20%", "../x"], SelectionError, "percentage"),
        (["2s"], SelectionError, "bandwidth"),
        (["20%", "101%"], SelectionError, "101%"),
    ],
)
def test_budgets_that_are_none_are_refused_before_anything_is_trained(
    budgets: list[str], error: type[Exception], said: str, task: Task, tmp_path: Path
) -> None:
    with pytest.raises(error, match=said):
        train_curve(task, budgets, 0, 0, QUICK, tmp_path / "curve")
    assert not (tmp_path / "curve").exists()


def test_a_folder_of_something_else_is_left_alone(task: Task, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match=r"holds notes\.txt, which is no run"):
        train_curve(task, ["20%"], 0, 0, QUICK, tmp_path)
    with pytest.raises(RunError, match="is a file"):
        train_curve(task, ["20%"], 0, 0, QUICK, tmp_path / "notes.txt")


def test_a_curve_is_written_over_another_one(task: Task, tmp_path: Path) -> None:
    train_curve(task, ["20%"], 0, 0, QUICK, tmp_path / "curve")
    again = train_curve(task, ["20%", "50%"], 0, 0, QUICK, tmp_path / "curve")
    assert Pareto.load(tmp_path / "curve" / "pareto.parquet") == again


def test_a_curve_goes_on_where_it_was_interrupted(task: Task, tmp_path: Path) -> None:
    def curve(name: str, on_step: Callable[[], object] | None = None, *, resume: bool = False) -> Pareto:
        journal = Journal(tmp_path / name, on_step, resume=resume, every=5)
        return train_curve(task, ["20%", "50%"], 0, 0, QUICK, tmp_path / name, on_step=journal)

    steps = iter(range(91))  # 40 and 40 of the first budget; then 11 of the 20 that the second one has

    with pytest.raises(StopIteration):
        curve("cut", lambda: next(steps))
    assert (tmp_path / "cut" / "50%" / "run.json").exists()
    assert not (tmp_path / "cut" / "20%").exists()
    assert curve("cut", resume=True) == curve("whole")
    cut, whole = ((tmp_path / name / "20%" / "model.safetensors").read_bytes() for name in ("cut", "whole"))
    assert cut == whole

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from geomask.errors import RunError, SelectionError
from geomask.train.crowd import Job, train_all, train_alone
from geomask.train.run import Run, load_record, load_run
from geomask.train.step import Settings
from geomask.train.task import Task

QUICK = Settings(steps=20, check_every=10)


@pytest.fixture
def run(task: Task, tmp_path: Path) -> Run:
    return train_alone(task, Job("learned", 0, 0), "25%", QUICK, tmp_path / "a run")


def test_a_run_is_read_back_equal(run: Run, task: Task, tmp_path: Path) -> None:
    again = load_run(tmp_path / "a run")
    assert again.record == run.record
    assert again.selection == run.selection
    image, valid = torch.randn(1, 3, 6, 6), torch.ones(1, 3, 6, 6, dtype=torch.bool)
    assert torch.equal(again.model(image, valid), run.model.eval()(image, valid))
    assert run.record.planned_nbytes == 3000
    assert run.record.dense_nbytes == 12_000
    assert set(run.record.scores) == {"validation", "test", "majority"}
    assert len(run.selection.slots) == 3
    assert len(task.selection.channels) == 12


def test_a_second_run_replaces_the_first_and_other_folders_are_left_alone(run: Run, task: Task, tmp_path: Path) -> None:
    (tmp_path / "a run" / "receipt.json").write_text("{}")  # of an inference with the first
    train_alone(task, Job("dense", 1, 0), "25%", QUICK, tmp_path / "a run")
    assert not (tmp_path / "a run" / "receipt.json").exists()
    assert load_record(tmp_path / "a run").method == "dense"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("dear")
    with pytest.raises(RunError, match="something else than a run"):
        train_alone(task, Job("dense", 1, 0), "25%", QUICK, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_what_is_missing_broken_or_foreign_is_an_error(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "a run"
    with pytest.raises(RunError, match="no finished run"):
        load_run(tmp_path / "nothing")
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:100])
    with pytest.raises(RunError, match=r"model\.safetensors does not fit"):
        load_run(folder)
    (folder / "model.safetensors").write_bytes(weights)
    document = json.loads((folder / "run.json").read_text())
    for change, words in (
        ({"version": 99}, "version 99"),
        ({"geomask": "manifest"}, "no record"),
        ({"x": 1}, "broken"),
    ):
        (folder / "run.json").write_text(json.dumps({**document, **change}))
        with pytest.raises(RunError, match=words):
            load_run(folder)
    (folder / "run.json").write_text(json.dumps(document))
    (folder / "selection.json").unlink()
    with pytest.raises(SelectionError, match=r"selection\.json"):
        load_run(folder)


def test_a_gate_beyond_the_selection_is_an_error(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "a run" / "model.safetensors"
    tensors = load_file(path)
    tensors["gate.channels"] = torch.tensor([0, 1, 7])
    save_file(tensors, path)
    with pytest.raises(RunError, match="beyond the 3"):
        load_run(tmp_path / "a run")


def test_trained_side_by_side_or_alone_a_job_gives_the_same_run(task: Task, tmp_path: Path) -> None:
    """Invariant 8: the number of workers does not matter."""
    jobs = [Job("learned", 0, 0), Job("uniform", 1, 1)]
    crowd = train_all(task, jobs, "25%", QUICK, tmp_path)
    for job in jobs:
        alone = train_alone(task, job, "25%", QUICK, tmp_path / "alone" / job.name)
        assert alone.record == crowd[job].record
        theirs = crowd[job].model.state_dict()
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in alone.model.state_dict().items())


def test_a_job_that_fails_fails_them_all(task: Task, tmp_path: Path) -> None:
    with pytest.raises(SelectionError, match="budget"):
        train_all(task, [Job("uniform", 0, 0)], "500%", QUICK, tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_run_that_was_cut_off_is_made_anew(task: Task, tmp_path: Path) -> None:
    train_alone(task, Job("uniform", 0, 0), "25%", QUICK, tmp_path / "a run")
    (tmp_path / "a run" / "run.json").unlink()
    (tmp_path / "a run" / ".model-x1y2.safetensors").write_bytes(b"draft")
    train_alone(task, Job("uniform", 0, 0), "25%", QUICK, tmp_path / "a run")
    assert load_record(tmp_path / "a run").method == "uniform"

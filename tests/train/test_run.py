import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.torch import load_file, save_file

from geomask.errors import RunError, SelectionError
from geomask.masks.any import AnyMask
from geomask.masks.dynamic import DynamicScores
from geomask.masks.grain import Grain
from geomask.masks.hard import HardMask
from geomask.masks.preview import Preview
from geomask.train.crowd import Job, train_all, train_alone
from geomask.train.run import Record, Run, load_record, load_run, save_run
from geomask.train.step import Settings, Training, score
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
    assert set(run.record.scores) >= {"validation", "test", "majority"}
    assert run.record.objective["task"] == "segmentation"
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


def tensors_equal(one: Run, other: Run) -> bool:
    ours, theirs = one.model.state_dict(), other.model.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("network", ["smp:unet-mobilenet_v2", "torchgeo:fcn"])
def test_a_run_names_its_network(task: Task, tmp_path: Path, network: str) -> None:
    settings = Settings(steps=2, network=network, batch=6, width=4)
    run = train_alone(task, Job("uniform", 0, 0), "25%", settings, tmp_path / "run")
    again = load_run(tmp_path / "run")
    assert tensors_equal(again, run)
    assert again.record.settings["network"] == network


def test_a_network_of_ones_own_is_loaded_only_where_it_is_named(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What run.json says is data: it starts no code."""
    (tmp_path / "nets_of_mine.py").write_text(
        "from torch import nn\ndef make(channels, outputs):\n    return nn.Conv2d(channels, outputs, 3, padding=1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    settings = Settings(steps=2, network="nets_of_mine:make")
    run = train_alone(task, Job("uniform", 0, 0), "25%", settings, tmp_path / "run")
    monkeypatch.delitem(sys.modules, "nets_of_mine")
    with pytest.raises(RunError, match="your own code, nets_of_mine:make"):
        load_run(tmp_path / "run")
    assert "nets_of_mine" not in sys.modules
    assert tensors_equal(load_run(tmp_path / "run", "nets_of_mine:make"), run)
    other = load_run(tmp_path / "run", lambda channels, outputs: torch.nn.Conv2d(channels, outputs, 3, padding=1))
    assert tensors_equal(other, run)


def test_values_are_learned_and_scored_by_r2(task: Task, tmp_path: Path) -> None:
    """The sum of two channels, of which some pixels are not known."""
    chips = task.chips
    values = (chips.image[:, 4] + 2 * chips.image[:, 9]).astype("float32")
    values[:, :2] = np.nan
    learn = replace(task, chips=replace(chips, labels=values, classes=0), class_names=())
    settings = Settings(steps=200, task="regression", dropout=0.0)
    run = train_alone(learn, Job("dense", 0, 0), "100%", settings, tmp_path / "run")
    assert run.record.scores["test"] > 0.8
    assert run.record.scores["majority"] == pytest.approx(0, abs=0.1)
    again = load_run(tmp_path / "run")
    objective = again.model.objective
    assert objective == run.model.objective
    train = values[list(task.splits[0].train)]
    assert objective.centre == pytest.approx(float(np.nanmean(train)), rel=1e-5)
    test = task.splits[0].test
    assert score(again.model, learn.chips, test) == pytest.approx(run.record.scores["test"], abs=1e-6)


@pytest.mark.parametrize("groups", [tuple(range(12)), tuple(channel % 4 for channel in range(12))])
def test_blocks_are_saved_with_the_channels_that_have_some(task: Task, tmp_path: Path, groups: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    choice = torch.from_numpy((rng.random((1, max(groups) + 1, 2, 4)) > 0.7).astype("float32"))
    choice[0, 1] = 0
    gate = HardMask(Grain(groups, 2, 4), choice)
    trained = Training(task.chips, task.splits[0], gate, Settings(steps=4), 0).finish()
    record = Record("learned", 0, 0, 3, "50%", 0, 0, ["no", "yes"], 10.0, {}, [], asdict(Settings(steps=4)))
    run = save_run(tmp_path, trained, task.selection, record)
    again = load_run(tmp_path)
    assert tensors_equal(again, run)
    assert again.model.gate.is_spatial
    image, valid = torch.from_numpy(task.chips.image), torch.from_numpy(task.chips.valid)
    want = trained.model(image, valid)
    assert torch.equal(again.model(image[:, trained.channels], valid[:, trained.channels]), want)
    with xr.open_dataset(tmp_path / "selection.nc", engine="scipy") as file:
        kept = file["selected"].load()
    expected = choice[0, list(groups)].bool().numpy().reshape(3, 4, 2, 4)
    assert kept.dims == ("slot", "band", "row", "column")
    assert (kept.to_numpy() == expected).all()
    assert kept.band.to_numpy().tolist() == ["B02", "B03", "B04", "B08"]
    assert run.selection.channels == tuple(c for c in task.selection.channels if expected[c.slot, c.band].any())


def test_blocks_of_several_versions_are_no_selection(task: Task, tmp_path: Path) -> None:
    choice = torch.zeros(2, 12, 1, 2)
    choice[0, 3, 0, 0] = choice[1, 3, 0, 1] = 1
    twice = replace(task.chips, image=np.stack([task.chips.image] * 2, 1), valid=np.stack([task.chips.valid] * 2, 1))
    gate = HardMask(Grain(tuple(range(12)), 1, 2), choice)
    trained = Training(twice, task.splits[0], gate, Settings(steps=2), 0).finish()
    assert trained.planes == [(0, 3), (1, 3)]
    record = Record("learned", 0, 0, 3, "50%", 0, 0, ["no", "yes"], 10.0, {}, [], asdict(Settings(steps=2)))
    with pytest.raises(SelectionError, match="of several versions"):
        save_run(tmp_path, trained, task.selection, record)
    assert not any(tmp_path.iterdir())


def test_what_decides_for_each_chip_is_a_policy_and_no_run(task: Task, tmp_path: Path) -> None:
    grain, preview = Grain(tuple(range(12))), Preview((0, 1), 2)
    scores = DynamicScores("linear", preview.size(task.chips.image.shape[-2:]), 1, grain.shape, [0.0])
    trained = Training(task.chips, task.splits[0], AnyMask(grain, scores, preview), Settings(steps=2), 0).finish()
    record = Record("learned", 0, 0, 3, "50%", 0, 0, ["no", "yes"], 10.0, {}, [], asdict(Settings(steps=2)))
    with pytest.raises(SelectionError, match="save it as a `Policy`"):
        save_run(tmp_path, trained, task.selection, record)
    assert not any(tmp_path.iterdir())

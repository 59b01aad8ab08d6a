import json
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.torch import load_file, save_file

from geomask.errors import RunError, SelectionError
from geomask.masks.any import AnyMask
from geomask.masks.dynamic import DynamicScores
from geomask.masks.grain import Grain
from geomask.masks.hard import HardGate, HardMask
from geomask.masks.policy import Policy
from geomask.masks.preview import Preview
from geomask.masks.priced import PricedGate, PricedPolicy
from geomask.train.crowd import Job, train_all, train_alone
from geomask.train.record import Record, load_record
from geomask.train.run import Run, load_run, save_run
from geomask.train.step import Settings, Trained, Training, score
from geomask.train.task import Task

QUICK = Settings(steps=20, check_every=10)


def record(**settings: Any) -> Record:
    made = asdict(Settings(**{"steps": 2, **settings}))
    return Record("learned", 0, 0, 3, "50%", 0, 0, ["no", "yes"], 10.0, {}, [], settings=made)


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
        ({"scaling": [[1, 0]] * 4}, "the scaling of 4 channels, of 3"),
    ):
        (folder / "run.json").write_text(json.dumps({**document, **change}))
        with pytest.raises(RunError, match=words):
            load_run(folder)
    (folder / "run.json").write_text(json.dumps(document))
    (folder / "selection.json").unlink()
    with pytest.raises(SelectionError, match=r"selection\.json"):
        load_run(folder)


def test_a_scaling_or_a_size_that_is_none_is_one_error_and_an_older_record_has_neither(tmp_path: Path) -> None:
    path, document = tmp_path / "run.json", {"geomask": "run", "version": 2, **asdict(record())}
    scalings = (3, "ab", {"a": 1}, [1, 0], [[1]], [["1", "0"]], [[True, 0]], [[0, 1]], [[10**400, 0]], [[None, 0]])
    sizes = (8, "88", [8], [8, 8, 8], [8, 0], [8.0, 8], [True, 8])
    broken = [*(("scaling", value) for value in (*scalings, [[1, np.inf]])), *(("size", value) for value in sizes)]
    for name, value in broken:
        path.write_text(json.dumps({**document, name: value}))
        with pytest.raises(RunError, match=r"run\.json is broken"):
            load_record(tmp_path)
    path.write_text(json.dumps({**document, "scaling": [[1e-4, 0]], "size": [8, 9]}))
    assert (load_record(tmp_path).scaling, load_record(tmp_path).size) == ([[1e-4, 0.0]], [8, 9])
    del document["scaling"], document["size"]
    path.write_text(json.dumps(document))
    assert (load_record(tmp_path).scaling, load_record(tmp_path).size) == (None, None)


def test_a_run_knows_in_what_numbers_and_on_how_large_chips_its_network_learned(task: Task, tmp_path: Path) -> None:
    told = replace(task, scalings=(tuple((1e-4, -0.1 * channel) for channel in range(12)),))
    run = train_alone(told, Job("random", 0, 0), "25%", QUICK, tmp_path / "run")
    kept = [task.selection.channels.index(channel) for channel in run.selection.channels]
    assert kept != [0, 1, 2]
    assert run.record.scaling == [[1e-4, -0.1 * channel] for channel in kept]
    assert run.record.size == [8, 8]
    assert load_run(tmp_path / "run").record == run.record


def test_a_scaling_of_other_channels_than_the_network_was_trained_on_is_refused(task: Task, tmp_path: Path) -> None:
    trained = Training(task.chips, task.splits[0], HardGate([3]), Settings(steps=1), 0).finish()
    with pytest.raises(SelectionError, match="a scaling of 1 channels for 12"):
        save_run(tmp_path, trained, task.selection, replace(record(), scaling=[[1.0, 0.0]]))
    assert not any(tmp_path.iterdir())


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
    run = save_run(tmp_path, trained, task.selection, record())
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
    with pytest.raises(SelectionError, match="of several versions"):
        save_run(tmp_path, trained, task.selection, record())
    assert not any(tmp_path.iterdir())


def test_what_decides_for_each_chip_is_a_policy_and_no_run(task: Task, tmp_path: Path) -> None:
    grain, preview = Grain(tuple(range(12))), Preview((0, 1), 2)
    scores = DynamicScores("linear", preview.size(task.chips.image.shape[-2:]), 1, grain.shape, [0.0])
    trained = Training(task.chips, task.splits[0], AnyMask(grain, scores, preview), Settings(steps=2), 0).finish()
    with pytest.raises(SelectionError, match="save it as a `Policy`"):
        save_run(tmp_path, trained, task.selection, record())
    assert not any(tmp_path.iterdir())


# --- what decides anew for each chip ----------------------------------------------------------------------------------

GRAIN = Grain.of("subblock:2x2", 3, 4, (8, 8))


def dynamic(task: Task, versions: int = 1, seed: int = 0) -> Trained:
    """A network behind a gate of blocks that differ from chip to chip, of twelve channels at one level or two."""
    torch.manual_seed(seed)
    preview = Preview((4, 9), 2)
    starts = torch.randn(versions, *GRAIN.shape)
    scores = DynamicScores("linear", preview.size((8, 8)), versions, GRAIN.shape, starts)
    for weight in scores.model.parameters():
        torch.nn.init.normal_(weight)
    prices = np.array([100.0, 25.0])[:versions, None, None, None] * np.ones(GRAIN.shape)
    gate = PricedGate(GRAIN, prices, 100.0 * GRAIN.units / 3, scores, preview)
    chips = task.chips
    if versions > 1:
        coarse = chips.image[..., ::2, ::2].repeat(2, -1).repeat(2, -2)
        chips = replace(chips, image=np.stack([chips.image, coarse], 1), valid=np.stack([chips.valid] * 2, 1))
    return Training(chips, task.splits[0], gate, Settings(steps=8), 0).finish()


def policy_of(trained: Trained, task: Task, levels: tuple[int | None, ...] = (None,)) -> Policy:
    assert isinstance(trained.model.gate, PricedPolicy)
    mean, deviation = (part.flatten()[[4, 9]].tolist() for part in (trained.model.mean, trained.model.deviation))
    return Policy.of(trained.model.gate, task.selection, (8, 8), 0, mean, deviation, levels)


@pytest.mark.parametrize("levels", [(None,), (None, 0)])
def test_where_only_what_its_policy_chose_is_valid_a_dynamic_run_says_what_the_gated_network_says(
    task: Task, tmp_path: Path, levels: tuple[int | None, ...]
) -> None:
    """To the bit (atol 0): the network takes plane version x 12 + channel."""
    trained = dynamic(task, len(levels))
    saved = save_run(tmp_path, trained, task.selection, record(), policy=policy_of(trained, task, levels))
    run = load_run(tmp_path)
    assert run.policy is not None
    assert tensors_equal(run, saved)
    assert (run.record, run.selection) == (saved.record, task.selection)
    assert run.model.mean.shape == (12 * len(levels),)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("model.safetensors", "policy", "run.json", "selection.json"),
    ]

    torch.manual_seed(1)
    image = 100 + 10 * torch.randn(5, *([2] if len(levels) > 1 else []), 12, 8, 8)
    valid = torch.rand(image.shape) < 0.9
    shown = run.policy.terms.preview(trained.model.standardise(image, valid))
    choice = torch.from_numpy(run.policy.choose(shown))
    assert all(0 < part < 1 for part in choice.float().mean((0, 2, 3, 4)))
    assert not choice[0].equal(choice[1])
    chosen = GRAIN.spread(choice, (8, 8)).flatten(1, 2)
    planes, seen = image.flatten(1, -3), valid.flatten(1, -3) & chosen
    want = trained.model(image, valid)
    torch.testing.assert_close(run.model(planes, seen), want, rtol=0, atol=0)
    torch.testing.assert_close(run.model(planes.where(seen, 1e6), seen), want, rtol=0, atol=0)  # it has no say
    assert not torch.equal(run.model(planes, valid.flatten(1, -3)), want)


def test_the_record_of_a_dynamic_run_has_the_scaling_of_all_channels(task: Task, tmp_path: Path) -> None:
    trained, scaling = dynamic(task), [[1e-4, -0.1 * channel] for channel in range(12)]
    told = replace(record(), scaling=scaling)
    save_run(tmp_path, trained, task.selection, told, policy=policy_of(trained, task))
    assert load_run(tmp_path).record.scaling == scaling


def test_a_policy_that_is_not_the_gates_is_refused_and_nothing_written(task: Task, tmp_path: Path) -> None:
    trained = dynamic(task)
    other, mine = policy_of(dynamic(task, seed=1), task), policy_of(trained, task)
    static = Training(task.chips, task.splits[0], HardGate([3]), Settings(steps=1), 0).finish()
    fewer = task.selection.keep(range(11))
    for kind, wanted, policy, words in (
        (trained, task.selection, other, "of another gate"),
        (static, task.selection, mine, "not of a HardGate"),
        (trained, fewer, mine, "give the selection of it"),
        (dynamic(task, 2), task.selection, mine, "of another gate"),
    ):
        with pytest.raises(SelectionError, match=words):
            save_run(tmp_path, kind, wanted, record(), policy=policy)
    twice = replace(trained, model=dynamic(task, 2).model)
    twice.model.gate = trained.model.gate
    with pytest.raises(SelectionError, match="12 channels at 1 levels, and the network has 24 planes"):
        save_run(tmp_path, twice, task.selection, record(), policy=mine)
    assert not any(tmp_path.iterdir())


def test_of_an_earlier_run_neither_a_policy_nor_blocks_are_left(task: Task, tmp_path: Path) -> None:
    choice = torch.zeros(1, 12, 2, 2)
    choice[0, 4, 0] = 1
    blocks = Training(task.chips, task.splits[0], HardMask(GRAIN, choice), Settings(steps=1), 0).finish()
    chosen = dynamic(task)
    for _ in range(2):
        save_run(tmp_path, blocks, task.selection, record())
        assert (tmp_path / "selection.nc").exists()
        assert load_run(tmp_path).policy is None
        save_run(tmp_path, chosen, task.selection, record(), policy=policy_of(chosen, task))
        assert not (tmp_path / "selection.nc").exists()
        assert load_run(tmp_path).policy is not None


def test_a_dynamic_run_that_was_cut_off_is_none_and_a_policy_alone_is_left_alone(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = dynamic(task)
    policy = policy_of(trained, task)
    policy.save(tmp_path / "mine" / "policy")
    with pytest.raises(RunError, match="something else than a run"):
        save_run(tmp_path / "mine", trained, task.selection, record(), policy=policy)

    save_run(tmp_path / "run", trained, task.selection, record(), policy=policy)
    with monkeypatch.context() as patch:
        patch.setattr("geomask.train.run.write_text", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            save_run(tmp_path / "run", trained, task.selection, record(), policy=policy)
    assert (tmp_path / "run" / "policy").is_dir()
    with pytest.raises(RunError, match="no finished run"):
        load_run(tmp_path / "run")
    save_run(tmp_path / "run", trained, task.selection, record(), policy=policy)
    assert load_run(tmp_path / "run").policy is not None


def test_a_policy_that_is_lost_or_does_not_fit_its_run_is_one_error(task: Task, tmp_path: Path) -> None:
    once, twice = dynamic(task), dynamic(task, 2)
    mine, wide = policy_of(once, task), policy_of(twice, task, (None, 0))
    folder = tmp_path / "run"
    save_run(folder, once, task.selection, record(), policy=mine)
    shutil.copytree(folder, tmp_path / "whole")

    def broken(words: str) -> None:
        with pytest.raises(RunError, match=words):
            load_run(folder)
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "whole", folder)

    wide.save(folder / "policy")
    broken(r"model\.safetensors")
    replace(mine, terms=replace(mine.terms, selection=replace(task.selection, profile="other"))).save(folder / "policy")
    broken("of another selection")
    (folder / "policy" / "policy.json").write_text("{}")
    broken("no geomask policy")
    shutil.rmtree(folder / "policy")
    broken("lacks its policy/")
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "gate.at": tensors["gate.at"].flip(0)}, folder / "model.safetensors")
    broken("does not take what its policy/ chooses")
    save_file({**tensors, "gate.blocks": tensors["gate.blocks"].half()}, folder / "model.safetensors")
    assert load_run(folder).policy is not None

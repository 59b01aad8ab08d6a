"""`geomask train --transfer` on twelve channels that all say the same with noise, and cost 1,000 bytes each."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pystac
import pytest
import torch
from costs import priced

from geomask.bottleneck.mix import keep_latents, train_mix, with_latents
from geomask.bottleneck.offer import lesson_of, train_transfer
from geomask.bottleneck.rates import Pupil, Rate, make_rates
from geomask.bottleneck.run import open_run
from geomask.bottleneck.shared import SharedEncoder
from geomask.bottleneck.transfer import encoder_digest, transfer_of
from geomask.chips.memory import Chips
from geomask.chips.split import Split
from geomask.errors import RunError, SelectionError
from geomask.grid import Grid
from geomask.masks.hard import HardGate
from geomask.read.receipt import Receipt
from geomask.selection import Selection
from geomask.stac.profile import Band
from geomask.stac.slots import make_slots
from geomask.train.run import load_run, save_run
from geomask.train.settings import Settings
from geomask.train.step import Training
from geomask.train.task import Task
from geomask.window import Window

SETTINGS = Settings(steps=40, width=8, check_every=10)
SPLIT = Split(tuple(range(12)), tuple(range(12, 18)), tuple(range(18, 24)))


@pytest.fixture(scope="module")
def chips() -> Chips:
    rng = np.random.default_rng(0)
    truth = rng.random((24, 4, 4)).repeat(2, 1).repeat(2, 2)
    image = 100 * truth[:, None] * np.arange(1, 13)[:, None, None] + rng.normal(0, 20, (24, 12, 8, 8))
    windows = tuple(Window(0, 8 * number, 8, 8) for number in range(24))
    return Chips(image.astype(np.float32), np.ones(image.shape, bool), (truth > 0.5).astype(np.int64), windows, 2)


@pytest.fixture(scope="module")
def task(chips: Chips) -> Task:
    dates = [datetime(2020, month, 1, tzinfo=UTC) for month in (1, 2, 3)]
    slots = make_slots(pystac.Item(f"{date:%m}", None, None, date, {}) for date in dates)
    selection = Selection.dense(slots, [Band(name, name, 10) for name in ("B02", "B03", "B04", "B08")])
    cost = priced([1000] * 12, header=100)
    receipt, grid = Receipt(0, 0, (), (), (), (), 0.0), Grid("EPSG:32633", 0, 0, 10, 10, 8, 192)
    scalings = (tuple((1.0, 0.0) for _ in range(12)),)
    return Task(selection, grid, chips, cost, (SPLIT,), ("no", "yes"), receipt, scalings=scalings)


@pytest.fixture(scope="module")
def taught(chips: Chips) -> tuple[Pupil, Rate]:
    pupil = Pupil.of(Training(chips, SPLIT, HardGate([1, 7, 10]), SETTINGS, 0).finish(), chips, SPLIT)
    return pupil, next(make_rates(pupil, chips, SPLIT, pupil.design(3), lesson_of(SETTINGS), 0, (0.01,)))


def test_a_run_of_features_is_within_its_budget_and_does_what_it_says(task: Task, tmp_path: Path) -> None:
    run = train_transfer(task, "bottleneck", "uniform", 0, 0, "5%", SETTINGS, tmp_path / "run", near="50%")
    record = run.record
    assert record.transfer == "bottleneck"
    assert 0 < record.feature_nbytes == record.planned_nbytes <= 0.05 * task.cost.dense
    ways = {one["name"].partition(" ")[0] for one in record.candidates}
    assert ways == {"features", "tuned"}
    assert sum(one["won"] for one in record.candidates) == 1
    again = open_run(tmp_path / "run")
    link = transfer_of(again.model)
    assert link is not None
    assert link.far.tolist() == []
    assert len(link.near) == len(again.selection.channels) <= 6  # half of twelve
    part = task.chips.take(SPLIT.test)
    channels = [place for place, channel in enumerate(task.selection.channels) if channel in again.selection.channels]
    image, valid = (torch.from_numpy(values[:, channels]) for values in (part.image, part.valid))
    with torch.no_grad():
        said = again.model.objective.decide(again.model(image, valid)).numpy()
    assert again.model.objective.score(said, part.labels) == pytest.approx(record.scores["test"])
    assert record.scores["test"] > 0.8  # one value tells the class


def test_validation_decides_among_all_kinds(task: Task, tmp_path: Path) -> None:
    run = train_transfer(task, "auto", "uniform", 0, 0, "20%", SETTINGS, tmp_path / "run", near="50%")
    tried = {one["name"]: one["validation"] for one in run.record.candidates}
    assert {name.partition(" ")[0] for name in tried} >= {"features", "tuned", "select", "mix"}
    (won,) = (one for one in run.record.candidates if one["won"])
    assert won["validation"] == max(tried.values())
    assert run.record.planned_nbytes <= 0.2 * task.cost.dense
    assert open_run(tmp_path / "run").record == run.record


def test_a_budget_that_holds_nothing_says_what_the_smallest_takes(task: Task, tmp_path: Path) -> None:
    with pytest.raises(SelectionError, match=r"a budget of .* bytes"):
        train_transfer(task, "bottleneck", "uniform", 0, 0, "30", replace(SETTINGS, steps=2), tmp_path, near="50%")


def test_versions_and_other_kinds_are_refused(task: Task, tmp_path: Path) -> None:
    with pytest.raises(SelectionError, match="no transfer 'select' of features"):
        train_transfer(task, "select", "learned", 0, 0, "5%", SETTINGS, tmp_path)


def test_latents_are_channels_over_the_pixels_that_they_stand_for(chips: Chips, taught: tuple[Pupil, Rate]) -> None:
    pupil, rate = taught
    both = with_latents(chips, pupil, rate)
    symbols, _ = rate.symbols(pupil, chips)
    assert both.image.shape == (24, 15, 8, 8)
    assert (both.image[:, :12] == chips.image).all()
    assert (both.image[:, 12:, ::2, ::2] == symbols).all()
    assert (both.image[:, 12:, 1::2, 1::2] == symbols).all()
    assert both.valid.all()


def test_a_mix_costs_its_pixels_and_its_latents_and_both_sides_agree(
    task: Task, chips: Chips, taught: tuple[Pupil, Rate], tmp_path: Path
) -> None:
    pupil, rate = taught
    mix = train_mix(chips, SPLIT, task.cost, task.area, 3000, pupil, rate, SETTINGS, 0)
    assert mix is not None
    assert task.cost.total(list(mix.channels)) + mix.feature_nbytes <= 3000
    union = sorted({*pupil.planes, *mix.channels})
    assert [union[place] for place in mix.near] == list(pupil.planes)
    assert [union[place] for place in mix.far] == list(mix.channels)
    # What it says of chips is what a network of pixels and latents says of them.
    both = with_latents(chips, pupil, rate)
    assert both.image.shape[1] == 15
    record = task.record(mix.trained, "learned", 0, 0, "20%", SETTINGS)
    assert record.scores["test"] > 0.8


def test_no_latent_where_none_is_affordable(task: Task, chips: Chips, taught: tuple[Pupil, Rate]) -> None:
    pupil, rate = taught
    assert train_mix(chips, SPLIT, task.cost, 10**9, 1500, pupil, rate, replace(SETTINGS, steps=4), 0) is None


def test_latents_that_are_kept_are_the_same_ones(chips: Chips, taught: tuple[Pupil, Rate]) -> None:
    pupil, rate = taught
    encoder, tables = keep_latents(rate, [2, 0])
    with torch.no_grad():
        few, all_of_them = encoder(pupil.pixels), rate.distilled.encoder(pupil.pixels)
    torch.testing.assert_close(few, all_of_them[:, [2, 0]])
    assert tables.highs.tolist() == rate.tables.highs[[2, 0]].tolist()


def test_a_plain_run_takes_the_place_of_one_of_features(task: Task, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train_transfer(task, "bottleneck", "uniform", 0, 0, "50%", replace(SETTINGS, steps=2), folder, near="50%")
    assert json.loads((folder / "transfer.json").read_text())["geomask"] == "transfer"
    with pytest.raises(RunError, match="open_run"):
        load_run(folder)
    trained = Training(task.chips, SPLIT, HardGate([3]), replace(SETTINGS, steps=2), 0).finish()
    save_run(folder, trained, task.selection, task.record(trained, "uniform", 0, 0, "10%", SETTINGS))
    assert not (folder / "transfer.json").exists()
    assert transfer_of(open_run(folder).model) is None


def test_an_encoder_serves_another_network(task: Task, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    train_transfer(task, "bottleneck", "uniform", 0, 0, "50%", SETTINGS, first, near="50%")
    shared = SharedEncoder.load(first)
    other = replace(SETTINGS, width=12)
    run = train_transfer(task, "bottleneck", "learned", 0, 1, "50%", other, second, encoder=shared)
    assert run.record.scores["test"] > 0.8
    one, two = (open_run(folder) for folder in (first, second))
    assert encoder_digest(one.model) == encoder_digest(two.model)
    links = [transfer_of(each.model) for each in (one, two)]
    assert links[0] is not None
    assert links[1] is not None
    assert links[0].tables.digest == links[1].tables.digest
    assert two.selection == one.selection
    decoders = [link.far_side.state_dict()["body.0.out.weight"] for link in links if link is not None]
    assert decoders[0].shape != decoders[1].shape


def test_an_encoder_of_other_chips_or_of_none_is_refused(task: Task, tmp_path: Path) -> None:
    few = replace(SETTINGS, steps=2)
    train_transfer(task, "bottleneck", "uniform", 0, 0, "50%", few, tmp_path / "run", near="50%")
    shared = SharedEncoder.load(tmp_path / "run")
    brighter = replace(task, chips=replace(task.chips, image=task.chips.image + 10))
    with pytest.raises(SelectionError, match="learned on other chips"):
        train_transfer(brighter, "bottleneck", "learned", 0, 0, "50%", few, tmp_path / "no", encoder=shared)
    trained = Training(task.chips, SPLIT, HardGate([3]), few, 0).finish()
    task.save(tmp_path / "plain", trained, "uniform", 0, 0, "10%", few)
    with pytest.raises(RunError, match="no encoder to share"):
        SharedEncoder.load(tmp_path / "plain")

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pystac
import pytest
import torch
from cogs import write_cog
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from geomask.errors import RunError, SelectionError
from geomask.masks.dynamic import DynamicScores
from geomask.masks.grain import Grain
from geomask.masks.market import Market
from geomask.masks.models import MODELS
from geomask.masks.policy import Policy, join_answers
from geomask.masks.preview import Preview
from geomask.masks.priced import PricedGate, PricedPolicy
from geomask.masks.terms import Terms
from geomask.plan.compile import compile_manifest
from geomask.plan.cost import Cost
from geomask.plan.survey import survey
from geomask.read.reader import read_manifest
from geomask.selection import Selection
from geomask.stac.profile import Band
from geomask.stac.slots import make_slots
from geomask.window import Window

BANDS = tuple(Band(name, name, 10) for name in ("red", "nir", "swir"))
SIZE, CHIPS = (64, 96), (Window(0, 0, 64, 96), Window(64, 0, 64, 96), Window(64, 96, 64, 96))
ITEM_TIME = datetime(2020, 1, 5, tzinfo=UTC)


def selection() -> Selection:
    return Selection.dense(make_slots([pystac.Item("one", None, None, ITEM_TIME, {})]), BANDS)


def policy(
    model: str = "conv",
    grain: Grain | None = None,
    levels: tuple[int | None, ...] = (None,),
    theta: float = 0.2,
    seed: int = 0,
) -> Policy:
    """Scores that vary from unit to unit and from chip to chip, of a preview of nir and red at the first overview."""
    torch.manual_seed(seed)
    grain = grain or Grain.of("subblock:4x6", 1, 3, SIZE)
    preview = Preview((1, 0), 2)
    starts = torch.randn(len(levels), *grain.shape)
    scores = DynamicScores(model, preview.size(SIZE), len(levels), grain.shape, starts)
    for weight in scores.model.parameters():
        torch.nn.init.normal_(weight, std=0.05)
    terms = Terms(selection(), levels, grain, SIZE, preview, 0, (20_000.0, 30_000.0), (9_000.0, 8_000.0), model, theta)
    prices = np.random.default_rng(seed).uniform(100, 900, (len(levels), *grain.shape))
    return Policy(terms, scores, Market(prices))


def pixels(chips: int = 3) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(1)
    image = draw.integers(1, 60_000, (chips, 2, *SIZE)).astype(np.float32)
    return image, draw.random(image.shape) < 0.9


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory):
    """Three files of 128 x 192 pixels in GeoTIFF tiles of 16."""
    folder = tmp_path_factory.mktemp("policy")
    item = pystac.Item("one", None, None, ITEM_TIME, {})
    for number, band in enumerate(BANDS):
        path = folder / f"{band.name}.tif"
        write_cog(path, height=128, width=192, block=16, first=1 + number)
        item.add_asset(band.name, pystac.Asset(str(path)))
    return survey(selection(), [item])


def compiled(wanted: Selection, place, chips):
    return compile_manifest(wanted, place.coverage, place.index, place.grid, chips)


@pytest.mark.parametrize("model", MODELS)
def test_a_policy_that_was_saved_and_loaded_answers_the_same(model: str, tmp_path: Path):
    first = policy(model, levels=(None, 1))
    first.save(tmp_path / "policy")
    second = Policy.load(tmp_path / "policy")
    assert second.terms == first.terms
    assert np.array_equal(second.market.prices, first.market.prices)
    shown = first.show(*pixels())
    assert torch.equal(second.scores(shown), first.scores(shown))
    assert second.answer(*pixels(), CHIPS) == first.answer(*pixels(), CHIPS)
    assert sorted(path.name for path in (tmp_path / "policy").iterdir()) == ["policy.json", "policy.safetensors"]


@given(
    rows=st.integers(1, 64),
    columns=st.integers(1, 96),
    groups=st.sampled_from([(0, 0, 0), (0, 1, 2), (1, 0, 1)]),
    levels=st.lists(st.none() | st.integers(0, 5), min_size=1, max_size=4),
    channels=st.permutations(range(3)),
    factor=st.integers(1, 9),
    preview_level=st.none() | st.integers(0, 5),
    mean=st.floats(-1e6, 1e6),
    theta=st.floats(-100, 100),
)
def test_terms_come_back_from_json_as_they_were_and_blocks_fill_a_chip(
    rows, columns, groups, levels, channels, factor, preview_level, mean, theta
):
    grain, preview = Grain(groups, rows, columns), Preview(tuple(channels), factor)
    numbers = (mean, 0.0, 1.0), (1.0, 0.5, 2.0)
    terms = Terms(selection(), tuple(levels), grain, SIZE, preview, preview_level, *numbers, "conv", theta)
    assert Terms.from_dict(json.loads(json.dumps(terms.to_dict()))) == terms
    seen = np.full((128, 192), -1)
    for row, windows in enumerate(terms.windows(CHIPS[2])):
        for column, window in enumerate(windows):
            part = seen[window.row_off : window.row_stop, window.col_off : window.col_stop]
            assert (part == -1).all()
            part[...] = row * columns + column
    units = torch.arange(rows * columns).reshape(1, rows, columns)
    assert np.array_equal(seen[64:, 96:], Grain((0,), rows, columns).spread(units, SIZE).expand(1, *SIZE)[0].numpy())


def test_an_answer_names_each_chosen_unit_once_at_the_level_of_its_version():
    grain = Grain((0, 1, 0), 3, 5)  # red and swir as one; blocks that do not divide 64 x 96
    some = policy(grain=grain, levels=(None, 1))
    image, valid = pixels()
    choice = some.choose(some.show(image, valid))
    assert 0 < choice.mean() < 1
    for chip, answers, chosen in zip(CHIPS, some.answer(image, valid, CHIPS), choice, strict=True):
        read = np.full((3, *SIZE), -1)
        for answer in answers:
            for window in answer.windows:
                for channel in answer.selection.channels:
                    top, left = window.row_off - chip.row_off, window.col_off - chip.col_off
                    part = read[channel.band, top : top + window.height, left : left + window.width]
                    assert part.shape == (window.height, window.width)
                    assert (part == -1).all()
                    part[...] = (None, 1).index(channel.level)
        version = np.where(chosen.any(0), chosen.argmax(0), -1)
        expected = grain.spread(torch.from_numpy(version), SIZE).expand(3, *SIZE)
        assert np.array_equal(read, expected.numpy())


def test_the_rule_is_that_of_the_frozen_gate():
    grain = Grain.of("subblock:4x6", 1, 3, SIZE)
    torch.manual_seed(0)
    preview = Preview((1, 0), 2)
    scores = DynamicScores("conv", preview.size(SIZE), 1, grain.shape, torch.randn(1, *grain.shape))
    torch.nn.init.normal_(scores.model.weight)
    gate = PricedGate(grain, np.random.default_rng(0).uniform(100, 900, (1, *grain.shape)), 9_000.0, scores, preview)
    image = torch.randn(8, 3, *SIZE)
    gate.train()
    gate.draw(image)
    frozen = gate.freeze()
    assert isinstance(frozen, PricedPolicy)
    some = Policy.of(frozen, selection(), SIZE, 0, (0.0, 0.0), (1.0, 1.0))
    choice = frozen.draw(image)[0]
    assert 0 < choice.mean() < 1
    assert np.array_equal(some.choose(preview(image)), choice.numpy() > 0)
    frozen.settle(image + 3)
    elsewhere = some.within(frozen.budget, preview(image + 3))
    assert elsewhere.terms.theta == frozen.theta != some.terms.theta


def test_a_preview_is_read_through_a_manifest_and_the_planned_bytes_of_an_answer_are_its_cost(place):
    some = policy()
    cube, receipt = read_manifest(compiled(some.terms.preview_selection, place, CHIPS), place.index)
    answers = some.answer(cube.image, cube.valid, CHIPS)
    joined = join_answers(answer for of_chip in answers for answer in of_chip)
    assert len(joined) == len({answer.selection.digest for answer in joined}) > 1
    blocks = [window for chip in CHIPS for row in some.terms.windows(chip) for window in row]
    cost = Cost.of(selection(), place.coverage, place.index, place.grid, blocks)
    for answer in joined:
        at = [blocks.index(window) for window in answer.windows]
        manifest = compiled(answer.selection, place, answer.windows)
        assert manifest.planned_nbytes == cost.total_of(answer.selection, at)
        read, told = read_manifest(manifest, place.index)
        assert told.nbytes == manifest.pixel_nbytes
        assert read.valid.all()
    choice = some.choose(some.show(cube.image, cube.valid))
    assert sum(len(a.selection.channels) * len(a.windows) for a in joined) == choice.sum()
    preview = some.terms.preview.nbytes(cost, 0)
    assert preview == compiled(some.terms.preview_selection, place, blocks).planned_nbytes
    assert receipt.nbytes == compiled(some.terms.preview_selection, place, CHIPS).pixel_nbytes


def test_pixels_that_are_not_valid_are_the_mean_to_the_scores():
    some = policy()
    image, valid = pixels()
    shown = some.show(image, valid)
    assert shown.shape == (3, *some.terms.preview.size(SIZE))
    expected = (image[:, 0, ::2, ::2] - 20_000) / 9_000 * valid[:, 0, ::2, ::2]
    assert np.allclose(shown[:, 0], expected)


def test_previews_and_chips_of_another_size_are_refused():
    some = policy()
    image, valid = pixels()
    with pytest.raises(SelectionError, match=r"this policy looks at \(2, 64, 96\)"):
        some.show(image[:, :1], valid[:, :1])
    with pytest.raises(SelectionError, match="2 chips for 3 previews"):
        some.answer(image, valid, CHIPS[:2])
    with pytest.raises(SelectionError, match="64, 96"):
        some.answer(image, valid, [Window(0, 0, 96, 64)] * 3)


def test_a_model_without_a_name_has_no_file():
    scores = DynamicScores(torch.nn.Identity(), (2, 32, 48), 1, (2, 4, 6), [0.0])
    gate = PricedGate(Grain((0, 1, 0), 4, 6), np.ones((1, 2, 4, 6)), 10.0, scores, Preview((1, 0), 2))
    gate.train()
    gate.draw(torch.randn(2, 3, *SIZE))
    with pytest.raises(SelectionError, match="a named model"):
        Policy.of(gate.freeze(), selection(), SIZE, 0, (0.0, 0.0), (1.0, 1.0))


BROKEN = {
    "no policy": lambda d: d.update(geomask="run"),
    "version": lambda d: d.update(version=99),
    "model": lambda d: d.update(model="resnet"),
    "huge": lambda d: d.update(size=[2**30, 2**30], model="linear"),
    "blocks": lambda d: d["grain"].update(rows=65),
    "groups": lambda d: d["grain"].update(groups=[0, 1]),
    "levels": lambda d: d.update(levels=[None, None]),
    "level": lambda d: d.update(levels=[-1]),
    "preview": lambda d: d["preview"].update(channels=[7, 0]),
    "factor": lambda d: d["preview"].update(factor=2.5),
    "deviation": lambda d: d.update(deviation=[0.0, 1.0]),
    "theta": lambda d: d.update(theta=float("nan")),
    "number": lambda d: d.update(theta=10**400),
    "group": lambda d: d["grain"].update(groups=[0, 1, 10**9]),
    "missing": lambda d: d.pop("mean"),
    "selection": lambda d: d.update(selection=[]),
    "kind": lambda d: d.update(grain=3),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_policy_is_one_error(name: str, tmp_path: Path):
    policy().save(tmp_path)
    document = json.loads((tmp_path / "policy.json").read_text())
    BROKEN[name](document)
    (tmp_path / "policy.json").write_text(json.dumps(document))
    with pytest.raises(RunError, match=str(tmp_path)):
        Policy.load(tmp_path)


def test_a_policy_is_not_written_over_a_file(tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunError, match="is a file; name a folder"):
        policy().save(tmp_path / "file")


def test_broken_tensors_are_one_error(tmp_path: Path):
    policy().save(tmp_path)
    path = tmp_path / "policy.safetensors"
    whole, tensors = path.read_bytes(), load_file(path)
    nan = torch.full_like(tensors["static"], torch.nan)
    for changed in (
        {"static": nan},
        {"static": tensors["static"].double()},
        {"prices": -tensors["prices"]},
        {"more": nan},
    ):
        save_file({**tensors, **changed}, path)
        with pytest.raises(RunError, match="a broken policy"):
            Policy.load(tmp_path)
    for broken in (whole[:-8], b"", b"\x80\x04}."):
        path.write_bytes(broken)
        with pytest.raises(RunError, match="a broken policy"):
            Policy.load(tmp_path)
    path.write_bytes(whole)
    (tmp_path / "policy.json").write_text('{"geomask": ' + "[" * 100_000)
    with pytest.raises(RunError, match="a broken policy"):
        Policy.load(tmp_path)
    policy().save(tmp_path)
    path.unlink()
    with pytest.raises(RunError, match="cannot read the policy"):
        Policy.load(tmp_path)
    with pytest.raises(RunError, match="cannot read the policy"):
        Policy.load(tmp_path / "nowhere")

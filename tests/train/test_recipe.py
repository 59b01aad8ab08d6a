from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from geomask.errors import SelectionError
from geomask.masks.any import AnyMask
from geomask.masks.grain import Grain
from geomask.masks.ranked import RankedScores
from geomask.masks.sequence import MaskSequence
from geomask.masks.versions import extend
from geomask.masks.xor import XorMask
from geomask.train.objective import Objective
from geomask.train.recipe import OEHMCKE2022, Recipe, Samples, rate, train_oehmcke2022
from geomask.train.shares import Checkpoints

TASK = Objective("classification", 2)
QUICK = Recipe(60, fine=0.05, factor=1.5, patience=1, mask_rate=0.1, rate=0.02, batch=50)
GRAIN = Grain.of("channel", 1, 8, (1, 1))
#: Of the kind that Q is: whole numbers of units.
SHARES = st.integers(1, 784).map(lambda units: units / 784)


def make_samples(seed: int, count: int = 200) -> Samples:
    """Eight channels of noise; the sum of the second and the sixth decides the class."""
    image = torch.randn(count, 8, 1, 1, generator=torch.Generator().manual_seed(seed))
    return Samples(image, (image[:, 1, 0, 0] + image[:, 5, 0, 0] > 0).long())


def make_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))


def test_what_decides_is_what_is_kept() -> None:
    mask, network, seen = AnyMask(GRAIN), make_network(), []
    found = train_oehmcke2022(
        mask,
        network,
        make_samples(0),
        make_samples(1),
        QUICK,
        seed=0,
        objective=TASK,
        budgets=[0.25],
        until=0.125,
        on_epoch=lambda *told: seen.append(told),
    )
    best = found.within(0.25)
    assert best is not None
    best.restore(mask, network)
    assert mask.eval().draw(make_samples(2).image)[0].flatten().nonzero().flatten().tolist() == [1, 5]
    share, score = rate(mask, network, make_samples(2), TASK)
    assert share == best.kept == 0.25
    assert score > 0.9
    assert [told[0] for told in seen] == list(range(len(seen)))
    assert [told[1] for told in seen] == sorted(told[1] for told in seen)  # lambda never falls
    assert seen[-1][2] <= 0.125 < seen[-2][2]  # there it ended


def test_checkpoints_are_the_best_of_their_interval_and_restore_what_was_scored() -> None:
    mask, network, seen = AnyMask(GRAIN), make_network(), {}
    validation = make_samples(1)

    def note(epoch: int, fine: float, share: float, score: float) -> None:
        seen[epoch] = (share, score)

    found = list(train_oehmcke2022(mask, network, make_samples(0), validation, QUICK, 0, TASK, on_epoch=note))
    assert len(found) > 3
    assert [point.kept for point in found] == sorted({share for share, _ in seen.values()})
    for point in found:
        assert seen[point.epoch] == (point.kept, point.score)
        assert point.score == max(score for share, score in seen.values() if share == point.kept)
        point.restore(mask, network)
        assert rate(mask, network, validation, TASK) == pytest.approx((point.kept, point.score))


def test_the_same_seed_gives_the_same_weights_and_leaves_the_callers_noise_alone() -> None:
    def train(seed: int) -> torch.Tensor:
        torch.manual_seed(7)
        mask, network = AnyMask(GRAIN), make_network()
        torch.manual_seed(7)
        train_oehmcke2022(mask, network, make_samples(0), make_samples(1), replace(QUICK, epochs=2), seed, TASK)
        assert torch.equal(torch.rand(1), torch.rand(1, generator=torch.Generator().manual_seed(7)))
        return mask.state_dict()["scores.logits"]

    assert torch.equal(train(1), train(1))
    assert not torch.equal(train(1), train(2))


def test_a_ranking_drops_on_its_schedule_and_lambda_does_nothing_to_it() -> None:
    scores = RankedScores(torch.arange(8.0).reshape(8, 1, 1), drop=1, every=4)
    shares: list[float] = []
    train_oehmcke2022(
        AnyMask(GRAIN, scores),
        make_network(),
        make_samples(0),
        make_samples(1),
        replace(QUICK, epochs=5),  # of four steps
        seed=0,
        objective=TASK,
        on_epoch=lambda epoch, fine, share, score: shares.append(share),
    )
    assert shares == [7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8]


def test_an_epoch_goes_over_each_sample_once_or_over_a_part_where_the_last_one_stopped() -> None:
    train, met = make_samples(0, 120), []

    def note_batch(batch: Samples) -> Samples:
        met.append(batch.image)
        return batch

    recipe = replace(QUICK, epochs=6).hastened(3)
    assert recipe.mask_rate == pytest.approx(0.3)
    assert recipe.passes == pytest.approx(1 / 3)
    train_oehmcke2022(AnyMask(GRAIN), make_network(), train, make_samples(1), recipe, 0, TASK, augment=note_batch)
    assert [len(batch) for batch in met] == [50] * 6  # 120 / 3 / 50, rounded, is one step
    for first in (0, 2, 4):
        assert len(torch.cat(met[first : first + 2]).unique(dim=0)) == 100


def test_what_a_mask_keeps_may_be_measured_otherwise() -> None:
    recipe = replace(QUICK, epochs=1)
    found = train_oehmcke2022(
        AnyMask(GRAIN), make_network(), make_samples(0), make_samples(1), recipe, 0, TASK, measure=lambda mask: 0.33
    )
    assert [point.kept for point in found] == [0.33]


@given(st.lists(st.tuples(SHARES, SHARES), max_size=30), SHARES)
def test_within_a_budget_is_the_best_that_ever_was(epochs: list[tuple[float, float]], budget: float) -> None:
    checkpoints, weights = Checkpoints(0.05, [budget]), nn.Linear(1, 1)
    for epoch, (kept, score) in enumerate(epochs):
        checkpoints.offer(kept, score, epoch, weights, weights)
    best, scores = checkpoints.within(budget), [score for kept, score in epochs if kept <= budget]
    assert (best.score if best else None) == max(scores, default=None)
    assert len(list(checkpoints)) <= 21


def test_the_published_parameters_are_those_of_the_tables() -> None:
    pixel = OEHMCKE2022["pixel"]
    assert (pixel.epochs, pixel.fine, pixel.factor, pixel.patience, pixel.mask_rate) == (400, 5e-4, 1.5, 5, 5e-4)
    assert (pixel.batch, pixel.threshold, pixel.interval) == (128, 0.0025, 0.05)
    assert {name.partition("/")[0] for name in OEHMCKE2022} == {"pixel", "channel", "xor", "xor+subpixel", "subblock"}


@pytest.mark.parametrize(
    "wrong", [{"fine": 0.0}, {"factor": 0.9}, {"patience": -1}, {"hot": 2.0}, {"cold": 2.0}, {"passes": 0.0}]
)
def test_parameters_that_lead_nowhere_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SelectionError):
        replace(QUICK, **wrong)


def test_lambda_and_temperature_reach_every_mask_of_a_sequence() -> None:
    whole = Grain.of("version", 1, 8, (1, 1))
    sequence = MaskSequence(XorMask(whole, [1.0, 0.5]), AnyMask(GRAIN))
    train, held = (Samples(extend(image, image), labels) for image, labels in (make_samples(0), make_samples(1)))
    recipe = replace(QUICK, epochs=3, fine=0.25, patience=9, hot=8.0, cooling=0.5)
    found = train_oehmcke2022(sequence, make_network(), train, held, recipe, 0, TASK)
    assert [mask.temperature for mask in sequence] == [2.0, 2.0]  # of the third epoch
    assert sequence.fine == 0.25
    assert all(0 < point.kept <= 1 for point in found)

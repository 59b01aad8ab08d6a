"""Hard-concrete and stochastic masks, against the papers' formulas."""

import math
from statistics import NormalDist

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geomask.errors import SelectionError
from geomask.masks.grain import Grain
from geomask.masks.hard import HardMask
from geomask.masks.hard_concrete import HardConcreteMask
from geomask.masks.sampled import SampledMask
from geomask.masks.scores import StaticScores
from geomask.masks.stochastic import StochasticMask

CHANNELS, SIZE = 6, (3, 5)
KINDS = [HardConcreteMask, StochasticMask]


def mask(kind: type, scores: list[float], prices: list[float] | None = None, budget: float = 2.5) -> SampledMask:
    grain = Grain.of("channel", len(scores), 1, SIZE)
    cost = torch.tensor(prices or [1.0] * len(scores), dtype=torch.float64)[:, None, None]
    gate = kind(grain, cost, budget)
    assert isinstance(gate, SampledMask)
    assert isinstance(gate.scores, StaticScores)
    gate.scores.logits.data = torch.tensor(scores)[None, None, :, None, None]
    return gate


def chance(kind: type, score: float) -> float:
    """P(z > 0), from the papers."""
    if kind is HardConcreteMask:  # Louizos, Welling & Kingma 2018, equation 12
        return 1 / (1 + math.exp(-(score - 2 / 3 * math.log(0.1 / 1.1))))
    return NormalDist().cdf((score + 0.5) / 0.5)  # Yamada et al. 2020, P(mu + 1/2 + sigma e > 0)


def settled(kind: type, score: float) -> float:
    """Z in eval mode, from the papers."""
    if kind is HardConcreteMask:
        return min(1.0, max(0.0, 1.2 / (1 + math.exp(-score)) - 0.1))
    return min(1.0, max(0.0, score + 0.5))


@pytest.mark.parametrize("kind", KINDS)
def test_samples_are_zero_as_often_as_they_should_and_each_sample_has_its_own(kind: type) -> None:
    scores = [-2.0, -0.7, -0.2, 0.0, 0.4, 1.5]
    torch.manual_seed(0)
    gate = mask(kind, scores).train()
    drawn, chances = gate.draw(torch.zeros(20_000, CHANNELS, 1, 1))
    assert drawn.shape == (20_000, 1, CHANNELS, 1, 1)
    assert (drawn.min(), drawn.max()) == (0, 1)
    assert np.allclose(chances.detach().flatten(), [chance(kind, score) for score in scores], atol=1e-6)
    assert np.allclose((drawn > 0).float().mean(0).flatten(), chances.detach().flatten(), atol=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_have_the_distribution_of_the_paper(kind: type) -> None:
    score = 0.3
    torch.manual_seed(0)
    drawn = mask(kind, [score]).train().draw(torch.zeros(40_000, 1, 1, 1))[0].detach().flatten().numpy()
    for value in (0.2, 0.5, 0.8):
        if kind is HardConcreteMask:  # the binary Concrete's distribution, stretched
            within = (value + 0.1) / 1.2
            want = 1 / (1 + math.exp(-(2 / 3 * math.log(within / (1 - within)) - score)))
        else:
            want = NormalDist(score + 0.5, 0.5).cdf(value)
        assert (drawn <= value).mean() == pytest.approx(want, abs=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_no_noise_in_eval_mode(kind: type) -> None:
    scores = [-9.0, -0.7, -0.2, 0.0, 0.4, 9.0]
    gate = mask(kind, scores).eval()
    image = torch.randn(2, CHANNELS, *SIZE)
    want = image * torch.tensor([settled(kind, score) for score in scores])[:, None, None]
    assert torch.allclose(gate(image), want, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_share_is_of_expected_bytes(kind: type) -> None:
    scores, prices = [-1.0, 0.0, 2.0], [100.0, 10.0, 1.0]
    gate = mask(kind, scores, prices, 20)
    choice = gate.train().draw(torch.zeros(2, 3, 1, 1))
    want = sum(chance(kind, score) * price for score, price in zip(scores, prices, strict=True)) / 111
    assert gate.share(choice).item() == pytest.approx(want, rel=1e-5)
    gate.penalty(choice).backward()
    assert isinstance(gate.scores, StaticScores)
    assert gate.scores.logits.grad is not None


def test_the_fine_of_a_stochastic_mask_is_lambda_times_the_chances() -> None:
    gate = mask(StochasticMask, [0.0, 0.5])
    gate.fine = 0.3
    choice = gate.draw(torch.zeros(1, 2, 1, 1))
    want = 0.3 * (chance(StochasticMask, 0.0) + chance(StochasticMask, 0.5)) / 2
    assert gate.penalty(choice).item() == pytest.approx(want, rel=1e-5)


def test_the_multiplier_rises_by_the_excess_and_starts_anew_within_the_budget() -> None:
    gate = mask(HardConcreteMask, [0.0, 0.0, 0.0], budget=1.5)
    assert isinstance(gate, HardConcreteMask)
    excess = chance(HardConcreteMask, 0.0) - 0.5
    image = torch.zeros(1, 3, 1, 1)
    choice = gate.train().draw(image)
    for step in range(4):
        assert gate.multiplier.item() == pytest.approx(step * 0.1 * excess, rel=1e-4)
        assert gate.penalty(choice).item() == pytest.approx(step * 0.1 * excess**2, rel=1e-4)
    kept = gate.multiplier.item()
    gate.eval().penalty(gate.draw(image))
    assert gate.multiplier.item() == kept
    gate.train().scores.logits.data[:] = -9  # type: ignore[union-attr]
    gate.penalty(gate.draw(image))
    assert gate.multiplier.item() == 0


def learn(gate: SampledMask, steps: int) -> torch.Tensor:
    """Channels 4 and 1 tell the answer, most of it channel 4. Scores afterwards."""
    worth = torch.tensor([0.0, 1.0, 0.0, 0.0, 4.0, 0.0])[:, None, None]
    optimizer = torch.optim.Adam(gate.parameters(), 0.1)
    image = torch.randn(16, CHANNELS, *SIZE)
    gate.train()
    for _ in range(steps):
        choice = gate.draw(image)
        loss = ((gate.apply_choice(image, choice) - image).square() * worth).mean() + gate.penalty(choice)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return gate.scores(None).detach().flatten()


@pytest.mark.parametrize("budget", [1.0, 2.0])
def test_a_constrained_mask_meets_its_budget_with_what_is_worth_most(budget: float) -> None:
    torch.manual_seed(0)
    gate = mask(HardConcreteMask, [3.0] * CHANNELS, budget=budget)
    assert isinstance(gate, HardConcreteMask)
    gate.rate = 0.3  # what tells the answer is worth much here
    learn(gate, 200)
    expected = gate.share(gate.draw(torch.zeros(1, CHANNELS, 1, 1))).item() * CHANNELS
    assert expected == pytest.approx(budget, abs=0.5)
    hard = gate.freeze()
    assert isinstance(hard, HardMask)
    kept = set(hard.choice.flatten().nonzero().flatten().tolist())
    assert len(kept) == budget
    assert {4} <= kept
    assert 1 in kept or budget == 1


def test_a_stochastic_mask_learns_what_is_worth_its_fine() -> None:
    torch.manual_seed(0)
    gate = mask(StochasticMask, [0.0] * CHANNELS)
    gate.fine = 0.5
    scores = learn(gate, 200)
    assert set(scores.argsort(descending=True)[:2].tolist()) == {1, 4}
    assert scores[[0, 2, 3, 5]].max() < -0.5  # closed, but for noise
    assert scores[[1, 4]].min() > 0.3


@given(
    st.lists(st.tuples(st.floats(-3, 3, width=32), st.integers(1, 9)), min_size=1, max_size=8),
    st.integers(1, 30),
    st.sampled_from(KINDS),
)
def test_what_is_frozen_is_within_the_budget_and_nothing_more_would_fit(
    units: list[tuple[float, int]], budget: int, kind: type
) -> None:
    prices = [float(price) for _, price in units]
    hard = mask(kind, [score for score, _ in units], prices, budget).freeze()
    assert isinstance(hard, HardMask)
    kept = hard.choice.flatten().bool().tolist()
    spent = sum(price for price, is_kept in zip(prices, kept, strict=True) if is_kept)
    assert spent <= budget
    assert all(spent + price > budget for price, is_kept in zip(prices, kept, strict=True) if not is_kept)


def test_bytes_that_units_share_count_as_the_total_says() -> None:
    """Two channels lie in one file: together they cost what one does."""

    def total(choice: np.ndarray) -> float:
        kept = choice.flatten()
        return 10.0 * (kept[0] or kept[1]) + 10.0 * kept[2]

    grain = Grain.of("channel", 3, 1, SIZE)
    gate = HardConcreteMask(grain, torch.full((3, 1, 1), 10.0), 10, total)
    gate.scores.logits.data[0, 0, :, 0, 0] = torch.tensor([1.0, 0.0, -1.0])  # type: ignore[union-attr,index]
    assert gate.freeze().choice.flatten().tolist() == [1, 1, 0]  # type: ignore[union-attr,operator]


@pytest.mark.parametrize("kind", KINDS)
def test_a_budget_of_nothing_is_an_error(kind: type) -> None:
    with pytest.raises(SelectionError, match="more than 0"):
        mask(kind, [0.0], budget=0)

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geomask.errors import SelectionError
from geomask.masks.market import Market


@st.composite
def markets(draw: st.DrawFn) -> tuple[np.ndarray, torch.Tensor]:
    """Prices (versions, groups, 1, 1) over five orders of magnitude, and scores of some samples."""
    versions, groups, samples = (draw(st.integers(1, top)) for top in (3, 6, 3))
    cells = versions * groups
    price = st.integers(1, 100_000).map(float)
    prices = np.reshape(draw(st.lists(price, min_size=cells, max_size=cells)), (versions, groups, 1, 1))
    score = st.floats(-8, 8, width=16)
    scores = draw(st.lists(score, min_size=cells * samples, max_size=cells * samples))
    return prices, torch.tensor(scores).reshape(samples, versions, groups, 1, 1)


def expected(market: Market, shares: torch.Tensor) -> float:
    """Bytes a sample."""
    return float((shares.double().numpy() * market.prices).sum() / len(shares))


@settings(max_examples=40)
@given(markets(), st.floats(0.02, 0.95), st.floats(0.05, 1))
def test_at_theta_the_expected_bytes_are_the_budget(
    made: tuple[np.ndarray, torch.Tensor], share: float, tau: float
) -> None:
    prices, scores = made
    market = Market(prices)
    theta = market.solve(scores, share * market.dense, tau)
    assert expected(market, market.shares(scores, theta, tau)) == pytest.approx(
        share * market.dense * market.unit, rel=2e-3
    )


@settings(max_examples=40)
@given(markets(), st.floats(-2, 2), st.floats(0.2, 1))
def test_shares_are_the_softmax_of_score_less_price_beside_nothing(
    made: tuple[np.ndarray, torch.Tensor], theta: float, tau: float
) -> None:
    prices, scores = made
    unit = prices.max(0).mean()
    raised = np.exp((scores.double().numpy() - theta * prices / unit) / tau)
    got = Market(prices).shares(scores, theta, tau).numpy()
    np.testing.assert_allclose(got, raised / (1 + raised.sum(1, keepdims=True)), rtol=1e-3, atol=1e-5)


@settings(max_examples=40)
@given(markets(), st.floats(0.05, 0.9))
def test_the_pull_is_how_theta_moves_with_each_score(made: tuple[np.ndarray, torch.Tensor], share: float) -> None:
    prices, scores = made
    market = Market(prices).double()
    scores = scores.double()
    budget, step = share * market.dense, 1e-4
    theta = market.solve(scores, budget, 1.0)
    pull = market.pull(scores, theta, 1.0)
    moved = scores.clone()
    moved[0, 0, 0] += step
    # theta is exact to 1e-6 of the budget alone: compare what both say of the expected bytes
    predicted = theta + step * float(pull[0, 0, 0])
    shares = market.shares(moved, predicted, 1.0)
    gained = market.shares(moved, theta, 1.0)
    off, without = (
        abs(expected(market, s) - expected(market, market.shares(scores, theta, 1.0))) for s in (shares, gained)
    )
    assert off <= 1e-3 * without + 1e-9 * budget * market.unit


@settings(max_examples=40)
@given(markets(), st.floats(0, 1))
def test_settled_choices_are_within_the_budget_on_average_and_at_a_lower_theta_they_are_not(
    made: tuple[np.ndarray, torch.Tensor], share: float
) -> None:
    prices, scores = made
    market = Market(prices)
    budget = share * market.dense
    theta = market.settle(scores, budget)

    def spent(at: float) -> float:
        return expected(market, market.decide(scores, at)) / market.unit

    assert spent(theta) <= budget * (1 + 1e-6)
    lower = theta - 1e-4 * max(1.0, abs(theta))
    assert spent(lower) > budget or spent(-1e9) <= budget


@settings(max_examples=40)
@given(markets(), st.floats(0.05, 1), st.floats(-20, 20), st.floats(0, 0.5))
def test_with_slack_a_share_of_the_budget_may_be_left_from_wherever_it_starts(
    made: tuple[np.ndarray, torch.Tensor], share: float, start: float, slack: float
) -> None:
    prices, scores = made
    market = Market(prices)
    budget = share * market.dense
    theta = market.settle(scores, budget, start, slack)

    def spent(at: float) -> float:
        return expected(market, market.decide(scores, at)) / market.unit

    assert spent(theta) <= budget * (1 + 1e-6)
    lower = theta - 1e-4 * max(1.0, abs(theta))
    enough = spent(theta) >= (1 - slack) * budget * (1 - 1e-6)
    assert enough or spent(lower) > budget or spent(-1e9) <= budget


@settings(max_examples=40)
@given(markets(), st.floats(-8, 8))
def test_what_is_decided_is_the_likeliest(made: tuple[np.ndarray, torch.Tensor], theta: float) -> None:
    prices, scores = made
    market = Market(prices)
    best = market.odds(scores, theta, 1.0).argmax(1)
    want = torch.stack([best == version for version in range(1, scores.shape[1] + 1)], 1).float()
    assert torch.equal(market.decide(scores, theta), want)


def test_one_version_is_decided_for_each_unit_and_sample() -> None:
    market = Market(np.array([[1.0, 4.0], [2.0, np.inf]]).reshape(2, 2, 1, 1))
    scores = torch.tensor([[[3.0, 1.0], [3.5, 9.0]], [[-1.0, 9.0], [-1.0, 9.0]]]).reshape(2, 2, 2, 1, 1)
    assert market.unit == 3
    chosen = market.decide(scores, 3.0)[..., 0, 0]  # 3 a byte of the mean price: 1, 4, 2 for them
    assert chosen.tolist() == [[[1, 0], [0, 0]], [[0, 1], [0, 0]]]


@pytest.mark.parametrize("price", [-1.0, np.nan])
def test_a_price_that_is_none_is_refused(price: float) -> None:
    with pytest.raises(SelectionError, match="0 or more"):
        Market(np.array([price, 1.0]).reshape(1, 2, 1, 1))

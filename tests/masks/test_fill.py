import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from geomask.masks.fill import fill_budget


@st.composite
def offers(draw: st.DrawFn, most: int = 5) -> tuple[np.ndarray, np.ndarray, float]:
    """Scores and prices of up to three versions of a few units, and a budget."""
    shape = draw(st.integers(1, 3)), draw(st.integers(1, most))
    count = shape[0] * shape[1]
    scores = draw(st.lists(st.floats(-3, 3, width=16), min_size=count, max_size=count))
    price = st.integers(0, 40).map(float) | st.just(np.inf)
    prices = draw(st.lists(price, min_size=count, max_size=count))
    return np.reshape(scores, shape), np.reshape(prices, shape), float(draw(st.integers(0, 150)))


def spent(choice: np.ndarray, prices: np.ndarray) -> float:
    return float(prices[choice].sum())


@settings(max_examples=60)
@given(offers())
def test_it_never_pays_more_than_the_budget_nor_takes_two_versions(offer: tuple[np.ndarray, np.ndarray, float]) -> None:
    scores, prices, budget = offer
    choice = fill_budget(scores, prices, budget)
    assert choice.shape == scores.shape
    assert spent(choice, prices) <= budget
    assert choice.sum(0).max() <= 1


@settings(max_examples=60)
@given(offers())
def test_no_unit_is_left_out_that_would_still_fit(offer: tuple[np.ndarray, np.ndarray, float]) -> None:
    scores, prices, budget = offer
    choice = fill_budget(scores, prices, budget)
    left = budget - spent(choice, prices)
    assert (prices[:, ~choice.any(0)] > left).all()


@settings(max_examples=60)
@given(offers())
def test_scores_come_within_one_unit_of_the_best_there_is(offer: tuple[np.ndarray, np.ndarray, float]) -> None:
    """The bound of greedy knapsacks: the best is no better than the greedy choice and one more unit."""
    scores, prices, budget = offer
    scores = np.abs(scores)  # what is worth less than nothing only comes in to use the budget up
    best = 0.0
    for versions in itertools.product(range(-1, len(scores)), repeat=scores.shape[1]):
        taken = [(version, unit) for unit, version in enumerate(versions) if version >= 0]
        if sum(prices[at] for at in taken) <= budget:
            best = max(best, sum(scores[at] for at in taken))
    affordable = np.where(prices <= budget, scores, 0)
    assert scores[fill_budget(scores, prices, budget)].sum() >= best - affordable.max() - 1e-9


@settings(max_examples=60)
@given(offers(), st.integers(1, 60))
def test_with_exact_totals_shared_bytes_count_once(offer: tuple[np.ndarray, np.ndarray, float], header: int) -> None:
    """All units lie in one file, whose header each price holds."""
    scores, prices, budget = offer
    prices = prices + header

    def total(choice: np.ndarray) -> float:
        return float((prices[choice] - header).sum() + header * bool(choice.any()))

    choice = fill_budget(scores, prices, budget, total)
    assert total(choice) <= budget
    for version, unit in np.argwhere(np.isfinite(prices) & ~choice.any(0)):
        more = choice.copy()
        more[version, unit] = True
        assert total(more) > budget


def test_a_unit_goes_to_a_dearer_version_only_where_that_is_worth_more_a_byte_than_another_unit() -> None:
    scores, prices = np.array([[4.0, 3.0], [5.0, 3.5]]), np.array([[10.0, 10.0], [20.0, 11.0]])
    assert fill_budget(scores, prices, 10).tolist() == [[True, False], [False, False]]
    assert fill_budget(scores, prices, 20).tolist() == [[True, True], [False, False]]
    assert fill_budget(scores, prices, 21).tolist() == [[True, False], [False, True]]
    assert fill_budget(scores, prices, 31).tolist() == [[False, False], [True, True]]


def test_what_is_free_is_in_and_what_cannot_be_had_is_not_whatever_their_scores() -> None:
    scores, prices = np.array([[-9.0, 9.0, 1.0]]), np.array([[0.0, np.inf, 5.0]])
    assert fill_budget(scores, prices, 4).tolist() == [[True, False, False]]
    assert fill_budget(scores, prices, 1e9).tolist() == [[True, False, True]]


def test_a_version_that_scores_less_is_not_bought_with_what_is_left() -> None:
    scores, prices = np.array([[2.0], [1.0]]), np.array([[10.0], [90.0]])
    assert fill_budget(scores, prices, 100).tolist() == [[True], [False]]

import pytest
from costs import priced
from hypothesis import given
from hypothesis import strategies as st

from geomask.errors import SelectionError
from geomask.masks.fixed import random_channels, spaced_centres, uniform_channels

prices_and_budget = st.lists(st.integers(11, 500), min_size=1, max_size=30).flatmap(
    lambda prices: st.tuples(st.just(prices), st.integers(max(prices), sum(prices)))
)


@given(prices_and_budget, st.integers(0, 5))
def test_what_is_drawn_stays_within_the_budget(case: tuple[list[int], int], seed: int) -> None:
    prices, budget = case
    cost = priced(prices)
    for channels in (uniform_channels(cost, budget), random_channels(cost, budget, seed)):
        assert channels == sorted(set(channels))
        assert 0 < sum(prices[channel] for channel in channels) <= budget


@given(prices_and_budget, st.integers(0, 5))
def test_random_channels_leave_no_room_for_another(case: tuple[list[int], int], seed: int) -> None:
    prices, budget = case
    channels = random_channels(priced(prices), budget, seed)
    left = budget - sum(prices[channel] for channel in channels)
    assert all(prices[channel] > left for channel in range(len(prices)) if channel not in channels)


def test_uniform_channels_are_as_many_as_fit() -> None:
    cost = priced([100] * 20)
    assert uniform_channels(cost, 499) == [2, 7, 12, 17]
    assert uniform_channels(cost, 2000) == list(range(20))


def test_centres_by_hand() -> None:
    assert spaced_centres(9, 3).tolist() == [1.0, 4.0, 7.0]


def test_a_budget_below_every_channel_is_an_error() -> None:
    for draw in (lambda c: uniform_channels(c, 50), lambda c: random_channels(c, 50, 0)):
        with pytest.raises(SelectionError, match="budget of 50 bytes"):
            draw(priced([100, 200]))

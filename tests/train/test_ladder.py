import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geomask.train.ladder import Ladder
from geomask.train.recipe import Recipe

PLAIN = Recipe(10, fine=1.0, factor=2.0, patience=2, mask_rate=0.1)
COOLED = replace(PLAIN, patience=0, hot=1.0, cold=0.25, cooling=0.5)


def climb(recipe: Recipe, kept: list[float]) -> list[tuple[float, float]]:
    """(lambda, temperature) after each epoch."""
    ladder, seen = Ladder(recipe), []
    for share in kept:
        ladder.step(share)
        seen.append((ladder.fine, ladder.temperature))
    return seen


def test_lambda_rises_after_more_than_patience_epochs_without_a_drop() -> None:
    #        first  1    2    3: rises   1    2    3: rises
    kept = [0.9] + [0.9] * 3 + [0.9] * 3
    assert [fine for fine, _ in climb(PLAIN, kept)] == [1, 1, 1, 2, 2, 2, 4]


def test_a_drop_below_the_threshold_counts_as_none_and_one_beyond_it_starts_the_wait_anew() -> None:
    small = [0.9, 0.899, 0.8985, 0.898]  # 0.0025 below the best is no drop yet
    assert [fine for fine, _ in climb(PLAIN, small)] == [1, 1, 1, 2]
    steady = [0.9, 0.9, 0.9, 0.89, 0.89, 0.89, 0.88]
    assert {fine for fine, _ in climb(PLAIN, steady)} == {1}


def test_a_rise_of_q_after_the_best_does_not_make_a_drop_of_what_follows() -> None:
    assert [fine for fine, _ in climb(PLAIN, [0.5, 0.9, 0.7, 0.5])] == [1, 1, 1, 2]


def test_the_temperature_falls_to_the_coldest_and_starts_anew_with_lambda() -> None:
    assert Ladder(COOLED).cooldown == 2
    # A drop; none: lambda rises, hot again; two epochs of rest; none: it rises.
    assert climb(COOLED, [0.9, 0.9, 0.9, 0.9, 0.9]) == [(1, 0.5), (2, 1.0), (2, 0.5), (2, 0.25), (4, 1.0)]


def test_without_a_temperature_there_is_no_rest() -> None:
    assert Ladder(PLAIN).cooldown == 0
    assert {temperature for _, temperature in climb(PLAIN, [0.9] * 9)} == {1.0}


@given(st.lists(st.floats(0, 1), max_size=60), st.integers(0, 5))
def test_lambda_never_falls_and_rises_at_most_once_in_patience_and_one_epochs(kept: list[float], patience: int) -> None:
    fines = [1.0, *(fine for fine, _ in climb(replace(PLAIN, patience=patience), kept))]
    rises = [epoch for epoch, pair in enumerate(itertools.pairwise(fines)) if pair[1] != pair[0]]
    assert all(fines[epoch + 1] == 2 * fines[epoch] for epoch in rises)
    assert all(later - earlier > patience for earlier, later in itertools.pairwise(rises))


@pytest.mark.parametrize("hot", [1.0, 3.0])
def test_the_temperature_stays_within_its_ends(hot: float) -> None:
    recipe = replace(COOLED, hot=hot)
    assert all(recipe.cold <= temperature <= hot for _, temperature in climb(recipe, [0.9] * 40))

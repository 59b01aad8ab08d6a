import pytest

from geomask.train.schedule import WARM_UP, learning_rate


def test_the_rate_rises_stays_and_falls_after_the_turn() -> None:
    rates = [learning_rate(step, 400, 300) for step in range(400)]
    assert rates[0] == pytest.approx(1 / WARM_UP)
    assert set(rates[WARM_UP - 1 : 301]) == {1.0}
    assert rates[300:] == sorted(rates[300:], reverse=True)
    assert rates[-1] == pytest.approx(0.02, abs=1e-3)


def test_a_training_without_a_tail_has_a_rate() -> None:
    assert learning_rate(4, 5, 5) > 0

from dataclasses import replace

import pytest

from geomask.chips.split import make_splits
from geomask.chips.store import Chips
from geomask.errors import SelectionError
from geomask.plan.cost import Cost
from geomask.train.oehmcke import train_channel_curve, train_channels
from geomask.train.recipe import OEHMCKE2022
from geomask.train.score import score
from geomask.train.settings import Settings

SPLIT = make_splits(12)[0]
SETTINGS = Settings(steps=100)


def test_the_recipe_finds_the_channels_that_tell_within_a_budget(chips: Chips, cost: Cost) -> None:
    ticks: list[int] = []
    trained = train_channels(chips, SPLIT, cost, 3_000, SETTINGS, 0, lambda: ticks.append(1))
    assert {4, 9} <= set(trained.channels)
    assert cost.total(trained.channels) <= 3_000
    assert score(trained.model, chips, SPLIT.test) > 0.85
    assert trained.joint == pytest.approx(score(trained.model, chips, SPLIT.validation))
    assert 10 < len(ticks) <= 300  # an epoch each, until nothing is kept


def test_a_budget_that_it_never_came_within_is_said(chips: Chips, cost: Cost) -> None:
    with pytest.raises(SelectionError, match="never came within"):
        train_channels(chips, SPLIT, cost, 2_000, SETTINGS, 0, recipe=replace(OEHMCKE2022["channel"], epochs=3))


def test_one_training_gives_the_networks_of_all_budgets(chips: Chips, cost: Cost) -> None:
    budgets = [12_000, 6_000, 3_000, 100]
    curve = train_channel_curve(chips, SPLIT, cost, budgets, SETTINGS, 0)
    assert list(curve) == budgets
    for budget, trained in curve.items():
        if trained is None:
            assert budget == 100  # less than a channel
        else:
            assert cost.total(trained.channels) <= budget
            assert trained.joint == pytest.approx(score(trained.model, chips, SPLIT.validation))

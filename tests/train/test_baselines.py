import pytest
from costs import priced

from geomask.chips.split import make_splits
from geomask.chips.store import Chips
from geomask.errors import SelectionError
from geomask.plan.cost import Cost
from geomask.train.baselines import METHODS, train_method
from geomask.train.step import Settings

SPLIT = make_splits(12)[0]
QUICK = Settings(steps=20, check_every=10)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_but_dense_stays_within_the_budget(chips: Chips, cost: Cost, method: str) -> None:
    trained = train_method(method, chips, SPLIT, cost, 3500, QUICK, 0)  # type: ignore[arg-type]
    assert len(trained.channels) == (12 if method == "dense" else 3)


def test_with_unequal_prices_learned_stays_within_the_budget_and_uses_it(chips: Chips) -> None:
    prices = [4000 if channel % 2 else 500 for channel in range(12)]
    trained = train_method("learned", chips, SPLIT, priced(prices), 9000, QUICK, 0)
    spent = sum(prices[channel] for channel in trained.channels)
    assert 4500 <= spent <= 9000
    assert len(trained.channels) >= 2


def test_a_budget_below_a_channel_and_an_unknown_method_are_errors(chips: Chips, cost: Cost) -> None:
    with pytest.raises(SelectionError, match="999 bytes"):
        train_method("learned", chips, SPLIT, cost, 999, QUICK, 0)
    with pytest.raises(SelectionError, match="no method 'best'"):
        train_method("best", chips, SPLIT, cost, 5000, QUICK, 0)  # type: ignore[arg-type]


def test_channels_that_no_item_fills_cost_nothing_and_do_no_harm(chips: Chips) -> None:
    empty = priced([0] * 12)
    assert train_method("learned", chips, SPLIT, empty, 3000, QUICK, 0).channels == list(range(12))


def test_priced_spends_unequal_prices_on_what_tells(chips: Chips) -> None:
    prices = [4000 if channel % 2 else 500 for channel in range(12)]
    trained = train_method("priced", chips, SPLIT, priced(prices), 9000, Settings(steps=120), 0)
    assert sum(prices[channel] for channel in trained.channels) <= 9000
    assert {4, 9} <= set(trained.channels)  # `TELLING` of the chips: one is cheap, one is dear
    assert trained.joint is not None


def test_where_all_cost_the_same_one_selection_says_how_many_heads(
    chips: Chips, cost: Cost, monkeypatch: pytest.MonkeyPatch
) -> None:
    from geomask.train import baselines

    made = []

    class Counted(baselines.Training):
        def __init__(self, *args: object) -> None:
            made.append(args)
            super().__init__(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(baselines, "Training", Counted)
    assert len(train_method("concrete", chips, SPLIT, cost, 3500, QUICK, 0).channels) == 3
    assert len(made) == 1


def test_another_grain_is_priced_and_blocks_are_refused(chips: Chips, cost: Cost) -> None:
    # The cost has one slot, of twelve bands.
    assert train_method("learned", chips, SPLIT, cost, 12000, QUICK, 0, grain="slot").channels == list(range(12))
    with pytest.raises(SelectionError, match="no grain 'pixel'"):
        train_method("learned", chips, SPLIT, cost, 3000, QUICK, 0, grain="pixel")

import dataclasses

import numpy as np
import torch

from geomask.chips.split import make_splits
from geomask.chips.store import Chips
from geomask.masks.gate import Gate
from geomask.masks.hard import HardGate
from geomask.masks.selector import ConcreteSelector
from geomask.train.baselines import majority_score
from geomask.train.step import Settings, Trained, Training, predict, score

SPLIT = make_splits(12)[0]
QUICK = Settings(steps=60, check_every=10)


def train(chips: Chips, gate: list[int] | int, settings: Settings, seed: int) -> Trained:
    return Training(chips, SPLIT, front(gate), settings, seed).finish()


def front(gate: list[int] | int) -> Gate:
    """A selector of so many heads, or a hard gate."""
    return ConcreteSelector(12, gate) if isinstance(gate, int) else HardGate(gate)


def weights(trained: Trained) -> list[torch.Tensor]:
    return list(trained.model.state_dict().values())


def same(one: Trained, other: Trained) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


def test_a_selector_finds_the_channels_that_tell(chips: Chips) -> None:
    trained = train(chips, 2, Settings(steps=200), seed=0)
    assert trained.channels == [4, 9]
    assert score(trained.model, chips, SPLIT.test) > 0.9 > majority_score(chips, SPLIT) + 0.3


def test_the_same_seed_gives_the_same_network_and_another_another(chips: Chips) -> None:
    one, two, other = (train(chips, 3, QUICK, seed) for seed in (1, 1, 2))
    assert same(one, two)
    assert not same(one, other)


def test_test_and_validation_chips_do_not_touch_the_training(chips: Chips) -> None:
    image, labels = chips.image.copy(), chips.labels.copy()
    outside = [*SPLIT.validation, *SPLIT.test]
    image[outside], labels[outside] = 0, 1 - labels[outside]
    assert same(
        train(chips, 3, QUICK, 0),
        train(dataclasses.replace(chips, image=image, labels=labels), 3, QUICK, 0),
    )


def test_the_gate_is_hard_after_the_turn_and_the_curve_begins_there(chips: Chips) -> None:
    trained = train(chips, 3, QUICK, 0)
    assert isinstance(trained.model.gate, HardGate)
    assert [step for step, _ in trained.curve] == [50, 60]
    assert [step for step, _ in train(chips, [0, 1], QUICK, 0).curve] == [10, 20, 30, 40, 50, 60]


def test_pixels_without_a_label_count_neither_in_loss_nor_in_score(chips: Chips) -> None:
    labels = chips.labels.copy()
    labels[:, :4] = -1
    holes = dataclasses.replace(chips, labels=labels)
    trained = train(holes, [4, 9], QUICK, 0)
    part = chips.take(SPLIT.test)
    right = predict(trained.model, torch.from_numpy(part.image), torch.from_numpy(part.valid)).numpy() == part.labels
    assert score(trained.model, holes, SPLIT.test) == right[:, 4:].mean()


def test_oblong_chips_train(chips: Chips) -> None:
    oblong = Chips(chips.image[..., :5], chips.valid[..., :5], chips.labels[..., :5], chips.windows, 2)
    trained = train(oblong, [4, 9], QUICK, 0)
    assert np.isfinite(score(trained.model, oblong, SPLIT.test))


def test_what_is_trained_in_between_does_not_matter(chips: Chips) -> None:
    alone = train(chips, 3, QUICK, 0)
    first, second = (Training(chips, SPLIT, front(heads), QUICK, 0) for heads in (3, 5))
    first.freeze()
    second.freeze()
    torch.rand(3)
    assert same(first.finish(), alone)


def test_the_callers_random_numbers_are_left_alone(chips: Chips) -> None:
    torch.manual_seed(5)
    want = torch.rand(2)
    torch.manual_seed(5)
    train(chips, [0], QUICK, 0)
    assert torch.equal(torch.rand(2), want)

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from geomask.chips.split import make_splits
from geomask.chips.store import Chips
from geomask.errors import RunError, SelectionError
from geomask.grid import Window
from geomask.masks.gate import Gate
from geomask.masks.grain import Grain
from geomask.masks.hard import HardGate, HardMask
from geomask.masks.priced import PricedGate
from geomask.masks.selector import ConcreteSelector
from geomask.train.batches import draw_batch, turned
from geomask.train.step import Settings, Trained, Training, predict, score
from geomask.train.update import take_step

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
    majority = trained.model.objective.naive_score(chips.take(SPLIT.train).labels, chips.take(SPLIT.test).labels)
    assert score(trained.model, chips, SPLIT.test) > 0.9 > majority + 0.3


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


def test_batches_go_over_all_chips_once_an_epoch_whatever_the_order() -> None:
    pixels = torch.arange(10.0)
    for seed in range(3):
        epochs = [
            [draw_batch(pixels, pixels, 3, 3 * epoch + step, seed)[0].tolist() for step in range(3)]
            for epoch in range(2)
        ]
        for epoch in epochs:
            drawn = [value for batch in epoch for value in batch]
            assert len(set(drawn)) == len(drawn) == 9
        assert epochs[0] != epochs[1]
    assert draw_batch(pixels, pixels, None, 7, 0)[0] is pixels
    assert draw_batch(pixels, pixels, 10, 7, 0)[0] is pixels


@pytest.mark.parametrize("axes", [(4,), (2, 4)])
def test_chips_and_labels_are_turned_alike_and_not_at_all_where_a_gate_decides_by_place(axes: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    pixels = torch.randn(3, *axes, 5, 5)
    labels = pixels.flatten(1, -3)[:, 0]
    seen = set()
    for _ in range(60):
        image, mask = turned(pixels, labels, HardGate([0]))
        assert torch.equal(image.flatten(1, -3)[:, 0], mask)
        seen.add(mask[0, 0].numpy().tobytes() + mask[0, :, 0].numpy().tobytes())
    assert len(seen) == 8
    blocks = HardMask(Grain((0, 1, 2, 3), 2, 2), torch.ones(1, 4, 2, 2))
    assert turned(pixels, labels, blocks)[0] is pixels
    assert torch.equal(turned(pixels, torch.tensor([1, 2, 3]), HardGate([0]))[1], torch.tensor([1, 2, 3]))


def test_in_batches_a_selector_finds_the_channels_that_tell(chips: Chips) -> None:
    trained = train(chips, 2, Settings(steps=250, batch=3), seed=0)
    assert trained.channels == [4, 9]
    assert trained.joint is not None


@pytest.mark.parametrize("settings", [{"precision": "bf16"}, {"channels_last": False}])
def test_other_ways_to_compute_learn_as_well(chips: Chips, settings: dict[str, Any]) -> None:
    trained = train(chips, [4, 9], Settings(steps=150, **settings), seed=0)
    assert score(trained.model, chips, SPLIT.test) > 0.85
    assert all(tensor.dtype != torch.bfloat16 for tensor in weights(trained))


def test_the_layout_in_memory_is_a_matter_of_speed_alone(chips: Chips) -> None:
    last, first = (
        Training(chips, SPLIT, front([4, 9]), Settings(channels_last=flag), 0).model for flag in (True, False)
    )
    assert [last.network[4].weight.is_contiguous(), first.network[4].weight.is_contiguous()] == [False, True]
    image, valid = torch.from_numpy(chips.image), torch.from_numpy(chips.valid)
    assert torch.allclose(last.eval()(image, valid), first.eval()(image, valid), atol=1e-5)


def test_of_a_frozen_network_nothing_changes_but_the_choice(chips: Chips) -> None:
    dense = train(chips, list(range(12)), Settings(steps=150), 0)
    start = dense.model.network.state_dict()
    gate = PricedGate(Grain(tuple(range(12))), np.ones((1, 12, 1, 1)), 2.0)
    settings = Settings(steps=150, freeze_network=True)
    training = Training(chips, SPLIT, gate, settings, 0, start=start)
    trained = training.finish()
    for name, tensor in trained.model.network.state_dict().items():
        assert torch.equal(tensor, start[name]), name  # batch norms' statistics too
    assert trained.channels == [4, 9]
    assert training.step == 150


def test_a_frozen_network_has_to_be_trained_before_and_to_fit(chips: Chips, tmp_path: Path) -> None:
    frozen = Settings(steps=5, freeze_network=True)
    with pytest.raises(SelectionError, match="name the run to start from"):
        train(chips, [4, 9], frozen, 0)
    start = train(chips, [4, 9, 1], Settings(steps=5), 0).model.network.state_dict()
    with pytest.raises(SelectionError, match=r"0\.weight is \(32, 3, 1, 1\), here \(32, 2, 1, 1\)"):
        Training(chips, SPLIT, front([4, 9]), frozen, 0, start=start)
    with pytest.raises(SelectionError, match="another network"):
        Training(chips, SPLIT, front([4, 9]), frozen, 0, start={"weight": torch.zeros(1)})
    with pytest.raises(RunError, match="no finished run to start from"):
        train(chips, [4, 9], dataclasses.replace(frozen, warm_start=str(tmp_path)), 0)


def test_a_warm_start_is_where_another_training_ended(chips: Chips) -> None:
    first = train(chips, [4, 9], Settings(steps=150), 0)
    again = Training(chips, SPLIT, front([4, 9]), Settings(steps=5), 0, start=first.model.network.state_dict())
    for one, other in zip(again.model.network.parameters(), first.model.network.parameters(), strict=True):
        assert torch.equal(one, other)
    assert score(again.model, chips, SPLIT.test) > 0.85


def test_versions_have_statistics_of_their_own_and_one_is_chosen(chips: Chips) -> None:
    """The second version is the first in other units, and cheaper; both tell as much."""
    image = np.stack([chips.image, 3 * chips.image - 7], 1)
    twice = dataclasses.replace(chips, image=image, valid=np.stack([chips.valid] * 2, 1))
    prices = np.stack([np.full((12, 1, 1), 4.0), np.full((12, 1, 1), 1.0)])
    gate = PricedGate(Grain(tuple(range(12))), prices, 2.0)
    trained = Training(twice, SPLIT, gate, Settings(steps=250), 0).finish()
    assert trained.planes == [(1, 4), (1, 9)]
    assert score(trained.model, twice, SPLIT.test) > 0.85
    assert trained.model.mean.shape == (2, 12)


@pytest.mark.parametrize("task", ["classification", "chip-regression"])
def test_chips_are_learned_as_a_whole(task: str) -> None:
    """A chip's label is whether its second channel is above 0 on average, or how far."""
    rng = np.random.default_rng(0)
    level = rng.normal(0, 1, 24)
    image = rng.normal(0, 1, (24, 3, 8, 8)).astype("float32")
    image[:, 1] += level[:, None, None]
    labels = level.astype("float32") if "regression" in task else (level > 0).astype("int64")
    classes = 0 if "regression" in task else 2
    windows = tuple(Window(0, 8 * number, 8, 8) for number in range(24))
    many = Chips(image, np.ones(image.shape, bool), labels, windows, classes)
    split = make_splits(24)[0]
    settings = Settings(steps=150, task=task, dropout=0.0)  # type: ignore[arg-type]
    trained = Training(many, split, HardGate([1]), settings, 0).finish()
    assert score(trained.model, many, split.test) > 0.8


def test_a_network_of_chips_by_name_is_trained(chips: Chips) -> None:
    settings = Settings(steps=2, task="classification", network="timm:resnet10t", batch=4)
    assert train(chips, [4, 9], settings, 0).model(torch.randn(2, 12, 8, 8), torch.ones(2, 12, 8, 8)).shape == (2, 2)


def test_a_network_that_is_called_in_place_of_the_models_own_needs_no_truth_value(chips: Chips) -> None:
    """A compiled network has none where it wraps one without a length."""

    class Compiled:
        def __init__(self, network: torch.nn.Module) -> None:
            self.network = network

        def __call__(self, image: torch.Tensor) -> torch.Tensor:
            return self.network(image) + 1  # softmax does not care

        def __len__(self) -> int:
            raise TypeError("it has no length")

    training = Training(chips, SPLIT, front([4, 9]), Settings(dropout=0.0), 0)
    own = take_step(training.model, training.pixels, training.labels)
    other = take_step(training.model, training.pixels, training.labels, network=Compiled(training.model.network))
    assert torch.allclose(own.loss, other.loss, atol=1e-5)

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from geomask.errors import SelectionError
from geomask.train.objective import Objective, balanced_weights
from geomask.train.settings import TASKS, Settings

LABELS = np.array([[[0, 1], [1, -1]], [[2, 2], [-1, 2]], [[-1, -1], [-1, -1]]])
NAN = float("nan")
VALUES = np.array([[[1.0, 3.0], [5.0, NAN]], [[10.0, 10.0], [NAN, 10.0]]], "float32")


def objective(task: str, **settings: object) -> Objective:
    labels = LABELS if "regression" not in task else VALUES
    return Objective.of(Settings(task=task, **settings), labels, 3)  # type: ignore[arg-type]


def test_a_chips_class_is_its_most_frequent_one_and_its_value_the_mean() -> None:
    assert objective("classification").targets(torch.from_numpy(LABELS)).tolist() == [1, 2, -1]
    assert objective("chip-regression").targets(torch.from_numpy(VALUES)).tolist() == [3, 10]
    ties = torch.tensor([[[1, 0], [0, 1]]])
    assert objective("classification").targets(ties).tolist() == [0]
    of_chips = torch.tensor([2, 0, -1])
    assert objective("classification").targets(of_chips) is of_chips


def test_labels_of_chips_cannot_be_learned_by_pixels() -> None:
    with pytest.raises(SelectionError, match="one label a chip"):
        objective("segmentation").targets(torch.tensor([1, 2]))


@given(st.integers(0, 99), st.sampled_from([None, (1.0, 2.0, 0.5)]), st.sampled_from([0.0, 0.1]))
def test_the_loss_of_classes_is_the_weighted_cross_entropy_of_known_pixels(
    seed: int, weights: tuple[float, ...] | None, smoothing: float
) -> None:
    torch.manual_seed(seed)
    outputs = torch.randn(3, 3, 2, 2)
    found = objective("segmentation", class_weights=weights, smoothing=smoothing).loss(outputs, torch.tensor(LABELS))
    known = torch.tensor(LABELS) != -1
    logs, labels = outputs.permute(0, 2, 3, 1)[known].log_softmax(1), torch.tensor(LABELS)[known]
    each = torch.ones(3) if weights is None else torch.tensor(weights)
    right = -(each[labels] * logs[torch.arange(len(labels)), labels]).sum() / each[labels].sum()
    smooth = -(each * logs).sum() / each[labels].sum() / 3
    assert found.item() == pytest.approx(((1 - smoothing) * right + smoothing * smooth).item(), rel=1e-5)


def test_the_loss_of_values_is_the_squared_error_over_the_variance() -> None:
    goal = objective("regression")
    seen = VALUES[~np.isnan(VALUES)].astype(float)
    assert (goal.centre, goal.spread) == (pytest.approx(seen.mean()), pytest.approx(seen.std()))
    outputs = torch.zeros(2, 1, 2, 2)  # says the mean everywhere
    assert goal.loss(outputs, torch.from_numpy(VALUES)).item() == pytest.approx(1, rel=1e-5)
    said = goal.decide(outputs)
    assert torch.allclose(said, torch.full((2, 2, 2), float(seen.mean())))


def test_where_nothing_is_known_the_loss_is_nothing_and_has_no_gradient() -> None:
    for task, blank in (("segmentation", torch.full((1, 2, 2), -1)), ("regression", torch.full((1, 2, 2), NAN))):
        outputs = torch.randn(1, 3, 2, 2, requires_grad=True)
        loss = objective(task).loss(outputs, blank)
        loss.backward()
        assert loss.item() == 0
        assert outputs.grad is not None
        assert not outputs.grad.any()


def test_a_network_of_pixels_says_the_mean_of_a_chip_and_one_of_chips_no_pixels() -> None:
    outputs = torch.randn(2, 3, 4, 5)
    goal = objective("classification")
    targets = torch.tensor([0, 2])
    want = functional.cross_entropy(outputs.mean((2, 3)), targets, label_smoothing=goal.smoothing)
    assert goal.loss(outputs, targets).item() == pytest.approx(want.item())
    assert goal.decide(outputs[:, :, 0, 0]).shape == (2,)
    with pytest.raises(SelectionError, match="network of pixels"):
        objective("segmentation").decide(torch.randn(2, 3))


def test_r2_is_one_for_truth_zero_for_the_mean_and_below_for_worse() -> None:
    goal = objective("regression")
    assert goal.score(np.nan_to_num(VALUES), VALUES) == 1
    seen = VALUES[~np.isnan(VALUES)]
    assert goal.score(np.full_like(VALUES, seen.mean()), VALUES) == pytest.approx(0, abs=1e-6)
    assert goal.score(np.full_like(VALUES, 100), VALUES) < -1
    assert math.isnan(goal.score(VALUES[1:], VALUES[1:]))  # constant: nothing to explain


def test_the_naive_score_says_the_same_everywhere() -> None:
    goal = objective("segmentation")
    assert goal.naive_score(LABELS, LABELS) == 3 / 6  # class 2
    assert goal.naive_score(LABELS[:1], LABELS) == 2 / 6  # class 1
    assert objective("regression").naive_score(VALUES, VALUES) == pytest.approx(0, abs=1e-6)
    assert objective("classification").naive_score(LABELS, LABELS) == 0.5


@given(st.lists(st.integers(-1, 4), min_size=1, max_size=40))
def test_with_balanced_weights_each_class_that_is_there_adds_as_much(labels: list[int]) -> None:
    array = np.array(labels)
    weights = np.array(balanced_weights(array, 5))
    counts = np.array([(array == label).sum() for label in range(5)])
    if counts.sum():
        shares = (weights * counts)[counts > 0]
        assert shares == pytest.approx(np.full(len(shares), counts.sum() / (counts > 0).sum()))
    assert (weights[counts == 0] == 1).all()


def test_settings_that_do_not_fit_the_labels_are_errors() -> None:
    with pytest.raises(SelectionError, match="2 class weights for 3 classes"):
        objective("segmentation", class_weights=(1, 2))
    with pytest.raises(SelectionError, match="labels are classes"):
        Objective.of(Settings(task="regression"), LABELS, 3)
    with pytest.raises(SelectionError, match="labels are values"):
        Objective.of(Settings(), VALUES, 3)
    with pytest.raises(SelectionError, match="no task 'guessing'"):
        Settings(task="guessing")  # type: ignore[arg-type]
    with pytest.raises(SelectionError, match="no precision 'half'"):
        Settings(precision="half")  # type: ignore[arg-type]
    with pytest.raises(SelectionError, match="a regression has none"):
        Settings(task="regression", class_weights="balanced")


@pytest.mark.parametrize("task", TASKS)
def test_an_objective_is_read_back_equal(task: str) -> None:
    import json
    from dataclasses import asdict

    weights = None if "regression" in task else (1.0, 2.0, 3.0)
    goal = objective(task, class_weights=weights)
    assert Objective.from_dict(json.loads(json.dumps(asdict(goal)))) == goal
    settings = Settings(task=task, class_weights=weights)  # type: ignore[arg-type]
    assert Settings(**json.loads(json.dumps(asdict(settings)))) == settings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geomask.masks.straight import choose_one, keep_or_drop, straight_through

NUMBERS = st.floats(-20, 20, width=32)


@given(st.lists(NUMBERS, min_size=1, max_size=9), st.floats(0.1, 10))
def test_a_unit_is_kept_where_its_logit_is_above_zero(logits: list[float], temperature: float) -> None:
    hard = keep_or_drop(torch.tensor(logits), temperature)
    soft = 1 / (1 + np.exp(-np.float64(logits) / temperature))
    sure = np.abs(soft - 0.5) > 1e-6
    assert set(hard.tolist()) <= {0.0, 1.0}
    assert np.array_equal(hard.numpy()[sure], (soft > 0.5)[sure])


def test_an_undecided_unit_is_dropped_and_of_equal_versions_the_first_is_taken() -> None:
    assert keep_or_drop(torch.zeros(1)).item() == 0
    assert choose_one(torch.zeros(1, 3)).tolist() == [[1, 0, 0]]


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_gradient_of_any_is_that_of_the_sigmoid(temperature: float) -> None:
    logits = torch.randn(2, 1, 3, 4, 5, requires_grad=True)
    weights = torch.randn_like(logits)
    (keep_or_drop(logits, temperature) * weights).sum().backward()
    soft = 1 / (1 + np.exp(-logits.detach().double().numpy() / temperature))
    assert logits.grad is not None
    assert np.allclose(logits.grad, weights.numpy() * soft * (1 - soft) / temperature, atol=1e-6)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_gradient_of_xor_is_that_of_the_softmax(temperature: float) -> None:
    logits = torch.randn(2, 4, 3, 1, 5, requires_grad=True)
    weights = torch.randn_like(logits)
    hard = choose_one(logits, temperature)
    assert torch.equal(hard.sum(1), torch.ones(2, 3, 1, 5))
    (hard * weights).sum().backward()
    scores = np.exp(logits.detach().double().numpy() / temperature)
    soft = scores / scores.sum(1, keepdims=True)
    pull = weights.numpy() - (weights.numpy() * soft).sum(1, keepdims=True)
    assert logits.grad is not None
    assert np.allclose(logits.grad, soft * pull / temperature, atol=1e-6)


@given(st.lists(NUMBERS, min_size=1, max_size=50))
def test_the_value_is_the_hard_one_to_the_bit(values: list[float]) -> None:
    soft = torch.tensor(values)
    assert torch.equal(straight_through(soft.round(), soft), soft.round())

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geomask.errors import SelectionError
from geomask.masks.hard import HardGate
from geomask.masks.selector import ConcreteSelector


def selector(count: int, heads: int, seed: int = 0) -> ConcreteSelector:
    torch.manual_seed(seed)
    return ConcreteSelector(count, heads)


def test_a_hard_gate_passes_its_channels_in_order() -> None:
    image = torch.arange(24.0).reshape(1, 4, 2, 3)
    assert torch.equal(HardGate([2, 0])(image), image[:, [2, 0]])


def test_heads_start_evenly_spaced_by_the_formula() -> None:
    logits = selector(10, 2).logits
    for head, centre in enumerate((2.0, 7.0)):  # (j + 0.5) * 10/2 - 0.5
        for channel in range(10):
            want = max(-((channel - centre) ** 2) / (2 * 5**2), -3)
            assert logits[head, channel].item() == pytest.approx(want)


@given(st.integers(1, 40).flatmap(lambda count: st.tuples(st.just(count), st.integers(1, count))))
def test_an_untrained_selector_freezes_to_distinct_spaced_channels(size: tuple[int, int]) -> None:
    count, heads = size
    channels = selector(count, heads).freeze().channels.tolist()
    assert len(set(channels)) == heads
    assert all(abs(channel - ((j + 0.5) * count / heads - 0.5)) <= 0.5 for j, channel in enumerate(channels))


def test_freezing_is_the_assignment_of_greatest_joint_probability() -> None:
    gate = selector(5, 3)
    gate.logits.data = torch.randn(3, 5, generator=torch.Generator().manual_seed(3))
    logs = gate.logits.log_softmax(1)
    best = max(itertools.permutations(range(5), 3), key=lambda c: sum(logs[j, u].item() for j, u in enumerate(c)))
    assert gate.freeze().channels.tolist() == list(best)


def test_two_heads_that_want_one_channel_freeze_to_two() -> None:
    gate = selector(4, 2)
    gate.logits.data = torch.tensor([[9.0, 1.0, 0.0, 0.0], [5.0, 4.0, 0.0, 0.0]])
    assert gate.freeze().channels.tolist() == [0, 1]


def test_a_decided_selector_at_low_temperature_equals_its_hard_gate() -> None:
    gate = selector(6, 2)
    gate.logits.data = torch.full((2, 6), -50.0)
    gate.logits.data[0, 4] = gate.logits.data[1, 1] = 50.0
    gate.temperature = 0.05
    image = torch.randn(3, 6, 4, 5)
    for mode in (True, False):  # noise cannot turn what is decided
        assert torch.equal(gate.train(mode)(image), gate.freeze()(image))


def test_in_eval_mode_there_is_no_noise_and_weights_sum_to_one() -> None:
    gate = selector(6, 2).eval()
    ones = torch.ones(1, 6, 2, 2)
    assert torch.allclose(gate(ones), torch.ones(1, 2, 2, 2))
    image = torch.randn(1, 6, 2, 2)
    assert torch.equal(gate(image), gate(image))


def test_in_training_each_sample_has_noise_of_its_own() -> None:
    gate = selector(6, 2).train()
    same = torch.randn(1, 6, 2, 2).expand(2, -1, -1, -1)
    out = gate(same)
    assert not torch.allclose(out[0], out[1])


def test_channels_are_sampled_with_their_softmax_probability() -> None:
    gate = selector(3, 1).train()
    gate.logits.data = torch.tensor([[1.0, 0.0, -1.0]])
    gate.temperature = 0.01
    picks = gate(torch.eye(3).reshape(1, 3, 3, 1).expand(20_000, -1, -1, -1)).mean((0, 1, 3))
    assert torch.allclose(picks, gate.logits[0].softmax(0), atol=0.02)


def test_scores_learn() -> None:
    gate = selector(4, 2).train()
    gate(torch.randn(2, 4, 3, 3)).square().sum().backward()
    assert gate.logits.grad is not None
    assert gate.logits.grad.abs().sum() > 0


@pytest.mark.parametrize("heads", [0, 5])
def test_more_heads_than_channels_is_an_error(heads: int) -> None:
    with pytest.raises(SelectionError, match=f"{heads} heads"):
        selector(4, heads)


def test_the_temperature_falls_geometrically_from_ten_to_a_twentieth() -> None:
    gate, values = selector(6, 2), []
    for step in range(101):
        gate.anneal(step / 100)
        values.append(gate.temperature)
    assert (values[0], values[-1]) == (10, pytest.approx(0.05))
    ratios = [after / before for before, after in itertools.pairwise(values)]
    assert ratios == pytest.approx([0.005**0.01] * 100)

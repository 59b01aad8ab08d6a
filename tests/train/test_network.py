import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geomask.masks.hard import HardGate
from geomask.masks.selector import ConcreteSelector
from geomask.train.network import MaskedNetwork, SmallNet, channel_statistics, fold


def network(gate: HardGate | ConcreteSelector, heads: int, channels: int = 6) -> MaskedNetwork:
    torch.manual_seed(0)
    net = SmallNet(heads, classes=3, width=8, dropout=0.2)
    return MaskedNetwork(torch.randn(channels), torch.rand(channels) + 0.5, gate, net).eval()


@given(st.permutations(range(6)).flatmap(lambda p: st.integers(1, 6).map(lambda k: p[:k])), st.integers(0, 9))
def test_the_folded_network_equals_the_gated_one_to_the_bit(heads: list[int], seed: int) -> None:
    """Invariant 5; heads in any order."""
    torch.manual_seed(seed)
    model = network(HardGate(heads), len(heads))
    image, valid = torch.randn(2, 6, 5, 7) * 1000, torch.rand(2, 6, 5, 7) > 0.3
    channels, folded = fold(model)
    assert channels == sorted(heads)
    assert torch.equal(folded.eval()(image[:, channels], valid[:, channels]), model(image, valid))


def test_a_soft_gate_cannot_be_folded() -> None:
    gate = ConcreteSelector(6, 2)
    with pytest.raises(TypeError, match="freeze it first"):
        fold(network(gate, 2))


def test_what_is_not_valid_has_no_influence() -> None:
    model = network(HardGate([0, 1]), 2)
    image, valid = torch.randn(1, 6, 4, 4), torch.ones(1, 6, 4, 4, dtype=torch.bool)
    valid[0, 1, 2, 2] = False
    other = image.clone()
    other[0, 1, 2, 2] = 1e9
    assert torch.equal(model(image, valid), model(other, valid))
    assert model.standardise(image, valid)[0, 1, 2, 2] == 0


def test_statistics_are_those_of_valid_pixels() -> None:
    rng = np.random.default_rng(0)
    image, valid = rng.normal(5, 2, (3, 4, 6, 5)).astype("float32"), rng.random((3, 4, 6, 5)) > 0.4
    image[:, 2] = 7
    valid[:, 3] = False
    mean, deviation = channel_statistics(image, valid)
    for channel in range(2):
        seen = image[:, channel][valid[:, channel]].astype("float64")
        assert mean[channel].item() == pytest.approx(seen.mean(), rel=1e-6)
        assert deviation[channel].item() == pytest.approx(seen.std(), rel=1e-6)
    assert (mean[2].item(), deviation[2].item()) == (7, 1)  # constant
    assert (mean[3].item(), deviation[3].item()) == (0, 1)  # never seen


def test_the_receptive_field_is_five_pixels() -> None:
    model = network(HardGate([0]), 1)
    image, valid = torch.zeros(1, 6, 11, 11, requires_grad=True), torch.ones(1, 6, 11, 11, dtype=torch.bool)
    model(image, valid)[0, :, 5, 5].sum().backward()
    rows, cols = image.grad[0, 0].nonzero().T
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (3, 7, 3, 7)

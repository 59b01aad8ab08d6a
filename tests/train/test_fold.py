import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geomask.masks.gate import Gate
from geomask.masks.grain import Grain
from geomask.masks.hard import HardGate, HardMask
from geomask.masks.selector import ConcreteSelector
from geomask.train.fold import FoldedMask, fold
from geomask.train.network import MaskedNetwork, SmallNet


def network(gate: Gate, *versions: int, channels: int = 6) -> MaskedNetwork:
    torch.manual_seed(0)
    net = SmallNet(gate.heads, classes=3, width=8, dropout=0.2)
    shape = (*versions, channels)
    return MaskedNetwork(torch.randn(shape), torch.rand(shape) + 0.5, gate, net).eval()


def check(model: MaskedNetwork, *versions: int, seed: int = 0) -> tuple[list[int], MaskedNetwork]:
    """Fold it, and hold one against the other on pixels that are partly valid."""
    torch.manual_seed(seed)
    image = torch.randn(2, *versions, 6, 5, 7) * 1000
    valid = torch.rand(image.shape) > 0.3
    planes, folded = fold(model)
    want = model(image, valid)
    found = folded.eval()(image.flatten(1, -3)[:, planes], valid.flatten(1, -3)[:, planes])
    assert torch.equal(found, want)
    others = [plane for plane in range(image.flatten(1, -3).shape[1]) if plane not in planes]
    image.flatten(1, -3)[:, others] = 1e6  # what is not read has no say
    assert torch.equal(model(image, valid), want)
    return planes, folded


@given(st.permutations(range(6)).flatmap(lambda p: st.integers(1, 6).map(lambda k: p[:k])), st.integers(0, 9))
def test_the_folded_network_equals_the_gated_one_to_the_bit(heads: list[int], seed: int) -> None:
    """Invariant 5; heads in any order."""
    planes, _ = check(network(HardGate(heads)), seed=seed)
    assert planes == sorted(heads)


def test_heads_that_nothing_fills_stay_empty() -> None:
    planes, folded = check(network(HardGate([-1, 4, -1, 2])))
    assert planes == [2, 4]
    assert folded.gate.channels.tolist() == [-1, 1, -1, 0]


@given(st.lists(st.integers(-1, 2), min_size=6, max_size=6).filter(lambda c: max(c) >= 0), st.integers(0, 9))
def test_of_versions_one_plane_a_channel_is_taken(chosen: list[int], seed: int) -> None:
    """`chosen` is the version of each channel, -1 for none."""
    choice = torch.zeros(3, 6, 1, 1)
    for channel, version in enumerate(chosen):
        if version >= 0:
            choice[version, channel] = 1
    model = network(HardMask(Grain(tuple(range(6))), choice), 3)
    planes, folded = check(model, 3, seed=seed)
    assert planes == [version * 6 + channel for channel, version in enumerate(chosen) if version >= 0]
    assert isinstance(folded.gate, HardGate)
    assert torch.equal(folded.mean, model.mean.flatten()[planes])


@settings(max_examples=30)
@given(st.data())
def test_blocks_of_versions_fold_to_the_planes_that_are_seen_anywhere(data: st.DataObject) -> None:
    versions, groups = (
        data.draw(st.integers(1, 2)),
        data.draw(st.sampled_from([(0, 1, 2, 3, 4, 5), (0, 0, 1, 1, 2, 2)])),
    )
    count = max(groups) + 1
    cells = versions * count * 2 * 3
    bits = data.draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=cells, max_size=cells))
    choice = torch.tensor(bits).reshape(versions, count, 2, 3)
    axes = (versions,) if versions > 1 else ()
    planes, folded = check(network(HardMask(Grain(groups, 2, 3), choice), *axes), *axes)
    seen = choice[:, list(groups)].flatten(2).any(2)
    want = [v * 6 + c for c in range(6) for v in range(versions) if seen[v, c]]
    assert planes == want
    assert isinstance(folded.gate, FoldedMask)
    assert folded.gate.is_spatial


def test_nested_versions_and_rescaled_masks_fold_too() -> None:
    choice = torch.zeros(2, 3, 6, 1, 1)
    choice[1, 2, 4] = 1
    assert check(network(HardMask(Grain(tuple(range(6))), choice), 2, 3), 2, 3)[0] == [(1 * 3 + 2) * 6 + 4]
    scaled = torch.zeros(1, 6, 1, 1)
    scaled[0, 2] = 3.0
    _, folded = check(network(HardMask(Grain(tuple(range(6))), scaled)))
    assert isinstance(folded.gate, FoldedMask)
    assert not folded.gate.is_spatial


def test_what_is_folded_is_its_own_fold() -> None:
    choice = (torch.arange(36).reshape(1, 6, 2, 3) % 5 == 0).float()
    _, folded = fold(network(HardMask(Grain(tuple(range(6)), 2, 3), choice)))
    planes, again = fold(folded)
    assert again is folded
    assert planes == list(range(len(folded.mean)))


def test_a_soft_gate_cannot_be_folded() -> None:
    with pytest.raises(TypeError, match="freeze it first"):
        fold(network(ConcreteSelector(6, 2)))

import numpy as np
import pytest
import torch

from geomask.masks.hard import HardGate
from geomask.train.network import MaskedNetwork, SmallNet, channel_statistics


def network(gate: HardGate, heads: int, channels: int = 6) -> MaskedNetwork:
    torch.manual_seed(0)
    net = SmallNet(heads, classes=3, width=8, dropout=0.2)
    return MaskedNetwork(torch.randn(channels), torch.rand(channels) + 0.5, gate, net).eval()


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


def test_statistics_are_by_version_and_channel() -> None:
    rng = np.random.default_rng(0)
    image, valid = rng.normal(5, 2, (3, 2, 4, 6, 5)).astype("float32"), rng.random((3, 2, 4, 6, 5)) > 0.4
    mean, deviation = channel_statistics(image, valid)
    for version in range(2):
        ours = channel_statistics(image[:, version], valid[:, version])
        assert torch.equal(mean[version], ours[0])
        assert torch.equal(deviation[version], ours[1])
    model = MaskedNetwork(mean, deviation, HardGate([0]), SmallNet(1, 2, 4, 0.0))
    pixels = model.standardise(torch.from_numpy(image), torch.from_numpy(valid))
    seen = pixels[:, 1, 2][torch.from_numpy(valid)[:, 1, 2]]
    assert seen.mean().item() == pytest.approx(0, abs=1e-5)
    assert seen.std(correction=0).item() == pytest.approx(1, rel=1e-5)

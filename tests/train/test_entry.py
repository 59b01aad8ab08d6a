import itertools

import pytest
import torch
from torch import nn

from geomask.masks.any import AnyMask
from geomask.masks.gate import Gate
from geomask.masks.grain import Grain
from geomask.masks.priced import PricedGate
from geomask.masks.scores import StaticScores
from geomask.masks.xor import XorMask
from geomask.train.entry import can_enter, entry_factors, find_entry
from geomask.train.network import MaskedNetwork
from geomask.train.networks import make_network
from geomask.train.objective import Objective
from geomask.train.update import take_step

GRAIN = Grain(tuple(range(6)))


def gate(name: str) -> Gate:
    torch.manual_seed(0)
    if name == "any":
        return AnyMask(GRAIN, StaticScores(1, GRAIN.shape, [0.0], 1.0), fine=0.1)
    if name == "any, rescaled, by band":
        grain = Grain((0, 1, 2, 0, 1, 2))
        return AnyMask(grain, StaticScores(1, grain.shape, [0.0], 1.0), rescale=True)
    if name == "any, by block":
        blocks = Grain((0,) * 6, 4, 2)
        return AnyMask(blocks, StaticScores(1, blocks.shape, [0.0], 1.0))
    if name == "priced, by pixel":
        pixels = Grain((0,) * 6, 32, 64)
        return PricedGate(pixels, torch.ones(1, 1, 32, 64), 1000.0)
    return PricedGate(GRAIN, torch.arange(1.0, 7).reshape(1, 6, 1, 1), 9.0)


NETWORKS = {
    "small": lambda: make_network("small", 6, 3, width=8, dropout=0.0),
    "unet": lambda: make_network("smp:unet-mobilenet_v2", 6, 3),
    "pointwise": lambda: nn.Sequential(nn.Conv2d(6, 3, 1, bias=False), nn.Sigmoid()),
    "strided": lambda: nn.Conv2d(6, 3, 3, stride=2, padding=2, dilation=2, bias=False),
}


@pytest.mark.parametrize(
    ("name", "network"),
    [
        *itertools.product(["any", "any, rescaled, by band", "priced"], NETWORKS),
        *itertools.product(["any, by block", "priced, by pixel"], ["small", "pointwise"]),
    ],
)
def test_by_a_convolution_a_mask_gives_what_it_gives_by_the_input(name: str, network: str) -> None:
    """Loss, gradients of the scores and of all weights."""
    made = NETWORKS[network]()
    for part in made.modules():
        if isinstance(part, nn.Dropout | nn.Dropout2d):
            part.p = 0.0
    pixels = torch.randn(4, 6, 32, 64)
    labels = torch.randint(3, made(pixels).shape[-2:]).expand(4, -1, -1)
    gated = gate(name)
    model = MaskedNetwork(torch.zeros(6), torch.ones(6), gated, made, Objective(outputs=3))
    entry = find_entry(made, gated, (32, 64))
    assert entry is not None
    model, pixels, found = model.double(), pixels.double(), []  # batch norms of few values blow up what is rounded
    for model.entry in (None, entry):
        torch.manual_seed(1)
        model.zero_grad()
        step = take_step(model.train(), pixels, labels)
        step.loss.backward()
        found.append([step.loss.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
    assert len(found[0]) == len(found[1]) > 2
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5 * float(one.abs().max()) + 1e-9)
    assert "forward" not in vars(entry.conv)  # nothing stays behind


class Twice(nn.Module):
    """Its input is seen by two parts, and only one is its first convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, 6, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.conv(image) + image


def test_a_network_whose_input_is_seen_elsewhere_has_no_entry() -> None:
    assert find_entry(Twice(), gate("any"), (8, 8)) is None
    assert (
        find_entry(nn.Sequential(nn.ReLU(), nn.Conv2d(6, 3, 1)), gate("any"), (8, 8)) is not None
    )  # relu(m x) = m relu(x)
    assert find_entry(nn.Sequential(nn.BatchNorm2d(6), nn.Sigmoid(), nn.Conv2d(6, 3, 1)), gate("any"), (8, 8)) is None
    assert find_entry(nn.Conv2d(6, 6, 3, groups=2), gate("any"), (8, 8)) is None
    assert find_entry(nn.Conv2d(6, 6, 3, padding=1, padding_mode="reflect"), gate("any"), (8, 8)) is None
    assert find_entry(nn.Flatten(), gate("any"), (8, 8)) is None
    assert find_entry(nn.Conv2d(5, 6, 3), gate("any"), (8, 8)) is None


def test_weights_of_each_sample_have_to_be_fewer_than_its_pixels() -> None:
    assert find_entry(nn.Conv2d(6, 8, 3), gate("any"), (8, 9)) is not None
    assert find_entry(nn.Conv2d(6, 8, 3), gate("any"), (8, 8)) is None
    assert find_entry(nn.Conv2d(6, 8, 1), gate("any"), (1, 1)) is None  # chips of single pixels


def test_places_enter_a_convolution_of_one_pixel_alone() -> None:
    blocks = gate("any, by block")
    assert find_entry(nn.Conv2d(6, 8, 1), blocks, (8, 8)) is not None
    for other in (nn.Conv2d(6, 8, 3, padding=1), nn.Conv2d(6, 8, 1, stride=2), nn.Conv2d(6, 8, 1, padding=1)):
        assert find_entry(other, blocks, (8, 8)) is None
    pooled = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(6, 8, 1))  # its convolution sees fewer pixels than there are
    assert find_entry(pooled, blocks, (8, 8)) is None
    assert pooled.training


def test_only_factors_of_channels_or_of_pixels_can_enter() -> None:
    blocks = AnyMask(Grain(tuple(range(6)), 2, 2))
    versions = XorMask(GRAIN, [1.0, 0.5])
    assert [can_enter(mask) for mask in (gate("any"), gate("any, by block"), blocks)] == [True, True, False]
    image = torch.randn(3, 2, 6, 8, 8)
    assert entry_factors(versions, versions.draw(image), (8, 8)) is None
    assert entry_factors(blocks, blocks.draw(image[:, 0]), (8, 8)) is None
    for mask in (gate("any"), gate("any, by block")):
        choice = mask.draw(image[:, 0])
        factors = entry_factors(mask, choice, (8, 8))
        assert factors is not None
        assert torch.equal(image[:, 0] * factors, mask.apply_choice(image[:, 0], choice))

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from geomask.errors import RunError
from geomask.infer.field import PHASES, Field, find_field
from geomask.masks.hard import HardGate
from geomask.train.network import MaskedNetwork
from geomask.train.networks import Padded, make_network


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Passes over so few pixels take longer with more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Sum(nn.Module):
    """Several ways through a network, added."""

    def __init__(self, *ways: nn.Module) -> None:
        super().__init__()
        self.ways = nn.ModuleList(ways)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return sum((way(image) for way in self.ways), torch.zeros(()))


class Fixed(nn.Module):
    """Takes chips of one size."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.zeros(24, 24))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image + self.places


class Mean(nn.Module):
    """Adds the average of the whole chip."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image + image.mean((-2, -1), keepdim=True)


def same(kernel: int | tuple[int, int], dilation: int = 1) -> nn.Module:
    return nn.Conv2d(1, 1, kernel, padding="same", dilation=dilation)


def halved(times: int) -> nn.Module:
    """Averages of `times` x `times` pixels, each mixed with its neighbours, and spread again."""
    return nn.Sequential(nn.AvgPool2d(times), nn.Conv2d(1, 1, 3, padding=1), nn.Upsample(scale_factor=times))


def masked(network: nn.Module) -> MaskedNetwork:
    torch.manual_seed(0)
    return MaskedNetwork(torch.tensor([3e4]), torch.tensor([1e4]), HardGate([0]), network).eval()


@pytest.mark.parametrize(
    ("network", "field"),
    [
        (lambda: same(1), Field(0, 1)),
        (lambda: same(3), Field(1, 1)),
        (lambda: same((1, 7)), Field(3, 1)),
        (lambda: same(3, dilation=5), Field(5, 1)),
        (lambda: nn.Sequential(same(3), nn.ReLU(), same(5)), Field(3, 1)),
        (lambda: nn.Sequential(same(3), nn.MaxPool2d(3, 1, 1)), Field(2, 1)),
        (lambda: make_network("small", 1, 3, 4, 0.2), Field(2, 1)),
        (lambda: halved(2), Field(4, 2)),
        (lambda: halved(3), Field(6, 3)),
        (lambda: Padded(halved(8), 8), Field(16, 8)),
        # the first row of four is all that is looked at, and from there three rows on
        (lambda: nn.Sequential(nn.Conv2d(1, 1, 1, stride=4), nn.Upsample(scale_factor=4)), Field(4, 4)),
        (lambda: same(3, dilation=200), Field(200, 1)),
    ],
)
def test_the_field_of_networks_of_which_it_is_known(network: Callable[[], nn.Module], field: Field) -> None:
    assert find_field(masked(network())) == field


def test_a_way_that_halves_is_found_beside_one_that_looks_further() -> None:
    """Whatever is not a number at one end is none at the other: only the wide way shows there."""
    assert find_field(masked(Sum(same(31), halved(2)))) == Field(16, 2)


def test_rows_and_columns_may_be_halved_by_different_numbers() -> None:
    network = nn.Sequential(nn.AvgPool2d((2, 3)), nn.Upsample(scale_factor=(2, 3)))
    assert find_field(masked(network)) == Field(6, 6)


def test_weights_have_no_say_in_the_reach() -> None:
    network = same(5)
    nn.init.zeros_(network.weight)
    assert find_field(masked(network)) == Field(2, 1)


@pytest.mark.parametrize("network", [Mean(), nn.Sequential(same(3), nn.InstanceNorm2d(1)), nn.Softmax(-1)])
def test_a_network_that_looks_at_everything_is_refused(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geomask.infer.field.LONGEST", 512)
    with pytest.raises(RunError, match=r"depend on pixels over 256 away.*; blend them"):
        find_field(masked(network))


@pytest.mark.parametrize("network", [halved(PHASES), Sum(same(3, dilation=150), Padded(halved(40), 40))])
def test_a_larger_stride_is_refused(network: nn.Module) -> None:
    with pytest.raises(RunError, match=f"a stride over {PHASES // 2}"):
        find_field(masked(Padded(network, PHASES)))


def test_a_network_that_takes_no_strips_is_refused() -> None:
    with pytest.raises(RunError, match=r"cannot be shown a strip of .* pixels \(.*size of tensor.*blend") as caught:
        find_field(masked(Fixed()))
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_the_network_and_torchs_random_numbers_are_left_as_they_were() -> None:
    model = masked(halved(2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    find_field(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())

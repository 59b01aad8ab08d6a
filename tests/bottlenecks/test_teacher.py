import copy

import pytest
import torch
from torch import nn

from geomask.bottleneck.teacher import CUTS, Cut, Teacher
from geomask.errors import SelectionError
from geomask.train.networks import make_network

SMALL = nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8), nn.GELU(), nn.Conv2d(8, 3, 1))
NAMED = [
    ("small", 32, 1),
    ("torchgeo:fcn", 32, 1),
    ("torchgeo:resnet18", 64, 4),
    ("timm:resnet18", 64, 4),
    ("timm:convnext_atto", 40, 4),
]


def network_of(name: str) -> nn.Module:
    torch.manual_seed(0)
    network = make_network(name, 6, 3)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):  # or of fresh weights nothing would show that it was forgotten
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 2)
    return network


def check_two_halves(network: nn.Module, image: torch.Tensor, teacher: Teacher, features: int, stride: int) -> None:
    """tail(head(x)) == network(x), on another image than the one it was cut by."""
    with torch.no_grad():
        found = teacher.head(image)
        want = network.eval()(image)
        assert torch.allclose(teacher.tail(found), want, rtol=1e-4, atol=1e-4 * want.abs().max().item())
    assert (teacher.features, teacher.stride) == (features, stride)
    assert found.shape == (len(image), features, image.shape[2] // stride, image.shape[3] // stride)


@pytest.mark.parametrize(("name", "features", "stride"), NAMED)
def test_the_halves_are_the_whole(name: str, features: int, stride: int) -> None:
    network = network_of(name)
    check_two_halves(network, torch.randn(3, 6, 96, 64), Teacher.of(network, 6, (64, 64)), features, stride)


def test_of_a_sequence_the_first_stage_ends_with_its_first_activation() -> None:
    teacher = Teacher.of(SMALL, 6, (5, 7))
    assert teacher.cut == Cut(("0", "1", "2"), planes_last=False)
    check_two_halves(SMALL, torch.randn(3, 6, 9, 8), teacher, 8, 1)


def test_the_halves_of_a_swin_are_the_whole() -> None:
    network = network_of("timm:swin_tiny_patch4_window7_224")
    teacher = Teacher.of(network, 6, (224, 224))
    assert teacher.cut == CUTS[2]
    check_two_halves(network, torch.randn(1, 6, 224, 224), teacher, 96, 4)


class Last(nn.Module):
    """Planes from first to last."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.movedim(1, -1)


class Tokens(nn.Module):
    """The parts of a Swin, a thousand times smaller: planes come last between them."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = nn.Sequential(nn.Conv2d(6, 4, 2, stride=2), Last())
        self.layers = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        said: torch.Tensor = self.layers(self.patch_embed(image)).mean((1, 2))
        return said


def test_features_come_planes_first_where_the_network_has_them_last() -> None:
    network = Tokens()
    teacher = Teacher.of(network, 6, (8, 8))
    check_two_halves(network, torch.randn(3, 6, 8, 10), teacher, 5, 2)
    assert teacher.cut == CUTS[2]


@pytest.mark.parametrize("size", [(21, 64), (22, 22), (23, 20)])
def test_the_stride_does_not_depend_on_the_size(size: tuple[int, int]) -> None:
    assert Teacher.of(network_of("timm:resnet18"), 6, size).stride == 4


def test_weights_are_copies_and_those_of_the_head_are_frozen() -> None:
    network = network_of("small").train()
    teacher = Teacher.of(network, 6, (8, 8))
    assert network.training
    assert all(weight.requires_grad for weight in network.parameters())
    assert not any(weight.requires_grad for weight in teacher.head.parameters())
    assert not teacher.head.training
    assert not teacher.tail.training
    image = torch.randn(2, 6, 8, 8)
    before = teacher.head(image), teacher.tail(teacher.head(image))
    untouched = copy.deepcopy(network.state_dict())
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.add_(1)
    assert torch.equal(teacher.head(image), before[0])
    assert torch.equal(teacher.tail(before[0]), before[1])
    with torch.no_grad():
        for tensor in (*teacher.head.state_dict().values(), *teacher.tail.state_dict().values()):
            tensor.mul_(0)
    assert all((tensor != untouched[name]).all() for name, tensor in network.state_dict().items())


def test_cutting_draws_no_random_numbers() -> None:
    network, state = network_of("small"), torch.random.get_rng_state()
    Teacher.of(network, 6, (8, 8))
    assert torch.equal(torch.random.get_rng_state(), state)


class Shuffled(nn.Module):
    """Has the parts of a torchgeo fcn, and does not go through them in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(6, 6, 1), nn.ReLU())

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        said: torch.Tensor = self.backbone[0](self.backbone[1](image) + image)
        return said


@pytest.mark.parametrize(
    "network",
    [
        *(Shuffled(), nn.Conv2d(6, 3, 1), nn.Identity(), nn.Sequential(nn.Conv2d(6, 3, 1))),
        nn.Sequential(nn.Conv2d(6, 3, 1), nn.ReLU()),  # nothing is left behind the activation
        nn.Sequential(nn.Flatten(), nn.Linear(6 * 64 * 64, 4), nn.ReLU(), nn.Linear(4, 2)),  # features without places
    ],
)
def test_of_another_kind_the_error_names_those_that_are_known(network: nn.Module) -> None:
    with pytest.raises(SelectionError, match=r"no place is known.*small, timm's ResNet, ConvNeXt or Swin, torchgeo's"):
        Teacher.of(network, 6, (64, 64))


def test_an_encoder_of_smp_is_no_teacher_yet() -> None:
    with pytest.raises(SelectionError, match=r"where to cut a Padded; take small"):
        Teacher.of(network_of("smp:unet-resnet18"), 6, (64, 64))


@pytest.mark.parametrize(
    ("parts", "words"),
    [(("conv1",), "conv1"), (("0", "9"), "9"), (("0", "0.weight"), "weight"), (("forward",), "forw")],
)
def test_a_network_without_the_parts_of_a_cut_is_refused(parts: tuple[str, ...], words: str) -> None:
    with pytest.raises(SelectionError, match=rf"a Sequential cannot be cut after .*{words}"):
        Cut(parts, planes_last=False).of(SMALL)


@pytest.mark.parametrize("parts", [(), ("",), ("0", "")])
def test_a_cut_that_is_none_is_refused(parts: tuple[str, ...]) -> None:
    with pytest.raises(SelectionError, match="cannot be cut"):
        Cut(parts, planes_last=False).of(SMALL)

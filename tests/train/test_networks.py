import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from geomask.errors import SelectionError
from geomask.train.networks import MULTIPLE, Padded, SmallNet, is_own, make_network, without_weights


def own(channels: int, outputs: int) -> nn.Module:
    return nn.Conv2d(channels, outputs, 3, padding=1)


@pytest.mark.parametrize("name", ["small", "smp:unet-resnet18", "smp:fpn-efficientnet-b0", "torchgeo:fcn"])
def test_a_network_of_pixels_keeps_rows_and_columns(name: str) -> None:
    network = make_network(name, 3, 4, width=4)
    assert network(torch.randn(2, 3, 20, 24)).shape == (2, 4, 20, 24)


@pytest.mark.parametrize("name", ["timm:resnet18", "torchgeo:resnet18"])
def test_a_network_of_chips_says_one_thing_a_chip(name: str) -> None:
    assert make_network(name, 3, 4)(torch.randn(2, 3, 20, 24)).shape == (2, 4)


def test_a_function_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_nets.py").write_text("from torch import nn\nmake = nn.Linear\nnumber = 3\nbad = lambda c, k: c\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert isinstance(make_network("my_nets:make", 3, 4), nn.Linear)
    assert isinstance(make_network(own, 3, 4), nn.Conv2d)
    for name, words in (
        ("my_nets:nothing", "has no function nothing"),
        ("my_nets:number", "has no function number"),
        ("my_nets:bad", "gives int"),
        ("no_nets:make", "No module named"),
        ("my nets:make", "no network 'my nets:make'"),
    ):
        with pytest.raises(SelectionError, match=words):
            make_network(name, 3, 4)
    assert is_own("my_nets:make")
    assert not any(map(is_own, ("small", "smp:unet-resnet18", "timm:resnet18", "torchgeo:fcn")))
    sys.modules.pop("my_nets")


@pytest.mark.parametrize(
    "name", ["large", "smp:unet", "smp:unet-resnet9999", "timm:resnet9999", "torchgeo:nothing", "smp:ynet-resnet18"]
)
def test_an_unknown_network_is_an_error_that_names_it(name: str) -> None:
    with pytest.raises(SelectionError, match=name):
        make_network(name, 3, 4)


@pytest.mark.parametrize("size", [(32, 64), (20, 24), (1, 33), (31, 32)])
def test_padding_is_seen_by_the_network_alone(size: tuple[int, int]) -> None:
    shapes: list[tuple[int, ...]] = []

    class Same(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            shapes.append(tuple(image.shape[-2:]))
            assert not image[..., size[0] :, :].any()
            assert not image[..., size[1] :].any()
            return image

    image = torch.randn(2, 3, *size)
    assert torch.equal(Padded(Same())(image), image)
    assert all(not side % MULTIPLE for side in shapes[0])
    assert all(0 <= side - length < MULTIPLE for side, length in zip(shapes[0], size, strict=True))


def test_what_says_one_thing_a_chip_is_not_cut() -> None:
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert Padded(network)(torch.randn(2, 3, 20, 24)).shape == (2, 3)


def test_the_small_networks_receptive_field_is_five_pixels() -> None:
    torch.manual_seed(0)
    network = SmallNet(1, 3, width=8, dropout=0.2).eval()
    image = torch.zeros(1, 1, 11, 11, requires_grad=True)
    network(image)[0, :, 5, 5].sum().backward()
    assert image.grad is not None
    rows, cols = image.grad[0, 0].nonzero().T
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (3, 7, 3, 7)


def test_weights_of_torchgeo_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchgeo.models import ResNet18_Weights, resnet18

    weights = ResNet18_Weights.SENTINEL2_RGB_MOCO
    wanted = {name: torch.full_like(value, 0.25) for name, value in resnet18().state_dict().items() if "fc" not in name}
    monkeypatch.setattr(type(weights), "get_state_dict", lambda self, *_, **__: dict(wanted))
    network = make_network("torchgeo:resnet18@ResNet18_Weights.SENTINEL2_RGB_MOCO", 3, 4)
    assert network.get_submodule("conv1").weight.eq(0.25).all()
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 4)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("torchgeo:resnet18@ResNet18_Weights.SENTINEL2_RGB_MOCO", "are of 3 channels; select those"),
        ("torchgeo:resnet18@ResNet18_Weights.NONE", "cannot make the network"),
    ],
)
def test_weights_that_do_not_fit_or_are_not_there(name: str, words: str) -> None:
    with pytest.raises(SelectionError, match=words):
        make_network(name, 5, 2)


def test_weights_that_cannot_be_downloaded_are_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    from urllib.error import URLError

    from torchgeo.models import ResNet18_Weights

    def refuse(*_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", refuse)
    with pytest.raises(SelectionError, match="no network"):
        make_network("torchgeo:resnet18@ResNet18_Weights.SENTINEL2_RGB_MOCO", 3, 2)


def test_a_run_that_is_loaded_has_weights_of_its_own() -> None:
    assert without_weights("torchgeo:resnet18@ResNet18_Weights.SENTINEL2_RGB_MOCO") == "torchgeo:resnet18"
    assert without_weights("small") == "small"
    assert without_weights("my.nets:make") == "my.nets:make"

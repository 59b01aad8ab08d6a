import pytest
import torch
from torch import nn

from geomask.bottleneck import saliency as module
from geomask.bottleneck.saliency import saliency_maps
from geomask.bottleneck.teacher import Cut, Teacher

CUT = Cut(("0",), planes_last=False)


def pixels(count: int = 7, side: int = 12) -> torch.Tensor:
    return torch.randn(count, 3, side, side + 4, generator=torch.Generator().manual_seed(1))


def network(outputs: int = 4, of_chips: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    head = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU())
    last: list[nn.Module] = [nn.AdaptiveAvgPool2d(1), nn.Flatten()] if of_chips else []
    return nn.Sequential(head, nn.Conv2d(6, outputs, 3, padding=1), nn.Tanh(), *last).eval()


def teacher_of(whole: nn.Sequential) -> Teacher:
    return Teacher(*CUT.of(whole), 6, 2, CUT)


def grad_cam(whole: nn.Sequential, image: torch.Tensor) -> torch.Tensor:
    """Of one image, by hooks: written from the paper's equations 1 and 2."""
    kept: dict[str, torch.Tensor] = {}

    def forward(_: nn.Module, __: object, output: torch.Tensor) -> None:
        kept["features"] = output.detach()
        output.register_hook(lambda gradient: kept.update(gradient=gradient))

    with_hook = whole[0].register_forward_hook(forward)
    said = whole(image[None].clone().requires_grad_())[0]
    with_hook.remove()
    if said.ndim == 1:
        total = said.max() if len(said) > 1 else said[0]
    else:
        total = torch.stack([place.max() if len(place) > 1 else place[0] for place in said.flatten(1).T]).sum()
    total.backward()
    features, gradient = kept["features"][0], kept["gradient"][0]
    cam = torch.zeros(features.shape[1:])
    for plane, slope in zip(features, gradient, strict=True):
        cam += plane * slope.sum() / slope.numel()
    cam = cam.clamp(min=0)
    return cam / cam.mean() if cam.sum() else torch.ones_like(cam)


@pytest.mark.parametrize(("outputs", "of_chips"), [(4, False), (1, False), (4, True), (1, True)])
def test_maps_are_grad_cam(outputs: int, of_chips: bool) -> None:
    whole, image = network(outputs, of_chips), pixels()
    found = saliency_maps(teacher_of(whole), image)
    assert found.shape == (7, 6, 8)
    assert not found.requires_grad
    for one, chip in zip(found, image, strict=True):
        assert torch.allclose(one, grad_cam(whole, chip), atol=1e-4)
    assert (found == 0).any()  # what speaks against is not negative
    assert (found > 1).any()


def test_maps_are_of_mean_one_in_each_chip_and_never_negative() -> None:
    image = pixels() * torch.tensor([1e-6, 1e-3, 0.1, 1, 10, 1e3, 1e6])[:, None, None, None]
    found = saliency_maps(teacher_of(network()), image)
    assert torch.allclose(found.mean((1, 2)), torch.ones(7), atol=1e-4)
    assert (found >= 0).all()


def test_where_nothing_speaks_all_places_count_alike() -> None:
    whole = network(1)
    with torch.no_grad():
        whole[1].weight.copy_(-whole[1].weight.abs())  # features are positive, and speak against
    assert torch.equal(saliency_maps(teacher_of(whole), pixels()), torch.ones(7, 6, 8))
    dead = network()
    with torch.no_grad():
        dead[0][0].bias.fill_(-1e6)
    assert torch.equal(saliency_maps(teacher_of(dead), pixels()), torch.ones(7, 6, 8))


def test_the_teacher_is_left_as_it_was_and_other_chips_have_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, image = teacher_of(network()), pixels()
    found = saliency_maps(teacher, image)
    assert all(weight.grad is None for half in (teacher.head, teacher.tail) for weight in half.parameters())
    monkeypatch.setattr(module, "AT_ONCE", 2)
    assert torch.allclose(saliency_maps(teacher, image), found, atol=1e-5)

import copy
import hashlib
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from geomask.bottleneck.encoder import Decoder, Design, Encoder
from geomask.bottleneck.tables import Tables
from geomask.bottleneck.teacher import Teacher
from geomask.bottleneck.transfer import (
    NearSide,
    Transfer,
    encoder_digest,
    far_model,
    near_model,
    seen_cells,
    spread_cells,
    transfer_of,
)
from geomask.masks.hard import HardGate
from geomask.train.network import MaskedNetwork
from geomask.train.networks import make_network
from geomask.train.objective import Objective

CHANNELS, CLASSES, LATENTS = 6, 4, 3
#: (halvings, far): a plain bottleneck at each stride; pixels and latents side by side.
KINDS = [(0, ()), (1, ()), (2, ()), (0, (1, 5)), (1, (4, 2, 0))]
#: At a stride of 4.
OF_CHIPS = nn.Sequential(
    nn.Conv2d(3, 8, 4, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES)
)


@cache
def network(halvings: int, far: tuple[int, ...] = (), of_chips: bool = False, standard: bool = True) -> MaskedNetwork:
    """A network of random weights whose encoder sees channels 3, 0 and 4, with a link; `standard` for hybrids."""
    torch.manual_seed(0)
    near = (3, 0, 4)
    design = Design(len(near), LATENTS, 8, 1, 3, halvings)
    encoder = Encoder(design).eval()
    with torch.no_grad():
        encoder.out.weight *= 20
        latents = encoder(torch.randn(6, 3, 16, 16))
    tables = Tables.fit(latents.round().int().numpy())
    if far:
        body: nn.Module = make_network("small", len(far) + LATENTS, CLASSES)
        spread = (latents.mean((0, 2, 3)), latents.std((0, 2, 3))) if standard else None
    else:
        whole = OF_CHIPS if of_chips else make_network("small", len(near), CLASSES)
        teacher = Teacher.of(whole, len(near), (32, 32))
        body, spread = nn.Sequential(Decoder(design, teacher.features, teacher.stride), teacher.tail), None
    link = Transfer(encoder, tables, body, design.stride, near, far, spread).eval()
    mean, deviation = 1e4 * torch.randn(CHANNELS), 1e3 * (0.5 + torch.rand(CHANNELS))
    return MaskedNetwork(mean, deviation, HardGate(range(CHANNELS)), link, Objective(outputs=CLASSES)).eval()


def stored(model: MaskedNetwork, *size: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Values as stored, of (cuts, rows, columns), some pixels, channels and corners of which are not valid."""
    draw, (cuts, rows, columns) = torch.Generator().manual_seed(seed), size
    shape = (cuts, CHANNELS, rows, columns)
    image = torch.randn(shape, generator=draw) * model.deviation[:, None, None] + model.mean[:, None, None]
    valid = torch.rand(shape, generator=draw) > 0.2
    valid[..., : rows // 3, : columns // 2] = False
    valid[:, ::2, rows // 2 :, columns // 2 :] = False
    return image.where(valid, 0), valid


@torch.inference_mode()
def apart(model: MaskedNetwork, image: torch.Tensor, valid: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What either side says, and only bytes of the tables' symbols and pixels of the far channels between them."""
    link = transfer_of(model)
    assert link is not None
    size = (image.shape[-2], image.shape[-1])
    symbols = near_model(model)(image[:, link.near], valid[:, link.near])
    seen = seen_cells(valid[:, link.near].any(1, keepdim=True), link.stride)
    sent = symbols.numpy().astype(np.int32)
    received = torch.from_numpy(np.where(seen.numpy(), sent, 0)).float()  # what was not seen is not sent
    planes = torch.cat([image[:, link.far], spread_cells(received, link.stride, size)], 1)
    there = spread_cells(seen, link.stride, size).expand(-1, LATENTS, -1, -1)
    return symbols, far_model(model)(planes, torch.cat([valid[:, link.far], there], 1))


# --- one pass, or two sides -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("halvings", "far"), KINDS)
@pytest.mark.parametrize("size", [(2, 16, 16), (1, 21, 19), (3, 5, 8), (1, 1, 1)])
def test_two_sides_say_what_one_pass_says_to_the_bit(
    halvings: int, far: tuple[int, ...], size: tuple[int, int, int]
) -> None:
    model = network(halvings, far)
    image, valid = stored(model, *size)
    with torch.inference_mode():
        whole = model(image, valid)
    symbols, outputs = apart(model, image, valid)
    assert whole.shape == (size[0], CLASSES, *size[1:])
    assert torch.equal(outputs, whole)
    stride = 2**halvings
    assert symbols.shape == (size[0], LATENTS, -(-size[1] // stride), -(-size[2] // stride))


@pytest.mark.parametrize(("halvings", "far"), KINDS)
def test_where_nothing_was_seen_latents_have_no_say(halvings: int, far: tuple[int, ...]) -> None:
    model, link = network(halvings, far), transfer_of(network(halvings, far))
    assert link is not None
    image, valid = stored(model, 2, 16, 16)
    valid[:, link.near] = False
    first = apart(model, image, valid)[1]
    with torch.inference_mode():
        assert torch.equal(model(image, valid), first)
        planes = torch.cat([image[:, link.far], torch.full((2, LATENTS, 16, 16), 99.0)], 1)
        there = torch.cat([valid[:, link.far], torch.zeros(2, LATENTS, 16, 16, dtype=torch.bool)], 1)
        assert torch.equal(far_model(model)(planes, there), first)


def test_of_chips_there_is_one_answer_each() -> None:
    model = network(1, of_chips=True)
    image, valid = stored(model, 2, 32, 32)
    with torch.inference_mode():
        whole = model(image, valid)
    assert whole.shape == (2, CLASSES)
    assert torch.equal(apart(model, image, valid)[1], whole)


def test_channels_that_no_side_sees_have_no_say() -> None:
    model = network(0, (1, 5))
    image, valid = stored(model, 1, 9, 9)
    want = model(image, valid)
    image[:, 2] = 1e9
    valid[:, 2] = ~valid[:, 2]
    assert torch.equal(model(image, valid), want)
    image[:, 5] += 100 * valid[:, 5]
    assert not torch.equal(model(image, valid), want)


def test_far_bodies_may_take_latents_standardised() -> None:
    model, plain = network(0, (1, 5)), network(0, (1, 5), standard=False)
    link = transfer_of(model)
    assert link is not None
    image, valid = stored(model, 1, 9, 9)
    assert not torch.equal(link.centre, torch.zeros(LATENTS))
    shown: list[torch.Tensor] = []
    with torch.inference_mode():
        hook = link.far_side.body.register_forward_pre_hook(lambda _, given: shown.append(given[0]))
        model(image, valid)
        hook.remove()
        symbols = apart(model, image, valid)[0]
    seen = seen_cells(valid[:, link.near].any(1, keepdim=True), 1)
    want = (symbols - link.centre[:, None, None]) / link.spread[:, None, None] * seen
    assert torch.equal(shown[0][:, 2:], want)
    assert torch.equal(transfer_of(plain).spread, torch.ones(LATENTS))  # type: ignore[union-attr]


# --- symbols ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("halvings", [0, 1, 2])
@pytest.mark.parametrize("loud", [1.0, 1e3])
def test_symbols_are_whole_numbers_that_the_tables_have(halvings: int, loud: float) -> None:
    model = network(halvings)
    link = transfer_of(model)
    assert link is not None
    image, valid = stored(model, 2, 33, 30)
    symbols = near_model(model)(loud * image[:, link.near], valid[:, link.near]).detach()
    assert symbols.dtype == torch.float32
    assert torch.equal(symbols, symbols.round())
    for latent, (low, high) in enumerate(zip(link.tables.lows.tolist(), link.tables.highs.tolist(), strict=True)):
        assert low <= symbols[:, latent].min() <= symbols[:, latent].max() <= high
    link.tables.index(symbols[0].numpy().astype(np.int32))  # raises where one is none of its table
    if loud > 1:
        assert (symbols[:, 0] == int(link.tables.lows[0])).any() or (symbols[:, 0] == int(link.tables.highs[0])).any()


def test_what_is_missing_of_the_last_row_and_column_is_zero() -> None:
    link = transfer_of(network(2))
    assert link is not None
    side = link.near_side
    assert isinstance(side, NearSide)
    image = torch.randn(1, 3, 9, 14)
    larger = torch.zeros(1, 3, 12, 16)
    larger[..., :9, :14] = image
    assert torch.equal(side(image), side(larger))
    assert side(image).shape == (1, LATENTS, 3, 4)


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_a_latent_was_seen_where_any_of_its_pixels_was(stride: int) -> None:
    seen = torch.rand(2, 1, 9, 14, generator=torch.Generator().manual_seed(0)) > 0.9
    cells = seen_cells(seen, stride)
    assert cells.dtype == torch.bool
    for row in range(-(-9 // stride)):
        for column in range(-(-14 // stride)):
            part = seen[..., row * stride : (row + 1) * stride, column * stride : (column + 1) * stride]
            assert torch.equal(cells[..., row, column], part.flatten(2).any(2))
    spread = spread_cells(cells, stride, (9, 14))
    assert spread.shape == seen.shape
    assert (spread | ~seen).all()
    assert torch.equal(seen_cells(spread, stride), cells)


# --- names ------------------------------------------------------------------------------------------------------------


def test_teachers_that_share_an_encoder_share_its_digest() -> None:
    model = network(1)
    link = transfer_of(model)
    assert link is not None
    digest = encoder_digest(model)
    assert digest == encoder_digest(copy.deepcopy(model))
    assert len(bytes.fromhex(digest)) == hashlib.sha256().digest_size
    encoder, design = link.near_side.encoder, Design(3, LATENTS, 8, 1, 3, 1)
    other = Teacher.of(OF_CHIPS, 3, (32, 32))
    body = nn.Sequential(Decoder(design, other.features, other.stride), other.tail)
    second = Transfer(encoder, link.tables, body, 2, link.near.tolist()).eval()
    shared = MaskedNetwork(model.mean, model.deviation, model.gate, second, Objective(outputs=CLASSES)).eval()
    assert encoder_digest(shared) == digest


def test_whatever_changes_symbols_changes_the_digest() -> None:
    model = network(1)
    digests = {encoder_digest(model)}
    for name in ("stem.weight", "halve0.2.running_mean", "out.bias"):
        other = copy.deepcopy(model)
        link = transfer_of(other)
        assert link is not None
        link.near_side.encoder.state_dict()[name].view(-1)[-1] += 1e-6
        digests.add(encoder_digest(other))
    for name in ("mean", "deviation"):
        other = copy.deepcopy(model)
        getattr(other, name)[3] *= 1.0001
        digests.add(encoder_digest(other))
    clipped = copy.deepcopy(model)
    transfer_of(clipped).near_side.highs[0] += 1  # type: ignore[union-attr]
    digests.add(encoder_digest(clipped))
    assert len(digests) == 7
    unseen = copy.deepcopy(model)
    unseen.mean[1] += 1
    transfer_of(unseen).far_side.body[1][-1].bias.data += 1  # type: ignore[index, union-attr, operator]
    assert encoder_digest(unseen) in digests


def test_tables_are_those_that_were_given() -> None:
    link = transfer_of(network(0))
    assert link is not None
    again = Transfer(link.near_side.encoder, link.tables, nn.Identity(), 1, [3, 0, 4])
    assert again.tables.digest == link.tables.digest
    digest = link.tables.digest
    again.lows[0] += 1
    assert link.tables.digest == digest != again.tables.digest  # it holds copies


def test_what_has_no_link_has_no_sides() -> None:
    plain = MaskedNetwork(torch.zeros(3), torch.ones(3), HardGate(range(3)), make_network("small", 3, 2))
    assert transfer_of(plain) is None
    for of in (near_model, far_model, encoder_digest):
        with pytest.raises(TypeError, match="a network of type SmallNet has no link in its middle"):
            of(plain)

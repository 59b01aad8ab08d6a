from itertools import product

import pytest
import torch

from geomask.bottleneck.encoder import MOST_WEIGHTS, Decoder, Design, Encoder, count_weights
from geomask.errors import SelectionError


@pytest.mark.parametrize("halvings", range(4))
def test_latents_are_of_the_encoders_stride(halvings: int) -> None:
    design = Design(5, latents=3, width=8, halvings=halvings)
    latents = Encoder(design).eval()(torch.randn(2, 5, 16, 24))
    assert design.stride == 2**halvings
    assert latents.shape == (2, 3, 16 // design.stride, 24 // design.stride)


@pytest.mark.parametrize(("halvings", "stride"), list(product(range(4), (1, 2, 4, 8))))
def test_a_decoder_speaks_at_the_teachers_stride_whatever_the_encoders(halvings: int, stride: int) -> None:
    design = Design(5, latents=3, width=8, blocks=1, halvings=halvings)
    features = Decoder(design, 7, stride).eval()(torch.randn(2, 3, 16 // design.stride, 24 // design.stride))
    assert features.shape == (2, 7, 16 // stride, 24 // stride)


@pytest.mark.parametrize("channels", [1, 12, 500])
@pytest.mark.parametrize("around", [1, 3])
def test_an_encoder_is_small_unless_it_is_told_otherwise(channels: int, around: int) -> None:
    for halvings in range(4):
        assert count_weights(Encoder(Design(channels, around=around, halvings=halvings))) < MOST_WEIGHTS == 200_000


@pytest.mark.parametrize("design", [Design(3, 2, 5, 0), Design(4, 3, 6, 3, 5, 2), Design(1, 1, 1, 1, 1, 1)])
@pytest.mark.parametrize("stride", [1, 2, 8])
def test_weights_are_known_before_a_network_is_made(design: Design, stride: int) -> None:
    assert design.encoder_weights == count_weights(Encoder(design))
    assert design.decoder_weights(7, stride) == count_weights(Decoder(design, 7, stride))


@pytest.mark.parametrize("design", [Design(500, width=400), Design(1, width=1 << 40), Design(1, 1 << 40)])
def test_one_that_is_too_large_is_refused_before_it_takes_memory(design: Design) -> None:
    with pytest.raises(SelectionError, match=r"an encoder of [\d,]+ weights; 200,000 at most: make it narrower"):
        Encoder(design)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"channels": 0}, {"latents": 0}, {"width": 0}, {"blocks": -1}, {"halvings": -1}, {"around": 2}),
        *({"around": -1}, {"blocks": 65}, {"halvings": 8}),
    ],
)
def test_what_is_no_bottleneck_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(SelectionError):
        Design(**{"channels": 3, **wrong})


@pytest.mark.parametrize(
    ("around", "blocks", "halvings"), [(1, 2, 0), (1, 3, 1), (3, 0, 0), (3, 2, 0), (3, 1, 2), (5, 2, 1)]
)
def test_a_pixel_is_heard_as_far_as_the_design_says_and_no_further(around: int, blocks: int, halvings: int) -> None:
    design = Design(2, 3, 8, blocks, around, halvings)
    image = torch.randn(1, 2, 32, 48)
    y, x = 13, 30
    image[0, 1, y, x] = torch.nan
    heard = Encoder(design).eval()(image).isnan()
    rows, columns = torch.arange(heard.shape[2])[:, None], torch.arange(heard.shape[3])
    reach = blocks * (around // 2)
    there = ((rows - y // design.stride).abs() <= reach) & ((columns - x // design.stride).abs() <= reach)
    assert torch.equal(heard, there.expand_as(heard))


def test_one_that_looks_at_one_pixel_says_the_same_of_it_anywhere() -> None:
    encoder = Encoder(Design(4, 3, 16, 2, around=1)).eval()
    image = torch.randn(1, 4, 6, 7)
    order = torch.randperm(42, generator=torch.Generator().manual_seed(0))
    moved = image.flatten(2)[..., order].reshape(image.shape)
    assert torch.allclose(encoder(moved).flatten(2), encoder(image).flatten(2)[..., order], atol=1e-6)

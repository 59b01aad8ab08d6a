import copy
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from geomask.bottleneck import distil as module
from geomask.bottleneck.distil import Distilled, Lesson, distil, symmetric, tune
from geomask.bottleneck.encoder import Design, Encoder
from geomask.bottleneck.teacher import Teacher
from geomask.errors import SelectionError
from geomask.train.networks import make_network
from geomask.train.objective import Objective

CHANNELS, CLASSES, SIDE = 6, 3, 8
DESIGN = Design(CHANNELS, latents=3, width=16, blocks=1)
#: Enough for what is asked here, and quick.
LESSON = Lesson(steps=150, settling=80, tuning=80, batch=16, learning_rate=1e-2)


@cache
def chips() -> torch.Tensor:
    """Six channels that are two smooth fields, seen through some noise."""
    rng = np.random.default_rng(0)
    fields = rng.normal(size=(48, 2, SIDE, SIDE)).repeat(2, 2)[:, :, :SIDE]
    mixed = np.einsum("ck,nkyx->ncyx", rng.normal(size=(CHANNELS, 2)), fields)
    return torch.from_numpy((mixed + 0.1 * rng.normal(size=mixed.shape)).astype(np.float32))


@cache
def teacher(name: str = "small") -> Teacher:
    torch.manual_seed(0)
    return Teacher.of(make_network(name, CHANNELS, CLASSES, width=12, dropout=0.0), CHANNELS, (SIDE, SIDE))


@cache
def distilled() -> Distilled:
    return distil(teacher(), chips(), DESIGN, LESSON, 0)


@torch.no_grad()
def symbols(found: Distilled) -> torch.Tensor:
    return found.encoder(chips()).round()


@torch.no_grad()
def distance(found: Distilled, of: Teacher) -> float:
    """Share of what features vary by."""
    features = of.head(chips())
    apart = ((found.decoder(symbols(found)) - features) ** 2).mean((0, 2, 3))
    variance = features.var((0, 2, 3), correction=0)
    return float((apart / variance)[variance > 1e-6].mean())


def entropy(planes: torch.Tensor) -> float:
    """Bits of a place."""
    bits = 0.0
    for plane in planes.transpose(0, 1).flatten(1).numpy():
        shares = np.unique(plane, return_counts=True)[1] / plane.size
        bits -= float((shares * np.log2(shares)).sum())
    return bits


def same(one: nn.Module, other: nn.Module) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in one.state_dict().items())


def parts_of(found: Distilled) -> tuple[nn.Module, ...]:
    return found.encoder, found.decoder, found.prior


# --- what is minimised ------------------------------------------------------------------------------------------------


def gradients(
    pixels: torch.Tensor, lesson: Lesson, design: Design, monkeypatch: pytest.MonkeyPatch
) -> dict[str, torch.Tensor]:
    """Of each weight after the only step of either stage, nothing of it by chance; BatchNorm sees all of them."""
    found: dict[str, torch.Tensor] = {}
    master = teacher()  # which draws random numbers, the first time
    with monkeypatch.context() as patch:
        patch.setattr(module, "soften", lambda latents: latents)
        patch.setattr(module, "symmetric", list)
        torch.manual_seed(0)
        once = replace(lesson, steps=1, settling=1, batch=None)
        learner = module._Learner(master, pixels, design, once, None, None)
        learner.learn_all()
        parts = {"encoder": learner.encoder, "decoder": learner.decoder, "prior": learner.prior}
        for part, network in parts.items():
            found |= {f"{part}.{name}": value.grad.clone() for name, value in network.named_parameters()}  # type: ignore[union-attr]
        learner.settle()
        found |= {f"settled.{name}": value.grad.clone() for name, value in learner.decoder.named_parameters()}  # type: ignore[union-attr]
    return found


@pytest.mark.parametrize("design", [DESIGN, replace(DESIGN, halvings=1)])
def test_losses_are_means_so_that_twice_the_chips_are_the_same_lesson(
    design: Design, monkeypatch: pytest.MonkeyPatch
) -> None:
    lesson = replace(LESSON, rate_weight=0.3)
    once = gradients(chips()[:8], lesson, design, monkeypatch)
    twice = gradients(chips()[:8].repeat(2, 1, 1, 1), lesson, design, monkeypatch)
    assert once.keys() == twice.keys()
    largest = max(value.abs().max().item() for value in once.values())
    for name, value in once.items():
        assert torch.allclose(twice[name], value, rtol=1e-3, atol=1e-5 * largest), name


def test_either_term_has_a_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bit of a place is worth lambda, so the rate's share of the gradient is proportional to it."""
    none, one, two = (
        gradients(chips()[:8], replace(LESSON, rate_weight=weight), DESIGN, monkeypatch) for weight in (0.0, 0.1, 0.2)
    )
    for name in ("encoder.stem.weight", "encoder.out.weight", "prior.log_scale"):
        bit = one[name] - none[name]
        assert bit.abs().max() > 1e-4
        assert torch.allclose(two[name] - none[name], 2 * bit, atol=1e-5)
    assert (none["prior.weight"] == 0).all()
    assert torch.equal(one["decoder.out.weight"], none["decoder.out.weight"])  # a decoder has no say in bits


def test_the_more_a_bit_costs_the_fewer_are_sent_and_the_worse_it_is() -> None:
    lessons = [replace(LESSON, rate_weight=weight) for weight in (0.005, 0.05, 0.5)]
    found = [distil(teacher(), chips(), DESIGN, lesson, 0) for lesson in lessons]
    bits, apart = [entropy(symbols(one)) for one in found], [distance(one, teacher()) for one in found]
    assert bits == sorted(bits, reverse=True)
    assert bits[0] > 2 * bits[2]
    assert apart == sorted(apart)
    assert apart[0] < 0.3 < apart[2]


def test_what_the_teacher_looks_at_counts_more() -> None:
    lessons = [replace(LESSON, saliency=share, steps=3) for share in (0.0, 1.0)]
    plain, looked = (distil(teacher(), chips(), DESIGN, lesson, 0) for lesson in lessons)
    assert not same(plain.encoder, looked.encoder)
    assert not same(plain.decoder, looked.decoder)


@pytest.mark.parametrize(("share", "times"), [(0.5, 1), (0.0, 0)])
def test_where_the_teacher_looks_is_found_out_once(share: float, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    maps = module.saliency_maps
    monkeypatch.setattr(module, "saliency_maps", lambda *args: asked.append(args) or maps(*args))
    lesson = replace(LESSON, steps=5, settling=5, saliency=share)
    one = distil(teacher(), chips(), DESIGN, lesson, 0)
    assert len(asked) == times
    again = distil(teacher(), chips(), DESIGN, lesson, 0, maps=maps(teacher(), chips()))
    assert len(asked) == times
    assert same(again.decoder, one.decoder)


def test_a_feature_that_never_speaks_has_no_say() -> None:
    silent = copy.deepcopy(teacher())
    norm = silent.head[1]
    with torch.no_grad():
        norm.weight[::2] = 0  # a constant, which no decoder has to learn
    found = distil(silent, chips(), DESIGN, LESSON, 0)
    assert distance(found, silent) < 0.4
    with torch.no_grad():
        norm.weight.fill_(0)
    nothing = distil(silent, chips(), DESIGN, replace(LESSON, steps=2, settling=2), 0)
    assert all(weight.isfinite().all() for weight in nothing.decoder.parameters())


# --- what stays as it is ----------------------------------------------------------------------------------------------


def test_the_second_stage_leaves_encoder_and_prior_as_they_are() -> None:
    short = distil(teacher(), chips(), DESIGN, replace(LESSON, settling=0), 0)
    assert same(short.encoder, distilled().encoder)
    assert same(short.prior, distilled().prior)
    assert not same(short.decoder, distilled().decoder)
    assert distance(distilled(), teacher()) < distance(short, teacher())


def test_by_one_seed_it_is_the_same_and_no_random_numbers_are_taken_from_others() -> None:
    lesson = replace(LESSON, steps=5, settling=5)
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    one = distil(teacher(), chips(), DESIGN, lesson, 3)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(8)
    again, other = (distil(teacher(), chips(), DESIGN, lesson, seed) for seed in (3, 4))
    assert same(one.encoder, again.encoder)
    assert same(one.decoder, again.decoder)
    assert same(one.prior, again.prior)
    assert not same(one.encoder, other.encoder)
    assert not any(part.training for part in parts_of(one))


def test_an_encoder_serves_a_second_teacher_of_another_kind() -> None:
    second = teacher("timm:resnet18")
    encoder = copy.deepcopy(distilled().encoder)
    state = copy.deepcopy(encoder.state_dict())
    untaught, taught = (
        distil(second, chips(), DESIGN, replace(LESSON, settling=steps), 0, encoder=encoder) for steps in (0, 150)
    )
    assert same(taught.encoder, distilled().encoder)
    assert all(torch.equal(value, state[name]) for name, value in encoder.state_dict().items())
    assert taught.decoder.out.out_channels == 64
    assert distance(taught, second) < 0.7 * distance(untaught, second)


def test_a_bottleneck_may_begin_with_anothers_weights() -> None:
    still = replace(LESSON, steps=0, settling=0)
    again = distil(teacher(), chips(), DESIGN, still, 5, start=distilled())
    for one, other in zip(parts_of(again), parts_of(distilled()), strict=True):
        assert same(one, other)
        assert one is not other
    short = replace(LESSON, steps=20, settling=10)
    begun = distil(teacher(), chips(), DESIGN, short, 5, start=distilled())
    assert distance(begun, teacher()) < 0.7 * distance(distil(teacher(), chips(), DESIGN, short, 5), teacher())


def test_each_step_is_reported() -> None:
    steps: list[None] = []
    distil(teacher(), chips(), DESIGN, replace(LESSON, steps=4, settling=3), 0, on_step=lambda: steps.append(None))
    assert len(steps) == 7


def test_chips_that_a_bottleneck_does_not_fit_are_refused() -> None:
    deep = replace(DESIGN, halvings=2)
    with pytest.raises(SelectionError, match="chips of 10 x 8 pixels; of this bottleneck take multiples of 4"):
        distil(teacher(), torch.randn(4, CHANNELS, 10, 8), deep, LESSON, 0)


# --- the task ---------------------------------------------------------------------------------------------------------


def test_tuning_lowers_the_tasks_loss_and_leaves_what_it_began_with() -> None:
    objective = Objective("segmentation", CLASSES)
    labels = (chips()[:, 0] > 0).long() + (chips()[:, 3] > 0).long()
    found, master = copy.deepcopy(distilled()), copy.deepcopy(teacher())
    decoder, tail = tune(found, master, chips(), labels, objective, LESSON, 0)
    with torch.no_grad():
        before = objective.loss(master.tail(found.decoder(symbols(found))), labels)
        after = objective.loss(tail(decoder(symbols(found))), labels)
    assert after < 0.6 * before
    for one, other in ((found.encoder, distilled().encoder), (found.decoder, distilled().decoder)):
        assert same(one, other)
    assert same(master.head, teacher().head)
    assert same(master.tail, teacher().tail)
    assert not decoder.training
    assert not tail.training
    again = tune(found, master, chips(), labels, objective, LESSON, 0)
    assert same(again[0], decoder)
    assert same(again[1], tail)


def test_labels_turn_with_their_pixels_and_those_of_chips_stay() -> None:
    torch.manual_seed(0)
    seen = set()
    image, long = torch.arange(36.0).view(2, 1, 3, 6).expand(2, 4, 3, 6), torch.arange(18.0).view(2, 3, 3)
    for _ in range(40):
        pixels, labels, named = symmetric((image, image[:, 0], torch.tensor([3, 4])))
        assert torch.equal(pixels[:, 2], labels)
        assert named.tolist() == [3, 4]
        assert pixels.shape == image.shape
        (square,) = symmetric((long,))
        assert square.flatten(1).sort(1).values.equal(long.flatten(1))
        seen.add(tuple(square[0].flatten().tolist()))
    assert len(seen) == 8


def test_an_encoder_that_was_given_has_to_be_of_the_design() -> None:
    with pytest.raises(RuntimeError, match="size mismatch"):
        distil(teacher(), chips(), DESIGN, LESSON, 0, encoder=Encoder(replace(DESIGN, latents=4)))

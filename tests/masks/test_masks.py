"""Any and xor masks, and the hard masks that they freeze to, against the formulas."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from geomask.errors import SelectionError
from geomask.masks.any import AnyMask
from geomask.masks.grain import Grain
from geomask.masks.hard import HardGate, HardMask
from geomask.masks.scores import Scores, StaticScores
from geomask.masks.xor import XorMask

SLOTS, BANDS, SIZE = 2, 3, (5, 7)
CHANNELS = SLOTS * BANDS
GRAINS = ["channel", "band", "slot", "version", "pixel", "subpixel", "block:2x3", "subblock:4x1"]


class Seen(Scores):
    """Logits that are the mean of the preview, for each sample."""

    def forward(self, preview: torch.Tensor | None) -> torch.Tensor:
        assert preview is not None
        return preview.mean((1, 2, 3)).reshape(-1, 1, 1, 1, 1).expand(-1, self.versions, *self.shape)

    @property
    def is_static(self) -> bool:
        return False


def grain(name: str) -> Grain:
    return Grain.of(name, SLOTS, BANDS, SIZE)


def static(versions: int, name: str, seed: int = 0) -> StaticScores:
    """Scores of which about half are above 0."""
    scores = StaticScores(versions, grain(name).shape, [0.0] * versions)
    scores.logits.data = torch.randn(scores.logits.shape, generator=torch.Generator().manual_seed(seed))
    return scores


def images(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, CHANNELS, *SIZE, generator=torch.Generator().manual_seed(2))


def over_pixels(units: np.ndarray, name: str) -> np.ndarray:
    """(versions, groups, rows, columns) at every (version, channel, row, column)."""
    lie = grain(name)
    rows, columns = (np.arange(pixels) * blocks // pixels for pixels, blocks in zip(SIZE, lie.shape[1:], strict=True))
    return units[:, np.array(lie.groups)[:, None, None], rows[:, None], columns]


@pytest.mark.parametrize("name", GRAINS)
def test_any_is_the_product_with_what_is_above_a_half(name: str) -> None:
    mask = AnyMask(grain(name), static(1, name), prices=None)
    logits = mask.scores(None)[0].detach().double().numpy()
    kept = (1 / (1 + np.exp(-logits)) > 0.5).astype(np.float32)
    image = images(4)
    choice = mask.draw(image)
    assert np.array_equal(mask(image).detach(), image.numpy() * over_pixels(kept, name)[0])
    assert mask.share(choice).item() == pytest.approx(kept.mean())
    mask.fine = 0.3
    assert mask.penalty(choice).item() == pytest.approx(0.3 * kept.mean())
    assert mask.spent(choice).requires_grad is False


@pytest.mark.parametrize("name", GRAINS)
def test_xor_is_the_sum_over_versions_of_the_greatest(name: str) -> None:
    weights = [1.0, 0.4, 0.15]
    mask = XorMask(grain(name), weights, static(3, name))
    logits = mask.scores(None)[0].detach().numpy()
    chosen = (logits == logits.max(0)).astype(np.float32)
    image = images(4, 3)
    want = (image.numpy() * over_pixels(chosen, name)).sum(1)
    assert np.array_equal(mask(image).detach(), want)
    q = np.mean([weights[version] for version in logits.argmax(0).ravel()])
    assert mask.share(mask.draw(image)).item() == pytest.approx(q)


@pytest.mark.parametrize("name", GRAINS)
def test_with_prices_the_share_is_that_of_bytes(name: str) -> None:
    prices = torch.rand(3, *grain(name).shape, dtype=torch.float64) * 1e6 + 1
    prices[0] = prices.sum(0)
    kept = AnyMask(grain(name), static(1, name), prices=prices[0])
    choice = kept.draw(images(1))
    assert kept.share(choice).item() == pytest.approx(
        ((choice[0][0, 0] * prices[0]).sum() / prices[0].sum()).item(), rel=1e-5
    )
    taken = XorMask(grain(name), [1.0, 0.5, 0.1], static(3, name), prices=prices)
    choice = taken.draw(images(1, 3))
    assert taken.share(choice).item() == pytest.approx(
        ((choice[0][0] * prices).sum() / prices[0].sum()).item(), rel=1e-5
    )


@given(st.integers(0, 1000), st.sampled_from(GRAINS))
def test_shares_are_between_none_and_all(seed: int, name: str) -> None:
    for mask, image in (
        (AnyMask(grain(name), static(1, name, seed)), images(2)),
        (XorMask(grain(name), [1.0, 0.4], static(2, name, seed)), images(2, 2)),
    ):
        assert 0 <= mask.share(mask.draw(image)).item() <= 1


def test_masks_start_at_the_dense_input_as_published() -> None:
    torch.manual_seed(0)
    keep, take = AnyMask(grain("subpixel")), XorMask(grain("subpixel"), [1.0, 0.5, 0.1])
    assert keep.scores(None).mean().item() == pytest.approx(3, abs=0.01)
    for version, mean in enumerate([3.0, 0.75, 0.03]):  # w^2 V
        assert take.scores(None)[:, version].mean().item() == pytest.approx(mean, abs=0.01)
    image = images(2, 3)
    assert torch.equal(keep(image[:, 0]), image[:, 0])
    assert torch.equal(take(image), image[:, 0])
    assert keep.share(keep.draw(image)).item() == take.share(take.draw(image)).item() == 1


def test_the_gradient_is_that_of_the_soft_mask() -> None:
    """Of a loss that is linear in the choice hard and soft masks have one gradient."""
    mask = AnyMask(grain("subblock:4x1"), static(1, "subblock:4x1"), fine=0.7)
    mask.temperature = 0.5
    image, weights = images(3), images(3)
    choice = mask.draw(image)
    ((mask.apply_choice(image, choice) * weights).sum() + mask.penalty(choice)).backward()
    logits = mask.scores(None).detach().clone().requires_grad_()
    soft = (logits / 0.5).sigmoid()
    rows = torch.arange(SIZE[0]) * 4 // SIZE[0]
    ((image * soft[:, 0][:, :, rows] * weights).sum() + 0.7 * soft.mean()).backward()
    assert isinstance(mask.scores, StaticScores)
    assert mask.scores.logits.grad is not None
    assert logits.grad is not None
    assert torch.allclose(mask.scores.logits.grad, logits.grad, atol=1e-5)


@pytest.mark.parametrize("name", GRAINS)
def test_rescaling_divides_by_the_kept_share(name: str) -> None:
    plain, scaled = (AnyMask(grain(name), static(1, name), rescale=rescale) for rescale in (False, True))
    choice = plain.draw(images(1))
    kept = choice[0].mean().item()
    if kept:
        assert torch.allclose(scaled(images(2)), plain(images(2)) / kept)
    assert torch.equal(scaled.freeze()(images(2)), scaled(images(2)))
    assert scaled.share(scaled.draw(images(1))).item() == pytest.approx(kept)


def test_nothing_kept_is_zero_and_no_nan() -> None:
    mask = AnyMask(grain("channel"), StaticScores(1, (6, 1, 1), [-3.0]), rescale=True)
    assert torch.equal(mask(images(2)), torch.zeros(2, CHANNELS, *SIZE))


@pytest.mark.parametrize("name", GRAINS)
def test_a_static_mask_equals_what_it_freezes_to(name: str) -> None:
    for mask, image in (
        (AnyMask(grain(name), static(1, name)), images(3)),
        (XorMask(grain(name), [1.0, 0.4], static(2, name)), images(3, 2)),
    ):
        hard = mask.train().freeze()
        assert mask.training
        assert hard.is_hard
        assert hard.freeze() is hard
        assert hard.heads == CHANNELS
        assert mask.is_spatial == hard.is_spatial == (grain(name).rows > 1)
        assert torch.equal(hard(image), mask(image))
        assert not list(hard.parameters())
        other = HardMask(grain(name), torch.zeros(hard.choice.shape[1:]))
        other.load_state_dict(hard.state_dict())
        assert torch.equal(other(image), hard(image))


def test_a_dynamic_mask_decides_for_each_sample_and_freezes_to_a_copy_that_learns_no_more() -> None:
    class Mean(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image[:, :2]

    image = torch.ones(3, CHANNELS, *SIZE) * torch.tensor([1.0, -1.0, 2.0]).reshape(3, 1, 1, 1)
    mask = AnyMask(grain("block:2x3"), Seen(1, (1, 2, 3)), Mean()).train()
    assert mask(image).mean((1, 2, 3)).tolist() == [1, 0, 2]
    assert mask.share(mask.draw(image)).item() == pytest.approx(2 / 3)
    frozen = mask.freeze()
    assert frozen.is_hard
    assert not mask.is_hard
    assert frozen.freeze() is frozen
    assert not frozen.train().training
    assert mask.training
    assert torch.equal(frozen(image), mask(image))


@pytest.mark.parametrize("name", GRAINS)
@pytest.mark.parametrize("versions", [1, 2])
def test_a_hard_mask_as_channels_passes_the_same_of_what_is_read(name: str, versions: int) -> None:
    """The network stays as it is: the heads of channels that are not read are empty."""
    if versions == 1:
        hard, image = AnyMask(grain(name), static(1, name)).decide(), images(3)
    else:
        hard, image = XorMask(grain(name), [1.0, 0.4], static(2, name)).decide(), images(3, 2)
    read = hard(image).detach()
    gate = hard.channels()
    assert gate.heads == CHANNELS
    assert torch.equal(gate(read), read)
    left_out = [channel for channel in range(CHANNELS) if not read[:, channel].any()]
    assert [channel for channel, filled in enumerate(gate.channels.tolist()) if filled < 0] == left_out


def test_a_hard_gate_by_channels_needs_those_channels_alone() -> None:
    """Invariant 5: what the network makes of the kept channels is what it makes of all, to the bit."""
    network = nn.Sequential(nn.Conv2d(CHANNELS, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 1)).eval()
    hard = HardMask(grain("channel"), torch.tensor([0.0, 1, 0, 0, 1, 1]).reshape(1, 6, 1, 1))
    image = images(3)
    folded = HardGate([-1, 0, -1, -1, 1, 2])
    assert torch.equal(network(folded(image[:, [1, 4, 5]])), network(hard(image)))
    assert hard.channels().channels.tolist() == [-1, 1, -1, -1, 4, 5]


def test_an_empty_head_is_zero_whatever_the_first_channel_holds() -> None:
    image = torch.full((1, 1, 2, 3), float("nan"))
    assert torch.equal(HardGate([-1])(image), torch.zeros(1, 1, 2, 3))


def test_what_does_not_fit_is_an_error() -> None:
    channel = grain("channel")
    cases: list[tuple[Any, str]] = [
        (lambda: AnyMask(channel, StaticScores(1, (2, 1, 1), [0.0])), "they have to be alike"),
        (lambda: AnyMask(channel, prices=torch.ones(3, 1, 1)), "prices of"),
        (lambda: AnyMask(channel, prices=-torch.ones(6, 1, 1)), "finite numbers from 0"),
        (lambda: AnyMask(channel, prices=torch.zeros(6, 1, 1)), "costs nothing"),
        (lambda: XorMask(channel, [1.0]), "two or more"),
        (lambda: XorMask(channel, [1.0, 1.5]), "from 0 to 1"),
        (lambda: XorMask(channel, [1.0, 0.5], StaticScores(3, (6, 1, 1), [0.0] * 3)), "3 versions for 2"),
        (lambda: HardMask(channel, torch.zeros(1, 2, 1, 1)), "alike"),
        (lambda: HardMask(channel, torch.full((1, 6, 1, 1), 1.5)).channels(), "rescaled"),
    ]
    for make, words in cases:
        with pytest.raises(SelectionError, match=words):
            make()


@pytest.mark.parametrize(("fine", "kept"), [(0.02, [0, 0, 0, 0, 1, 0]), (5.0, [0] * CHANNELS)])
def test_what_is_worth_its_fine_is_kept(fine: float, kept: list[int]) -> None:
    """One channel tells the answer; the loss without it is 1/6."""
    torch.manual_seed(0)
    mask, weight = AnyMask(grain("channel"), fine=fine), torch.zeros(CHANNELS)
    weight[4] = 1
    optimizer = torch.optim.Adam(mask.parameters(), 0.1)
    image = images(8)
    for _ in range(200):
        choice = mask.draw(image)
        loss = ((mask.apply_choice(image, choice) - image) * weight[:, None, None]).square().mean()
        loss = loss + mask.penalty(choice)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert mask.draw(image)[0].flatten().tolist() == kept

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geomask.errors import SelectionError
from geomask.masks.any import AnyMask
from geomask.masks.grain import Grain
from geomask.masks.hard import HardMask
from geomask.masks.hard_concrete import HardConcreteMask
from geomask.masks.scores import StaticScores
from geomask.masks.sequence import MaskSequence
from geomask.masks.xor import XorMask

SLOTS, BANDS, SIZE = 2, 3, (6, 8)
CHANNELS = SLOTS * BANDS
WEIGHTS = [1.0, 0.4, 0.1]


def grain(name: str) -> Grain:
    return Grain.of(name, SLOTS, BANDS, SIZE)


def static(versions: int, name: str, seed: int) -> StaticScores:
    scores = StaticScores(versions, grain(name).shape, [0.0] * versions)
    scores.logits.data = torch.randn(scores.logits.shape, generator=torch.Generator().manual_seed(seed))
    return scores


def any_mask(name: str, seed: int = 0) -> AnyMask:
    return AnyMask(grain(name), static(1, name, seed))


def xor_mask(name: str, seed: int = 0, weights: list[float] = WEIGHTS) -> XorMask:
    return XorMask(grain(name), weights, static(len(weights), name, seed))


def images(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, CHANNELS, *SIZE, generator=torch.Generator().manual_seed(3))


def at_pixels(values: np.ndarray, name: str) -> np.ndarray:
    """(groups, rows, columns) at every (channel, row, column)."""
    lie = grain(name)
    rows, columns = (np.arange(pixels) * blocks // pixels for pixels, blocks in zip(SIZE, lie.shape[1:], strict=True))
    return values[np.array(lie.groups)[:, None, None], rows[:, None], columns]


def weighed(mask: AnyMask | XorMask) -> np.ndarray:
    """What the choice of each unit weighs, from the formula: (groups, rows, columns)."""
    logits = mask.scores(None)[0].detach().numpy()
    if isinstance(mask, XorMask):
        return np.array(WEIGHTS)[logits.argmax(0)]
    return (logits[0] > 0).astype(float)


@given(
    st.integers(0, 1000),
    st.sampled_from(["version", "channel", "slot", "block:2x2"]),
    st.sampled_from(["channel", "band", "block:3x4"]),
    st.sampled_from(["block:6x4", "subblock:6x8", "pixel"]),
)
def test_the_share_is_the_product_of_what_each_choice_weighs(seed: int, first: str, second: str, third: str) -> None:
    """In the mean over pixels: blocks that divide the pixels are of one size."""
    masks = xor_mask(first, seed), any_mask(second, seed + 1), any_mask(third, seed + 2)
    sequence = MaskSequence(*masks, fine=0.5)
    choice = sequence.draw(images(1, 3))
    names = (first, second, third)
    want = np.prod([at_pixels(weighed(mask), name) for mask, name in zip(masks, names, strict=True)], 0).mean()
    assert 0 <= want <= 1
    assert sequence.share(choice).item() == pytest.approx(want, abs=1e-6)
    assert sequence.penalty(choice).item() == pytest.approx(0.5 * want, abs=1e-6)


@given(st.integers(0, 1000), st.sampled_from(["version", "subblock:2x4"]), st.sampled_from(["channel", "block:6x8"]))
def test_a_sequence_is_its_masks_in_turn_and_freezes_to_one_hard_mask(seed: int, first: str, second: str) -> None:
    masks = xor_mask(first, seed), any_mask(second, seed + 1), any_mask("block:2x4", seed + 2)
    sequence, image = MaskSequence(*masks), images(2, 3)
    passed = sequence(image)
    assert torch.equal(passed, masks[2](masks[1](masks[0](image))))
    hard = sequence.train().freeze()
    assert isinstance(hard, HardMask)
    assert sequence.training
    assert torch.equal(hard(image), passed)
    assert torch.equal(hard.channels()(passed), passed)


def test_nested_versions_freeze_to_one_hard_mask_too() -> None:
    outer, inner, last = xor_mask("channel", 1), xor_mask("block:2x4", 2, [1.0, 0.25]), any_mask("subblock:2x2", 3)
    sequence, image = MaskSequence(outer, inner, last), images(2, 3, 2)
    passed = sequence(image)
    assert passed.shape == (2, CHANNELS, *SIZE)
    assert torch.equal(passed, last(inner(outer(image))))
    hard = sequence.freeze()
    assert isinstance(hard, HardMask)
    assert hard.choice.shape == (1, 3, 2, CHANNELS, 2, 4)
    assert torch.equal(hard(image), passed)


def test_with_prices_the_share_is_that_of_the_bytes_of_each_combination() -> None:
    sequence = MaskSequence(xor_mask("slot", 4), any_mask("band", 1), any_mask("block:3x2", 2))
    prices = torch.rand(3, CHANNELS, 3, 2, dtype=torch.float64) * 1000
    priced = MaskSequence(*sequence, prices=prices)
    chosen, kept, blocks = (mask.draw(images(1, 3))[0][0].detach() for mask in sequence)
    total = 0.0
    for channel in range(CHANNELS):
        version = int(chosen[:, channel // BANDS].flatten().argmax())
        for row in range(3):
            for column in range(2):
                if kept[0, channel % BANDS, 0, 0] and blocks[0, 0, row, column]:
                    total += prices[version, channel, row, column].item()
    assert 0 < total < prices[0].sum()
    assert priced.share(priced.draw(images(1, 3))).item() == pytest.approx(total / prices[0].sum().item(), rel=1e-5)


def test_prices_of_each_mask_are_multiplied_through() -> None:
    """Where bytes are a product of channel and block, so is the share: prices of the whole say the same."""
    channel, block = torch.rand(CHANNELS, 1, 1, dtype=torch.float64), torch.rand(1, 3, 4, dtype=torch.float64)
    masks = (
        AnyMask(grain("channel"), static(1, "channel", 1), prices=channel * 7),
        AnyMask(grain("block:3x4"), static(1, "block:3x4", 2), prices=block * 5),
    )
    apart, whole = MaskSequence(*masks), MaskSequence(*masks, prices=(channel * block)[None])
    choice = apart.draw(images(1))
    assert apart.share(choice).item() == pytest.approx(whole.share(choice).item(), rel=1e-5)
    assert 0 < apart.share(choice).item() < 1


def test_lambda_reaches_the_scores_of_each_mask() -> None:
    sequence = MaskSequence(xor_mask("version", 1), any_mask("channel", 2), any_mask("block:2x2", 3))
    sequence.temperature = 2.0
    assert all(mask.temperature == 2.0 for mask in sequence)
    sequence.penalty(sequence.draw(images(4, 3))).backward()
    for mask in sequence:
        assert isinstance(mask.scores, StaticScores)
        assert mask.scores.logits.grad is not None
        assert mask.scores.logits.grad.abs().sum() > 0
    assert sequence.is_spatial
    assert sequence.heads == CHANNELS


def test_what_makes_no_sequence_is_an_error() -> None:
    sampled = HardConcreteMask(grain("channel"), torch.ones(CHANNELS, 1, 1), 2)
    other = AnyMask(Grain.of("channel", 1, 1, SIZE))
    for masks, words in (
        ((), "not of nothing"),
        ((sampled,), "HardConcreteMask"),
        ((any_mask("channel"), other), r"over \[6, 1\] channels"),
        ((any_mask("block:2x2"), any_mask("block:3x2")), "2 x 2 blocks do not divide 3 x 2"),
    ):
        with pytest.raises(SelectionError, match=words):
            MaskSequence(*masks)
    with pytest.raises(SelectionError, match="prices of"):
        MaskSequence(any_mask("channel"), prices=torch.ones(CHANNELS, 1, 1))

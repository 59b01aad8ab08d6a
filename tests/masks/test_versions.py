import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geomask.errors import SelectionError
from geomask.masks.any import AnyMask
from geomask.masks.grain import Grain
from geomask.masks.versions import extend, merge, pass_chosen
from geomask.masks.xor import XorMask

SIZE = (5, 7)


def copies(count: int, *shape: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(*shape, generator=generator) * 1e6 for _ in range(count)]


@given(st.integers(0, 3), st.integers(0, 3))
def test_what_was_extended_and_merged_is_the_version_that_was_chosen(more: int, which: int) -> None:
    images = copies(1 + more, 2, 3, *SIZE)
    which %= len(images)
    extended = extend(*images)
    assert extended.shape == (2, 1 + more, 3, *SIZE)
    mask = torch.zeros(1, 1 + more, 1, 1, 1)
    mask[:, which] = 1
    assert torch.equal(merge(extended, mask), images[which])


def test_a_pretrained_network_sees_no_change_at_the_start() -> None:
    image, *others = copies(3, 4, 6, *SIZE)
    network = torch.nn.Sequential(torch.nn.Conv2d(6, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 2, 3)).eval()
    mask = XorMask(Grain.of("channel", 3, 2, SIZE), [1.0, 0.5, 0.1])
    assert torch.equal(network(mask(extend(image, *others))), network(image))


def test_nested_versions_are_merged_in_turn() -> None:
    """Levels inside of qualities: the outer axis is merged first."""
    image, *others = copies(6, 2, 4, *SIZE)
    nested = extend(extend(image, others[0], others[1]), extend(*others[2:]))
    assert nested.shape == (2, 2, 3, 4, *SIZE)
    outer = XorMask(Grain.of("channel", 2, 2, SIZE), [1.0, 0.5])
    inner = XorMask(Grain.of("block:2x3", 2, 2, SIZE), [1.0, 0.5, 0.2])
    assert torch.equal(inner(outer(nested)), image)
    with torch.no_grad():
        outer.scores.logits[:, 1, 3] += 9  # channel 3 from the second quality
        inner.scores.logits[:, 2, 0, 1, 2] += 9  # the last block from the third level
    passed = inner(outer(nested))
    for channel in range(4):
        for row in range(5):
            for column in range(7):
                quality, level = int(channel == 3), 2 * int(row * 2 // 5 == 1 and column * 3 // 7 == 2)
                want = nested[:, quality, level, channel, row, column]
                assert torch.equal(passed[:, channel, row, column], want)


def test_a_mask_of_one_version_holds_for_all_versions() -> None:
    image = extend(*copies(2, 2, 3, *SIZE))
    mask = AnyMask(Grain.of("channel", 1, 3, SIZE))
    with torch.no_grad():
        mask.scores.logits[:, :, 1] = -1
    want = image.clone()
    want[:, :, 1] = 0
    assert torch.equal(mask(image), want)


def test_copies_of_another_size_and_missing_versions_are_errors() -> None:
    with pytest.raises(SelectionError, match="bring it to the image's grid"):
        extend(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 2, 2))
    grain = Grain.of("channel", 1, 2, SIZE)
    for image in (torch.zeros(1, 2, *SIZE), torch.zeros(1, 2, 2, *SIZE)):
        with pytest.raises(SelectionError, match="extend it"):
            pass_chosen(image, torch.zeros(1, 3, *grain.shape), grain)

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from geomask.errors import SelectionError
from geomask.masks.dynamic import DynamicScores, resize
from geomask.masks.models import MODELS, mask_model

PREVIEW, SHAPE = (2, 3, 5), (3, 4, 7)


def scores(model: str | nn.Module, preview=PREVIEW, versions=2, shape=SHAPE, starts=(3.0, -1.0), **options):
    torch.manual_seed(0)
    return DynamicScores(model, preview, versions, shape, starts, **options)


@pytest.mark.parametrize("preview", [PREVIEW, (1, 1, 1), (3, 16, 40)], ids=str)
@pytest.mark.parametrize("model", MODELS)
def test_every_model_starts_at_the_static_scores_for_previews_of_any_size(model: str, preview):
    given_starts = torch.randn(2, *SHAPE)
    dynamic = scores(model, preview, starts=given_starts)
    found = dynamic(torch.randn(6, *preview))
    assert found.shape == (6, 2, *SHAPE)
    assert torch.equal(found, given_starts.expand(6, -1, -1, -1, -1))


@pytest.mark.parametrize("model", MODELS)
def test_training_moves_every_model_to_a_choice_of_each_chip(model: str):
    """The unit under the brightest pixel is wanted: the same for no two chips."""
    dynamic = scores(model, (1, 4, 7), versions=1, shape=(1, 4, 7), starts=(0.0,))
    place = torch.arange(28)
    preview = functional.one_hot(place, 28).float().reshape(28, 1, 4, 7)
    optimizer = torch.optim.Adam(dynamic.parameters(), 0.02)
    losses = []
    for _ in range(100):
        found = dynamic(preview).flatten(1)
        losses.append(functional.cross_entropy(found, place))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    dynamic.eval()
    right = (dynamic(preview).flatten(1).argmax(1) == place).float().mean()
    assert losses[-1] < losses[0] - 0.5
    assert right > 0.5


def test_blocks_follow_the_rows_and_columns_of_the_preview():
    """A bright pixel in the upper right of 3 x 5 pixels raises the blocks of the upper right of 6 x 10, no others."""
    dynamic = scores(nn.Identity(), (1, 3, 5), versions=1, shape=(1, 6, 10), starts=(0.0,))
    preview = torch.zeros(1, 1, 3, 5)
    preview[0, 0, 0, 4] = 1
    expected = torch.zeros(6, 10)
    expected[:2, 8:] = 1
    assert torch.equal(dynamic(preview)[0, 0, 0], expected)


def test_versions_come_before_groups():
    found = scores(nn.Identity(), (6, 4, 7), starts=(0.0, 0.0))(
        torch.arange(6.0).reshape(1, 6, 1, 1).expand(1, 6, 4, 7)
    )
    assert found[0, :, :, 0, 0].tolist() == [[0, 1, 2], [3, 4, 5]]


@given(*[st.integers(1, 9)] * 4)
def test_resize_keeps_the_mean_of_what_divides_and_never_leaves_its_range(rows, columns, to_rows, to_columns):
    given_scores = torch.randn(1, 1, rows, columns)
    found = resize(given_scores, (to_rows, to_columns))
    assert found.shape == (1, 1, to_rows, to_columns)
    assert found.min() >= given_scores.min() - 1e-6
    assert found.max() <= given_scores.max() + 1e-6
    if rows % to_rows == 0 and columns % to_columns == 0:
        assert torch.allclose(found.mean(), given_scores.mean(), atol=1e-6)


def learned(dynamic: DynamicScores) -> set[str]:
    return {name.partition(".")[0] for name, weight in dynamic.named_parameters() if weight.requires_grad}


def test_either_part_can_be_held_still():
    assert learned(scores("conv")) == {"static", "model"}
    assert learned(scores("conv", learn_static=False)) == {"model"}
    assert learned(scores("conv", learn_dynamic=False)) == {"static"}
    with pytest.raises(SelectionError, match="neither"):
        scores("conv", learn_static=False, learn_dynamic=False)


def test_what_cannot_be_is_refused():
    with pytest.raises(SelectionError, match="no mask model 'resnet'; choose one of linear, mlp"):
        mask_model("resnet", PREVIEW, 1, SHAPE)
    with pytest.raises(SelectionError, match=r"starts of the shape \(3,\); give \(2,\) or \(2, 3, 4, 7\)"):
        scores("conv", starts=(1.0, 2.0, 3.0))
    with pytest.raises(SelectionError, match="need a preview"):
        scores("conv")(None)
    assert not scores("conv").is_static


def test_starts_are_a_copy():
    starts = torch.zeros(2, *SHAPE)
    dynamic = scores("conv", starts=starts)
    with torch.no_grad():
        dynamic.static.add_(1)
    assert starts.eq(0).all()


def test_a_deeper_convnet_for_a_larger_preview():
    sizes = [
        mask_model("convnet", (1, side, 2 * side), 1, (1, 4, 7))(torch.zeros(2, 1, side, 2 * side)).shape[2:]
        for side in (4, 8, 33)
    ]
    assert sizes == [(4, 8), (4, 8), (5, 9)]

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geomask.errors import SelectionError
from geomask.masks.any import AnyMask
from geomask.masks.grain import Grain
from geomask.masks.ranked import RankedScores
from geomask.masks.scores import StaticScores


def test_static_scores_start_at_their_means() -> None:
    torch.manual_seed(0)
    logits = StaticScores(2, (30, 20, 10), [3.0, -1.0], deviation=0.01)(None)
    assert logits.shape == (1, 2, 30, 20, 10)
    for version, mean in enumerate((3.0, -1.0)):
        assert logits[:, version].mean().item() == pytest.approx(mean, abs=1e-3)
        assert logits[:, version].std().item() == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize(
    ("versions", "shape", "starts", "words"),
    [(2, (1, 1, 1), [0.0], "1 starts for 2 versions"), (0, (1, 1, 1), [], "1 or more"), (1, (1, 0, 2), [0.0], "1 or")],
)
def test_scores_of_nothing_are_an_error(
    versions: int, shape: tuple[int, int, int], starts: list[float], words: str
) -> None:
    with pytest.raises(SelectionError, match=words):
        StaticScores(versions, shape, starts)


@given(
    st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(0, 5), st.integers(1, 4), st.integers(0, 30)
)
def test_the_least_important_units_are_dropped_on_schedule(
    groups: int, rows: int, columns: int, drop: int, every: int, steps: int
) -> None:
    units = groups * rows * columns
    importance = torch.randn(groups, rows, columns, generator=torch.Generator().manual_seed(units))
    scores = RankedScores(importance, drop, every).train()
    for _ in range(steps):
        scores(None)
    kept = scores.eval()(None)[0, 0] > 0
    want = max(1, units - drop * (steps // every))
    assert kept.sum() == want == scores.kept
    assert importance[kept].min() >= importance[~kept].max() if want < units else True


def test_steps_count_in_training_alone_and_are_saved() -> None:
    scores = RankedScores(torch.tensor([[[3.0, 1.0, 2.0]]]), drop=1, every=2).eval()
    for _ in range(9):
        assert scores(None).tolist() == [[[[[1, 1, 1]]]]]
    scores.train()
    assert [scores(None).flatten().tolist() for _ in range(4)] == [[1, 1, 1], [1, -1, 1], [1, -1, 1], [1, -1, -1]]
    other = RankedScores.at_random((1, 1, 3), drop=1, every=2, seed=0)
    other.load_state_dict(scores.state_dict())
    assert other.eval()(None).tolist() == scores.eval()(None).tolist()


def test_of_equal_importance_the_first_stays() -> None:
    scores = RankedScores(torch.zeros(1, 1, 5), drop=3, every=1)
    assert scores(None).flatten().tolist() == [1, 1, -1, -1, -1]


def test_a_random_order_is_that_of_its_seed_and_touches_no_other_noise() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    ranks = [RankedScores.at_random((4, 5, 6), 1, 1, seed).ranks for seed in (1, 1, 2)]
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(ranks[0], ranks[1])
    assert not torch.equal(ranks[0], ranks[2])
    assert sorted(ranks[2].flatten().tolist()) == list(range(120))


def test_a_mask_keeps_the_ranking_and_freezes_to_it() -> None:
    mask = AnyMask(Grain.of("channel", 2, 2, (3, 5)), RankedScores(torch.tensor([4.0, 1, 3, 2])[:, None, None], 1, 1))
    image = torch.randn(2, 4, 3, 5)
    assert torch.equal(mask.train()(image), image * torch.tensor([1.0, 0, 1, 1])[:, None, None])
    assert torch.equal(mask.freeze()(image), mask.eval()(image))
    assert mask.share(mask.draw(image)).item() == 0.75


@pytest.mark.parametrize(
    ("shape", "drop", "every", "least"),
    [((3,), 1, 1, 1), ((1, 1, 3), -1, 1, 1), ((1, 1, 3), 1, 0, 1), ((1, 1, 3), 1, 1, 4)],
)
def test_what_is_no_schedule_is_an_error(shape: tuple[int, ...], drop: int, every: int, least: int) -> None:
    with pytest.raises(SelectionError, match=r"importance|schedule"):
        RankedScores(torch.zeros(shape), drop, every, least)

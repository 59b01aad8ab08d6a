from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from geomask.errors import SelectionError
from geomask.masks.dynamic import DynamicScores
from geomask.masks.grain import Grain
from geomask.masks.hard import HardMask
from geomask.masks.preview import Preview
from geomask.masks.priced import FULL, PricedGate, PricedPolicy
from geomask.masks.scores import StaticScores

CHANNELS = Grain((0, 1, 2, 3))


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    """Gates so small gain nothing from two."""
    torch.set_num_threads(1)


def prices_of(*versions: list[float]) -> np.ndarray:
    return np.array(versions)[:, :, None, None]


def gate_of(scores: list[list[float]], prices: np.ndarray, budget: float, **options: Any) -> PricedGate:
    """A gate of these static scores, (versions, channels)."""
    made = StaticScores(len(scores), (len(scores[0]), 1, 1), [0.0] * len(scores))
    made.logits.data = torch.tensor(scores)[None, :, :, None, None]
    return PricedGate(Grain(tuple(range(len(scores[0])))), prices, budget, made, **options)


@st.composite
def gates(draw: st.DrawFn) -> PricedGate:
    """Gates of up to three versions over channels and blocks, whose budget is a share of all bytes."""
    torch.manual_seed(draw(st.integers(0, 99)))
    grain = Grain(tuple(range(draw(st.integers(1, 3)))), draw(st.integers(1, 2)), draw(st.integers(1, 3)))
    shape = draw(st.integers(1, 3)), *grain.shape
    cells = int(np.prod(shape))
    prices = np.reshape(draw(st.lists(st.integers(1, 900).map(float), min_size=cells, max_size=cells)), shape)
    share = draw(st.floats(0.05, 0.95))
    scores = StaticScores(shape[0], grain.shape, [0.0] * shape[0], deviation=2.0)
    return PricedGate(grain, prices, max(share * prices.max(0).sum(), prices.min()), scores)


@settings(max_examples=40)
@given(gates(), st.floats(0, 1))
def test_the_expected_bytes_are_the_budget_which_comes_down_from_all_bytes(gate: PricedGate, progress: float) -> None:
    gate.anneal(progress)
    shares = gate.probabilities(torch.zeros(1, 1, gate.heads, 6, 6)).double().numpy()[0]
    dense = FULL * gate.market.prices.max(0).sum()
    want = dense * (min(gate.budget, dense) / dense) ** min(1, progress / 0.7)
    assert (shares * gate.market.prices).sum() == pytest.approx(want, rel=5e-3)
    assert shares.sum(0).max() <= 1 + 1e-6


@settings(max_examples=40)
@given(gates())
def test_the_frozen_gate_stays_within_the_budget_and_uses_it(gate: PricedGate) -> None:
    hard = gate.freeze()
    assert isinstance(hard, HardMask)
    choice = hard.choice[0].numpy() == 1
    prices = gate.market.prices
    left = gate.budget - prices[choice].sum()
    assert left >= 0
    assert (prices[:, ~choice.any(0)] > left).all()
    assert (choice == gate.eval().draw(torch.zeros(1, len(prices), gate.heads, 6, 6))[0][0].numpy()).all()


@pytest.mark.parametrize("mode", [True, False])
def test_a_decided_gate_equals_its_frozen_one_in_training_too(mode: bool) -> None:
    prices = prices_of([10.0, 10, 10, 10], [4.0, 4, 4, 4])
    gate = gate_of([[90.0, -90, -90, -90], [-90.0, -90, 90, 90]], prices, 18)
    gate.anneal(1)
    image = torch.randn(5, 2, 4, 3, 6)
    want = torch.stack([image[:, 0, 0], torch.zeros(5, 3, 6), image[:, 1, 2], image[:, 1, 3]], 1)
    assert torch.equal(gate.train(mode)(image), want)
    assert torch.equal(gate.freeze()(image), want)


def test_samples_are_hard_concrete_for_one_version() -> None:
    """z = clip(1.2 sigmoid((log u - log(1 - u) + log p - log(1 - p)) / (2 / 3)) - 0.1, 0, 1): Louizos et al. 2018."""
    gate = gate_of([[1.0, -0.5]], prices_of([3.0, 1.0]), 2.0)
    gate.anneal(0.7)
    odds = torch.logit(gate.probabilities(torch.zeros(1, 2, 1, 1)))[0, 0, :, 0, 0].double()
    drawn = gate.train().draw(torch.zeros(40_000, 2, 1, 1))[0][:, 0, :, 0, 0]
    assert drawn.shape == (40_000, 2)
    for unit in range(2):
        # P(z = 0) and P(z = 1) in closed form
        zero = torch.sigmoid(-odds[unit] - 2 / 3 * np.log(11))
        one = torch.sigmoid(odds[unit] - 2 / 3 * np.log(11))
        assert (drawn[:, unit] == 0).double().mean().item() == pytest.approx(zero.item(), abs=0.01)
        assert (drawn[:, unit] == 1).double().mean().item() == pytest.approx(one.item(), abs=0.01)


def test_of_several_versions_one_is_drawn_with_its_probability() -> None:
    gate = gate_of([[2.0, 0.0], [1.0, 0.5]], prices_of([3.0, 2.0], [1.0, 1.0]), 2.5)
    gate.anneal(0.7)
    shares = gate.probabilities(torch.zeros(1, 2, 2, 1, 1))[0, :, :, 0, 0]
    drawn = gate.train().draw(torch.zeros(40_000, 2, 2, 1, 1))[0][..., 0, 0]
    most = drawn.argmax(1).where(drawn.amax(1) > 1 - drawn.sum(1).clamp(max=1), torch.tensor(-1))
    for version in range(2):
        found = (most == version).float().mean(0)
        assert torch.allclose(found, shares[version], atol=0.02)


def test_samples_differ_and_are_in_zero_to_one() -> None:
    gate = PricedGate(CHANNELS, prices_of([1.0, 2, 3, 4]), 5).train()
    gate.anneal(0.7)
    (drawn,) = gate.draw(torch.zeros(64, 4, 2, 2))
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert not torch.equal(drawn[0], drawn[1])


@settings(max_examples=25)
@given(gates())
def test_the_gradient_moves_no_expected_byte(gate: PricedGate) -> None:
    """Scores that all rise by the same amount a byte change nothing: theta takes it back."""
    gate.anneal(0.5)
    odds = gate._odds(gate.scores(None))
    torch.manual_seed(1)
    (odds * torch.randn(odds.shape)).sum().backward()
    gradient = gate.scores.get_parameter("logits").grad
    assert gradient is not None
    parts = gradient * gate.market.cost
    assert abs(parts.sum().item()) <= 1e-2 * parts.abs().sum().item() + 1e-3


def learn(gate: PricedGate, image: Tensor, target: Tensor, steps: int = 150) -> None:
    optimizer = torch.optim.Adam(gate.parameters(), 0.1)
    torch.manual_seed(0)
    for step in range(steps):
        gate.train().anneal(step / (steps - 1))
        loss = (gate(image).sum((1, 2, 3)) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def test_it_learns_what_is_worth_its_bytes() -> None:
    """Channels 1 and 3 make the target; one of them costs all the others together, and still is what is needed."""
    torch.manual_seed(0)
    image = torch.randn(256, 4, 1, 1)
    gate = PricedGate(CHANNELS, prices_of([1.0, 3, 1, 1]), 4)
    learn(gate, image, 2 * image[:, 1, 0, 0] + image[:, 3, 0, 0])
    assert gate.freeze().choice[0, 0, :, 0, 0].tolist() == [0, 1, 0, 1]  # type: ignore[union-attr]


def test_it_learns_to_take_a_cheaper_version_where_that_says_the_same() -> None:
    torch.manual_seed(0)
    image = torch.randn(256, 1, 2, 1, 1).repeat(1, 2, 1, 1, 1)
    image[:, 1, 1] = torch.randn(256, 1, 1)  # the small version of channel 1 says nothing
    gate = PricedGate(Grain((0, 1)), prices_of([5.0, 5.0], [1.0, 1.0]), 6)
    learn(gate, image, image[:, 0, 0, 0, 0] + image[:, 0, 1, 0, 0])
    assert gate.freeze().choice[0, :, :, 0, 0].tolist() == [[0, 1], [1, 0]]  # type: ignore[union-attr]


def dynamic(budget: float) -> tuple[PricedGate, Tensor]:
    """Where a chip is bright in its first channel decides which half of the second one tells."""
    torch.manual_seed(0)
    grain = Grain((0, 0), 1, 2)
    preview = Preview((0,), 2)
    scores = DynamicScores("linear", preview.size((4, 8)), 1, grain.shape, [0.0])
    side = torch.randint(2, (128,))
    image = 0.1 * torch.randn(128, 2, 4, 8)
    image[:, 0, :, :4] += (side == 0)[:, None, None].float()
    image[:, 0, :, 4:] += (side == 1)[:, None, None].float()
    return PricedGate(grain, np.array([[[[10.0, 12.0]]]]), budget, scores, preview), image


def test_dynamic_scores_spend_the_budget_on_average_over_chips() -> None:
    gate, image = dynamic(11)
    optimizer = torch.optim.Adam(gate.parameters(), 0.1)
    for step in range(60):
        gate.train().anneal(step / 59)
        choice = gate.draw(image)
        loss = -gate.apply_choice(image, choice)[:, 0].sum((1, 2)).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    expected = (gate.probabilities(image) * torch.tensor([10.0, 12.0])).sum() / len(image)
    assert expected.item() == pytest.approx(11, rel=2e-3)
    policy = gate.freeze()
    assert isinstance(policy, PricedPolicy)
    assert policy.is_hard
    assert policy.is_spatial
    (choice,) = policy.draw(image)
    assert set(choice.unique().tolist()) <= {0.0, 1.0}
    assert (choice * torch.tensor([10.0, 12.0])).sum().item() / len(image) <= 11
    right = choice[:, 0, 0, 0].argmax(1) == (image[:, 0, :, 4:].sum((1, 2)) > image[:, 0, :, :4].sum((1, 2))).long()
    assert right.float().mean() > 0.95
    assert torch.equal(policy.train()(image), policy.eval()(image))
    assert not any(parameter.requires_grad for parameter in policy.parameters())


@st.composite
def moving_gates(draw: st.DrawFn) -> tuple[PricedGate, Tensor]:
    """Gates of dynamic scores, up to three versions, once the budget is down; with images to look at."""
    torch.manual_seed(draw(st.integers(0, 99)))
    grain, versions = Grain((0, 0), 1, 3), draw(st.integers(1, 3))
    preview = Preview((0,), 2)
    scores = DynamicScores("linear", preview.size((4, 6)), versions, grain.shape, torch.randn(versions, *grain.shape))
    scores.model.gamma.data.fill_(draw(st.floats(0.5, 5)))
    prices = np.random.default_rng(draw(st.integers(0, 9))).integers(1, 90, (versions, *grain.shape)).astype(float)
    gate = PricedGate(grain, prices, draw(st.floats(0.1, 0.9)) * prices.max(0).sum(), scores, preview).train()
    gate.anneal(0.8)
    return gate, torch.randn(200, 2, 4, 6) if versions == 1 else torch.randn(200, versions, 2, 4, 6)


@settings(max_examples=25)
@given(moving_gates())
def test_once_the_budget_is_down_dynamic_scores_choose_hard_and_meet_it(made: tuple[PricedGate, Tensor]) -> None:
    gate, image = made
    with torch.no_grad():
        (choice,) = gate.draw(image)
    assert set(choice.unique().tolist()) <= {0.0, 1.0}
    assert choice.sum(1).max() <= 1
    taken = (choice.double().numpy() * gate.market.prices).sum() / len(image)
    assert 0.99 * gate.budget - gate.market.prices.max() / len(image) <= taken <= gate.budget * (1 + 1e-6)


@settings(max_examples=25)
@given(moving_gates())
def test_hard_choices_pass_on_a_gradient_that_moves_no_byte(made: tuple[PricedGate, Tensor]) -> None:
    gate, image = made
    (choice,) = gate.draw(image)
    weights = torch.randn_like(choice)
    static, gamma = gate.scores.get_parameter("static"), gate.scores.get_parameter("model.gamma")
    of_all = torch.autograd.grad((choice * weights).sum(), (static, gamma), retain_graph=True)
    of_bytes = torch.autograd.grad((choice * gate.market.cost).sum(), (static, gamma))
    for found, held in zip(of_all, of_bytes, strict=True):
        assert found.abs().max() > 1e-3
        assert held.abs().max() <= 1e-2 * len(image)


@settings(max_examples=25)
@given(moving_gates(), st.floats(-3, 3))
def test_a_policy_that_is_settled_elsewhere_keeps_its_budget_there(made: tuple[PricedGate, Tensor], by: float) -> None:
    gate, image = made
    gate.draw(image)
    policy = gate.freeze()
    assert isinstance(policy, PricedPolicy)
    elsewhere = 1.5 * image + by
    policy.settle(elsewhere)
    spent = float((policy.draw(elsewhere)[0] * torch.from_numpy(gate.market.prices)).sum()) / len(image)
    assert 0.8 * gate.budget < spent <= gate.budget * (1 + 1e-6)


def test_static_scores_are_drawn_softly_to_the_end() -> None:
    gate = gate_of([[0.1, 0.0, -0.1, 0.0]], prices_of([1.0, 1, 1, 1]), 2).train()
    gate.anneal(1)
    torch.manual_seed(3)
    (drawn,) = gate.draw(torch.zeros(50, 4, 1, 1))
    torch.manual_seed(3)
    uniform = torch.rand(drawn.shape).clamp(1e-6, 1 - 1e-6)
    logit = torch.logit(gate.probabilities(torch.zeros(1, 4, 1, 1)))
    want = (1.2 * ((logit + uniform.logit()) / (2 / 3)).sigmoid() - 0.1).clamp(0, 1)
    assert torch.allclose(drawn, want, atol=1e-4)
    assert ((drawn > 0) & (drawn < 1)).any()


def test_a_dynamic_gate_that_saw_no_training_has_no_theta() -> None:
    gate, image = dynamic(11)
    with pytest.raises(SelectionError, match="draw in training first"):
        gate.eval()(image)


def test_later_budgets_start_from_the_one_before() -> None:
    prices = prices_of([10.0, 20, 30, 40])
    gate = gate_of([[1.0, 0, 0, 0]], prices, 10, first=50)
    shares = (gate.probabilities(torch.zeros(1, 4, 1, 1))[0].double().numpy() * prices).sum()
    assert shares == pytest.approx(50, rel=1e-3)


def test_what_a_choice_spends_is_its_share_of_all_units_at_their_dearest() -> None:
    gate = PricedGate(CHANNELS, prices_of([10.0, 20, 30, 40], [5.0, np.inf, 5, 5]), 50)
    choice = torch.zeros(2, 2, 4, 1, 1)
    choice[0, 0, 1] = choice[1, 1, 0] = 1
    assert gate.spent((choice,)).item() == pytest.approx((20 + 5) / 2 / 100)


def test_free_units_are_always_kept_and_what_cannot_be_had_never_is() -> None:
    gate = gate_of([[-30.0, 30.0, 0.0, 0.0]], prices_of([0.0, np.inf, 5, 5]), 6)
    for progress in (0.0, 0.5, 1.0):
        gate.anneal(progress)
        shares = gate.probabilities(torch.zeros(1, 4, 1, 1))[0, 0, :, 0, 0]
        assert shares[:2].tolist() == pytest.approx([1, 0], abs=1e-6)
    assert gate.freeze().choice[0, 0, :2, 0, 0].tolist() == [1, 0]  # type: ignore[union-attr]


def test_where_all_is_free_all_is_kept() -> None:
    gate = PricedGate(CHANNELS, np.zeros((1, 4, 1, 1)), 0).train()
    assert torch.equal(gate(torch.ones(3, 4, 2, 2)), torch.ones(3, 4, 2, 2))
    assert gate.freeze().choice.min() == 1  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("prices", "budget", "scores", "said"),
    [
        (np.ones((1, 3, 1, 1)), 2, None, r"a grain of \(4, 1, 1\)"),
        (np.full((1, 4, 1, 1), 9.0), 8, None, "below the cheapest unit's 9"),
        (np.full((1, 4, 1, 1), np.nan), 8, None, "0 or more"),
        (np.ones((2, 4, 1, 1)), 8, StaticScores(1, (4, 1, 1), [0.0]), r"scores of \(1, 4, 1, 1\)"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    prices: np.ndarray, budget: float, scores: StaticScores | None, said: str
) -> None:
    with pytest.raises(SelectionError, match=said):
        PricedGate(CHANNELS, prices, budget, scores)

import numpy as np
import pytest

from geomask.errors import SelectionError
from geomask.masks.probe import FAR, JITTER, RIDGE, Probe

RNG = np.random.default_rng(1)
#: Features 2 and 5 tell the label together; 3 is 2 again, with noise.
FEATURES = RNG.normal(size=(240, 8))
FEATURES[:, 3] = FEATURES[:, 2] + 0.5 * RNG.normal(size=240)
LABELS = (FEATURES[:, 2] + FEATURES[:, 5] > 0).astype(np.int64)
GROUPS = np.arange(240) // 12


def rate_plainly(probe: Probe, subset: list[int]) -> float:
    """The same by its definition: fold by fold, in float64."""
    features, targets = probe._features.double().numpy(), probe._targets.double().numpy()
    landmarks = probe._landmarks.numpy()
    near = ((features[subset][:, :, None] - features[subset][:, None, landmarks]) ** 2).mean(0)
    basis = np.column_stack([np.exp(-near), np.ones(len(near))])
    ridge = np.zeros((basis.shape[1],) * 2)
    ridge[:-1, :-1] = RIDGE * np.exp(-near)[landmarks]
    ridge += JITTER * np.eye(len(ridge))
    folds = np.repeat(np.arange(len(probe._sizes)), probe._sizes)
    errors = []
    for fold in range(len(probe._sizes)):
        known, asked = basis[folds != fold], basis[folds == fold]
        weights = np.linalg.solve(known.T @ known + ridge, known.T @ targets[folds != fold])
        errors.append(((asked @ weights - targets[folds == fold]) ** 2).sum(1))
    return -float(np.concatenate(errors).mean())


@pytest.mark.parametrize("subset", [[2], [2, 5], [0, 1, 4, 7], list(range(8))])
def test_the_closed_form_is_cross_validation(subset: list[int]) -> None:
    probe = Probe(FEATURES, LABELS, GROUPS)
    assert probe.rate(subset) == pytest.approx(rate_plainly(probe, subset), abs=1e-3)


def test_what_tells_together_is_worth_most() -> None:
    probe = Probe(FEATURES, LABELS, GROUPS)
    assert probe.rate([2, 5]) > max(probe.rate([2]), probe.rate([5]), probe.rate([2, 3])) + 0.1
    assert set(probe.select(lambda subset: len(subset) <= 2)) == {2, 5}


def test_values_are_probed_too() -> None:
    probe = Probe(FEATURES, np.sin(2 * FEATURES[:, 4]), GROUPS)
    assert probe.select(lambda subset: len(subset) <= 1) == [4]


def test_prices_count_and_one_of_a_kind_is_chosen() -> None:
    probe = Probe(np.column_stack([FEATURES[:, 4], FEATURES[:, 4]]), FEATURES[:, 4] ** 3, GROUPS)
    prices = np.array([10.0, 2.0])
    chosen = probe.select(lambda subset: sum(prices[subset]) <= 12, prices, kinds=[0, 0])
    assert chosen == [1]
    assert probe.select(lambda subset: sum(prices[subset]) <= 12, prices) == [1, 0]  # without kinds there is room


def test_nothing_is_chosen_where_nothing_fits_and_all_where_all_does() -> None:
    probe = Probe(FEATURES, LABELS, GROUPS)
    assert probe.select(lambda subset: False) == []
    assert sorted(probe.select(lambda subset: True)) == list(range(8))


def test_groups_are_never_divided() -> None:
    rng = np.random.default_rng(0)
    features = np.repeat(rng.normal(size=(20, 1)), 12, 0)  # a group's samples are all the same,
    labels = np.repeat(rng.integers(0, 2, 20), 12)  # and its label is chance
    divided = Probe(features, labels, np.arange(240))
    whole = Probe(features, labels, GROUPS)
    assert divided.rate([0]) > whole.rate([0]) + 0.1


def test_odd_values_and_constants_do_no_harm() -> None:
    features = np.column_stack([FEATURES, np.ones(240)])
    features[7, 0] = 1e9
    probe = Probe(features, LABELS, GROUPS)
    assert float(probe._features.abs().max()) <= FAR
    assert np.isfinite(probe.rate([0, 8]))


def test_shapes_that_do_not_fit_are_errors() -> None:
    with pytest.raises(SelectionError, match="give \\(samples, features\\)"):
        Probe(FEATURES, LABELS[:4], GROUPS)
    with pytest.raises(SelectionError, match="two samples"):
        Probe(FEATURES[:1], LABELS[:1], GROUPS[:1])

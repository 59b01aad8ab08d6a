import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.feature_selection import mutual_info_classif, mutual_info_regression

from geomask.errors import SelectionError
from geomask.masks.rankings import (
    TREES,
    decorrelated_order,
    find_correlations,
    find_information,
    forest_order,
    information_order,
    mrmr_order,
)

RNG = np.random.default_rng(0)
#: 0 and 1 say the same and decide the class; 2 helps; 3 to 5 are noise.
FEATURES = RNG.normal(size=(300, 6))
FEATURES[:, 1] = FEATURES[:, 0] + 0.05 * RNG.normal(size=300)
LABELS = (2 * FEATURES[:, 0] + FEATURES[:, 2] > 0).astype(np.int64)


def test_orders_are_those_of_scikit_learn() -> None:
    forest = RandomForestClassifier(TREES, random_state=3).fit(FEATURES, LABELS)
    assert forest_order(FEATURES, LABELS, 3).tolist() == np.argsort(-forest.feature_importances_).tolist()
    information = mutual_info_classif(FEATURES, LABELS, random_state=3)
    assert information_order(FEATURES, LABELS, 3).tolist() == np.argsort(-information, kind="stable").tolist()


def test_labels_that_are_floats_are_values() -> None:
    values = FEATURES[:, 2] ** 2
    forest = RandomForestRegressor(TREES, random_state=0).fit(FEATURES, values)
    assert forest_order(FEATURES, values).tolist() == np.argsort(-forest.feature_importances_).tolist()
    expected = mutual_info_regression(FEATURES, values, random_state=0)
    assert np.array_equal(find_information(FEATURES, values), expected)


def test_correlations_are_pearsons_and_0_for_a_constant() -> None:
    features = np.column_stack([FEATURES, np.full(300, 7.0)])
    alike = find_correlations(features)
    np.testing.assert_allclose(alike[:6, :6], np.abs(np.corrcoef(FEATURES.T)), atol=1e-12)
    assert not alike[6].any()


def test_what_resembles_a_better_one_comes_last() -> None:
    order = np.array([1, 0, 2, 3, 4, 5])
    assert decorrelated_order(FEATURES, order).tolist() == [1, 2, 3, 4, 5, 0]
    assert decorrelated_order(FEATURES, order, limit=1.1).tolist() == order.tolist()


@given(st.permutations(range(6)), st.floats(0.01, 1))
def test_no_two_that_are_kept_are_alike(order: list[int], limit: float) -> None:
    ranked = decorrelated_order(FEATURES, np.array(order), limit).tolist()
    alike = find_correlations(FEATURES)
    assert sorted(ranked) == list(range(6))
    kept: list[int] = []
    for feature in order:  # the definition, once more
        if all(alike[feature, other] < limit for other in kept):
            kept.append(feature)
    assert ranked == kept + [feature for feature in order if feature not in kept]


def test_mrmr_by_the_formula() -> None:
    relevance = mutual_info_classif(FEATURES, LABELS, random_state=0)
    alike = np.abs(np.corrcoef(FEATURES.T))
    order = mrmr_order(FEATURES, LABELS).tolist()
    assert order[0] == relevance.argmax()
    for place in range(1, 6):
        before, rest = order[:place], order[place:]
        worth = [relevance[feature] / np.mean([alike[feature, other] for other in before]) for feature in rest]
        assert rest[int(np.argmax(worth))] == order[place]
    assert abs(order.index(0) - order.index(1)) > 1  # twins are redundant


def test_shapes_that_do_not_fit_are_errors() -> None:
    for features, labels in ((FEATURES, LABELS[:5]), (FEATURES[:, 0], LABELS), (FEATURES[:, :0], LABELS)):
        with pytest.raises(SelectionError, match="give \\(samples, features\\)"):
            forest_order(features, labels)

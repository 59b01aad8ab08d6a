"""Rankings of features by what training samples say of them: the usual ways to choose bands without a network.

A feature is a channel, or a version of one. Each function takes float (samples, features) and labels (samples,),
integer classes or floats for a regression, and gives an order, int64 (features,): positions, the best first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import SelectionError

if TYPE_CHECKING:
    from collections.abc import Callable

#: Two features of a correlation beyond this say the same.
ALIKE = 0.8
#: Trees of a forest.
TREES = 200


def forest_order(features: np.ndarray, labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """By the mean decrease of impurity in a random forest (Breiman 2001), of `TREES` trees."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    _check(features, labels)
    kind = RandomForestClassifier if _are_classes(labels) else RandomForestRegressor
    forest = kind(TREES, random_state=seed, n_jobs=1).fit(features, labels)
    importance: np.ndarray = forest.feature_importances_
    return _descending(importance)


def information_order(features: np.ndarray, labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """By mutual information with the label, each feature alone."""
    return _descending(find_information(features, labels, seed))


def decorrelated_order(features: np.ndarray, order: np.ndarray, limit: float = ALIKE) -> np.ndarray:
    """An order in which a feature that resembles a better one comes last.

    Down `order`, a feature is kept where its Pearson correlation r with each one kept before has |r| < `limit`. Those
    that were passed over follow, in the order that they had.
    """
    alike = find_correlations(features)
    kept: list[int] = []
    for feature in order.tolist():
        if (alike[feature, kept] < limit).all():
            kept.append(feature)
    return np.concatenate([kept, order[~np.isin(order, kept)]]).astype(np.int64)


def mrmr_order(features: np.ndarray, labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """Of most relevance and least redundancy (Peng, Long & Ding 2005), by their quotient.

    Each next one has the most I(feature; label) / mean |r| with those that came before. Redundancy by correlation, as
    Zhao, Anand & Wang (2019) have it for features that are continuous.
    """
    relevance, alike = find_information(features, labels, seed), find_correlations(features)
    order = [int(relevance.argmax())]
    redundancy = np.zeros(len(relevance))
    while len(order) < len(relevance):
        redundancy += alike[:, order[-1]]
        worth = relevance / np.maximum(redundancy / len(order), 1e-9)  # uncorrelated with all: no division by 0
        worth[order] = -np.inf
        order.append(int(worth.argmax()))
    return np.array(order, np.int64)


def find_information(features: np.ndarray, labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """Mutual information of each feature with the label, nats, float (features,); Kraskov's estimate, 3 neighbours."""
    from sklearn.feature_selection import mutual_info_classif, mutual_info_regression

    _check(features, labels)
    estimate: Callable[..., Any] = mutual_info_classif if _are_classes(labels) else mutual_info_regression
    information: np.ndarray = estimate(features, labels, random_state=seed)
    return information


def find_correlations(features: np.ndarray) -> np.ndarray:
    """Pearson's |r| of each two features, float (features, features); 0 with one that is constant."""
    centred = features - features.mean(0, dtype=np.float64)
    length = np.sqrt((centred**2).sum(0))
    centred /= np.where(length > 0, length, 1)
    alike: np.ndarray = np.abs(centred.T @ centred)
    return alike


def _descending(worth: np.ndarray) -> np.ndarray:
    order: np.ndarray = np.argsort(-worth, kind="stable")
    return order


def _are_classes(labels: np.ndarray) -> bool:
    return np.issubdtype(labels.dtype, np.integer)


def _check(features: np.ndarray, labels: np.ndarray) -> None:
    if features.ndim != 2 or labels.shape != features.shape[:1] or not features.size:
        raise SelectionError(
            f"features of {features.shape} and labels of {labels.shape}; give (samples, features) and (samples,)"
        )

"""The probe: a small closed-form model that says, in a millisecond, how much a few features tell of the label."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..errors import SelectionError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Samples that are looked at, drawn at random, and those of them that the kernel is centred on.
SAMPLES, LANDMARKS = 1000, 100
#: Parts that the groups of samples are dealt to: each is told from the others.
FOLDS = 5
#: Weight of the ridge; a little more along the diagonal, where landmarks coincide.
RIDGE, JITTER = 0.1, 1e-3
#: Standardised features are cut off there: one odd pixel is not to be a landmark's only neighbour.
FAR = 4.0


class Probe:
    """Kernel ridge regression of the label on a subset S of the features, cross-validated over groups of samples.

    k(a, b) = exp(-mean over S of (a - b)^2), centred on `LANDMARKS` of the samples (Nystrom's approximation, Williams &
    Seeger 2001). Labels are one-hot classes, centred, or standardised values. What a subset is worth is minus the mean
    squared error on groups that were left out, so more features are not better as such.

    It chooses features by what they say together, as the wrapper methods of Kohavi & John (1997) do, with no network to
    train for each subset.
    """

    def __init__(self, features: np.ndarray, labels: np.ndarray, groups: np.ndarray, seed: int = 0) -> None:
        """`features` are float (samples, features), `labels` (samples,) integer classes or floats.

        `groups` are int (samples,): samples of one group, such as a chip, are never told from each other. Raises
        SelectionError where shapes differ or there are fewer than two samples.
        """
        if features.ndim != 2 or not labels.shape == groups.shape == features.shape[:1] or len(labels) < 2:
            raise SelectionError(
                f"features {features.shape}, labels {labels.shape}, groups {groups.shape}; give (samples, features) "
                "and twice (samples,), two samples at least"
            )
        rng = np.random.default_rng(seed)
        at = rng.permutation(len(labels))[:SAMPLES]
        fold = _deal(groups[at], rng)
        at = at[np.argsort(fold, kind="stable")]
        self._sizes = [int(size) for size in np.bincount(fold) if size]
        self._features = _standardise(torch.from_numpy(features[at].T.astype(np.float32)))
        self._targets = _targets(labels[at])
        self._landmarks = torch.from_numpy(rng.permutation(len(at))[:LANDMARKS])

    @property
    def count(self) -> int:
        """How many features there are."""
        return len(self._features)

    def rate(self, subset: Sequence[int]) -> float:
        """What a subset is worth: 0 or less, 0 being perfect."""
        return self._rate(sum((self._distance(feature) for feature in subset), self._nowhere()), len(subset))

    def select(
        self, fits: Callable[[list[int]], bool], prices: np.ndarray | None = None, kinds: Sequence[int] | None = None
    ) -> list[int]:
        """Features one after the other, each the one that gains most, for as long as another one fits.

        `fits` tells whether a subset may be had. With `prices`, float (features,), what counts is the gain for the
        price. Of features of one kind, int (features,), one is chosen at most. Gains are taken to shrink as the subset
        grows, so one that was lower before is looked at again only when it comes first (Minoux 1978).
        """
        kinds = range(self.count) if kinds is None else kinds
        weights = np.ones(self.count) if prices is None else np.maximum(prices, 1e-9)  # what is free comes first
        chosen: list[int] = []
        distance, worth = self._nowhere(), self._rate(self._nowhere(), 0)
        # (minus the gain a price, feature, size of the subset that it was found for)
        queue = [(-np.inf, feature, -1) for feature in range(self.count)]
        while queue:
            _, feature, when = heapq.heappop(queue)
            if kinds[feature] in {kinds[other] for other in chosen} or not fits([*chosen, feature]):
                continue
            if when == len(chosen):
                distance = distance + self._distance(feature)
                chosen.append(feature)
                worth = self._rate(distance, len(chosen))
            else:
                gain = self._rate(distance + self._distance(feature), len(chosen) + 1) - worth
                share = gain / weights[feature] if gain > 0 else gain * weights[feature]
                heapq.heappush(queue, (-share, feature, len(chosen)))
        return chosen

    def _nowhere(self) -> Tensor:
        return torch.zeros(len(self._targets), len(self._landmarks))

    def _distance(self, feature: int) -> Tensor:
        """Squared distance of each sample to each landmark, float32 (samples, landmarks)."""
        values = self._features[feature]
        return (values[:, None] - values[self._landmarks]) ** 2

    def _rate(self, distance: Tensor, count: int) -> float:
        """Of the sum of `count` distances. Each fold's normal equations are those of all less its own."""
        kernel = torch.exp(-distance / max(1, count))
        basis = torch.cat([kernel, torch.ones(len(kernel), 1)], 1)
        ridge = torch.zeros(basis.shape[1], basis.shape[1])
        ridge[:-1, :-1] = RIDGE * kernel[self._landmarks]
        ridge += JITTER * torch.eye(len(ridge))
        parts, targets = torch.split(basis, self._sizes), torch.split(self._targets, self._sizes)
        grams = torch.stack([part.T @ part for part in parts])
        sides = torch.stack([part.T @ target for part, target in zip(parts, targets, strict=True)])
        weights = torch.linalg.solve(grams.sum(0) - grams + ridge, sides.sum(0) - sides)
        said = torch.cat([part @ weight for part, weight in zip(parts, weights, strict=True)])
        return -float(((said - self._targets) ** 2).sum(1).mean())


def _deal(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The fold of each sample; one group alone is cut up."""
    _, number = np.unique(groups, return_inverse=True)
    if number.max() == 0:
        number = np.arange(len(groups))
    places: np.ndarray = rng.permutation(number.max() + 1) % FOLDS
    return places[number]


def _standardise(features: Tensor) -> Tensor:
    """(features, samples), each of mean 0 and deviation 1; 0 where it is constant."""
    spread = features.std(1, correction=0, keepdim=True)
    centred = features - features.mean(1, keepdim=True)
    return (centred / torch.where(spread > 0, spread, 1)).clamp(-FAR, FAR)


def _targets(labels: np.ndarray) -> Tensor:
    """Float32 (samples, outputs), centred."""
    if np.issubdtype(labels.dtype, np.integer):
        hot = torch.from_numpy((labels[:, None] == np.unique(labels)).astype(np.float32))
        return hot - hot.mean(0)
    values = torch.from_numpy(labels.astype(np.float32))[:, None]
    return _standardise(values.T).T

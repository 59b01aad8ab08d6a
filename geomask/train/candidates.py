"""The default way to a selection: several candidates within the budget, each trained; validation says which wins.

===========  ===========================================================================================================
candidate    its channels, each at one of its versions
===========  ===========================================================================================================
gate         those of a gate that is trained with the network: `ConcreteSelector` where all cost the same, `PricedGate`
probe        those that say most together to a small closed-form model (`Probe`), for each of `PROBES` draws of pixels
thrifty      the same, by gain for the price: every other draw where prices differ
forest       the most important ones of a random forest that do not resemble each other (`decorrelated_order`)
uniform      evenly spaced ones, at each version
===========  ===========================================================================================================

No single way wins everywhere: docs/benchmarks/masks.md has what each comes to. Test chips are not looked at.
"""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..chips.labels import known
from ..masks.grain import Grain
from ..masks.hard import HardGate
from ..masks.priced import PricedGate
from ..masks.probe import SAMPLES, Probe
from ..masks.rankings import decorrelated_order, forest_order
from ..masks.selector import ConcreteSelector
from .network import MaskedNetwork, channel_statistics
from .score import score
from .shop import by_channel, space_planes
from .step import Trained, Training

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..chips.memory import Chips
    from ..chips.split import Split
    from .networks import Factory
    from .settings import Settings
    from .shop import Plane, Shop


#: Draws of pixels, landmarks and folds that probes are made of. What one chooses hangs on its draw, and shows: see
#: docs/benchmarks/masks.md.
PROBES = 6


class Candidate(NamedTuple):
    """Channels that were tried."""

    name: str
    """How they were found; ``retrained`` and ``tuned`` are two networks of one gate's channels."""
    planes: tuple[Plane, ...]
    """By channel."""
    validation: float
    """Score of the network on the validation chips, the mean over the last quarter of the checks."""

    @property
    def way(self) -> str:
        """What it is a candidate of: of several networks, draws or versions alike."""
        return self.name.partition(" ")[0].rstrip(",")

    def to_dict(self, won: str | None) -> dict[str, Any]:
        """As JSON has it; `won` is the name of the best."""
        planes = [list(plane) for plane in self.planes]
        return {"name": self.name, "planes": planes, "validation": self.validation, "won": self.name == won}


def train_candidates(
    chips: Chips,
    split: Split,
    shop: Shop,
    settings: Settings,
    seed: int,
    on_step: Callable[[], object] | None = None,
    network: Factory | None = None,
) -> Trained:
    """Train every candidate, and return the network that `pick_best` picks; `Trained.candidates` has them all.

    `chips` have an axis for versions where the shop has several. Raises what `Training` raises.
    """
    tuned = Training(chips, split, make_gate(shop), settings, seed, on_step, network=network).finish()
    offers: list[tuple[str, Trained]] = [("gate, tuned", tuned)]
    found: dict[tuple[Plane, ...], Trained] = {}
    for name, planes in [("gate, retrained", by_channel(tuned.planes)), *find_planes(chips, split, shop, seed)]:
        if tuple(planes) not in found:  # what two ways lead to is trained once
            found[tuple(planes)] = train_planes(chips, split, planes, settings, seed, on_step, network)
            offers.append((name, found[tuple(planes)]))
    tried = tuple(
        Candidate(name, tuple(by_channel(one.planes)), settled(one, chips, split, settings)) for name, one in offers
    )
    best = pick_best(tried)
    return replace(offers[tried.index(best)][1], candidates=tried, won=best.name)


def pick_best(tried: Sequence[Candidate]) -> Candidate:
    """Of the way whose candidates do best on validation on average the best one.

    The best of many on few chips is so by chance as much as by merit; a mean over several is less so.
    """
    scores: dict[str, list[float]] = {}
    for one in tried:
        scores.setdefault(one.way, []).append(one.validation)
    way = max(scores, key=lambda way: fmean(scores[way]))
    return max((one for one in tried if one.way == way), key=lambda one: one.validation)


def make_gate(shop: Shop) -> ConcreteSelector | PricedGate:
    """The gate that suits the prices."""
    count = shop.prices.shape[1]
    if shop.is_flat and shop.total is None:
        return ConcreteSelector(count, min(count, int(shop.budget // shop.prices[0, 0])))

    def total(choice: np.ndarray) -> float:
        return shop.cost([(int(version), int(channel)) for version, channel in np.argwhere(choice[:, :, 0, 0])])

    exact = None if shop.total is None else total
    return PricedGate(Grain(tuple(range(count))), shop.prices[..., None, None], shop.budget, total=exact)


def find_planes(chips: Chips, split: Split, shop: Shop, seed: int) -> Iterator[tuple[str, list[Plane]]]:
    """Name and planes of every candidate that needs no network, by what the training chips say."""
    part, planes = chips.take(split.train), shop.planes
    prices = np.array([shop.prices[plane] for plane in planes])
    kinds = [channel for _, channel in planes]

    def fits(subset: list[int]) -> bool:
        return shop.fits([planes[number] for number in subset])

    for draw in range(PROBES):
        probe = Probe(*sample_pixels(part, planes, seed * PROBES + draw), seed * PROBES + draw)
        is_thrifty = draw % 2 == 1 and not shop.is_flat
        chosen = probe.select(fits, prices if is_thrifty else None, kinds)
        yield f"{'thrifty' if is_thrifty else 'probe'} {draw + 1}", by_channel(planes[number] for number in chosen)
    features, labels, _ = sample_pixels(part, planes, seed * PROBES)
    order = decorrelated_order(features, forest_order(features, labels, seed))
    yield "forest", shop.fill(planes[number] for number in order)
    for version in range(len(shop.prices)):
        if spaced := space_planes(shop, version):
            yield f"uniform {version}" if version else "uniform", spaced


def sample_pixels(
    chips: Chips, planes: Sequence[Plane], seed: int, count: int = 2 * SAMPLES
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features float32 (samples, planes), labels (samples,) and chips int64 (samples,) of labelled pixels.

    At most `count` of them, drawn at random. Where a chip has one label, its mean over the chip is its feature. What is
    not valid counts as the plane's mean.
    """
    image, valid = (values[:, None] if values.ndim == 4 else values for values in (chips.image, chips.valid))
    if chips.labels.ndim == 1:
        image, valid = (values.mean((3, 4), keepdims=True) for values in (image, valid))
    labels = chips.labels.reshape(len(chips), -1, 1) if chips.labels.ndim == 1 else chips.labels
    there = np.argwhere(known(labels))
    there = np.random.default_rng(seed).permutation(there)[:count]
    chip, row, column = there.T
    # Labels may be coarser than pixels: each lies on the pixel at the middle of its own.
    (tall, wide), (rows, columns) = image.shape[3:], labels.shape[1:]
    y, x = (2 * row + 1) * tall // (2 * rows), (2 * column + 1) * wide // (2 * columns)
    version, channel = np.array(planes).T
    values = image[chip[:, None], version, channel, y[:, None], x[:, None]].astype(np.float32)
    seen = valid[chip[:, None], version, channel, y[:, None], x[:, None]] > 0
    mean = (values * seen).sum(0) / np.maximum(seen.sum(0), 1)
    return np.where(seen, values, mean), labels[chip, row, column], chip


def train_planes(
    chips: Chips,
    split: Split,
    planes: Sequence[Plane],
    settings: Settings,
    seed: int,
    on_step: Callable[[], object] | None = None,
    network: Factory | None = None,
) -> Trained:
    """Train a network from scratch on these planes, one a head. Its gate is a `HardGate` over planes (`fold`)."""
    version, channel = np.array(planes).T
    has_versions = chips.image.ndim == 5
    at = (slice(None), version, channel) if has_versions else (slice(None), channel)
    # On these planes alone: the same network, and nothing else has to be turned and standardised at each step.
    few = replace(chips, image=chips.image[at], valid=chips.valid[at])
    trained = Training(few, split, HardGate(range(len(planes))), settings, seed, on_step, network=network).finish()
    part, count = chips.take(split.train), chips.image.shape[-3]
    gate = HardGate((version * count + channel).tolist() if has_versions else channel.tolist())
    mean, deviation = channel_statistics(part.image, part.valid)
    model = MaskedNetwork(mean, deviation, gate, trained.model.network, trained.model.objective).eval()
    return replace(trained, model=model)


def settled(trained: Trained, chips: Chips, split: Split, settings: Settings) -> float:
    """Validation score, the mean over the last quarter of the checks: less a matter of luck than the last one alone."""
    if not trained.curve:
        return score(trained.model, chips, split.validation, settings.batch)
    last = trained.curve[-max(1, len(trained.curve) // 4) :]
    return float(np.mean([value for _, value in last]))

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from costs import priced

from geomask.chips.split import make_splits
from geomask.chips.store import Chips
from geomask.errors import SelectionError
from geomask.masks.hard import HardGate
from geomask.masks.priced import PricedGate
from geomask.masks.selector import ConcreteSelector
from geomask.plan.cost import Cost
from geomask.train.baselines import train_method
from geomask.train.candidates import (
    Candidate,
    find_planes,
    make_gate,
    pick_best,
    sample_pixels,
    settled,
    train_candidates,
    train_planes,
)
from geomask.train.fold import fold
from geomask.train.score import score
from geomask.train.settings import Settings
from geomask.train.shop import Shop, space_planes
from geomask.train.step import Training

SPLIT = make_splits(12)[0]
QUICK = Settings(steps=20, check_every=5)
#: The two channels of the twelve whose sum decides the class, see conftest.
TELLING = {4, 9}
FLAT = np.full((1, 12), 100.0)
#: A second version of each channel at a quarter of the price, but of the last: it has none.
TWO = np.array([[100.0] * 12, [25.0] * 11 + [np.inf]])


@pytest.fixture(scope="module")
def two(chips: Chips) -> Chips:
    """The same chips, and a second version of them with noise."""
    noise = np.random.default_rng(1).normal(0, 5, chips.image.shape).astype("float32")
    return replace(chips, image=np.stack([chips.image, chips.image + noise], 1), valid=np.stack([chips.valid] * 2, 1))


def test_what_is_picked_is_the_best_of_the_way_that_does_best_on_average() -> None:
    def tried(**scores: float) -> list[Candidate]:
        return [Candidate(name.replace("_", " "), (), score) for name, score in scores.items()]

    assert pick_best(tried(probe_1=0.6, probe_2=0.9, forest=0.8, uniform=0.7)).name == "forest"
    assert pick_best(tried(probe_1=0.8, probe_2=0.9, forest=0.8, uniform=0.7)).name == "probe 2"
    gates = [Candidate("gate, tuned", (), 0.7), Candidate("gate, retrained", (), 0.75)]
    assert pick_best([*tried(probe_1=0.6, probe_2=0.8), *gates]).name == "gate, retrained"
    assert pick_best(tried(uniform=0.1, uniform_1=0.3, thrifty_2=0.2)).way == "uniform"  # the first of two alike


def test_a_candidate_wins_by_validation_and_all_are_told(chips: Chips) -> None:
    trained = train_candidates(chips, SPLIT, Shop(FLAT, 250.0), Settings(steps=80, check_every=10), 0)
    tried = {one.name: one for one in trained.candidates}
    assert {"gate, tuned", "gate, retrained", "uniform"} <= set(tried)
    assert all(len(one.planes) == 2 for one in trained.candidates)
    best = pick_best(trained.candidates)
    assert trained.won == best.name
    assert tuple(trained.planes) == best.planes
    assert set(trained.channels) == TELLING
    assert best.validation == settled(trained, chips, SPLIT, QUICK)
    told = [one.to_dict(trained.won) for one in trained.candidates]
    assert sum(one["won"] for one in json.loads(json.dumps(told))) == 1


def test_what_two_ways_lead_to_is_trained_once(chips: Chips) -> None:
    trained = train_candidates(chips, SPLIT, Shop(FLAT, 1200.0), QUICK, 0)
    assert [one.name for one in trained.candidates] == ["gate, tuned", "gate, retrained"]  # all fit: all are one


def test_versions_and_unequal_prices_stay_within_the_budget(two: Chips) -> None:
    shop = Shop(TWO, 225.0)
    trained = train_candidates(two, SPLIT, shop, QUICK, 0)
    assert {"probe 1", "thrifty 2", "uniform", "uniform 1"} <= {name for name, _ in find_planes(two, SPLIT, shop, 0)}
    for one in trained.candidates:
        assert 0 < shop.cost(one.planes) <= 225
        assert len({channel for _, channel in one.planes}) == len(one.planes)
    score(trained.model, two, SPLIT.test)


def test_learned_is_the_best_candidate_and_repeats_itself(chips: Chips, cost: Cost) -> None:
    once, again = (train_method("learned", chips, SPLIT, cost, 3500, QUICK, 3) for _ in range(2))
    assert once.candidates == again.candidates
    assert once.won is not None
    assert torch.equal(once.model.network[0].weight, again.model.network[0].weight)  # type: ignore[index,arg-type]


def test_the_gate_suits_the_prices() -> None:
    flat = make_gate(Shop(FLAT, 399.0))
    assert isinstance(flat, ConcreteSelector)
    assert flat.heads == 3
    assert isinstance(make_gate(Shop(TWO, 399.0)), PricedGate)
    assert isinstance(make_gate(Shop(np.arange(1.0, 13)[None], 40.0)), PricedGate)


def test_a_network_of_some_planes_is_that_behind_a_hard_gate(chips: Chips) -> None:
    of = train_planes(chips, SPLIT, [(0, 4), (0, 9)], QUICK, 5)
    behind = Training(chips, SPLIT, HardGate([4, 9]), QUICK, 5).finish()
    image, valid = torch.from_numpy(chips.image), torch.from_numpy(chips.valid)
    assert torch.equal(of.model(image, valid), behind.model(image, valid))
    assert of.planes == [(0, 4), (0, 9)]


def test_planes_of_several_versions_fold_to_the_same(two: Chips) -> None:
    trained = train_planes(two, SPLIT, [(1, 2), (0, 4), (1, 9)], QUICK, 5)
    assert trained.planes == [(1, 2), (0, 4), (1, 9)]
    planes, folded = fold(trained.model)
    assert planes == [14, 4, 21]
    image, valid = torch.from_numpy(two.image), torch.from_numpy(two.valid)
    few = (values.flatten(1, 2)[:, planes] for values in (image, valid))
    assert torch.equal(folded.eval()(*few), trained.model(image, valid))


def test_pixels_are_sampled_where_there_is_a_label(two: Chips) -> None:
    labels = np.full_like(two.labels, -1)
    labels[[0, 4, 8], 2, 5] = (0, 1, 1)
    valid = two.valid.copy()
    valid[4, 1, 7] = False
    features, told, groups = sample_pixels(replace(two, labels=labels, valid=valid), [(0, 4), (1, 7)], 0)
    order = np.argsort(groups)
    assert groups[order].tolist() == [0, 4, 8]
    assert told[order].tolist() == [0, 1, 1]
    assert features[order, 0].tolist() == two.image[[0, 4, 8], 0, 4, 2, 5].tolist()
    seen = two.image[[0, 8], 1, 7, 2, 5]
    np.testing.assert_allclose(features[order, 1], [seen[0], seen.mean(), seen[1]], rtol=1e-6)


def test_labels_may_be_of_chips_or_coarser_than_pixels(chips: Chips) -> None:
    coarse = replace(chips, labels=chips.labels[:, ::2, ::2])
    features, told, _ = sample_pixels(coarse, [(0, 4)], 0, count=50)
    assert len(told) == 50
    assert set(features[:, 0]) <= set(chips.image[:, 4, 1::2, 1::2].flatten())
    whole = replace(chips, labels=chips.labels[:, 0, 0])
    features, told, groups = sample_pixels(whole, [(0, 4)], 0)
    assert len(told) == len(chips)
    np.testing.assert_allclose(features[:, 0], chips.image[groups, 4].mean((1, 2)), rtol=1e-5)


def test_spaced_planes_take_the_version_or_the_next_finer() -> None:
    assert space_planes(Shop(FLAT, 399.0)) == [(0, 2), (0, 6), (0, 10)]
    spaced = space_planes(Shop(TWO, 375.0), 1)
    assert spaced == [(1, channel) for channel in range(11)] + [(0, 11)]


def test_a_shop_counts_what_is_shared_once(cost: Cost) -> None:
    shop = Shop.of(cost, 2500)
    assert shop.is_flat
    assert shop.prices.tolist() == [[1000.0] * 12]
    assert shop.fits([(0, 1), (0, 2)])
    assert not shop.fits([(0, 1), (0, 2), (0, 3)])
    mixed = Shop.of(priced([500, 700]), 1200)
    assert not mixed.is_flat
    assert mixed.cost([(0, 0), (0, 1)]) == 1200
    assert mixed.fill([(0, 1), (0, 0), (0, 1)]) == [(0, 0), (0, 1)]


def test_a_budget_that_nothing_fits_is_an_error() -> None:
    with pytest.raises(SelectionError, match="budget of 99 bytes"):
        Shop(FLAT, 99.0)

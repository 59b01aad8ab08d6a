"""The paper's other figures, in kind, on pieces of a real scene: versions, versions x blocks, and grids of blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from ours import Found, Ours, examine
from patches import SIDE, Classifier, Patches
from torch import Tensor

from geomask.masks.any import START, AnyMask
from geomask.masks.dynamic import DynamicScores
from geomask.masks.gate import Choice
from geomask.masks.grain import Grain
from geomask.masks.mask import Mask
from geomask.masks.preview import Preview
from geomask.masks.priced import PricedGate, PricedPolicy
from geomask.masks.sequence import MaskSequence
from geomask.masks.xor import XorMask
from geomask.train.objective import Objective
from geomask.train.recipe import OEHMCKE2022, Recipe, train_oehmcke2022

TASK = Objective("classification", 4)
BANDS, SIZE = 3, (SIDE, SIDE)
#: Learning rate of the weights that predict scores.
MODEL_RATE = 0.005


@dataclass(frozen=True)
class Tradeoff:
    """What is chosen, on which pieces, and within which shares of the bytes."""

    name: str
    budgets: tuple[float, ...]
    recipe: Recipe
    mask: Callable[[np.ndarray], Mask]
    """The published mask, of the bytes of a piece in each version."""
    gates: Callable[[np.ndarray, float], list[PricedGate]]
    """Ours, of those and of a share of the bytes; of several, validation says which."""
    centred: bool = True
    """Whether objects lie near the middle."""
    encoded: bool = True
    """Whether pieces have versions."""
    preview: Preview | None = None


@dataclass(frozen=True, slots=True)
class Pace:
    """How long both contenders train, and on how many pieces."""

    counts: tuple[int, int, int]
    """To train on, to validate and to test with."""
    passes: float
    """Of the published training over the pieces, in all."""
    rate: float
    """Learning rate of the published masks: so few steps have to get as far as the paper's."""
    warm: float
    """Passes of the network alone."""
    ours: Ours


FULL = Pace((6000, 1000, 4000), 300, 5e-3, 20, Ours(40, 20, batch=64, rate=2e-3))
QUICK = Pace((1000, 300, 1000), 30, 3e-2, 6, Ours(18, 12, batch=64, rate=2e-3))


def versions() -> Tradeoff:
    """One version for all: the original, or JPEG of a quality."""
    grain = Grain.of("version", 1, BANDS, SIZE)
    return Tradeoff(
        "jpeg",
        (0.4, 0.22, 0.13, 0.09),
        OEHMCKE2022["xor"],
        lambda nbytes: XorMask(grain, (nbytes / nbytes[0]).tolist()),
        lambda nbytes, share: [PricedGate(grain, nbytes[:, None, None, None], share * nbytes[0])],
    )


def sequence() -> Tradeoff:
    """A version for all, then 12 x 12 blocks: ours tries each version for all, and a version of each block."""
    whole, blocks = Grain.of("version", 1, BANDS, SIZE), Grain.of("block:12x12", 1, BANDS, SIZE)

    def gates(nbytes: np.ndarray, share: float) -> list[PricedGate]:
        prices = np.broadcast_to(nbytes[:, None, None, None] / blocks.units, (len(nbytes), *blocks.shape))
        alone = np.eye(len(nbytes), dtype=bool)[..., None, None, None]
        offers = [prices, *(np.where(version, prices, np.inf) for version in alone)]
        return [PricedGate(blocks, offer, share * nbytes[0]) for offer in offers]

    return Tradeoff(
        "jpeg+blocks",
        (0.1, 0.05),
        OEHMCKE2022["xor+subpixel"],
        lambda nbytes: MaskSequence(XorMask(whole, (nbytes / nbytes[0]).tolist()), AnyMask(blocks)),
        gates,
    )


def grid(along: int) -> Tradeoff:
    """`along` x `along` blocks of each band, for each piece by itself, by a preview of as many pixels."""
    grain, preview = Grain.of(f"subblock:{along}x{along}", 1, BANDS, SIZE), Preview((0, 1, 2), SIDE // along)

    def scores(start: float, *, learn_static: bool) -> DynamicScores:
        return DynamicScores("convatt", preview.size(SIZE), 1, grain.shape, [start], learn_static=learn_static)

    return Tradeoff(
        f"blocks/{along}",
        (0.2, 0.1),
        OEHMCKE2022["subblock/dynamic"],
        lambda nbytes: AnyMask(grain, scores(START, learn_static=False), preview),
        lambda nbytes, share: [
            PricedGate(
                grain,
                np.full((1, *grain.shape), nbytes[0] / grain.units),
                share * nbytes[0],
                scores(0.0, learn_static=True),
                preview,
            )
        ],
        centred=False,
        encoded=False,
        preview=preview,
    )


TRADEOFFS = (versions(), sequence(), grid(12), grid(48))


def run_published(
    tradeoff: Tradeoff, patches: Patches, pace: Pace, seed: int, tell: Callable[[str], object]
) -> dict[float, Found | None]:
    """What `oehmcke2022` comes to within each budget, from one training; None where it never got there."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mask, network = tradeoff.mask(patches.nbytes), _warm(patches, pace)
        recipe = replace(tradeoff.recipe, batch=pace.ours.batch, mask_rate=pace.rate)
        recipe = replace(recipe, passes=pace.passes / recipe.epochs)
        checkpoints = train_oehmcke2022(
            mask,
            network,
            patches.train,
            patches.validation,
            recipe,
            seed,
            TASK,
            budgets=tradeoff.budgets,
            until=0.5 * min(tradeoff.budgets),
            on_epoch=lambda epoch, fine, share, score: tell(
                f"{tradeoff.name} {epoch} lambda {fine:.4g} score {score:.4f} of {share:.4f}"
            ),
        )
        found: dict[float, Found | None] = {}
        for budget in tradeoff.budgets:
            if (best := checkpoints.within(budget)) is None:
                found[budget] = None
                continue
            best.restore(mask, network)
            found[budget] = examine(mask, network, patches.test, mask.share)
        return found


def run_ours(tradeoff: Tradeoff, patches: Patches, pace: Pace, seed: int) -> dict[float, Found | None]:
    """What priced gates come to within each budget, from a training each: the best on validation."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        warm = _warm(patches, pace).state_dict()
        found: dict[float, Found | None] = {}
        for budget in tradeoff.budgets:
            tried = [_try(tradeoff, gate, warm, patches, pace, seed) for gate in tradeoff.gates(patches.nbytes, budget)]
            found[budget] = max(tried, key=lambda one: one[0])[1]
        return found


def _try(
    tradeoff: Tradeoff, gate: PricedGate, warm: dict[str, Tensor], patches: Patches, pace: Pace, seed: int
) -> tuple[float, Found]:
    """The validation score of a gate and its network, and what they come to on test."""
    torch.manual_seed(seed)
    network = Classifier()
    network.load_state_dict(warm)
    ours = pace.ours if tradeoff.preview is None else replace(pace.ours, select_rate=MODEL_RATE)
    frozen = ours.train(gate, network, patches.train)
    weights = torch.from_numpy(patches.nbytes / patches.nbytes[0]).float()[:, None, None, None]

    def share(choice: Choice) -> Tensor:
        return (choice[0] * weights).sum(1).mean()

    validation = examine(frozen, network, patches.validation, share).score
    if isinstance(frozen, PricedPolicy):
        frozen.settle(patches.test.image)
    return validation, examine(frozen, network, patches.test, share)


def _warm(patches: Patches, pace: Pace) -> Classifier:
    """A network that was trained on the original of all pieces."""
    network, image = Classifier(), patches.train.image
    pace.ours.fit(network, patches.train._replace(image=image if image.ndim == 4 else image[:, 0]), pace.warm)
    return network

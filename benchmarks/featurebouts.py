"""Ways to send a scene, on one split: what each takes at each of its settings, and how well a network does with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from featuredata import FeatureSet
from imagecodes import CODES, Code
from undistilled import learn_rates

from geomask.bottleneck.container import Container
from geomask.bottleneck.distil import Lesson
from geomask.bottleneck.encoder import count_weights
from geomask.bottleneck.rates import Pupil, Rate, make_rates, symbols_of
from geomask.bottleneck.tables import Tables
from geomask.bottleneck.transfer import encoder_digest, far_model, near_model, spread_cells
from geomask.chips.memory import Chips
from geomask.errors import GeomaskError
from geomask.masks.hard import HardGate
from geomask.train.candidates import train_candidates
from geomask.train.network import MaskedNetwork
from geomask.train.score import score
from geomask.train.shop import Shop
from geomask.train.step import Trained, Training

OURS = ("bottleneck", "no saliency", "no distillation", "no context")
CONTENDERS = ("dense", "selection", *OURS, *(code.name for code in CODES))
#: A million pixels; rows and columns of what encoding and decoding are timed on.
MEGA, SIDE = 1e6, 512


@dataclass(frozen=True, slots=True)
class Point:
    """One contender at one setting on one split."""

    contender: str
    setting: str
    fold: int
    bits: float = 0.0
    """For a pixel of the scene, all that is sent counted."""
    validation: float = 0.0
    test: float = 0.0
    encode: float = 0.0
    """Milliseconds for a million pixels; 0 where nothing is computed."""
    decode: float = 0.0
    """Likewise; the network that is common to all is not counted."""
    weights: int = 0
    """Of an encoder."""
    note: str | None = None
    """Why there is nothing of this."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much a run does."""

    budgets: tuple[float, ...]
    """Of selections, percent."""
    taught: tuple[float, ...]
    """Of `budgets`, those whose networks bottlenecks learn from."""
    lambdas: tuple[float, ...]
    lesson: Lesson
    every: int
    """Of the settings of image codecs every so many, from the coarsest."""


class Bout:
    """One split of one set."""

    def __init__(self, of: FeatureSet, fold: int, plan: Plan) -> None:
        self._set, self._fold, self._plan = of, fold, plan
        self._split = of.of.splits[fold]
        self._chosen: dict[float, Trained] = {}
        self._pupils: dict[float, Pupil] = {}
        self._made: dict[tuple[float, float], list[Rate]] = {}
        self._took: dict[int, tuple[float, float]] = {}

    def measure(self, name: str) -> Iterator[Point]:
        """All settings of a contender; a failure is a point too."""
        ways: dict[str, Callable[[], Iterator[Point]]] = {
            "dense": self._dense,
            "selection": self._selections,
            "bottleneck": lambda: self._bottlenecks("bottleneck", 0.5),
            "no saliency": lambda: self._bottlenecks("no saliency", 0.0),
            "no distillation": self._undistilled,
            "no context": self._plain,
        }
        codes = {code.name: code for code in CODES}
        try:
            yield from ways[name]() if name in ways else self._code(codes[name])
        except (GeomaskError, LookupError, RuntimeError) as error:
            yield Point(name, "all", self._fold, note=f"{type(error).__name__}: {error}")

    def _dense(self) -> Iterator[Point]:
        """The lossless scene, as `deflate` sends it, and a network of all its channels."""
        planes = [(0, channel) for channel in range(len(self._set.scene))]
        model = self._train(self._set.chips).model
        yield self._point("dense", "all", self._set.nbytes(planes), model, self._set.chips)

    def _selections(self) -> Iterator[Point]:
        for budget in self._plan.budgets:
            trained = self._select(budget)
            chips = self._set.of.chips if trained.model.mean.ndim == 2 else self._set.chips
            yield self._point("selection", f"{budget:g}%", self._set.nbytes(trained.planes), trained.model, chips)

    def _select(self, budget: float) -> Trained:
        """The default's choice within a budget, by `geomask train`'s own candidates, and its network."""
        if budget not in self._chosen:
            of = self._set.of
            shop = Shop(of.prices, of.budget(budget))
            self._chosen[budget] = train_candidates(
                of.chips, self._split, shop, of.settings, self._fold, network=of.network
            )
        return self._chosen[budget]

    def _bottlenecks(self, name: str, saliency: float) -> Iterator[Point]:
        """Teachers are networks of selected channels; each has a bottleneck for each lambda, as it is and tuned."""
        for budget in self._plan.taught:
            for rate in self._rates(budget, saliency):
                yield from self._both(name, budget, rate)

    def _plain(self) -> Iterator[Point]:
        """The same latents as `bottleneck` has, by a table for each plane that knows no surroundings."""
        for budget in self._plan.taught:
            pupil, train = self._pupil(budget), self._set.chips.take(self._split.train)
            for rate in self._rates(budget, 0.5):
                latents, seen = symbols_of(rate.distilled, pupil, train)
                plain = replace(rate, tables=Tables.fit(list(latents), list(seen), contexts=1))
                yield from self._both("no context", budget, plain)

    def _both(self, name: str, budget: float, rate: Rate) -> Iterator[Point]:
        for kind, is_tuned in (("distilled", False), ("tuned", True)):
            yield self._sent(name, f"{budget:g}% {rate.rate_weight:g} {kind}", budget, rate, is_tuned)

    def _undistilled(self) -> Iterator[Point]:
        """Encoder and network trained from nothing on the task and the bits."""
        plan = self._plan
        for budget in plan.taught:
            pupil = self._pupil(budget)
            learnt = learn_rates(
                pupil, self._set.chips, self._split, self._set.of.network, plan.lesson, self._fold, plan.lambdas
            )
            for rate in learnt:
                yield self._sent("no distillation", f"{budget:g}% {rate.rate_weight:g}", budget, rate, is_tuned=True)

    def _rates(self, budget: float, saliency: float) -> list[Rate]:
        """Bottlenecks of one teacher, made once for all contenders that send them."""
        if (budget, saliency) not in self._made:
            pupil, lesson = self._pupil(budget), replace(self._plan.lesson, saliency=saliency)
            self._made[budget, saliency] = list(
                make_rates(pupil, self._set.chips, self._split, pupil.design(), lesson, self._fold, self._plan.lambdas)
            )
        return self._made[budget, saliency]

    def _pupil(self, budget: float) -> Pupil:
        """A network of the selected channels, each at full resolution: an encoder reads beside the data."""
        if budget not in self._pupils:
            chosen = self._select(budget)
            if chosen.model.mean.ndim == 2:  # of several versions
                chosen = self._train(self._set.chips, sorted({channel for _, channel in chosen.planes}))
            self._pupils[budget] = Pupil.of(chosen, self._set.chips, self._split)
        return self._pupils[budget]

    def _sent(self, name: str, setting: str, budget: float, rate: Rate, is_tuned: bool) -> Point:
        """A bottleneck's container of the whole scene, and what the far side says of what came out of it."""
        pupil = self._pupil(budget)
        model = rate.model(pupil, is_tuned=is_tuned)
        pixels = self._set.scene[list(pupil.planes)].astype(np.float32)
        data, shape = encode(model, rate, pixels)
        came = Container.decode(data, rate.tables, encoder_digest(model), shape).latents
        planes = torch.from_numpy(came.astype(np.float32))
        size = (pixels.shape[1], pixels.shape[2])
        spread = spread_cells(planes, rate.distilled.design.stride, size).numpy()
        point = self._point(name, setting, len(data), far_model(model), self._set.received(spread))
        took = self._timed(rate, model, pixels)
        return replace(point, encode=took[0], decode=took[1], weights=count_weights(rate.distilled.encoder))

    def _timed(self, rate: Rate, model: MaskedNetwork, pixels: np.ndarray) -> tuple[float, float]:
        """Milliseconds for a megapixel of encoding, and of decoding up to a teacher's features: of a larger tile."""
        if id(rate) not in self._took:
            repeats = [-(-SIDE // side) for side in pixels.shape[1:]]
            tile = np.tile(pixels, (1, *repeats))[:, :SIDE, :SIDE]
            started = time.perf_counter()
            data, shape = encode(model, rate, tile)
            encoded = time.perf_counter()
            came = Container.decode(data, rate.tables, encoder_digest(model), shape).latents
            with torch.inference_mode():
                rate.distilled.decoder(torch.from_numpy(came.astype(np.float32))[None])
            decoded = time.perf_counter()
            per_mega = 1e3 * MEGA / SIDE**2
            self._took[id(rate)] = (encoded - started) * per_mega, (decoded - encoded) * per_mega
        return self._took[id(rate)]

    def _code(self, code: Code) -> Iterator[Point]:
        """A network of all channels, trained on what came over the link."""
        train = self._set.trained_on(self._split)
        rates = code.rates[:: self._plan.every]
        for rate in rates:
            started = time.perf_counter()
            nbytes, received = self._through(code, train, rate)
            seconds = time.perf_counter() - started
            chips = self._set.received(received)
            point = self._point(code.name, str(rate), nbytes, self._train(chips).model, chips)
            # Encoding and decoding are one call: half of it each.
            share = 0.5e3 * seconds * MEGA / self._set.pixels
            yield replace(point, encode=share, decode=share)

    def _through(self, code: Code, train: np.ndarray, rate: Any) -> tuple[int, np.ndarray]:
        """Bytes, and the scene as received: channels of coarser pixels are sent as those.

        PCA sees the four fine pixels of a coarse one as channels of it, as an encoder of stride 2 does.
        """
        scene, coarse = self._set.scene, self._set.coarse
        if not coarse.any():
            return code.send(scene, train, rate)
        few, half = scene[coarse][:, ::2, ::2], train[::2, ::2]
        fine, whole = scene[~coarse], np.zeros(scene.shape, np.float32)
        if code.name == "pca":
            quarters = [fine[:, row::2, col::2] for row in (0, 1) for col in (0, 1)]
            nbytes, came = code.send(np.concatenate([*quarters, few]), half, rate)
            for number, (row, col) in enumerate((row, col) for row in (0, 1) for col in (0, 1)):
                part = np.zeros((len(fine), *scene.shape[1:]), np.float32)
                part[:, row::2, col::2] = came[number * len(fine) : (number + 1) * len(fine)]
                whole[~coarse] += part
            whole[coarse] = came[4 * len(fine) :].repeat(2, 1).repeat(2, 2)
            return nbytes, whole
        own, whole[~coarse] = code.send(fine, train, rate)
        other, came = code.send(few, half, rate)
        whole[coarse] = came.repeat(2, 1).repeat(2, 2)
        return own + other, whole

    def _train(self, chips: Chips, channels: Sequence[int] | None = None) -> Trained:
        """A network of some channels, None: all of them, trained from nothing."""
        of = self._set.of
        gate = HardGate(range(chips.image.shape[1]) if channels is None else channels)
        return Training(chips, self._split, gate, of.settings, self._fold, network=of.network).finish()

    def _point(self, name: str, setting: str, nbytes: float, model: MaskedNetwork, chips: Chips) -> Point:
        batch, split = self._set.of.settings.batch, self._split
        found = [score(model, chips, cells, batch) for cells in (split.validation, split.test)]
        return Point(name, setting, self._fold, 8 * nbytes / self._set.pixels, *found)


def encode(model: MaskedNetwork, rate: Rate, pixels: np.ndarray) -> tuple[bytes, tuple[int, int]]:
    """A container of pixels, float32 (channels, rows, columns), and its rows and columns of latents."""
    image = torch.from_numpy(pixels)[None]
    with torch.inference_mode():
        symbols = near_model(model)(image, torch.ones_like(image, dtype=torch.bool))[0].numpy().astype(np.int32)
    shape = (symbols.shape[1], symbols.shape[2])
    whole = Container(symbols, np.ones(shape, bool), encoder_digest(model), rate.distilled.design.stride)
    return whole.encode(rate.tables), shape

from dataclasses import replace

import numpy as np
import pytest
import torch

from geomask.bottleneck.container import OVERHEAD, Container
from geomask.bottleneck.distil import Lesson
from geomask.bottleneck.rates import Pupil, feature_nbytes, label_step, make_rates
from geomask.bottleneck.transfer import encoder_digest, far_model, near_model, spread_cells
from geomask.chips.memory import Chips
from geomask.chips.split import Split
from geomask.errors import SelectionError
from geomask.masks.hard import EMPTY, HardGate
from geomask.train.settings import Settings
from geomask.train.step import Training
from geomask.window import Window

SETTINGS = Settings(steps=30, width=8, check_every=10)
LESSON = Lesson(steps=60, settling=20, tuning=20, batch=None)
SPLIT = Split(tuple(range(16)), tuple(range(16, 20)), tuple(range(20, 24)))


def make_chips(side: int = 8, step: int = 2, seed: int = 0) -> Chips:
    """Six channels that say the same with noise, in squares of `step` pixels; two classes."""
    rng = np.random.default_rng(seed)
    truth = rng.random((24, side // step, side // step)).repeat(step, 1).repeat(step, 2)
    image = truth[:, None] * np.arange(1, 7)[:, None, None] * 100 + rng.normal(0, 5, (24, 6, side, side))
    windows = tuple(Window(0, side * number, side, side) for number in range(24))
    valid = np.ones(image.shape, bool)
    return Chips(image.astype(np.float32), valid, (truth > 0.5).astype(np.int64), windows, 2)


def make_pupil(chips: Chips, channels: tuple[int, ...] = (0, 2, 5), settings: Settings = SETTINGS) -> Pupil:
    return Pupil.of(Training(chips, SPLIT, HardGate(channels), settings, 0).finish(), chips, SPLIT)


def test_a_pupil_takes_what_the_gate_passes_in_the_gate_s_order() -> None:
    chips = make_chips()
    trained = Training(chips, SPLIT, HardGate([5, EMPTY, 0]), SETTINGS, 0).finish()
    pupil = Pupil.of(trained, chips, SPLIT)
    assert pupil.planes == (0, 5)
    image, valid = (torch.from_numpy(values[:16]) for values in (chips.image, chips.valid))
    with torch.no_grad():
        said = pupil.teacher.tail(pupil.teacher.head(pupil.pixels))
        torch.testing.assert_close(said, trained.model(image, valid))


@pytest.mark.parametrize(("step", "halvings"), [(1, 0), (2, 1), (4, 2)])
def test_latents_are_as_coarse_as_labels(step: int, halvings: int) -> None:
    design = make_pupil(make_chips(step=step)).design()
    assert (design.halvings, design.around) == (halvings, 1)


def test_scenes_are_halved_three_times_and_looked_around_in() -> None:
    settings = replace(SETTINGS, task="classification")
    design = make_pupil(make_chips(16), settings=settings).design()
    assert (design.halvings, design.around) == (3, 3)


@pytest.mark.parametrize(
    ("labels", "size", "step"),
    [
        (np.zeros((2, 8, 8)), (8, 8), 8),
        (np.arange(8.0).reshape(2, 2, 2), (8, 8), 4),
        (np.arange(8.0).reshape(2, 2, 2).repeat(2, 1).repeat(2, 2), (8, 8), 4),
        (np.arange(18.0).reshape(2, 3, 3).repeat(2, 1).repeat(2, 2), (6, 6), 2),
        (np.arange(128.0).reshape(2, 8, 8), (8, 8), 1),
        (np.full((2, 4, 4), np.nan), (4, 4), 4),
    ],
)
def test_label_step(labels: np.ndarray, size: tuple[int, int], step: int) -> None:
    assert label_step(labels, size) == step


def test_a_larger_lambda_takes_fewer_bits_and_prices_are_what_containers_take() -> None:
    chips = make_chips()
    pupil = make_pupil(chips)
    rates = list(make_rates(pupil, chips, SPLIT, pupil.design(), LESSON, 0, (0.001, 1.0)))
    fine, coarse = (float(rate.bits(pupil, chips).sum()) for rate in rates)
    assert coarse < fine
    model, pixels = rates[0].model(pupil, is_tuned=False), 24 * 8 * 8
    symbols, seen = rates[0].symbols(pupil, chips)
    sent = [
        len(Container(one, there, encoder_digest(model), 2).encode(rates[0].tables)) - OVERHEAD
        for one, there in zip(symbols, seen, strict=True)
    ]
    # a container ends in whole words
    assert fine * pixels / 8 <= sum(sent) <= fine * pixels / 8 + 24 * 8
    assert feature_nbytes(fine, pixels) == round(fine * pixels / 8) + OVERHEAD


@pytest.mark.parametrize("is_tuned", [False, True])
def test_what_is_scored_is_what_both_sides_say_apart(is_tuned: bool) -> None:
    chips = make_chips()
    chips.valid[20, :, :4] = False
    pupil = make_pupil(chips)
    rate = next(make_rates(pupil, chips, SPLIT, pupil.design(), LESSON, 0, (0.01,)))
    model = rate.model(pupil, is_tuned=is_tuned)
    image, valid = (torch.from_numpy(values[20:, list(pupil.planes)]) for values in (chips.image, chips.valid))
    symbols, seen = rate.symbols(pupil, chips.take([20, 21, 22, 23]))
    with torch.no_grad():
        assert (near_model(model)(image, valid).numpy() == symbols)[:, :, :][
            np.broadcast_to(seen[:, None], symbols.shape)
        ].all()
        planes = spread_cells(torch.from_numpy(symbols).float(), 2, (8, 8))
        shown = spread_cells(torch.from_numpy(seen)[:, None], 2, (8, 8)).expand_as(planes)
        assert far_model(model)(planes, shown).equal(model(image, valid))


def test_chips_that_a_network_does_not_halve_evenly_are_refused() -> None:
    settings = replace(SETTINGS, task="classification", network="timm:resnet18", steps=1)
    with pytest.raises(SelectionError, match=r"chips of 18 x 18 pixels and features of \d pixels|no place is known"):
        make_pupil(make_chips(18, 2), settings=settings)

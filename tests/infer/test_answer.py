from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from geomask.grid import Grid, Window
from geomask.infer import answer as module
from geomask.infer.answer import answer
from geomask.infer.engine import Engine, make_engine
from geomask.infer.field import Field, find_field
from geomask.infer.geotiff import NODATA
from geomask.infer.tiling import Cut, Tiling
from geomask.masks.hard import HardGate
from geomask.train.network import MaskedNetwork, SmallNet
from geomask.train.networks import Padded
from geomask.train.objective import Objective

CHANNELS, CLASSES = 2, 3
VALUES = Objective("regression", 1, centre=200.0, spread=30.0)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Passes over so few pixels take longer with more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Halving(nn.Module):
    """Two ways, added: at full resolution, and by fours. Rows and columns have to be multiples of four."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.fine = nn.Conv2d(CHANNELS, outputs, 3, padding=1)
        self.coarse = nn.Sequential(
            nn.Conv2d(CHANNELS, 4, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(4, outputs, 3, padding=1),
            nn.Upsample(scale_factor=4),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        said: torch.Tensor = self.fine(image) + self.coarse(image)
        return said


NETWORKS: dict[str, tuple[Callable[[int], nn.Module], Field]] = {
    "stride 1": (lambda outputs: SmallNet(CHANNELS, outputs, 4, 0.2), Field(2, 1)),
    # rows 4 p to 4 p + 3 depend on rows 4 p - 5 to 4 p + 7
    "stride 4": (lambda outputs: Padded(Halving(outputs), 4), Field(8, 4)),
}


def masked(name: str, objective: Objective) -> MaskedNetwork:
    torch.manual_seed(0)
    network = NETWORKS[name][0](objective.outputs or CLASSES)
    mean, deviation = torch.full((CHANNELS,), 3e4), torch.full((CHANNELS,), 1e4)
    return MaskedNetwork(mean, deviation, HardGate([1, 0]), network, objective).eval()


def scene(height: int, width: int, holes: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of two channels; of each pixel a channel is not valid, or both, as often as `holes` says."""
    rng = np.random.default_rng(height * 1000 + width)
    image = rng.normal(3e4, 1e4, (CHANNELS, height, width)).astype(np.float32)
    valid = rng.random(image.shape) > holes
    valid &= rng.random((height, width)) > holes
    return np.where(valid, image, np.float32(0)), valid


def one_pass(model: MaskedNetwork, image: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Of the network over all of it, decided."""
    with torch.inference_mode():
        said = model.objective.decide(model(torch.from_numpy(image)[None], torch.from_numpy(valid)[None]))[0].numpy()
    nothing = NODATA if model.objective.has_classes else np.nan
    return np.where(valid.any(0), said, nothing)


def by_tiles(model: MaskedNetwork, tiling: Tiling, image: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """What all tiles' cores are, put together."""
    engine = make_engine(model, "eager")
    found = None
    for tile in tiling:
        window = tile.window
        part = (slice(None), slice(window.row_off, window.row_stop), slice(window.col_off, window.col_stop))
        values = answer(engine, model.objective, image[part], valid[part], tiling.cuts(tile), tiling.overlap)
        if found is None:
            found = np.zeros(image.shape[1:], values.dtype)
        row, col = tile.core.row_off - window.row_off, tile.core.col_off - window.col_off
        core = values[row : row + tile.core.height, col : col + tile.core.width]
        found[tile.core.row_off : tile.core.row_stop, tile.core.col_off : tile.core.col_stop] = core
    assert found is not None
    return found


def grid(height: int, width: int) -> Grid:
    return Grid("EPSG:32633", 500_000, 5_000_000, 10, 10, height, width)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_fields_of_these_networks_are_as_said(name: str) -> None:
    assert find_field(masked(name, VALUES)) == NETWORKS[name][1]


@settings(max_examples=20)
@given(st.sampled_from(sorted(NETWORKS)), st.integers(1, 45), st.integers(1, 45), st.integers(3, 10), st.integers(1, 8))
def test_tiles_put_together_are_one_pass_over_the_whole_grid(
    name: str, height: int, width: int, side: int, chip: int
) -> None:
    """The oracle, at the grid's edges too; values to the rounding of another cut, classes where no two are equal."""
    field, model = NETWORKS[name][1], masked(name, VALUES)
    tiling = Tiling(grid(height, width), 4 * side, 4 * chip, field.halo, field.stride)
    image, valid = scene(height, width)
    found, wanted = by_tiles(model, tiling, image, valid), one_pass(model, image, valid)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-4)
    classes = masked(name, Objective(outputs=CLASSES))
    found, wanted = by_tiles(classes, tiling, image, valid), one_pass(classes, image, valid)
    assert found.dtype == np.uint8
    assert (found != wanted).mean() <= 1e-3  # a tie within rounding: none has shown


@pytest.mark.parametrize("name", NETWORKS)
def test_a_smaller_halo_leaves_seams(name: str) -> None:
    """So the oracle can tell."""
    field, model = NETWORKS[name][1], masked(name, VALUES)
    tiling = Tiling(grid(61, 47), 16, 8, field.halo - field.stride, field.stride)
    image, valid = scene(61, 47)
    assert np.nanmax(abs(by_tiles(model, tiling, image, valid) - one_pass(model, image, valid))) > 1e-2


@pytest.mark.parametrize("limit", [1, 900, 1 << 22])
def test_how_many_cuts_are_shown_at_once_has_no_say(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", limit)
    model, tiling, shown = masked("stride 1", VALUES), Tiling(grid(50, 40), 40, 10, 2), list[int]()
    engine = make_engine(model, "eager")
    image, valid = scene(50, 40)

    def watch(pixels: np.ndarray, seen: np.ndarray) -> np.ndarray:
        shown.append(pixels.size)
        assert pixels.dtype == np.float32
        assert seen.dtype == np.bool_
        return engine(pixels, seen)

    tile = tiling.tile(0)
    window = tile.window
    part = (slice(None), slice(window.row_off, window.row_stop), slice(window.col_off, window.col_stop))
    found = answer(watch, VALUES, image[part], valid[part], tiling.cuts(tile))[: tile.core.height, : tile.core.width]
    np.testing.assert_allclose(found, one_pass(model, image, valid)[:40, :40], rtol=0, atol=2e-4)
    largest = CHANNELS * max(cut.seen.height * cut.seen.width for cut in tiling.cuts(tile))
    assert max(shown) <= max(limit, largest)


def plain_blend(
    model: MaskedNetwork, cuts: list[Window], overlap: int, image: np.ndarray, valid: np.ndarray
) -> np.ndarray:
    """The formula, pixel by pixel: sum w o / sum w, w = min(1, d / (overlap + 1)) of rows times that of columns.

    d is how many pixels it is to the cut's nearer edge, the pixel itself included.
    """
    engine = make_engine(model, "eager")
    total, weight = np.zeros(image.shape[1:]), np.zeros(image.shape[1:])
    for cut in cuts:
        part = (slice(None), slice(cut.row_off, cut.row_stop), slice(cut.col_off, cut.col_stop))
        said = engine(image[part][None], valid[part][None])[0, 0]
        for row in range(cut.height):
            for col in range(cut.width):
                near = min(row + 1, cut.height - row), min(col + 1, cut.width - col)
                one = min(1, near[0] / (overlap + 1)) * min(1, near[1] / (overlap + 1))
                total[cut.row_off + row, cut.col_off + col] += one * said[row, col]
                weight[cut.row_off + row, cut.col_off + col] += one
    decided = total / weight * model.objective.spread + model.objective.centre
    return np.where(valid.any(0), decided, np.nan)


@pytest.mark.parametrize(
    ("size", "chip", "overlap", "side"),
    [((41, 53), 16, 4, 20), ((30, 30), 16, 8, 7), ((11, 60), 16, 12, 33), ((9, 9), 16, 4, 40)],
)
def test_overlapping_answers_are_the_weighted_mean(size: tuple[int, int], chip: int, overlap: int, side: int) -> None:
    model, (height, width) = masked("stride 1", VALUES), size
    tiling = Tiling(grid(height, width), side, chip, 0, overlap=overlap)
    whole = replace(tiling, side=max(size))
    image, valid = scene(height, width)
    cuts = [cut.seen for cut in whole.cuts(whole.tile(0))]
    found = by_tiles(model, tiling, image, valid)
    np.testing.assert_allclose(found, plain_blend(model, cuts, overlap, image, valid), rtol=0, atol=1e-3)


def test_classes_are_decided_after_blending() -> None:
    """Of two cuts that say different classes the one that says so more loudly wins, whichever is nearer its middle."""
    loud = {0: (0.0, 3.0), 1: (1.0, 0.0)}
    calls: list[int] = []

    def engine(image: np.ndarray, valid: np.ndarray) -> np.ndarray:
        said = []
        for cut in image:
            number = int(cut[0, 0, 0] > 0)
            calls.append(number)
            said.append(np.broadcast_to(np.array(loud[number], np.float32)[:, None, None], (2, *cut.shape[1:])))
        return np.stack(said)

    image = np.zeros((1, 1, 12), np.float32)
    image[0, 0, 4] = 1  # where the second cut begins
    cuts = [Cut(Window(0, start, 1, 8), Window(0, 0, 1, 8)) for start in (0, 4)]
    found = answer(engine, Objective(outputs=2), image, np.ones(image.shape, bool), cuts, overlap=4)
    assert sorted(calls) == [0, 1]
    # weights of the first in the four pixels that are shared are 4, 3, 2, 1 fifths, of the second 1, 2, 3, 4
    want = [1, 1, 1, 1, *(int(3 * first > second) for first, second in ((4, 1), (3, 2), (2, 3), (1, 4))), 0, 0, 0, 0]
    assert found[0].tolist() == want


def test_where_nothing_is_valid_there_is_nodata_whatever_the_network_says() -> None:
    image, valid = scene(20, 20)
    valid[:, 5:9, 3:11] = False
    valid[0, 12, 12], valid[1, 12, 12] = True, False
    for name in ("segmentation", "regression"):
        objective = VALUES if name == "regression" else Objective(outputs=CLASSES)
        model, tiling = masked("stride 1", objective), Tiling(grid(20, 20), 20, 6, 2)
        for overlap in (0, 3):
            cuts = (
                replace(tiling, halo=0, overlap=overlap).cuts(tiling.tile(0))
                if overlap
                else tiling.cuts(tiling.tile(0))
            )
            found = answer(make_engine(model, "eager"), objective, image, valid, cuts, overlap)
            nothing = found == NODATA if objective.has_classes else np.isnan(found)
            assert (nothing == ~valid.any(0)).all()


def test_what_no_cut_keeps_is_nodata() -> None:
    image, valid = scene(12, 12, holes=0)
    cuts = [Cut(Window(2, 2, 8, 8), Window(2, 2, 4, 4))]
    for objective in (VALUES, Objective(outputs=CLASSES)):
        found = answer(make_engine(masked("stride 1", objective), "eager"), objective, image, valid, cuts)
        nothing = found == NODATA if objective.has_classes else np.isnan(found)
        want = np.ones((12, 12), bool)
        want[4:8, 4:8] = False
        assert (nothing == want).all()


@pytest.mark.parametrize("overlap", [0, 2])
def test_without_a_cut_all_is_nodata(overlap: int) -> None:
    def engine(image: np.ndarray, valid: np.ndarray) -> np.ndarray:
        raise AssertionError("it was asked")

    never: Engine = engine
    image, valid = scene(5, 6, holes=0)
    assert (answer(never, Objective(outputs=CLASSES), image, valid, [], overlap) == NODATA).all()
    assert np.isnan(answer(never, VALUES, image, valid, [], overlap)).all()

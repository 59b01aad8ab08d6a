import logging
import sys
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from geomask.errors import RunError
from geomask.infer import engine as module
from geomask.infer.engine import Engine, choose_engine, make_engine
from geomask.infer.job import EngineName
from geomask.masks.gate import Gate
from geomask.masks.hard import HardGate
from geomask.train.fold import FoldedMask
from geomask.train.network import MaskedNetwork, SmallNet
from geomask.train.networks import Padded

CHANNELS, OUTPUTS = 3, 4


class Halving(nn.Module):
    """As an encoder and a decoder with a way past: rows and columns have to be even."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(CHANNELS, 8, 3, stride=2, padding=1)
        self.up = nn.Conv2d(8 + CHANNELS, OUTPUTS, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        deep = nn.functional.interpolate(self.down(image).relu(), scale_factor=2.0)
        said: torch.Tensor = self.up(torch.cat((deep, image), 1))
        return said


class Branching(nn.Module):
    """Says something else of chips whose rows are a multiple of 96: an export takes one branch for all."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(CHANNELS, OUTPUTS, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        said: torch.Tensor = self.layer(image)
        return said if image.shape[-2] % 96 else said + 1000


class Deciding(nn.Module):
    """Asks the pixels which way to go, which no export follows."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image * 2 if image.mean() > 0 else -image


class Picky(nn.Module):
    """Takes chips of 32 pixels alone."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.reshape(-1, CHANNELS, 32, 32)


def masked(network: nn.Module, gate: Gate | None = None) -> MaskedNetwork:
    torch.manual_seed(0)
    mean, deviation = torch.tensor([3e4, 200.0, -1.0]), torch.tensor([1e4, 30.0, 0.1])
    return MaskedNetwork(mean, deviation, gate or HardGate([2, 0, 1]), network).eval()


def small() -> MaskedNetwork:
    torch.manual_seed(0)
    return masked(SmallNet(CHANNELS, OUTPUTS, 8, 0.2))


def cuts(*size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(cuts, rows, columns) of pixels, some not valid."""
    rng, (count, rows, columns) = np.random.default_rng(seed), size
    shape = (count, CHANNELS, rows, columns)
    scale = np.array([[3e4, 1e4], [200, 30], [-1, 0.1]], np.float32)[:, :, None, None]
    image = scale[:, 0] + scale[:, 1] * rng.standard_normal(shape, np.float32)
    valid = rng.random(shape) > 0.2
    return np.where(valid, image, np.float32(0)), valid


def plain(model: MaskedNetwork, image: np.ndarray, valid: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        said: np.ndarray = model(torch.from_numpy(image), torch.from_numpy(valid)).numpy()
    return said


def test_eager_is_the_network_to_the_bit() -> None:
    model, sample = small(), cuts(2, 33, 40)
    model.train()  # whatever it was left in
    found = make_engine(model, "eager")(*sample)
    assert (found == plain(model.eval(), *sample)).all()
    assert (found.dtype, found.shape) == (np.float32, (2, OUTPUTS, 33, 40))


@pytest.fixture(scope="module")
def exported() -> tuple[MaskedNetwork, Engine]:
    """Of a network with all that is hard to export. It takes seconds."""
    twice = FoldedMask([0, 2, 2], torch.tensor([1.0, 0.5, 2.0])[:, None, None], CHANNELS)
    model = masked(Padded(Halving(), 2), twice)
    return model, make_engine(model, "onnx")


@pytest.mark.parametrize("size", [(1, 1, 1), (1, 64, 64), (2, 96, 160), (3, 33, 40), (1, 97, 161), (5, 7, 128)])
def test_onnx_says_what_the_network_says_of_any_number_and_size_of_cuts(
    size: tuple[int, int, int], exported: tuple[MaskedNetwork, Engine]
) -> None:
    model, engine = exported
    sample = cuts(*size)
    found, want = engine(*sample), plain(model, *sample)
    assert (found.dtype, found.shape) == (np.float32, want.shape)
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-5 * max(1.0, abs(want).max()))


@pytest.mark.parametrize("name", ["eager", "onnx"])
def test_other_cuts_in_the_batch_and_further_pixels_have_no_say(
    name: EngineName, exported: tuple[MaskedNetwork, Engine]
) -> None:
    engine = exported[1] if name == "onnx" else make_engine(exported[0], name)
    image, valid = cuts(3, 60, 70)
    want = engine(image, valid)
    apart = np.concatenate([engine(image[at : at + 1], valid[at : at + 1]) for at in range(3)])
    inner = engine(np.ascontiguousarray(image[..., 8:-8, 8:-8]), np.ascontiguousarray(valid[..., 8:-8, 8:-8]))
    np.testing.assert_allclose(apart, want, rtol=0, atol=1e-5)
    np.testing.assert_allclose(inner[..., 8:-8, 8:-8], want[..., 16:-16, 16:-16], rtol=0, atol=1e-5)


def test_the_number_of_threads_has_no_say_beyond_rounding() -> None:
    model, sample, threads = small(), cuts(2, 60, 70), torch.get_num_threads()
    found = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(make_engine(model, "eager")(*sample))
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1e-5)


def test_an_export_that_is_another_network_is_refused() -> None:
    with pytest.raises(RunError, match="says something else than it"):
        make_engine(masked(Branching()), "onnx")


@pytest.mark.parametrize("network", [Deciding(), Picky()])
def test_what_cannot_be_exported_is_refused_in_one_line(network: nn.Module, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RunError, match="cannot be exported to ONNX Runtime") as caught:
        make_engine(masked(network), "onnx")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    said = capfd.readouterr()
    assert said.out + said.err == ""


@pytest.mark.parametrize("missing", ["onnxruntime", "onnxscript"])
def test_without_onnx_runtime_the_error_says_what_to_install(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(RunError, match=rf"{missing}.*; install geomask\[onnx\]"):
        make_engine(small(), "onnx")


def test_without_a_gpu_what_was_begun_on_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RunError, match="begun on a GPU, and there is none"):
        make_engine(small(), "bf16")


def test_on_a_gpu_it_is_bf16_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_engine(small(), (64, 64), 1)[0] == "bf16"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_bf16_says_about_what_the_network_says() -> None:
    sample = cuts(2, 64, 64)
    want = plain(small(), *sample)
    found = make_engine(small(), "bf16")(*sample)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, want, rtol=0, atol=0.05 * abs(want).max())


class Clock:
    """Stands for the module `time`: goes on by what engines say that they take."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


CLOCK = Clock()


def fake(
    seconds: float, set_up: float = 0.0, off: float = 0.0, fails: type[Exception] | None = None
) -> Callable[[MaskedNetwork], Engine]:
    """What takes so long to make an engine, which takes so long for each answer, and is off by so much."""

    def make(model: MaskedNetwork) -> Engine:
        CLOCK.now += set_up

        def ask(image: np.ndarray, valid: np.ndarray) -> np.ndarray:
            CLOCK.now += seconds
            if fails is not None:
                raise fails("it went wrong")
            return plain(model, image, valid) + np.float32(off)

        return ask

    return make


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch) -> Callable[..., EngineName]:
    """`choose_engine` among these engines, of a `SET_UP` for all; those that are not named are not installed."""

    def choose(count: int, set_up: float = 0.0, **engines: Callable[[MaskedNetwork], Engine]) -> EngineName:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(module, "time", CLOCK)
        monkeypatch.setattr(module, "make_engine", lambda model, name: engines[name](model))
        monkeypatch.setattr(module, "_installed", lambda: [name for name in engines if name != "eager"])
        monkeypatch.setattr(module, "SET_UP", dict.fromkeys(engines, set_up))
        name, engine = choose_engine(small(), (8, 8), count)
        assert engine is not None
        return name

    return choose


def test_the_quickest_engine_is_chosen(choose: Callable[..., EngineName]) -> None:
    assert choose(1000, eager=fake(0.05), onnx=fake(0.005), compile=fake(0.1)) == "onnx"
    assert choose(1000, eager=fake(0.05), onnx=fake(0.02), compile=fake(0.01)) == "compile"
    assert choose(1000, eager=fake(0.01), onnx=fake(0.05)) == "eager"


def test_what_takes_longer_to_be_made_than_it_saves_is_not_chosen(choose: Callable[..., EngineName]) -> None:
    engines = {"eager": fake(0.1), "onnx": fake(0.01, set_up=10)}
    assert choose(100, **engines) == "eager"
    assert choose(120, **engines) == "onnx"


def test_what_would_take_longer_to_be_tried_than_the_whole_map_is_not_tried(choose: Callable[..., EngineName]) -> None:
    def never(model: MaskedNetwork) -> Engine:
        raise AssertionError("it was made")

    assert choose(100, set_up=60.0, eager=fake(0.1), onnx=never, compile=never) == "eager"
    assert choose(4, eager=fake(100.0), onnx=never) == "eager"
    # what onnx takes for all is less than it takes to compile
    assert choose(1000, set_up=10.0, eager=fake(1.0), onnx=fake(0.01), compile=never) == "onnx"


@pytest.mark.parametrize("fails", [RuntimeError, ValueError, RunError])
def test_an_engine_that_fails_or_says_something_else_is_left_out(
    fails: type[Exception], choose: Callable[..., EngineName]
) -> None:
    assert choose(1000, eager=fake(0.02), onnx=fake(0.0, fails=fails), compile=fake(0.01)) == "compile"
    assert choose(1000, eager=fake(0.02), onnx=fake(0.0, off=1.0), compile=fake(0.01)) == "compile"


def test_errors_of_onnx_runtime_are_known(choose: Callable[..., EngineName]) -> None:
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument

    assert choose(1000, eager=fake(0.01), onnx=fake(0.0, fails=Fail)) == "eager"
    assert choose(1000, eager=fake(0.01), onnx=fake(0.0, fails=InvalidArgument)) == "eager"


def test_another_kind_of_error_is_a_defect_and_raised(choose: Callable[..., EngineName]) -> None:
    with pytest.raises(KeyError):
        choose(1000, eager=fake(0.01), onnx=fake(0.0, fails=KeyError))


def test_what_is_installed_is_asked_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"g++"}
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(module.shutil, "which", lambda name: name if name in there else None)
    assert module._installed() == ["onnx", "compile"]
    there.clear()
    assert module._installed() == ["onnx"]
    monkeypatch.setenv("CXX", "/opt/c++")
    there.add("/opt/c++")
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None if name == "onnx" else name)
    assert module._installed() == ["compile"]


def test_a_size_that_cannot_be_compiled_for_is_answered_by_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def compiled(model: nn.Module, dynamic: bool) -> nn.Module:
        def run(image: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
            warnings.warn("of the compiler's own code", UserWarning, stacklevel=1)
            logging.getLogger("torch.utils.cpp_extension").warning("no GPU")
            if image.shape[-1] == 13:
                raise RuntimeError("backend='inductor' raised")
            said: torch.Tensor = model(image, valid)
            return said

        return run  # type: ignore[return-value]

    monkeypatch.setattr(torch, "compile", compiled)
    model = small()
    engine = make_engine(model, "compile")
    for size in ((1, 9, 12), (1, 9, 13), (2, 9, 13)):
        assert (engine(*cuts(*size)) == plain(model, *cuts(*size))).all()


@pytest.mark.slow
@pytest.mark.parametrize("model", [small(), masked(Padded(Halving(), 2))])
def test_compiled_says_what_the_network_says_of_any_number_and_size_of_cuts(
    model: MaskedNetwork, capfd: pytest.CaptureFixture[str]
) -> None:
    engine = make_engine(model, "compile")
    for size in ((1, 64, 64), (2, 96, 160), (3, 33, 40), (1, 97, 161), (5, 7, 128)):
        sample = cuts(*size)
        want = plain(model, *sample)
        np.testing.assert_allclose(engine(*sample), want, rtol=0, atol=1e-5 * max(1.0, abs(want).max()))
    said = capfd.readouterr()
    assert said.out + said.err == ""

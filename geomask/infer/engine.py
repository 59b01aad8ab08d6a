"""What computes a folded network's answers: torch as it is or compiled, or ONNX Runtime, whichever is faster here.

What the engines say of the same pixels differs by rounding alone. So does what one says of them in another batch, in a
larger cut or with another number of threads, and mostly not even by that.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import shutil
import time
import warnings
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..errors import RunError
from ..train.network import MaskedNetwork
from ..train.networks import Padded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from .job import EngineName

#: Seconds that an engine takes to be made, at the least.
SET_UP: dict[EngineName, float] = {"onnx": 10.0, "compile": 60.0}
#: Passes that an engine is timed by, after one that is not.
TRIES = 2
#: Engines agree where no output differs by more than this share of the largest. It is rounding's ten times over, and
#: what a network says where its export went wrong differs by as much as the outputs themselves.
AGREE = 1e-3
#: (cuts, rows, columns) that an export is held against the network with. The first is what it is traced with: of sizes
#: that are odd, or the branch of `Padded` which pads would be left out of it; the others are of those that are not.
SAMPLES = ((2, 97, 161), (1, 96, 96), (3, 130, 71))

type Engine = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Stored values, float32 (cuts, channels, rows, columns), and their validity, bool, to float32 outputs."""


def make_engine(model: MaskedNetwork, name: EngineName) -> Engine:
    """An engine by name; ``bf16`` is that of a GPU.

    Raises RunError where what it needs is not there, or the network cannot be exported.
    """
    if name == "onnx":
        return _onnx(model)
    if name == "bf16" and not torch.cuda.is_available():
        raise RunError("this map was begun on a GPU, and there is none; name another folder to begin anew")
    device = torch.device("cuda" if name == "bf16" else "cpu")
    # half as fast again, here as on a GPU; the weights stay what they are
    model = model.to(device).eval().to(memory_format=torch.channels_last)
    if name == "compile":
        return _compiled(model)

    @torch.inference_mode()
    def answer(image: np.ndarray, valid: np.ndarray) -> np.ndarray:
        pixels, seen = (
            torch.from_numpy(values).to(device, memory_format=torch.channels_last) for values in (image, valid)
        )
        with torch.autocast(device.type, torch.bfloat16, enabled=name == "bf16"):
            return _array(model(pixels, seen))

    return answer


def choose_engine(model: MaskedNetwork, size: tuple[int, int], count: int) -> tuple[EngineName, Engine | None]:
    """On a GPU ``bf16``; else what takes the least to be made and then asked for `count` cuts of `size` in one process.

    Returns its name, and itself where it was made to be timed. `size` is (rows, columns). Left out is what is not
    installed, cannot be made of this network or says something else than it, and what would take longer to be tried
    than all the cuts take without it.
    """
    if torch.cuda.is_available():
        return "bf16", None
    image, valid = _sample(model, (1, *size))
    eager = make_engine(model, "eager")
    wanted, seconds = _timed(eager, image, valid)
    names = [name for name in _installed() if _can_pay(name, seconds, count)]
    costs: dict[EngineName, float] = {"eager": count * _best(eager, image, valid) if names else 0.0}
    made: dict[EngineName, Engine] = {"eager": eager}
    for name in names:
        if not _can_pay(name, min(costs.values()) / count, count):
            continue
        start = time.perf_counter()
        try:
            engine = make_engine(model, name)
            said = engine(image, valid)
        except _troubles():
            continue
        set_up = time.perf_counter() - start
        if _agree(said, wanted):
            costs[name] = set_up + count * _best(engine, image, valid)
            made[name] = engine
    best = min(costs, key=lambda name: costs[name])
    return best, made[best]


def _can_pay(name: EngineName, seconds: float, count: int) -> bool:
    """Whether `count` cuts, each of so many seconds without it, take longer than to find out how fast an engine is."""
    return count * seconds > SET_UP[name] + 2 * TRIES * seconds


def _installed() -> list[EngineName]:
    """What there may be besides the network as it is, the quickest to make first."""
    found: list[EngineName] = []
    if all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime", "onnxscript")):
        found.append("onnx")
    if any(map(shutil.which, filter(None, (os.environ.get("CXX"), "c++", "g++", "clang++", "cl")))):
        found.append("compile")  # torch writes C++
    return found


def _compiled(model: MaskedNetwork) -> Engine:
    """Compiled at the first cuts, for any size and number of them."""
    if isinstance(model.network, Padded):  # sizes that it reckons with are too much for the compiler of torch 2.15
        inner: Any = torch.compile(model.network.network, dynamic=True)
        padded = Padded(inner, model.network.multiple)
        run: Any = MaskedNetwork(model.mean, model.deviation, model.gate, padded, model.objective).eval()
    else:
        run = torch.compile(model, dynamic=True)

    known: set[tuple[int, ...]] = set()

    @torch.inference_mode()
    def answer(image: np.ndarray, valid: np.ndarray) -> np.ndarray:
        pixels, seen = torch.from_numpy(image), torch.from_numpy(valid)
        try:
            with nullcontext() if image.shape in known else _quiet():  # another size may be compiled for anew
                said = run(pixels, seen)
        except RuntimeError:  # it cannot be compiled for: the network itself answers, or says what is wrong
            said = model(pixels, seen)
        known.add(image.shape)
        return _array(said)

    return answer


def _onnx(model: MaskedNetwork) -> Engine:
    """Exported, and held against the network: an export can be made and be another network."""
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  # torch's exporter is written in it
    except ImportError as error:
        raise RunError(f"ONNX Runtime is not there ({error}); install geomask[onnx]") from error
    model = model.to("cpu").eval()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors; what it has to say of a graph is for who wrote the exporter
    # Waiting threads would spin and take the cores that fetch and decode the next tile.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        with _quiet():
            session = onnxruntime.InferenceSession(_export(model), options, providers=["CPUExecutionProvider"])
    except _troubles() as error:
        raise RunError(f"this network cannot be exported to ONNX Runtime ({_reason(error)})") from error

    def answer(image: np.ndarray, valid: np.ndarray) -> np.ndarray:
        found: np.ndarray = session.run(None, {"image": image, "valid": valid})[0]
        return found

    eager = make_engine(model, "eager")
    for size in SAMPLES:
        sample = _sample(model, size)
        try:
            agrees = _agree(answer(*sample), eager(*sample))
        except _troubles() as error:
            raise RunError(f"what was exported of this network takes no {size} cuts, rows and columns") from error
        if not agrees:
            raise RunError("what was exported of this network says something else than it")
    return answer


def _export(model: MaskedNetwork) -> bytes:
    """The network in ONNX, for any number of cuts, rows and columns."""
    any_size = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    inputs = tuple(map(torch.from_numpy, _sample(model, SAMPLES[0])))
    program = torch.onnx.export(
        model,
        inputs,
        dynamo=True,
        dynamic_shapes=(any_size, any_size),
        input_names=["image", "valid"],
        output_names=["outputs"],
        verbose=False,
    )
    if program is None:
        raise RuntimeError("nothing was exported")
    data: bytes = program.model_proto.SerializeToString()
    return data


def _troubles() -> tuple[type[Exception], ...]:
    """What making an engine or asking it raises: torch its own kinds of RuntimeError, ONNX Runtime those of no base."""
    known: tuple[type[Exception], ...] = (RunError, RuntimeError, ValueError)
    try:
        message = importlib.import_module("google.protobuf.message")  # it has no types
        from onnxruntime.capi import onnxruntime_pybind11_state as state
    except ImportError:
        return known
    kinds = (kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception))
    return (*known, message.EncodeError, *kinds)  # the former of a network of over 2 GB


def _reason(error: BaseException) -> str:
    """One line: what the exporter says first is how to report a defect of it, in colours."""
    while error.__cause__ is not None:
        error = error.__cause__
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0][:200]}" if said else type(error).__name__


def _sample(model: MaskedNetwork, size: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of (cuts, rows, columns) as the network has learned them, a tenth of them not valid."""
    rng, (cuts, rows, columns) = np.random.default_rng(0), size
    mean, deviation = (values.detach().cpu().numpy()[:, None, None] for values in (model.mean, model.deviation))
    shape = (cuts, len(mean), rows, columns)
    valid = rng.random(shape, np.float32) > 0.1
    image = mean + deviation * rng.standard_normal(shape, np.float32)
    return np.where(valid, image, np.float32(0)), valid


def _agree(found: np.ndarray, wanted: np.ndarray) -> bool:
    if found.shape != wanted.shape:
        return False
    largest = float(np.abs(wanted, where=np.isfinite(wanted), out=np.zeros_like(wanted)).max(initial=0.0))
    return np.allclose(found, wanted, rtol=0, atol=AGREE * largest, equal_nan=True)


def _best(engine: Engine, image: np.ndarray, valid: np.ndarray) -> float:
    """Seconds of the quickest of some passes."""
    return min(_timed(engine, image, valid)[1] for _ in range(TRIES))


def _timed(engine: Engine, image: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, float]:
    start = time.perf_counter()
    said = engine(image, valid)
    return said, time.perf_counter() - start


def _array(said: Tensor) -> np.ndarray:
    found: np.ndarray = said.float().cpu().numpy()
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what exporters and compilers say of their own code: what fails is raised all the same.

    Of all of the process: what another thread warns of or prints meanwhile is lost.
    """
    # torch.utils.cpp_extension logs that there is no GPU, and torch.export prints the graph that it cannot finish
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)

"""What computes a folded network's answers: torch as it is or compiled, or ONNX Runtime, whichever is faster here.

What the engines say of the same pixels differs by rounding alone. So does what one says of them in another batch, in a
larger cut or with another number of threads, and mostly not even by that.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..errors import RunError
from ..train.network import MaskedNetwork
from ..train.networks import Padded
from ..train.onnx import Answer, agree, check_graph, make_graph, open_graph, quiet, sample, troubles

if TYPE_CHECKING:
    from torch import Tensor

    from .job import EngineName

#: Seconds that an engine takes to be made, at the least.
SET_UP: dict[EngineName, float] = {"onnx": 10.0, "compile": 60.0}
#: Passes that an engine is timed by, after one that is not.
TRIES = 2

type Engine = Answer
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
    image, valid = sample(model, (1, *size))
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
        except troubles():
            continue
        set_up = time.perf_counter() - start
        if agree(said, wanted):
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
            with nullcontext() if image.shape in known else quiet():  # another size may be compiled for anew
                said = run(pixels, seen)
        except RuntimeError:  # it cannot be compiled for: the network itself answers, or says what is wrong
            said = model(pixels, seen)
        known.add(image.shape)
        return _array(said)

    return answer


def _onnx(model: MaskedNetwork) -> Engine:
    """Exported, and held against the network."""
    model = model.to("cpu").eval()
    answer = open_graph(make_graph(model))
    check_graph(answer, model)
    return answer


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

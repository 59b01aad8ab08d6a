"""A folded network as an ONNX graph, held against the network itself: an export can be made and be another network."""

from __future__ import annotations

import importlib
import logging
import warnings
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..errors import RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .network import MaskedNetwork

#: Answers agree where no output differs by more than this share of the largest. It is rounding's ten times over, and
#: what a network says where its export went wrong differs by as much as the outputs themselves.
AGREE = 1e-3
#: (cuts, rows, columns) that an export is held against the network with. The first is what it is traced with: of sizes
#: that are odd, or the branch of `Padded` which pads would be left out of it; the others are of those that are not.
SAMPLES = ((2, 97, 161), (1, 96, 96), (3, 130, 71))

type Answer = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Stored values, float32 (cuts, channels, rows, columns), and their validity, bool, to float32 outputs."""
type Judge = Callable[[np.ndarray, np.ndarray, np.ndarray], bool]
"""Whether outputs are those of stored values and their validity: outputs, values, validity."""


def make_graph(model: MaskedNetwork, names: tuple[str, str, str] = ("image", "valid", "outputs")) -> Any:
    """A network on a CPU as an ``onnx.ModelProto``, for any number of cuts, rows and columns.

    `names` are those of its two inputs and its output. Raises RunError where what that needs is not installed, or the
    network cannot be exported.
    """
    try:
        import onnxruntime  # noqa: F401  # what makes a graph also runs it
        import onnxscript  # noqa: F401  # torch's exporter is written in it
    except ImportError as error:
        raise RunError(f"ONNX Runtime is not there ({error}); install geomask[onnx]") from error
    any_size = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    inputs = tuple(map(torch.from_numpy, sample(model, SAMPLES[0])))
    with _refusing():
        program = torch.onnx.export(
            model,
            inputs,
            dynamo=True,
            dynamic_shapes=(any_size, any_size),
            input_names=list(names[:2]),
            output_names=[names[2]],
            verbose=False,
        )
        if program is None:
            raise RuntimeError("nothing was exported")
        return program.model_proto


def open_graph(graph: Any) -> Answer:
    """A graph of `make_graph` in ONNX Runtime, with as many threads as torch has. Raises RunError as that does."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors; what it has to say of a graph is for who wrote the exporter
    # Waiting threads would spin and take the cores that fetch and decode the next tile.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    with _refusing():
        session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    image, valid = (given.name for given in session.get_inputs())

    def answer(pixels: np.ndarray, seen: np.ndarray) -> np.ndarray:
        found: np.ndarray = session.run(None, {image: pixels, valid: seen})[0]
        return found

    return answer


def check_graph(answer: Answer, model: MaskedNetwork, judge: Judge | None = None) -> None:
    """Hold a graph against its network on samples. Raises RunError where they differ.

    `judge` says what is right, where that is not what the network says but for rounding (`agree`).
    """
    for size in SAMPLES:
        image, valid = sample(model, size)
        try:
            found = answer(image, valid)
            if judge is not None:
                agrees = judge(found, image, valid)
            else:
                with torch.inference_mode():
                    agrees = agree(found, model(torch.from_numpy(image), torch.from_numpy(valid)).float().numpy())
        except troubles() as error:
            raise RunError(f"what was exported of this network takes no {size} cuts, rows and columns") from error
        if not agrees:
            raise RunError("what was exported of this network says something else than it")


def agree(found: np.ndarray, wanted: np.ndarray) -> bool:
    """Whether outputs differ by rounding alone."""
    if found.shape != wanted.shape:
        return False
    largest = float(np.abs(wanted, where=np.isfinite(wanted), out=np.zeros_like(wanted)).max(initial=0.0))
    return np.allclose(found, wanted, rtol=0, atol=AGREE * largest, equal_nan=True)


def sample(model: MaskedNetwork, size: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of (cuts, rows, columns) as the network has learned them, a tenth of them not valid."""
    rng, (cuts, rows, columns) = np.random.default_rng(0), size
    mean, deviation = (values.detach().cpu().numpy()[:, None, None] for values in (model.mean, model.deviation))
    shape = (cuts, len(mean), rows, columns)
    valid = rng.random(shape, np.float32) > 0.1
    image = mean + deviation * rng.standard_normal(shape, np.float32)
    return np.where(valid, image, np.float32(0)), valid


def troubles() -> tuple[type[Exception], ...]:
    """What making an engine or asking it raises: torch its own kinds of RuntimeError, ONNX Runtime those of no base."""
    known: tuple[type[Exception], ...] = (RunError, RuntimeError, ValueError)
    try:
        message = importlib.import_module("google.protobuf.message")  # it has no types
        from onnxruntime.capi import onnxruntime_pybind11_state as state
    except ImportError:
        return known
    kinds = (kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception))
    return (*known, message.EncodeError, *kinds)  # the former of a network of over 2 GB


@contextmanager
def quiet() -> Iterator[None]:
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


@contextmanager
def _refusing() -> Iterator[None]:
    """Says in one line why there is no graph."""
    try:
        with quiet():
            yield
    except troubles() as error:
        raise RunError(f"this network cannot be exported to ONNX Runtime ({_reason(error)})") from error


def _reason(error: BaseException) -> str:
    """One line: what the exporter says first is how to report a defect of it, in colours."""
    while error.__cause__ is not None:
        error = error.__cause__
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0][:200]}" if said else type(error).__name__

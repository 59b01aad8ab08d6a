"""A training in a file, so that it goes on to the bit where it was interrupted: safetensors, and JSON in its header."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..atomic import atomic_path
from ..errors import RunError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from torch import nn

    from ..masks.gate import Gate
    from .step import Training

VERSION = 1


def save_checkpoint(path: Path, training: Training, fingerprint: str, *, in_leg: bool) -> None:
    """Write the state of a training, whole or not at all.

    `in_leg`: in the middle of a leg, whose random numbers go on; the next leg has some of its own.
    """
    from safetensors.torch import save

    tensors = {f"model/{name}": tensor for name, tensor in _network_state(training).items()}
    tensors |= {f"gate/{name}": tensor for name, tensor in gate_state(training.model.gate).items()}
    tensors |= {f"soft/{name}": tensor for name, tensor in (training.soft or {}).items()}
    for number, values in training.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{number}/{name}": value for name, value in values.items()}
    if in_leg:
        tensors |= {f"random/{name}": state for name, state in get_random(training.device).items()}
    said = {"geomask": "checkpoint", "version": VERSION, "fingerprint": fingerprint, "step": training.step}
    said |= {"curve": training.curve, "joint": training.joint}
    with atomic_path(path) as draft:
        plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        draft.write_bytes(save(plain, {"geomask": json.dumps(said)}))


def load_checkpoint(path: Path, training: Training, fingerprint: str) -> None:
    """Put a training, which has made no step, into the state of a file.

    Raises RunError where the file is broken, or of another training.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            said = json.loads((file.metadata() or {})["geomask"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no dict
        if (said["geomask"], said["version"]) != ("checkpoint", VERSION):
            raise ValueError(f"it is of version {said['version']}")
        if said["fingerprint"] != fingerprint:
            raise RunError(f"{path} is of another training, with other chips or settings; train without --resume")
        _restore(training, tensors)
        training.step, training.joint = said["step"], said["joint"]
        training.curve = [(step, value) for step, value in said["curve"]]
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        if isinstance(error, RunError):
            raise
        raise RunError(f"{path} is broken: {' '.join(str(error).split())}; train without --resume") from error


def fingerprint_of(training: Training) -> str:
    """SHA-256 of what a training's result depends on: settings, seed, gate, network and chips; hexadecimal."""
    model = training.model
    shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items() if isinstance(tensor, Tensor)}
    said = [asdict(training.settings), training.seed, type(model.gate).__name__, str(training.device), shapes]
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    for tensor in (training.pixels, training.labels):
        digest.update(tensor.cpu().contiguous().numpy())
    return digest.hexdigest()


def gate_state(gate: Gate) -> dict[str, Tensor]:
    """All that a gate has learned and noted, as tensors: also its plain numbers, and what it keeps in queues."""
    tensors = {name: tensor for name, tensor in gate.state_dict().items() if isinstance(tensor, Tensor)}
    for place, module, name in _notes(gate):
        value = vars(module)[name]
        if isinstance(value, deque):
            tensors |= {f"{place}[{number}]": tensor for number, tensor in enumerate(value)}
        else:
            tensors[place] = torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else torch.int64)
    return tensors


def set_gate_state(gate: Gate, tensors: Mapping[str, Tensor]) -> None:
    """Put a gate into a state of `gate_state`. Raises RuntimeError and KeyError where it is none of this gate."""
    gate.load_state_dict({name: tensor for name, tensor in tensors.items() if not name.startswith("=")})
    device = next((tensor.device for tensor in gate.state_dict().values()), torch.device("cpu"))
    for place, module, name in _notes(gate):
        value = vars(module)[name]
        if isinstance(value, deque):
            kept = [tensors[f"{place}[{number}]"] for number in range(len(tensors)) if f"{place}[{number}]" in tensors]
            setattr(module, name, deque((tensor.to(device) for tensor in kept), value.maxlen))
        else:
            setattr(module, name, type(value)(tensors[place].item()))


def get_random(device: torch.device) -> dict[str, Tensor]:
    """The state of torch's generators."""
    cuda = {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {}
    return {"cpu": torch.get_rng_state(), **cuda}


def set_random(states: Mapping[str, Tensor]) -> None:
    """Put torch's generators into a state of `get_random`."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])


def _notes(gate: Gate) -> Iterator[tuple[str, nn.Module, str]]:
    """Names for a file, modules and names of attributes that hold numbers or queues of tensors."""
    for place, module in gate.named_modules():
        for name, value in vars(module).items():
            is_queue = isinstance(value, deque) and all(isinstance(part, Tensor) for part in value)
            if is_queue or (type(value) in (int, float, bool) and name != "training"):
                yield f"={place}.{name}", module, name


def _network_state(training: Training) -> dict[str, Tensor]:
    """All of the model but its gate."""
    return {name: t for name, t in training.model.state_dict().items() if not name.startswith("gate.")}


def _restore(training: Training, tensors: Mapping[str, Tensor]) -> None:
    if soft := _below(tensors, "soft/"):
        set_gate_state(training.model.gate, soft)
        training.harden()
    set_gate_state(training.model.gate, _below(tensors, "gate/"))
    missing = training.model.load_state_dict(_below(tensors, "model/"), strict=False)
    if missing.unexpected_keys or any(not name.startswith("gate.") for name in missing.missing_keys):
        raise RuntimeError(f"its weights are those of another network: {missing}")
    _restore_optimizer(training.optimizer, _below(tensors, "optimizer/"))
    training.resumed = _below(tensors, "random/") or None


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition("/")
        parameter = parameters[int(number)]
        # As the parameter lies in memory: a fused step takes both in one go.
        alike = torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value
        state.setdefault(int(number), {})[name] = alike.detach()
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

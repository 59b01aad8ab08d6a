"""Weights that a network starts from: those of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import RunError, SelectionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn


def load_weights(folder: str | Path) -> dict[str, Tensor]:
    """The weights of a run's network by name, of tensors alone: no code is run.

    Raises RunError where there is no run, or its weights are broken.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = Path(folder) / "model.safetensors"
    try:
        tensors = load(path.read_bytes())
    except FileNotFoundError as error:
        raise RunError(f"{folder} is no finished run to start from: it has no {path.name}; train it first") from error
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path} is broken: {' '.join(str(error).split())}") from error
    prefix = "network."
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def put_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give a network other weights, in place. Raises SelectionError where they are those of another network.

    One that passes all channels, such as a mask with a head for each, takes the network of a dense run.
    """
    own = network.state_dict()
    if missing := sorted(own.keys() ^ weights.keys()):
        raise SelectionError(f"the weights to start from are those of another network: one of both has no {missing[0]}")
    for name, tensor in weights.items():
        if tensor.shape != own[name].shape:
            raise SelectionError(
                f"the weights to start from differ: {name} is {tuple(tensor.shape)}, here {tuple(own[name].shape)}; "
                "take a run of the same network and task, of as many channels as this gate passes on"
            )
    network.load_state_dict(weights)

"""A run folder: what was learned, from what, and how well it did.

::

    RUN/run.json            settings, scores, cost, versions of everything: one JSON object
    RUN/selection.json      the channels that are read
    RUN/model.safetensors   the folded network: it takes only those channels
    RUN/receipt.json        what its last inference read
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..atomic import write_text
from ..errors import RunError
from ..selection import Selection

if TYPE_CHECKING:
    from .network import MaskedNetwork
    from .step import Trained

VERSION = 1
FILES = ("run.json", "selection.json", "model.safetensors", "receipt.json")
PACKAGES = ("geomask", "torch", "torchgeo", "rasterio", "numpy", "pystac-client")


@dataclass(frozen=True)
class Record:
    """What a run says of itself; ``run.json``."""

    method: str
    """dense, learned, uniform or random."""
    seed: int
    fold: int
    """Which of the spatial splits, 0-based."""
    folds: int
    budget: str
    """As it was asked for."""
    planned_nbytes: int
    """Of the selection over the training grid, headers included."""
    dense_nbytes: int
    """Of all channels over the same grid."""
    class_names: list[str]
    """Of the labels' classes, from 0."""
    gsd: float
    """Pixel size of the grid, units of the CRS."""
    scores: dict[str, float]
    """Fractions: ``validation``, ``test``, and ``majority`` (on test)."""
    curve: list[list[float]]
    """[step, validation score], from the moment the gate was hard."""
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=lambda: {name: version(name) for name in PACKAGES})


@dataclass(frozen=True)
class Run:
    """A run as it lies in its folder."""

    record: Record
    selection: Selection
    model: MaskedNetwork
    """Folded: its input channels are the selection's, in order."""


def save_run(folder: str | Path, trained: Trained, selection: Selection, record: Record) -> Run:
    """Fold the network and write the run. `selection` holds all channels that the network was trained on.

    Raises RunError where the folder is in the way of something else.
    """
    from safetensors.torch import save

    from ..atomic import atomic_path
    from .network import fold

    folder = check_folder(folder)
    channels, model = fold(trained.model)
    kept = selection.keep(channels)
    # run.json is written last: a folder that has one is whole.
    for name in ("run.json", "receipt.json"):
        (folder / name).unlink(missing_ok=True)
    kept.save(folder / "selection.json")
    with atomic_path(folder / "model.safetensors") as draft:
        draft.write_bytes(save({name: tensor.contiguous() for name, tensor in model.state_dict().items()}))
    document = {"geomask": "run", "version": VERSION, **asdict(record)}
    write_text(folder / "run.json", json.dumps(document, indent=1) + "\n")
    return Run(record, kept, model)


def check_folder(folder: str | Path) -> Path:
    """The folder, if a run can be written to it: it is not there, empty, or holds a run.

    Raises RunError where it holds something else.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; name a folder for the run")
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    # A run that was cut off has no run.json, and drafts whose names begin with a dot.
    if "run.json" not in names and not all(name in FILES or name.startswith(".") for name in names):
        raise RunError(f"{folder} holds something else than a run; name another folder")
    return folder


def load_record(folder: str | Path) -> Record:
    """The record of a run, without its network and without torch.

    Raises RunError where there is none or it is of another version.
    """
    path = Path(folder) / "run.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict) or document.pop("geomask", None) != "run":
            raise RunError(f"{path} is no record of a run")
        if (found := document.pop("version", None)) != VERSION:
            raise RunError(f"{path} is of version {found}; this geomask reads version {VERSION}: train anew")
        return Record(**document)
    except FileNotFoundError as error:
        raise RunError(f"{folder} is no finished run: it has no run.json; train it first") from error
    except (OSError, ValueError, TypeError) as error:
        raise error if isinstance(error, RunError) else RunError(f"{path} is broken: {error}") from error


def load_run(folder: str | Path) -> Run:
    """A run with its network. Raises RunError where it is missing or broken, SelectionError for its selection."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    from ..masks.hard import HardGate
    from .network import MaskedNetwork, SmallNet
    from .step import Settings

    record, selection = load_record(folder), Selection.load(Path(folder) / "selection.json")
    count, path = len(selection.channels), Path(folder) / "model.safetensors"
    try:
        settings = Settings(**record.settings)
        network = SmallNet(count, len(record.class_names), settings.width, settings.dropout)
        gate = HardGate(list(range(count)))
        model = MaskedNetwork(torch.zeros(count), torch.ones(count), gate, network)
        model.load_state_dict(load(path.read_bytes()))
    except (OSError, SafetensorError, RuntimeError, TypeError, ValueError) as error:
        raise RunError(f"{path} does not fit {folder}/run.json: {' '.join(str(error).split())}") from error
    if not set(gate.channels.tolist()) <= set(range(count)):
        raise RunError(f"{path} names channels beyond the {count} of its selection")
    return Run(record, selection, model.eval())

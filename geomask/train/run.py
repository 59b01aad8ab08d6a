"""A run folder: what was learned, from what, and how well it did.

::

    RUN/run.json            settings, scores, cost, versions of everything: one JSON object
    RUN/selection.json      the channels that are read
    RUN/selection.nc        and where: blocks of a chip, only where that was decided
    RUN/model.safetensors   the folded network: it takes only those channels
    RUN/pareto.parquet      score against bytes, of a run over several budgets
    RUN/metrics.csv         how it went (`Journal`), with checkpoints/ to go on from, and tensorboard/
    RUN/receipt.json        what its last inference read
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..atomic import write_text
from ..errors import RunError, SelectionError
from ..selection import Selection

if TYPE_CHECKING:
    from torch import Tensor

    from ..masks.gate import Gate
    from .fold import FoldedMask
    from .network import MaskedNetwork
    from .networks import Factory
    from .step import Trained
    from .versions import Versions

VERSION = 2
FILES = (
    *("run.json", "selection.json", "selection.nc", "model.safetensors", "receipt.json"),
    *("pareto.parquet", "metrics.csv", "checkpoints", "tensorboard"),
)
PACKAGES = (
    *("geomask", "torch", "torchgeo", "lightning", "timm", "segmentation-models-pytorch"),
    *("rasterio", "numpy", "pystac-client"),
)


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
    """Of the labels' classes, from 0; none where values were learned."""
    gsd: float
    """Pixel size of the grid, units of the CRS."""
    scores: dict[str, float]
    """Fractions, as the task has them (`Objective`): ``validation``, ``test``, ``majority`` (on test, of what says the
    same everywhere), and ``joint_validation``: when the gate was frozen, before the network was tuned.
    """
    curve: list[list[float]]
    """[step, validation score], from the moment the gate was hard."""
    candidates: list[dict[str, Any]] = field(default_factory=list)
    """Of a learned run what was tried, by `name`: its `planes` as [version, channel], its score on `validation`, and
    whether it `won` (`train_candidates`)."""
    settings: dict[str, Any] = field(default_factory=dict)
    objective: dict[str, Any] = field(default_factory=dict)
    """What the network's outputs mean; `save_run` fills it in."""
    versions: dict[str, str] = field(default_factory=lambda: {name: version(name) for name in PACKAGES})


@dataclass(frozen=True)
class Run:
    """A run as it lies in its folder."""

    record: Record
    selection: Selection
    model: MaskedNetwork
    """Folded: its input channels are the selection's, in order."""


def save_run(
    folder: str | Path, trained: Trained, selection: Selection, record: Record, versions: Versions | None = None
) -> Run:
    """Fold the network and write the run.

    `selection` holds all channels that the network was trained on; where there were several `versions` of them, those
    say what is read. Raises RunError where the folder is in the way of something else, SelectionError where the blocks
    of one channel are of several versions, or the gate is soft or decides anew for each chip.
    """
    from dataclasses import replace

    from safetensors.torch import save

    from ..atomic import atomic_path
    from .fold import FoldedMask, can_fold, fold

    folder = check_folder(folder)
    if not can_fold(trained.model.gate):
        raise SelectionError(
            "a run reads the same of each chip: freeze its gate; one that decides for each, save it as a `Policy`"
        )
    _, model = fold(trained.model)
    if len(set(trained.channels)) < len(trained.planes):
        raise SelectionError("blocks of one channel are of several versions; a run reads one version of each channel")
    kept = selection.keep(trained.channels) if versions is None else versions.choose(trained.planes)
    objective = replace(model.objective, outputs=model.objective.outputs or len(record.class_names))
    record = replace(record, objective=asdict(objective))
    # run.json is written last: a folder that has one is whole.
    for name in ("run.json", "receipt.json", "selection.nc"):
        (folder / name).unlink(missing_ok=True)
    kept.save(folder / "selection.json")
    if isinstance(model.gate, FoldedMask):
        save_blocks(folder / "selection.nc", kept, model.gate)
    with atomic_path(folder / "model.safetensors") as draft:
        draft.write_bytes(save({name: tensor.contiguous() for name, tensor in model.state_dict().items()}))
    document = {"geomask": "run", "version": VERSION, **asdict(record)}
    write_text(folder / "run.json", json.dumps(document, indent=1) + "\n")
    return Run(record, kept, model)


def save_blocks(path: Path, selection: Selection, gate: FoldedMask) -> None:
    """Write which blocks of a chip each channel is read in, as NetCDF: bool (slot, band, row, column)."""
    import numpy as np
    import xarray as xr

    from ..atomic import atomic_path

    rows, columns = gate.blocks.shape[1:]
    kept = np.zeros((len(selection.slots), len(selection.bands), rows, columns), bool)
    for channel, blocks in zip(selection.channels, gate.blocks, strict=True):
        kept[channel.slot, channel.band] = (blocks != 0).numpy()
    names = {"slot": [slot.name for slot in selection.slots], "band": [band.name for band in selection.bands]}
    array = xr.DataArray(kept, names, ("slot", "band", "row", "column"), "selected")
    with atomic_path(path) as draft:
        array.to_dataset().to_netcdf(draft, engine="scipy")


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


def load_run(folder: str | Path, network: str | Factory | None = None) -> Run:
    """A run with its network.

    `network` is the name or the function of one that is the user's own: no file says by itself what code is run. Raises
    RunError where the run is missing or broken, or its network is the user's own and not given, and SelectionError for
    its selection.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    record, selection = load_record(folder), Selection.load(Path(folder) / "selection.json")
    path = Path(folder) / "model.safetensors"
    try:
        model = _build(record, load(path.read_bytes()), len(selection.channels), network)
    except (OSError, SafetensorError, RuntimeError, TypeError, ValueError, KeyError) as error:
        if isinstance(error, RunError):
            raise
        raise RunError(f"{path} does not fit {folder}/run.json: {' '.join(str(error).split())}") from error
    return Run(record, selection, model.eval())


def _build(record: Record, tensors: dict[str, Tensor], count: int, network: str | Factory | None) -> MaskedNetwork:
    """The folded network of a run's tensors, whose selection has `count` channels."""
    import torch

    from .network import MaskedNetwork
    from .networks import is_own, make_network
    from .objective import Objective
    from .settings import Settings

    settings, objective = Settings(**record.settings), Objective.from_dict(record.objective)
    if network is None and is_own(settings.network):
        raise RunError(f"the network of this run is your own code, {settings.network}; say so with `network`")
    gate = _gate(tensors, count)
    made = make_network(network or settings.network, gate.heads, objective.outputs, settings.width, settings.dropout)
    model = MaskedNetwork(torch.zeros(count), torch.ones(count), gate, made, objective)
    model.load_state_dict(tensors)
    return model


def _gate(tensors: dict[str, Tensor], count: int) -> Gate:
    """The folded gate, by what the tensors hold. Raises RunError where it names channels that are not there."""
    from ..masks.hard import EMPTY, HardGate
    from .fold import FoldedMask

    if "gate.blocks" in tensors:
        at, heads = tensors["gate.at"].tolist(), int(tensors["gate.count"])
        if len(at) != count or not all(0 <= head < heads for head in at):
            raise RunError(f"model.safetensors names heads beyond the {heads} of its mask of {count} channels")
        return FoldedMask(at, tensors["gate.blocks"], heads)
    channels = tensors["gate.channels"].tolist()
    if not all(EMPTY <= channel < count for channel in channels):
        raise RunError(f"model.safetensors names channels beyond the {count} of its selection")
    return HardGate(channels)

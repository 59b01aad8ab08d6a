"""A run folder: what was learned, from what, and how well it did.

::

    RUN/run.json            settings, scores, cost, versions of everything: one JSON object
    RUN/selection.json      the channels that are read
    RUN/selection.nc        and where: blocks of a chip, only where that was decided
    RUN/model.safetensors   the folded network: it takes only those channels
    RUN/transfer.json       of a network with a link in its middle: its parts (`geomask.bottleneck.run`)
    RUN/policy/             of a mask that decides anew for each chip: what chooses among them (`Policy`)
    RUN/pareto.parquet      score against bytes, of a run over several budgets
    RUN/metrics.csv         how it went (`Journal`), with checkpoints/ to go on from, and tensorboard/
    RUN/receipt.json        what its last inference read
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..atomic import write_text
from ..errors import RunError, SelectionError
from ..selection import Selection
from .record import VERSION, Record, load_record

if TYPE_CHECKING:
    from torch import Tensor

    from ..masks.gate import Gate
    from ..masks.policy import Policy
    from .network import MaskedNetwork
    from .networks import Factory
    from .step import Trained
    from .versions import Versions

#: What `geomask.bottleneck.run` writes beside the files of any run.
TRANSFER = "transfer.json"
FILES = (
    *("run.json", "selection.json", "selection.nc", "model.safetensors", "policy", "receipt.json", TRANSFER),
    *("pareto.parquet", "metrics.csv", "checkpoints", "tensorboard"),
)


@dataclass(frozen=True)
class Run:
    """A run as it lies in its folder."""

    record: Record
    selection: Selection
    model: MaskedNetwork
    """Folded: its input channels are the selection's, in order. With a policy they are planes (`take_planes`): those
    of all channels at the first of its levels, then at the next."""
    policy: Policy | None = None
    """What says of each chip which of the selection's channels and blocks are read; None: all of them, everywhere."""


def save_run(
    folder: str | Path,
    trained: Trained,
    selection: Selection,
    record: Record,
    versions: Versions | None = None,
    policy: Policy | None = None,
    *,
    transfer: str | None = None,
) -> Run:
    """Fold the network and write the run.

    `selection` holds all channels that the network was trained on, and the record's scaling is of them; where there
    were several `versions` of them, those say what is read. `policy` is that of a gate which decides anew for each
    chip: its selection is the run's, its levels are the versions. `transfer` is the text of transfer.json, of a network
    with a link in its middle. Raises RunError where the folder is in the way of something else, SelectionError where
    the blocks of one channel are of several versions, the gate is soft, or the policy is not the gate's.
    """
    from dataclasses import replace

    from safetensors.torch import save

    from ..atomic import atomic_path
    from .blocks import save_blocks
    from .fold import FoldedMask

    folder = check_folder(folder)
    if policy is None:
        kept, channels, model = _folded(trained, selection, versions)
    else:
        kept, channels, model = _opened(trained, selection, versions, policy)
    if record.scaling is not None and len(record.scaling) != len(selection.channels):
        raise SelectionError(
            f"a scaling of {len(record.scaling)} channels for {len(selection.channels)}; give it of all"
        )
    objective = replace(model.objective, outputs=model.objective.outputs or len(record.class_names))
    scaling = None if record.scaling is None else [record.scaling[channel] for channel in channels]
    record = replace(record, objective=asdict(objective), scaling=scaling)
    # run.json is written last: a folder that has one is whole.
    for name in ("run.json", "receipt.json", "selection.nc", TRANSFER):
        (folder / name).unlink(missing_ok=True)
    if (folder / "policy").is_dir():
        shutil.rmtree(folder / "policy")
    kept.save(folder / "selection.json")
    with atomic_path(folder / "model.safetensors") as draft:
        draft.write_bytes(save({name: tensor.contiguous() for name, tensor in model.state_dict().items()}))
    if policy is not None:
        policy.save(folder / "policy")
    elif isinstance(model.gate, FoldedMask):
        save_blocks(folder / "selection.nc", kept, model.gate)
    if transfer is not None:
        write_text(folder / TRANSFER, transfer)
    document = {"geomask": "run", "version": VERSION, **asdict(record)}
    write_text(folder / "run.json", json.dumps(document, indent=1) + "\n")
    return Run(record, kept, model, policy)


def _folded(
    trained: Trained, selection: Selection, versions: Versions | None
) -> tuple[Selection, list[int], MaskedNetwork]:
    """What is read of every chip, its places among the channels of `selection`, and the network that takes it."""
    from .fold import can_fold, fold

    if not can_fold(trained.model.gate):
        raise SelectionError(
            "a run reads the same of each chip: freeze its gate; one that decides for each, save it as a `Policy`"
        )
    _, model = fold(trained.model)
    channels = trained.channels
    if len(channels) < len(trained.planes):
        raise SelectionError("blocks of one channel are of several versions; a run reads one version of each channel")
    kept = selection.keep(channels) if versions is None else versions.choose(trained.planes)
    return kept, channels, model


def _opened(
    trained: Trained, selection: Selection, versions: Versions | None, policy: Policy
) -> tuple[Selection, list[int], MaskedNetwork]:
    """All channels that a policy decides on, their places, and the network that takes their planes."""
    from ..masks.priced import PricedPolicy
    from .fold import take_planes

    gate, terms = trained.model.gate, policy.terms
    if not isinstance(gate, PricedPolicy):
        raise SelectionError(f"a policy is of a frozen gate that decides for each chip, not of a {type(gate).__name__}")
    ours, theirs = gate.scores.state_dict(), policy.scores.state_dict()
    same = ours.keys() == theirs.keys() and all(ours[name].cpu().equal(theirs[name]) for name in ours)
    if not same or gate.grain != terms.grain or gate.preview != terms.preview:
        raise SelectionError("this policy is of another gate than the network's; make it with `Policy.of` of that one")
    if terms.selection.digest != selection.digest or versions is not None:
        raise SelectionError("a policy says itself which channels there are at which levels; give the selection of it")
    channels = range(len(selection.channels))
    if trained.model.mean.numel() != len(terms.levels) * len(channels):
        planes = trained.model.mean.numel()
        raise SelectionError(
            f"{len(channels)} channels at {len(terms.levels)} levels, and the network has {planes} planes"
        )
    return terms.selection, list(channels), take_planes(trained.model)


def check_folder(folder: str | Path) -> Path:
    """The folder, if a run can be written to it: it is not there, empty, or holds a run.

    Raises RunError where it holds something else.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; name a folder for the run")
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    # A run that was cut off has no run.json, and drafts whose names begin with a dot. A policy alone is somebody's own.
    is_part = all(name in FILES or name.startswith(".") for name in names)
    is_part = is_part and ("policy" not in names or "selection.json" in names)
    if "run.json" not in names and not is_part:
        raise RunError(f"{folder} holds something else than a run; name another folder")
    return folder


def load_run(folder: str | Path, network: str | Factory | None = None) -> Run:
    """A run with its network.

    `network` is the name or the function of one that is the user's own: no file says by itself what code is run. Raises
    RunError where the run is missing or broken, or its network is the user's own and not given, and SelectionError for
    its selection.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    from ..masks.policy import Policy

    folder = Path(folder)
    record, selection = load_record(folder), Selection.load(folder / "selection.json")
    if (folder / TRANSFER).is_file() and not callable(network):
        raise RunError(f"{folder} sends features; load it with `geomask.bottleneck.run.open_run`")
    policy = Policy.load(folder / "policy") if (folder / "policy").is_dir() else None
    path = folder / "model.safetensors"
    try:
        model = _build(record, load(path.read_bytes()), len(selection.channels) * _levels(policy), network)
    except (OSError, SafetensorError, RuntimeError, TypeError, ValueError, KeyError) as error:
        if isinstance(error, RunError):
            raise
        raise RunError(f"{path} does not fit {folder}/run.json: {' '.join(str(error).split())}") from error
    run = Run(record, selection, model.eval(), policy)
    _check_parts(run, folder)
    return run


def _levels(policy: Policy | None) -> int:
    return 1 if policy is None else len(policy.terms.levels)


def _check_parts(run: Run, folder: Path) -> None:
    """Raise RunError where the files of a run are of several."""
    from .fold import FoldedMask

    gate, channels = run.model.gate, len(run.selection.channels)
    if run.record.scaling is not None and len(run.record.scaling) != channels:
        raise RunError(f"{folder}/run.json has the scaling of {len(run.record.scaling)} channels, of {channels}")
    if run.policy is None:
        if isinstance(gate, FoldedMask) and gate.is_open:
            raise RunError(f"{folder} lacks its policy/, which says what of a chip is read; copy the whole folder")
        return
    if run.policy.terms.selection.digest != run.selection.digest:
        raise RunError(f"{folder}/policy is of another selection than selection.json")
    wanted = FoldedMask.of_planes(_levels(run.policy), channels).state_dict()
    found = gate.state_dict()
    if found.keys() != wanted.keys() or not all(found[name].tolist() == wanted[name].tolist() for name in wanted):
        raise RunError(f"model.safetensors of {folder} does not take what its policy/ chooses")


def _build(record: Record, tensors: dict[str, Tensor], count: int, network: str | Factory | None) -> MaskedNetwork:
    """The folded network of a run's tensors, which takes `count` channels or planes."""
    import torch

    from .network import MaskedNetwork
    from .networks import is_own, make_network, without_weights
    from .objective import Objective
    from .settings import Settings

    settings, objective = Settings(**record.settings), Objective.from_dict(record.objective)
    if network is None and is_own(settings.network):
        raise RunError(f"the network of this run is your own code, {settings.network}; say so with `network`")
    gate = _gate(tensors, count)
    name = network or without_weights(settings.network)
    made = make_network(name, gate.heads, objective.outputs, settings.width, settings.dropout)
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

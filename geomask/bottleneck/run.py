"""A run whose network has a link in its middle, as files: those of any run, and what it takes to build the network.

::

    RUN/transfer.json       how large its parts are, and which channels each side sees (`Blueprint`): one JSON object
    RUN/model.safetensors   both sides in one network (`Transfer`), the coder's tables among the tensors
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import nn

from ..errors import GeomaskError, RunError
from ..masks.hard import HardGate
from ..train.networks import is_own, make_network, without_weights
from ..train.record import load_record
from ..train.run import TRANSFER, load_run, save_run
from ..train.settings import Settings
from .encoder import Decoder, Design, Encoder
from .histograms import MAX_SYMBOLS, TOTAL
from .tables import MAX_CONTEXTS, Tables
from .teacher import Cut
from .transfer import Transfer, transfer_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..selection import Selection
    from ..train.networks import Factory
    from ..train.record import Record
    from ..train.run import Run
    from ..train.step import Trained

VERSION = 1
#: Of a network of no teacher.
NOWHERE = Cut((), planes_last=False)
#: Of anything in a blueprint: more would be a file that wants memory.
MOST = 1 << 16


@dataclass(frozen=True, slots=True)
class Blueprint:
    """What it takes to build a `Transfer` whose weights are then loaded."""

    design: Design
    near: tuple[int, ...]
    """Channels of the run's selection that the encoder sees."""
    far: tuple[int, ...]
    """Those that are read at the other end."""
    contexts: int
    """Of the tables."""
    symbols: int
    """Likewise."""
    features: int = 0
    """Planes of the teacher's features; 0: there is no teacher, the body is a network of pixels and latents."""
    feature_stride: int = 1
    """Pixels to a side of one of them."""
    cut: Cut = NOWHERE
    """Where the teacher was cut."""

    def build(self, network: str | Factory, outputs: int, width: int, dropout: float) -> Transfer:
        """A network of these parts, with fresh weights. Raises SelectionError where there is none."""
        design, tables = self.design, self._blank_tables()
        if self.features:
            teacher = make_network(network, design.channels, outputs, width, dropout)
            decoder = Decoder(design, self.features, self.feature_stride)
            body: nn.Module = nn.Sequential(decoder, self.cut.of(teacher)[1])
            return Transfer(Encoder(design), tables, body, design.stride, self.near, self.far)
        body = make_network(network, len(self.far) + design.latents, outputs, width, dropout)
        standard = torch.zeros(design.latents), torch.ones(design.latents)
        return Transfer(Encoder(design), tables, body, design.stride, self.near, self.far, standard)

    @property
    def least(self) -> int:
        """Numbers among the tensors of such a network, at the least: counted, without making one."""
        design = self.design
        decoder = design.decoder_weights(self.features, self.feature_stride) if self.features else 0
        return design.encoder_weights + decoder + design.latents * (self.contexts + 1) * self.symbols

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, for `from_dict`."""
        return {"geomask": "transfer", "version": VERSION, **asdict(self), "cut": self.cut._asdict()}

    @classmethod
    def from_dict(cls, document: Any, channels: int) -> Self:
        """Of JSON, for a selection of so many channels. Raises RunError where it is none, or of another version."""
        if not isinstance(document, dict) or document.pop("geomask", None) != "transfer":
            raise RunError("it says nothing of a transfer")
        if (found := document.pop("version", None)) != VERSION:
            raise RunError(f"a transfer of version {found}; this geomask reads version {VERSION}: train anew")
        try:
            cut = Cut(tuple(map(str, document["cut"]["parts"])), bool(document["cut"]["planes_last"]))
            design, (near, far) = Design(**document["design"]), (tuple(document[name]) for name in ("near", "far"))
            made = cls(**{**document, "design": design, "near": near, "far": far, "cut": cut})
            _check(made, channels)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RunError(f"a broken transfer: {type(error).__name__} {error}") from error
        return made

    def _blank_tables(self) -> Tables:
        counts = np.zeros((self.design.latents, self.contexts + 1, self.symbols), np.int32)
        counts[..., 0] = TOTAL
        lows, cuts = np.zeros(len(counts), np.int32), np.zeros((len(counts), self.contexts - 1), np.int32)
        return Tables(lows, counts, cuts)


def save_transfer(
    folder: str | Path, trained: Trained, selection: Selection, record: Record, blueprint: Blueprint
) -> Run:
    """Write a run whose network is a `Transfer` behind a gate that passes all. Raises what `save_run` raises."""
    transfer = json.dumps(blueprint.to_dict(), indent=1) + "\n"
    return save_run(folder, trained, selection, record, transfer=transfer)


def open_run(folder: str | Path, network: str | Factory | None = None) -> Run:
    """Any run, with a link in its network or without, as `load_run` does. Raises as it does."""
    folder = Path(folder)
    path = folder / TRANSFER
    if not path.is_file():
        return load_run(folder, network)
    record, selection = load_record(folder), load_selection(folder)
    blueprint = load_blueprint(folder, selection)
    settings = _settings(record, folder)
    if network is None and is_own(settings.network):
        raise RunError(f"the network of this run is your own code, {settings.network}; say so with `network`")

    def build(_: int, outputs: int) -> nn.Module:
        return blueprint.build(network or without_weights(settings.network), outputs, settings.width, settings.dropout)

    run = load_run(folder, build)
    _check_parts(run, blueprint, folder)
    return run


def load_blueprint(folder: str | Path, selection: Selection) -> Blueprint:
    """Of a run of a selection. Raises RunError where it is broken, or says more than the run's weights can be."""
    path = Path(folder) / TRANSFER
    try:
        blueprint = Blueprint.from_dict(json.loads(path.read_text(encoding="utf-8")), len(selection.channels))
        if blueprint.least > (Path(folder) / "model.safetensors").stat().st_size:  # before any memory is taken
            raise RunError(f"parts of {blueprint.least} numbers and more, which model.safetensors is too small for")
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path}: {error}") from error
    return blueprint


def load_selection(folder: Path) -> Selection:
    """Of a run."""
    from ..selection import Selection

    return Selection.load(folder / "selection.json")


def _settings(record: Record, folder: Path) -> Settings:
    try:
        return Settings(**record.settings)
    except (TypeError, ValueError) as error:
        raise error if isinstance(error, GeomaskError) else RunError(f"{folder}/run.json is broken: {error}") from error


def _check_parts(run: Run, blueprint: Blueprint, folder: Path) -> None:
    """Raise RunError where the tensors of a run are of another blueprint, or do not go together."""
    link, gate, path = transfer_of(run.model), run.model.gate, folder / "model.safetensors"
    if link is None or not isinstance(gate, HardGate) or gate.channels.tolist() != list(range(len(run.model.mean))):
        raise RunError(f"{path} has no link that takes all channels of its selection in order; train anew")
    try:
        tables = link.tables
    except RunError as error:
        raise RunError(f"{path}: {error}") from error
    for name, bounds in (("lows", tables.lows), ("highs", tables.highs)):
        if getattr(link.near_side, name).flatten().tolist() != bounds.astype(np.float32).tolist():
            raise RunError(f"{path} has an encoder and tables that differ in their {name}; train anew")
    for name, wanted in (("near", blueprint.near), ("far", blueprint.far)):
        if tuple(getattr(link, name).tolist()) != wanted:
            raise RunError(f"{folder / TRANSFER} and {path.name} do not agree on what is {name}; copy the whole folder")


def _check(blueprint: Blueprint, channels: int) -> None:
    """Raise ValueError for what cannot be."""
    sizes = [*asdict(blueprint.design).values(), blueprint.contexts, blueprint.symbols]
    sizes += [blueprint.features, blueprint.feature_stride, *blueprint.near, *blueprint.far]
    if any(type(size) is not int or not 0 <= size <= MOST for size in sizes):
        raise ValueError(f"sizes are whole numbers from 0 to {MOST}")
    _check_places(blueprint.near, channels)
    _check_places(blueprint.far, channels)
    if len(blueprint.near) != blueprint.design.channels:
        raise ValueError(f"an encoder of {blueprint.design.channels} channels that sees {len(blueprint.near)}")
    if not 1 <= blueprint.contexts <= MAX_CONTEXTS or not 1 <= blueprint.symbols <= MAX_SYMBOLS:
        raise ValueError(f"tables of {blueprint.contexts} contexts and {blueprint.symbols} symbols")
    if blueprint.feature_stride.bit_count() != 1 or (blueprint.features and blueprint.far):
        raise ValueError(f"features of {blueprint.feature_stride} pixels beside {len(blueprint.far)} far channels")


def _check_places(places: Sequence[int], channels: int) -> None:
    if len(set(places)) != len(places) or any(place >= channels for place in places):
        raise ValueError(f"channels {list(places)[:10]} of {channels}")

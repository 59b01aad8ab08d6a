"""A run as ONNX files: both sides of the link in its middle, or the network of one that has none.

::

    DIR/encoder.onnx          image, valid -> symbols: beside the data
    DIR/decoder.onnx          planes, valid -> outputs: at the other end
    DIR/tables.safetensors    what symbols are coded by (`geomask.export.tables`)
    DIR/network.onnx          image, valid -> outputs: of a run without a link

docs/export.md says what goes in and comes out, and what `metadata_props` hold.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..atomic import atomic_path
from ..bottleneck.transfer import NearSide, Transfer, encoder_digest, far_model, near_model, transfer_of
from ..train.onnx import AGREE, check_graph, make_graph, open_graph
from .tables import tables_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..train.network import MaskedNetwork
    from ..train.onnx import Judge
    from ..train.run import Run

ENCODER, DECODER, NETWORK, TABLES = "encoder.onnx", "decoder.onnx", "network.onnx", "tables.safetensors"
#: What the axes of images and of outputs are called.
AXES = ("cuts", "rows", "columns")


def export_onnx(run: Run, folder: str | Path) -> dict[str, Path]:
    """Write a run's ONNX files into a folder, which is made; returns them by what they are.

    ``encoder``, ``decoder`` and ``tables`` of a run with a link in its network, ``network`` of any other. Each is held
    against torch on samples; where one fails nothing is written. Raises RunError where the extra `onnx` is not
    installed, the network cannot be exported, or what was exported says something else.
    """
    folder, link = Path(folder), transfer_of(run.model)
    parts = {"network": (NETWORK, _network(run))} if link is None else _sides(run, link)
    for name, data in parts.values():
        with atomic_path(folder / name) as draft:
            draft.write_bytes(data)
    return {part: folder / name for part, (name, _) in parts.items()}


def _network(run: Run) -> bytes:
    levels = (None,) if run.policy is None else run.policy.terms.levels
    said = {**_common(run), **_channels(run, range(len(run.selection.channels)), levels)}
    return _graph(run.model, ("image", "valid", "outputs"), AXES, said)


def _sides(run: Run, link: Transfer) -> dict[str, tuple[str, bytes]]:
    near, far = link.near.tolist(), link.far.tolist()
    common = {
        **_common(run),
        "model": encoder_digest(run.model),
        "tables": link.tables.digest,
        "stride": link.stride,
        "latents": link.tables.latents,
    }
    axes = AXES if link.stride == 1 else (AXES[0], "latent_rows", "latent_columns")
    model = near_model(run.model)
    encoder = _graph(model, ("image", "valid", "symbols"), axes, {**common, **_channels(run, near)}, _rounding(model))
    decoder = _graph(far_model(run.model), ("planes", "valid", "outputs"), AXES, {**common, **_channels(run, far)})
    return {
        "encoder": (ENCODER, encoder),
        "decoder": (DECODER, decoder),
        "tables": (TABLES, tables_bytes(link.tables)),
    }


def _common(run: Run) -> dict[str, Any]:
    """What each file of a run says of itself."""
    return {
        "version": version("geomask"),
        "selection": run.selection.digest,
        "classes": run.record.class_names,
        "objective": asdict(run.model.objective),
    }


def _channels(run: Run, places: Sequence[int], levels: Sequence[int | None] = (None,)) -> dict[str, Any]:
    """Names of channels, of each level after the other, and the scales in which their values were learned."""
    names, scaling = run.selection.names, run.record.scaling
    return {
        "channels": [
            names[place] if level is None else f"{names[place]}@{level}" for level in levels for place in places
        ],
        "scaling": None if scaling is None else [scaling[place] for _ in levels for place in places],
    }


def _graph(
    model: MaskedNetwork,
    names: tuple[str, str, str],
    axes: tuple[str, str, str],
    said: Mapping[str, Any],
    judge: Judge | None = None,
) -> bytes:
    """A network as the bytes of an ONNX file that was held against it; `axes` are those of its output."""
    model = model.to("cpu").eval()
    graph = make_graph(model, names)
    _clean(graph.graph)
    for value in graph.graph.input:
        _name_axes(value, AXES)
    _name_axes(graph.graph.output[0], axes)
    for key, value in said.items():
        text = value if isinstance(value, str) else json.dumps(value)
        graph.metadata_props.add(key=f"geomask.{key}", value=text)
    check_graph(open_graph(graph), model, judge)
    data: bytes = graph.SerializeToString(deterministic=True)
    return data


def _clean(graph: Any) -> None:
    """Take out what the exporter wrote for itself: lines of code by their paths on this machine, and names of sizes."""
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    del graph.value_info[:]
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        if attribute.HasField("g"):  # a branch
            _clean(attribute.g)


def _name_axes(value: Any, axes: tuple[str, str, str]) -> None:
    """Call (cuts, planes, rows, columns) by their names; planes are a number. Of chips there are no rows."""
    sides = value.type.tensor_type.shape.dim
    for side, name in zip([sides[0], *sides[2:]], axes, strict=False):
        if side.dim_param:
            side.dim_param = name


def _rounding(model: MaskedNetwork) -> Judge:
    """Symbols are right where they are whole numbers next to the latents: of two as near either may be said."""
    side = model.network
    if not isinstance(side, NearSide):
        raise TypeError(f"a {type(side).__name__} says no symbols")

    @torch.inference_mode()
    def judge(found: np.ndarray, image: np.ndarray, valid: np.ndarray) -> bool:
        pixels = model.standardise(torch.from_numpy(image), torch.from_numpy(valid))
        latents = side.clip(side.latents(model.gate(pixels))).numpy()
        if found.shape != latents.shape or (found != np.rint(found)).any():
            return False
        return bool((np.abs(found - latents) <= 0.5 + AGREE * max(1.0, np.abs(latents).max())).all())

    return judge

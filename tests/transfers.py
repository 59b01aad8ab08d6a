"""Folders of runs whose network has a link in its middle: random weights, over one date of four bands, no files."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from runs import BANDS, SLOTS
from torch import nn

from geomask.bottleneck.encoder import Decoder, Design, Encoder
from geomask.bottleneck.run import Blueprint, save_transfer
from geomask.bottleneck.tables import Tables
from geomask.bottleneck.teacher import Teacher
from geomask.bottleneck.transfer import Transfer
from geomask.masks.hard import HardGate
from geomask.selection import Selection
from geomask.train.network import MaskedNetwork
from geomask.train.networks import make_network
from geomask.train.record import Record
from geomask.train.settings import Settings
from geomask.train.step import Trained

CHANNELS, LATENTS, CLASSES = len(BANDS), 3, ["water", "field", "wood"]
SETTINGS = Settings(steps=1, width=4)


def write_transfer(folder: Path, near: Sequence[int], far: Sequence[int] = (), halvings: int = 0) -> Path:
    """A run whose sides see the channels `near` and `far`; with `far` its body takes latents standardised."""
    torch.manual_seed(0)
    design = Design(len(near), LATENTS, 8, 1, 3, halvings)
    encoder = Encoder(design).eval()
    with torch.no_grad():
        encoder.out.weight *= 20  # or all symbols would be 0
        latents = encoder(torch.randn(8, len(near), 16, 16))
    tables = Tables.fit(latents.round().int().numpy())
    make = {"outputs": len(CLASSES), "width": SETTINGS.width, "dropout": SETTINGS.dropout}
    sizes: dict[str, Any] = {"contexts": tables.contexts, "symbols": tables.counts.shape[2]}
    standard = None
    if far:
        body: nn.Module = make_network("small", len(far) + LATENTS, **make)
        standard = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    else:
        teacher = Teacher.of(make_network("small", len(near), **make), len(near), (16, 16))
        body = nn.Sequential(Decoder(design, teacher.features, teacher.stride), teacher.tail)
        sizes |= {"features": teacher.features, "feature_stride": teacher.stride, "cut": teacher.cut}
    link = Transfer(encoder, tables, body, design.stride, near, far, standard)
    mean, deviation = torch.full((CHANNELS,), 3e4), torch.full((CHANNELS,), 1e4)
    model = MaskedNetwork(mean, deviation, HardGate(range(CHANNELS)), link).eval()
    values: dict[str, Any] = {
        "method": "learned",
        "seed": 0,
        "fold": 0,
        "folds": 3,
        "budget": "50%",
        "planned_nbytes": 0,
        "dense_nbytes": 0,
        "class_names": CLASSES,
        "gsd": 10.0,
        "scores": {},
        "curve": [],
        "settings": asdict(SETTINGS),
        "scaling": [[1e-4, -0.1 * channel] for channel in range(CHANNELS)],
        "transfer": "auto" if far else "bottleneck",
    }
    blueprint = Blueprint(design, tuple(near), tuple(far), **sizes)
    save_transfer(folder, Trained(model, ()), Selection.dense(SLOTS[:1], BANDS), Record(**values), blueprint)
    return folder

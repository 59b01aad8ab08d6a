"""Runs whose network has a link in its middle, with random weights: both sides say something of every pixel."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import torch
from torch import nn

from geomask.bottleneck.encoder import Decoder, Design, Encoder
from geomask.bottleneck.run import Blueprint, save_transfer
from geomask.bottleneck.tables import Tables
from geomask.bottleneck.teacher import Teacher
from geomask.bottleneck.transfer import Transfer
from geomask.infer import field
from geomask.masks.hard import HardGate
from geomask.selection import Selection
from geomask.stac.profile import Band
from geomask.stac.slots import make_slots
from geomask.train.network import MaskedNetwork
from geomask.train.networks import make_network
from geomask.train.record import Record
from geomask.train.settings import Settings
from geomask.train.step import Trained

CLASSES = ["water", "a/b", "wood"]
SETTINGS = Settings(width=4)
LATENTS = 3
SCALE = [0.0001, 0.0]


def write_run(
    folder: Path,
    items: Sequence[pystac.Item],
    *,
    near: Sequence[int] = (0, 1, 3),
    far: Sequence[int] = (),
    halvings: int = 0,
    around: int = 3,
    seed: int = 0,
    teacher: int = 0,
    **record: Any,
) -> Path:
    """A run over two months of B02 and B03, whose sides see the channels `near` and `far`; returns its folder.

    Runs of one `seed` share an encoder, whatever their `teacher`. Channels that neither side sees are left out.
    """
    dense = Selection.dense(make_slots(items), [Band("B02", "B02", 10), Band("B03", "B03", 10)])
    kept = sorted({*near, *far})
    here, there = ([kept.index(channel) for channel in side] for side in (near, far))
    link, blueprint = make_link(here, there, Design(len(near), LATENTS, 8, 1, around, halvings), seed, teacher)
    mean, deviation = (torch.full((len(dense.channels),), value) for value in (3.2e4, 1.9e4))
    model = MaskedNetwork(mean, deviation, HardGate(kept), link).eval()
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
        "scaling": [SCALE] * len(dense.channels),
        "transfer": "bottleneck",
    }
    save_transfer(folder, Trained(model, ()), dense, Record(**values | record), blueprint)
    return folder


def make_link(
    near: Sequence[int], far: Sequence[int], design: Design, seed: int, teacher: int
) -> tuple[Transfer, Blueprint]:
    """A network for channels at these places of its input, and what builds it again."""
    torch.manual_seed(seed)
    encoder = Encoder(design).eval()
    with torch.no_grad():
        encoder.out.weight *= 12  # or all symbols would be 0
        noise = torch.randn(8, design.channels, 32, 32, generator=torch.Generator().manual_seed(seed))
        symbols = encoder(noise).round().int().numpy()
    tables = Tables.fit(list(symbols), contexts=4)
    torch.manual_seed(100 + teacher)
    if far:
        network: nn.Module = make_network("small", len(far) + design.latents, len(CLASSES), SETTINGS.width, 0.0)
        blueprint = Blueprint(design, tuple(near), tuple(far), tables.contexts, tables.counts.shape[2])
        standard = torch.full((design.latents,), 0.25), torch.full((design.latents,), 2.0)
        link = Transfer(encoder, tables, network, design.stride, near, far, standard)
        return balance(link.eval(), len(near) + len(far)), blueprint
    whole = make_network("small", design.channels, len(CLASSES), SETTINGS.width, 0.0)
    cut = Teacher.of(whole, design.channels, (16, 16))
    body = nn.Sequential(Decoder(design, cut.features, cut.stride), cut.tail)
    blueprint = Blueprint(
        design, tuple(near), (), tables.contexts, tables.counts.shape[2], cut.features, cut.stride, cut.cut
    )
    return balance(Transfer(encoder, tables, body, design.stride, near).eval(), len(near)), blueprint


@contextmanager
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where such networks are asked: they look a few pixels far, as shorter strips say too; one thread is enough."""
    monkeypatch.setattr(field, "LONGEST", 256)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def balance(link: Transfer, channels: int) -> Transfer:
    """The same, with no class that is said more often than the others."""
    last = [part for part in link.far_side.modules() if isinstance(part, nn.Conv2d)][-1]
    noise = torch.randn(4, channels, 48, 48, generator=torch.Generator().manual_seed(0)) * 1.5
    with torch.no_grad():
        outputs = link(noise)
        assert last.bias is not None
        last.bias -= outputs.mean((0, 2, 3))
        last.weight /= outputs.std((0, 2, 3))[:, None, None, None]
        last.bias /= outputs.std((0, 2, 3))
    return link


def symbols_of(run: Any, image: np.ndarray) -> np.ndarray:
    """What the near side of a run says of a whole scene: stored values (channels, rows, columns), 0 where not valid."""
    from geomask.bottleneck.transfer import near_model

    pixels = torch.from_numpy(image)[None]
    with torch.inference_mode():
        said = near_model(run.model)(pixels, pixels != 0)
    found: np.ndarray = said[0].numpy().astype(np.int32)
    return found


def assert_alike(found: np.ndarray, wanted: np.ndarray) -> None:
    """Symbols are equal but where rounding decided: torch adds up in another order in another cut or on more threads.

    One in a thousand may be another, the next one.
    """
    assert found.shape == wanted.shape
    apart = np.abs(found.astype(int) - wanted)
    assert apart.max(initial=0) <= 1
    assert np.count_nonzero(apart) <= max(1, apart.size // 1000)


def one_pass(folder: Path, items: Sequence[pystac.Item]) -> tuple[np.ndarray, np.ndarray]:
    """`symbols_of` all that plain rasterio reads of a run's files, of each slot the first, and which were seen."""
    import rasterio

    from geomask.bottleneck.run import open_run
    from geomask.bottleneck.transfer import seen_cells

    run, pixels = open_run(folder), []
    link = run.model.network
    assert isinstance(link, Transfer)
    for place in link.near.tolist():
        channel = run.selection.channels[place]
        slot, band = run.selection.slots[channel.slot], run.selection.bands[channel.band]
        first = next(item for item in items if item.datetime is not None and slot.holds(item.datetime))
        with rasterio.open(first.assets[band.asset].href) as file:
            pixels.append(file.read(1).astype("float32"))
    image = np.stack(pixels)
    seen = seen_cells(torch.from_numpy(image != 0).any(0)[None, None], link.stride)[0, 0].numpy()
    return symbols_of(run, image), seen

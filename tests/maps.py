"""What maps are made with in tests: an untrained network, its run, and what it says of a whole scene in one pass."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import rasterio
import torch

from geomask.infer.geotiff import NODATA
from geomask.masks.hard import HardGate
from geomask.selection import Selection
from geomask.stac.profile import Band
from geomask.stac.slots import make_slots
from geomask.train.network import MaskedNetwork, SmallNet
from geomask.train.record import Record
from geomask.train.run import load_run, save_run
from geomask.train.settings import Settings
from geomask.train.step import Trained

CLASSES = ["water", "a/b", "wood"]
SETTINGS = Settings(width=4)


def write_run(folder: Path, items: Sequence[pystac.Item], channels: Sequence[int] = (1, 2), **record: Any) -> Path:
    """A run of an untrained small network that takes some of the channels of two bands; returns its folder."""
    dense = Selection.dense(make_slots(items), [Band("B02", "B02", 10), Band("B03", "B03", 10)])
    count = len(dense.channels)
    torch.manual_seed(0)
    network = SmallNet(len(channels), len(CLASSES), SETTINGS.width, SETTINGS.dropout)
    model = MaskedNetwork(torch.full((count,), 3e4), torch.full((count,), 1e4), HardGate(list(channels)), network)
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
    }
    save_run(folder, Trained(model.eval(), ()), dense, Record(**values | record))
    return folder


def one_pass(run: Path, items: Sequence[pystac.Item]) -> np.ndarray:
    """What the network of a run says of all that plain rasterio reads of its files, one file a channel."""
    loaded, pixels = load_run(run), []
    for channel in loaded.selection.channels:
        slot, band = loaded.selection.slots[channel.slot], loaded.selection.bands[channel.band]
        first = next(item for item in items if item.datetime is not None and slot.holds(item.datetime))
        with rasterio.open(first.assets[band.asset].href) as file:
            pixels.append(file.read(1).astype("float32"))
    image = torch.from_numpy(np.stack(pixels))[None]
    with torch.inference_mode():
        said = loaded.model.objective.decide(loaded.model(image, image != 0))[0].numpy()
    seen = (image[0] != 0).any(0).numpy()
    return np.where(seen, said, NODATA if loaded.model.objective.has_classes else np.nan)


def mosaic(place: Path) -> np.ndarray:
    """All tiles of a map."""
    with rasterio.open(place / "map.vrt") as file:
        return np.asarray(file.read(1))


def contents(place: Path) -> dict[str, bytes]:
    """All files of a map but its ledger, by name: what two makings of it have to agree in."""
    files = (path for path in place.rglob("*") if path.is_file())
    return {str(path.relative_to(place)): path.read_bytes() for path in files if path.parent.name != "ledger"}

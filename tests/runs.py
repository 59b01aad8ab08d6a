"""Folders of runs that never were: tiny networks, made-up scores and receipts, in the form that real ones have."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from rasterio.transform import from_origin

from geomask.fetch import Trip
from geomask.masks.hard import HardGate
from geomask.read.receipt import Receipt
from geomask.selection import Selection
from geomask.stac.profile import Band
from geomask.stac.slots import Slot
from geomask.train.network import MaskedNetwork, SmallNet
from geomask.train.record import Record
from geomask.train.run import save_run
from geomask.train.step import Settings, Trained

BANDS = (
    Band("B02", "B02", 10, "blue", 0.49),
    Band("B04", "B04", 10, "red", 0.665),
    Band("B08", "B08", 10, "nir", 0.842),
    Band("B11", "B11", 20, "swir16", 1.61),
)
SEASONS = ("winter", "spring", "summer", "autumn")
STARTS = [datetime(year, month, 1, tzinfo=UTC) for year in (2019, 2020, 2021) for month in (1, 4, 7, 10)]
SLOTS = tuple(Slot(STARTS[k], STARTS[k + 1], f"{STARTS[k].year}-{SEASONS[k % 4]}") for k in range(8))
CLASSES = 3
SCORES = {"dense": 0.7, "learned": 0.69, "random": 0.6, "uniform": 0.65}
MAJORITY = 0.4


def write_run(
    folder: Path,
    method: str = "learned",
    fold: int = 0,
    seed: int = 0,
    *,
    score: float = 0.7,
    channels: Sequence[int] | None = None,
    bands: Sequence[Band] = BANDS,
    slots: Sequence[Slot] = SLOTS,
    receipt: dict[str, Any] | None = None,
    **record: Any,
) -> Path:
    """Write `folder`/<method>-f<fold>-s<seed> with an untrained network; returns it. `record` overrides its fields."""
    dense = Selection.dense(slots, bands)
    chosen = list(range(len(dense.channels)) if channels is None else channels)
    settings = Settings(steps=1, width=1)
    network = SmallNet(len(chosen), CLASSES, settings.width, settings.dropout)
    count = len(dense.channels)
    model = MaskedNetwork(torch.zeros(count), torch.ones(count), HardGate(chosen), network)
    values: dict[str, Any] = {
        "method": method,
        "seed": seed,
        "fold": fold,
        "folds": 3,
        "budget": "25%",
        "planned_nbytes": 1000 * len(chosen),
        "dense_nbytes": 1000 * count,
        "class_names": [f"class {number}" for number in range(CLASSES)],
        "gsd": 10.0,
        "scores": {"validation": score, "test": score, "majority": MAJORITY},
        "curve": [[1, score]],
        "settings": asdict(settings),
    }
    place = folder / f"{method}-f{fold}-s{seed}"
    save_run(place, Trained(model, ()), dense, Record(**values | record))
    if receipt is not None:
        (place / "receipt.json").write_text(json.dumps(receipt))
    return place


def make_receipt(nbytes: int, requests: int, seconds: float = 1.5, served: bool = True) -> dict[str, Any]:
    """A receipt of so many bytes, a tenth of them headers; `served`: as the server counted, one request more."""
    header = nbytes // 10
    rest = [nbytes - header, *[0] * (requests - 2)]
    runs = tuple(Trip("a.tif", header, length, 1, 0, seconds) for length in rest)
    receipt = Receipt(nbytes, requests, (Trip("a.tif", 0, header, 1, 0, seconds),), runs, (), (), seconds)
    counted = {"requests": requests + 1, "bytes": nbytes, "header_bytes": header, "pixel_bytes": nbytes - header}
    return {**receipt.to_dict(), "server": counted if served else None}


def write_demo(folder: Path, *, folds: int = 3, seeds: int = 3, maps: bool = True, **options: Any) -> Path:
    """Write a folder as the demo leaves it, of every method; returns it. `options` go to `write_run`."""
    channels = len(options.get("bands", BANDS)) * len(options.get("slots", SLOTS))
    for method, base in SCORES.items():
        for fold in range(folds):
            for seed in range(seeds):
                draw = np.random.default_rng([fold, seed, *method.encode()])
                kept = np.arange(channels) if method == "dense" else draw.permutation(channels)[: channels // 4]
                score = base + 0.02 * fold + 0.01 * float(draw.normal())
                read = make_receipt(10_000 * len(kept) + int(draw.integers(2000)), 4 * len(kept), len(kept) / 10)
                chosen = sorted(kept.tolist())
                write_run(folder / "runs", method, fold, seed, score=score, channels=chosen, receipt=read, **options)
    if maps:
        write_maps(folder / "maps")
    return folder


def write_maps(folder: Path, *, names: Sequence[str] = ("truth", "dense", "learned"), side: int = 40) -> None:
    """Class maps of discs, each with some pixels of its own and a corner of nodata."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, columns = np.indices((side, side))
    for number, name in enumerate(names):
        classes = (np.hypot(rows - side / 2, columns - side / 2) // (side / 5)).clip(max=CLASSES - 1).astype("uint8")
        noise = np.random.default_rng(number)
        wrong = noise.random(classes.shape) < 0.1 * number
        classes[wrong] = noise.integers(0, CLASSES, wrong.sum())
        classes[: side // 5, : side // 5] = 255
        place = {"crs": "EPSG:3035", "transform": from_origin(5_000_000, 2_600_000, 10, 10)}
        shape = {"driver": "GTiff", "dtype": "uint8", "count": 1, "nodata": 255, "height": side, "width": side}
        with rasterio.open(folder / f"{name}.tif", "w", **shape, **place) as file:
            file.write(classes, 1)

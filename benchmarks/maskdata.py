"""What masks are measured on: three sets of real imagery, split by place, each with prices and a network of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from environments import environment
from scipy.spatial import cKDTree
from torch import nn

from geomask.chips.memory import Chips
from geomask.chips.split import Split, make_splits
from geomask.demo.publish import publish
from geomask.demo.run import CUTS
from geomask.stac.profile import load_profile
from geomask.stac.search import search
from geomask.train.settings import Settings
from geomask.train.task import prepare
from geomask.window import Window

SETS = ("indian_pines", "nrt", "modis")
#: Spatial splits; each place is tested in one of them.
FOLDS = 5
TENSORLY = ("tensorly==0.10.0",)  # carries Indian Pines


@dataclass(frozen=True, slots=True)
class MaskSet:
    """A set that masks are measured on."""

    name: str
    chips: Chips
    """With an axis for versions where there are several."""
    splits: tuple[Split, ...]
    prices: np.ndarray
    """Of each channel at each version, float64 (versions, channels); infinite where there is none."""
    is_bytes: bool
    """Whether prices are bytes of files; if not, each channel is 1."""
    settings: Settings
    network: Callable[[int, int], nn.Module]

    @property
    def dense(self) -> float:
        """Of all channels at full resolution."""
        return float(self.prices[0].sum())

    def budget(self, percent: float) -> float:
        """Bytes; where there are no files, the nearest number of channels."""
        share = percent / 100 * self.dense
        return share if self.is_bytes else max(1.0, float(round(share)))


class MissingError(Exception):
    """A set that is not there; the message says what is missing."""


def load_sets(names: Iterable[str], data: Path, cache: Path) -> dict[str, MaskSet | MissingError]:
    """Those named, or why they cannot be had. `data` is the folder of files that are not fetched, `cache` is ours."""
    loaders = {"indian_pines": partial(_pines, cache), "nrt": partial(_nrt, cache), "modis": partial(_modis, data)}
    found: dict[str, MaskSet | MissingError] = {}
    for name in names:
        try:
            found[name] = loaders[name]()
        except (OSError, MissingError) as error:
            found[name] = MissingError(f"no data: {error}")
    return found


def make_net(channels: int, outputs: int, width: int, dropout: float, first: int, around: int) -> nn.Module:
    """Three convolutions: `first` x `first` pixels become one, then `around` x `around`, then 1 x 1."""
    return nn.Sequential(
        nn.Conv2d(channels, width, first, stride=first),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Dropout2d(dropout),
        # An input of 3 x 3 pixels is the patch around one; a larger one is a chip with a margin that does not count.
        nn.Conv2d(width, width, around, padding=around // 2 if first > 1 else 0),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Dropout2d(dropout),
        nn.Conv2d(width, outputs, 1),
    )


def _modis(data: Path) -> MaskSet:
    """23 dates x 6 bands of single pixels, 9 crops and land covers; cells of 0.25 degrees, 0.05 between parts."""
    path = data / "modis_mato_grosso.npz"
    if not path.is_file():
        raise MissingError(path.name)
    with np.load(path) as file:
        pixels, names, places = file["X"], file["y"], file["lonlat"]
    labels = np.unique(names, return_inverse=True)[1]
    at = np.floor(places / 0.25).astype(np.int64)
    splits = [_part(split, places, 0.05) for split in split_cells(at[:, 0] * 10_000 + at[:, 1])]
    return MaskSet(
        "modis",
        chips_of(pixels.reshape(len(pixels), -1, 1, 1), labels[:, None, None]),
        tuple(splits),
        np.ones((1, pixels[0].size)),
        is_bytes=False,
        settings=Settings(steps=400, width=64, dropout=0.2),
        network=partial(make_net, width=64, dropout=0.2, first=1, around=1),
    )


def _pines(cache: Path) -> MaskSet:
    """AVIRIS, 200 bands of 145 x 145 pixels, 16 crops: patches of 3 x 3, cells of 12 x 12 with a guard of 1 pixel."""
    image, labels = pines_image(cache)
    cell, guard = 12, 1
    row, column = np.indices(labels.shape)
    inner = np.logical_and(*((guard <= at % cell) & (at % cell < cell - guard) for at in (row, column)))
    y, x = np.nonzero(inner & (labels > 0))
    around = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge").astype(np.float32)
    patches = np.stack([around[y + dy, x + dx] for dy in range(3) for dx in range(3)], 2)  # (n, bands, 9)
    return MaskSet(
        "indian_pines",
        chips_of(
            patches.reshape(len(y), -1, 3, 3), labels[y, x].astype(np.int64)[:, None, None] - 1, np.stack([y, x], 1)
        ),
        tuple(split_cells(y // cell * 1000 + x // cell)),
        np.ones((1, image.shape[2])),
        is_bytes=False,
        settings=Settings(steps=500, batch=256, width=32, dropout=0.2),
        network=partial(make_net, width=32, dropout=0.2, first=1, around=3),
    )


def pines_image(cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """Indian Pines: uint16 (rows, columns, bands), and labels (rows, columns), 0 where there is none."""
    python = environment(cache / "environments", "tensorly", TENSORLY)
    found = {path.name: path for path in python.parents[1].rglob("Indian_pines_*.npy")}
    image, labels = (np.load(found[name]) for name in ("Indian_pines_corrected.npy", "Indian_pines_gt.npy"))
    return image, labels


def _nrt(cache: Path) -> MaskSet:
    """Sentinel-2, the 30 clearest dates x 6 bands at 10, 20 and 40 m, 4 classes of tree cover at 20 m.

    Cells of 200 m with a guard of 20 m. Bytes are those of the COGs' pixels: headers are kept in an index.
    """
    catalog = publish(cache / "masks" / "nrt")
    clear = sorted(search(str(catalog)), key=lambda item: (item.properties["eo:cloud_cover"], item.id))[:30]
    items = sorted(clear, key=lambda item: item.id)
    rule = "dates:" + ",".join(item.datetime.date().isoformat() for item in items if item.datetime)
    bands, labels = load_profile("local").select(), catalog.parent / "labels.tif"
    task = prepare(items, bands, labels, CUTS, rule, 20, 2, FOLDS, profile="local", levels=(0, 1))
    nbytes = task.cost.nbytes.sum("block", skipna=False).transpose("level", "slot", "band").to_numpy()
    prices = np.where(np.isnan(nbytes), np.inf, nbytes).reshape(len(nbytes), -1)
    # Labels are of 20 m: one of the four alike.
    chips = replace(task.chips, labels=task.chips.labels[:, ::2, ::2])
    return MaskSet(
        "nrt",
        chips,
        task.splits,
        prices,
        is_bytes=True,
        settings=Settings(steps=300, width=32, dropout=0.4),
        network=partial(make_net, width=32, dropout=0.4, first=2, around=3),
    )


def chips_of(image: np.ndarray, labels: np.ndarray, centres: np.ndarray | None = None) -> Chips:
    """Pixels or patches as chips: `image` is (n, channels, rows, columns), `labels` (n, rows, columns).

    `centres`, int (n, 2), are row and column of the pixel in the middle of each patch, where there is a scene.
    """
    rows, columns = image.shape[-2:]
    places = np.stack([np.zeros(len(image), np.int64), np.arange(len(image))], 1) if centres is None else centres
    windows = tuple(Window(row - rows // 2, col - columns // 2, rows, columns) for row, col in places.tolist())
    return Chips(image, np.ones(image.shape, bool), labels.astype(np.int64), windows, int(labels.max()) + 1)


def split_cells(cells: np.ndarray) -> list[Split]:
    """Splits of samples by the cell that each lies in, int (samples,)."""
    _, cell = np.unique(cells, return_inverse=True)
    return [
        Split(*(tuple(np.flatnonzero(np.isin(cell, part)).tolist()) for part in (s.train, s.validation, s.test)))
        for s in make_splits(cell.max() + 1, FOLDS)
    ]


def _part(split: Split, places: np.ndarray, guard: float) -> Split:
    """Without validation samples closer than `guard` to a test sample, and training samples close to either."""

    def apart(samples: tuple[int, ...], others: tuple[int, ...]) -> tuple[int, ...]:
        distance, _ = cKDTree(places[list(others)]).query(places[list(samples)])
        return tuple(np.array(samples)[distance >= guard].tolist())

    validation = apart(split.validation, split.test)
    return Split(apart(split.train, split.test + validation), validation, split.test)

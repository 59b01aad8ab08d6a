"""What features are measured on: two sets of real imagery as whole scenes, from which the chips of each are cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from imagecodes import band_nbytes
from maskdata import MaskSet, MissingError, load_sets, pines_image

from geomask.chips.memory import Chips
from geomask.chips.split import Split
from geomask.train.baselines import full_resolution
from geomask.window import Window

SETS = ("indian_pines", "nrt")


@dataclass(frozen=True)
class FeatureSet:
    """A scene, its chips and splits."""

    of: MaskSet
    """With the versions that a selection may choose."""
    scene: np.ndarray
    """uint16 (channels, rows, columns), of which the chips are windows; all of it valid."""
    coarse: np.ndarray
    """Which channels have pixels of twice the side, bool (channels,)."""

    @property
    def name(self) -> str:
        """Of the set."""
        return self.of.name

    @cached_property
    def chips(self) -> Chips:
        """At full resolution."""
        return full_resolution(self.of.chips)

    @property
    def pixels(self) -> int:
        """Of the scene."""
        return self.scene.shape[1] * self.scene.shape[2]

    def cut(self, planes: np.ndarray) -> np.ndarray:
        """The chips of planes (n, rows, columns) over the scene, edges repeated: (chips, n, rows, columns)."""
        reach = max(0, -min(min(w.row_off, w.col_off) for w in self.chips.windows))
        wide = np.pad(planes, ((0, 0), (reach, reach), (reach, reach)), mode="edge")
        return np.stack([wide[:, *_slices(window, -reach)] for window in self.chips.windows])

    def received(self, planes: np.ndarray) -> Chips:
        """The chips as cut from planes that came over a link, all valid."""
        image = self.cut(planes).astype(np.float32)
        return replace(self.chips, image=image, valid=np.ones(image.shape, bool))

    def trained_on(self, split: Split) -> np.ndarray:
        """Which pixels of the scene the training chips show, bool (rows, columns)."""
        mask = np.zeros(self.scene.shape[1:], bool)
        for chip in split.train:
            rows, cols = _slices(self.chips.windows[chip], 0)
            mask[max(0, rows.start) : rows.stop, max(0, cols.start) : cols.stop] = True
        return mask

    def nbytes(self, planes: Sequence[tuple[int, int]]) -> float:
        """Of (version, channel) as lossless COGs; where the set has files, of their GeoTIFF tiles."""
        prices = self.of.prices if self.of.is_bytes else self._prices
        return float(sum(prices[plane] for plane in planes))

    @cached_property
    def _prices(self) -> np.ndarray:
        return band_nbytes(self.scene)[None].astype(np.float64)


def load_feature_sets(names: Sequence[str], data: Path, cache: Path) -> dict[str, FeatureSet | MissingError]:
    """Those named, or why they cannot be had; arguments as of `maskdata.load_sets`."""
    found: dict[str, FeatureSet | MissingError] = {}
    for name, one in load_sets(names, data, cache).items():
        if isinstance(one, MissingError):
            found[name] = one
        elif name == "indian_pines":
            scene = pines_image(cache)[0].astype(np.uint16).transpose(2, 0, 1)
            found[name] = FeatureSet(one, np.ascontiguousarray(scene), np.zeros(len(scene), bool))
        else:
            found[name] = FeatureSet(one, _assemble(full_resolution(one.chips)), _coarse(one))
    return found


def _assemble(chips: Chips) -> np.ndarray:
    """The scene that chips side by side make up, uint16 (channels, rows, columns)."""
    rows, columns = (max(ends) for ends in zip(*((w.row_stop, w.col_stop) for w in chips.windows), strict=True))
    scene = np.zeros((chips.image.shape[1], rows, columns), np.uint16)
    for window, image in zip(chips.windows, chips.image, strict=True):
        scene[:, *_slices(window, 0)] = image
    return scene


def _coarse(of: MaskSet) -> np.ndarray:
    """The channels whose pixels come in fours that are alike."""
    image = full_resolution(of.chips).image
    if any(side % 2 for side in image.shape[2:]):
        return np.zeros(image.shape[1], bool)
    parts = [image[..., row::2, col::2] for row in (0, 1) for col in (0, 1)]
    alike: np.ndarray = np.all([(part == parts[0]).all((0, 2, 3)) for part in parts], axis=0)
    return alike


def _slices(window: Window, low: int) -> tuple[slice, slice]:
    """Rows and columns of a window, counted from `low`."""
    rows, cols = (window.row_off, window.row_stop), (window.col_off, window.col_stop)
    return slice(rows[0] - low, rows[1] - low), slice(cols[0] - low, cols[1] - low)

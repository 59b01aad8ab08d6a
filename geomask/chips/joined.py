"""Chips beside what another torchgeo dataset has at the same place: labels, most often."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torchgeo.datasets import IntersectionDataset
from torchgeo.datasets.utils import Sample

from .classes import IGNORE

if TYPE_CHECKING:
    from torchgeo.datasets import GeoDataset
    from torchgeo.datasets.utils import GeoSlice

    from ..grid import Grid
    from .dataset import StacDataset

#: What says where a chip lies. Other datasets round it to float32, 0.2 m or more off in UTM.
PLACES = ("chip", "bounds")


def join_samples(samples: Sequence[Sample]) -> Sample:
    """Two samples of one place as one: `PLACES` are the first's; other tensors of one name are concatenated."""
    first, second = samples
    joined = {**second, **first}
    for name in first.keys() & second.keys() - {*PLACES}:
        joined[name] = torch.cat([first[name], second[name]])
    return joined


def unite_samples(samples: Sequence[Sample]) -> Sample:
    """Samples of one place as one: what is not valid or has no label in the first ones is taken from the next.

    All else is of the first that has it. torchgeo takes the larger of two values, and has none for two kinds of bounds.
    """
    united, *others = samples
    for other in others:
        fills = {**other, **united}
        if "valid" in united and "valid" in other:
            fills["image"] = torch.where(united["valid"], united["image"], other["image"])
            fills["valid"] = united["valid"] | other["valid"]
        if "mask" in united and "mask" in other:
            fills["mask"] = torch.where(united["mask"] != IGNORE, united["mask"], other["mask"])
        united = fills
    return united


class JoinedDataset(IntersectionDataset):
    """The intersection of a `StacDataset` with another dataset, which is asked for exact pixels of the chips' grid.

    It is what ``chips & other`` gives. torchgeo moves the other dataset to the CRS and the pixel size of the grid, and
    by default takes only times that both have. `spatial_only` keeps all slots, as labels of a single day want it.
    A batch of chips is planned and read at once.
    """

    def __init__(
        self,
        chips: StacDataset,
        other: GeoDataset,
        spatial_only: bool = False,
        collate_fn: Callable[[Sequence[Sample]], Sample] = join_samples,
        transforms: Callable[[Sample], Sample] | None = None,
    ) -> None:
        """See torchgeo's `IntersectionDataset`. Raises RuntimeError where the two do not meet."""
        super().__init__(chips, other, spatial_only, collate_fn, transforms)
        self.chips, self.other = chips, other

    @property
    def grid(self) -> Grid:
        """Of the chips."""
        return self.chips.grid

    def __getitem__(self, index: GeoSlice) -> Sample:
        """The sample of a slice, which is snapped to the grid. Raises as both datasets do."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[GeoSlice]) -> list[Sample]:
        """The samples of some slices; what the chips take is planned and read as one manifest."""
        places = [self.chips.snap(self._disambiguate_slice(index)) for index in indices]
        pairs = zip(self.chips.__getitems__(places), (self.other[place] for place in places), strict=True)
        samples = [self.collate_fn(pair) for pair in pairs]
        return [self.transforms(sample) for sample in samples] if self.transforms else samples

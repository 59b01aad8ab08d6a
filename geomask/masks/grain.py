"""How the units of a mask lie over an input: what is kept or left out as one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..errors import SelectionError

if TYPE_CHECKING:
    from torch import Tensor

NAMES = "channel, band, slot, version, pixel, subpixel, block:ROWSxCOLUMNS and subblock:ROWSxCOLUMNS"


@dataclass(frozen=True, slots=True)
class Grain:
    """Units over (channels, rows, columns): groups of channels x a grid of blocks.

    Channels are ordered by slot, then band. The grid of blocks need not divide the pixels: pixel r of R lies in block
    floor(r * rows / R).
    """

    groups: tuple[int, ...]
    """The group of each channel, from 0."""
    rows: int = 1
    """Rows of blocks."""
    columns: int = 1
    """Columns of blocks."""

    @classmethod
    def of(cls, name: str, slots: int, bands: int, size: tuple[int, int]) -> Grain:
        """A grain of the published names (Oehmcke & Gieseke 2022), over `slots` x `bands` channels of `size` pixels.

        ``channel``: one unit a (slot, band); ``band``: a band over all slots; ``slot``: a slot over all bands;
        ``version``: all as one; ``pixel``: a pixel over all channels; ``subpixel``: a pixel of a channel;
        ``block:4x6``: 4 x 6 blocks over all channels; ``subblock:4x6``: those of each channel.

        Raises SelectionError for another name, and for more blocks than pixels.
        """
        every = range(slots * bands)
        single, alone = tuple(0 for _ in every), tuple(every)
        named = {
            "channel": cls(alone),
            "band": cls(tuple(channel % bands for channel in every)),
            "slot": cls(tuple(channel // bands for channel in every)),
            "version": cls(single),
            "pixel": cls(single, *size),
            "subpixel": cls(alone, *size),
        }
        if name in named:
            return named[name]
        if not (found := re.fullmatch(r"(sub)?block:([1-9]\d*)x([1-9]\d*)", name)):
            raise SelectionError(f"no grain {name!r}; choose one of {NAMES}")
        rows, columns = int(found[2]), int(found[3])
        if rows > size[0] or columns > size[1]:
            raise SelectionError(f"{name} has more blocks than {size[0]} x {size[1]} pixels; choose fewer")
        return cls(alone if found[1] else single, rows, columns)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(groups, rows of blocks, columns of blocks): that of a mask."""
        return max(self.groups) + 1, self.rows, self.columns

    @property
    def units(self) -> int:
        """How many units there are."""
        groups, rows, columns = self.shape
        return groups * rows * columns

    def spread(self, mask: Tensor, size: tuple[int, int]) -> Tensor:
        """(..., groups, rows, columns of blocks) to (..., channels, rows, columns) of `size` pixels.

        An axis along which there is one block stays 1 long, to be broadcast.
        """
        if self.shape[0] > 1 and self.groups != tuple(range(self.shape[0])):
            mask = mask[..., torch.tensor(self.groups, device=mask.device), :, :]
        for axis, (blocks, pixels) in enumerate(zip((self.rows, self.columns), size, strict=True), -2):
            if blocks not in (1, pixels):
                mask = mask.index_select(axis, torch.arange(pixels, device=mask.device) * blocks // pixels)
        return mask

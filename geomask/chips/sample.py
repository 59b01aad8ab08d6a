"""What a model gets of a chip: tensors by name, the same from files and from a chip store."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..grid import Grid, Window
    from ..selection import Selection

type Sample = dict[str, Tensor]


@dataclass(frozen=True)
class SampleForm:
    """How the channels of a selection become a sample.

    ========== ===================================================================================
    ``image``  float32 (channels, rows, columns): stored values, 0 where not valid
    ``valid``  bool, same shape: False for nodata, empty slots, and slots outside the interval
    ``time``   int64 (channels,): start of each channel's slot, seconds since 1970 in UTC
    ``mask``   int64 (rows, columns): labels, only where there are some; -1: none
    ``chip``   int64 (1,): row offset * columns of the grid + column offset
    ``bounds`` float64 (4,): left, bottom, right, top, in the grid's CRS
    ========== ===================================================================================

    As a series, image and valid are (slots, bands, rows, columns) and time is (slots,), of the slots and bands that any
    channel names; a (slot, band) that is no channel is not valid. Two chips that begin outside of the grid, left and
    right of it, may have one number.
    """

    selection: Selection
    grid: Grid
    series: bool = False

    def batch(
        self, image: np.ndarray, valid: np.ndarray, windows: Sequence[Window], masks: np.ndarray | None = None
    ) -> Sample:
        """Chips of one size as a sample whose tensors are stacked.

        `image`, 0 where not valid, and `valid` are (chips, channels, rows, columns), `masks` (chips, rows, columns).
        """
        corners = [window.row_off * self.grid.width + window.col_off for window in windows]
        bounds = [self.grid.bounds_of(window) for window in windows]
        batch = {
            "image": self._arrange(torch.from_numpy(image.astype(np.float32, copy=False))),
            "valid": self._arrange(torch.from_numpy(valid)),
            "time": self._times.repeat(len(windows), 1),
            "chip": torch.tensor(corners, dtype=torch.int64)[:, None],
            "bounds": torch.tensor(bounds, dtype=torch.float64),
        }
        return batch if masks is None else {**batch, "mask": torch.from_numpy(masks)}

    def _arrange(self, values: Tensor) -> Tensor:
        if not self.series:
            return values
        slots, bands = self._places
        series = values.new_zeros((len(values), int(slots.max()) + 1, int(bands.max()) + 1, *values.shape[2:]))
        series[:, slots, bands] = values
        return series

    @cached_property
    def _places(self) -> tuple[Tensor, Tensor]:
        """Where each channel lies in a series: positions among the slots and bands that any channel names."""
        places = np.array([(channel.slot, channel.band) for channel in self.selection.channels])
        slots, bands = (torch.from_numpy(np.unique(axis, return_inverse=True)[1]) for axis in places.T)
        return slots, bands

    @cached_property
    def _times(self) -> Tensor:
        slots = [channel.slot for channel in self.selection.channels]
        slots = sorted(set(slots)) if self.series else slots
        return torch.tensor([round(self.selection.slots[slot].start.timestamp()) for slot in slots], dtype=torch.int64)


def unstack(batch: Sample) -> list[Sample]:
    """The samples of a batch: views of its tensors."""
    count = len(batch["chip"])
    return [{name: values[at] for name, values in batch.items()} for at in range(count)]

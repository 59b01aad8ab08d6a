"""Which blocks of a chip each channel of a run is read in, as a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..atomic import atomic_path

if TYPE_CHECKING:
    from pathlib import Path

    from ..selection import Selection
    from .fold import FoldedMask


def save_blocks(path: Path, selection: Selection, gate: FoldedMask) -> None:
    """Write which blocks of a chip each channel is read in, as NetCDF: bool (slot, band, row, column)."""
    import xarray as xr

    rows, columns = gate.blocks.shape[1:]
    kept = np.zeros((len(selection.slots), len(selection.bands), rows, columns), bool)
    for channel, blocks in zip(selection.channels, gate.blocks, strict=True):
        kept[channel.slot, channel.band] = (blocks != 0).numpy()
    names = {"slot": [slot.name for slot in selection.slots], "band": [band.name for band in selection.bands]}
    array = xr.DataArray(kept, names, ("slot", "band", "row", "column"), "selected")
    with atomic_path(path) as draft:
        array.to_dataset().to_netcdf(draft, engine="scipy")

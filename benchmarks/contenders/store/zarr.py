"""zarr-python: an uncompressed array, a chunk a chip, so that any order reads no byte in vain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import zarr
from torch.utils.data import Dataset

from contenders.store.job import StoreReader


class Array(Dataset[torch.Tensor]):
    """Chips of one array, a batch asked for at once."""

    def __init__(self, path: Path) -> None:
        self._chips = zarr.open_array(path, mode="r")

    def __len__(self) -> int:
        return len(self._chips)

    def __getitem__(self, chips: list[int]) -> torch.Tensor:
        """Some chips, as float32."""
        return torch.from_numpy(self._chips.oindex[chips].astype(np.float32))


class Reader(StoreReader):
    """The array as zarr writes it."""

    def make(self) -> Dataset[torch.Tensor]:
        """Write and open it."""
        path = Path(self.job.folder) / "chips.zarr"
        pixels = np.load(self.job.pixels, mmap_mode="r")
        zarr.create_array(path, data=pixels, chunks=(1, *pixels.shape[1:]), compressors=None)
        return Array(path)

"""A plain .npy file, memory-mapped: what a store costs at least."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from contenders.store.job import StoreReader


class Array(Dataset[torch.Tensor]):
    """Chips of one array, a batch gathered at once."""

    def __init__(self, path: Path) -> None:
        self._chips = np.load(path, mmap_mode="r")

    def __len__(self) -> int:
        return len(self._chips)

    def __getitem__(self, chips: list[int]) -> torch.Tensor:
        """Some chips, as float32."""
        return torch.from_numpy(self._chips[chips].astype(np.float32))


class Reader(StoreReader):
    """The file as numpy writes it."""

    def make(self) -> Dataset[torch.Tensor]:
        """Write and map it."""
        path = Path(self.job.folder) / "chips.npy"
        shutil.copyfile(self.job.pixels, path)
        return Array(path)

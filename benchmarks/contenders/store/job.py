"""Which chips a store holds, and the form of its adapter."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader

from contenders.job import digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch.utils.data import Dataset

#: Chips of a batch.
BATCH = 64

SEED = 11


@dataclass(frozen=True, slots=True)
class StoreJob:
    """Chips of some channels, and epochs of reading them all in random order."""

    items: list[dict[str, Any]]
    """STAC items in order of time, whose files lie on this machine."""
    channels: list[tuple[int, str]]
    """(item, asset) of each channel, in the order of the result."""
    grid: tuple[str, float, float, float, int]
    """(CRS, left, top, side of a pixel, rows and columns) of the files."""
    windows: list[tuple[int, int, int, int]]
    """(row_off, col_off, height, width) of each chip, by row, then column."""
    pixels: str
    """A .npy file with the same chips: uint16 (chips, channels, rows, columns)."""
    folder: str
    """Empty; the store may be made there."""
    epochs: int

    def told(self, answer: Answer) -> dict[str, Any]:
        """Seconds of the making and of each epoch, and a digest a chip."""
        return {"opened": answer.made, "epochs": answer.epochs, "digests": answer.digests}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a store gave."""

    made: float
    """Seconds to make it."""
    epochs: list[float]
    """Seconds to read every chip once."""
    digests: list[str]
    """Of each chip as uint16, in the order of the job."""


class StoreReader(ABC):
    """A store with one job."""

    job_class: ClassVar[type] = StoreJob
    keeps_headers: ClassVar[bool] = False

    def __init__(self, job: StoreJob) -> None:
        self.job = job

    @abstractmethod
    def make(self) -> Dataset[Any]:
        """Write the store, and open it as a data set that takes a list of positions at once."""

    def image(self, batch: Any) -> torch.Tensor:
        """Of what the data set gives for a list: float32 (chips, channels, rows, columns)."""
        chips: torch.Tensor = batch
        return chips

    def read(self) -> Answer:
        """Make it, then read it in batches by one core, without workers."""
        start = time.perf_counter()
        dataset = self.make()
        made = time.perf_counter() - start
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        torch.set_num_threads(1)
        order = np.random.default_rng(SEED)
        count = len(self.job.windows)
        epochs = [self._epoch(dataset, order.permutation(count).tolist()) for _ in range(self.job.epochs)]
        images = self._images(dataset, list(range(count)))
        return Answer(made, epochs, [digest(chip.numpy().astype(np.uint16)) for image in images for chip in image])

    def close(self) -> None:  # noqa: B027  # the folder is the parent's
        """Let go of the store."""

    def _epoch(self, dataset: Dataset[Any], order: list[int]) -> float:
        """Seconds."""
        start = time.perf_counter()
        chips = sum(len(image) for image in self._images(dataset, order))
        seconds = time.perf_counter() - start
        if chips != len(order):
            raise ValueError(f"{chips} chips came, not {len(order)}")
        return seconds

    def _images(self, dataset: Dataset[Any], order: list[int]) -> Iterator[torch.Tensor]:
        batches = BatchSampler(order, BATCH, drop_last=False)
        return map(self.image, DataLoader(dataset, batch_size=None, sampler=batches))

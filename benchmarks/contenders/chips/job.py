"""Which chips a data set is asked for, and the form of its adapter. Imported in every environment: only needs numpy."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from contenders.job import digest

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Worker processes or threads of the peers, the same for all.
WORKERS = 16


@dataclass(frozen=True, slots=True)
class ChipJob:
    """Square chips of some assets of all items, in this order. All files lie on one grid."""

    items: list[dict[str, Any]]
    """STAC items in order of time; they hold the assets asked for and no other."""
    assets: list[str]
    """In the order of a chip's bands."""
    side: int
    """Rows and columns of the files."""
    res: float
    """Of their pixels, m."""
    origin: tuple[float, float]
    """(left, top) of the files, m."""
    epsg: int
    """Of their CRS."""
    size: int
    """Rows and columns of a chip."""
    places: list[tuple[int, int]]
    """(row_off, col_off) of each chip, in pixels."""

    @property
    def hrefs(self) -> list[list[str]]:
        """Addresses or paths, (dates, assets)."""
        return [[item["assets"][asset]["href"] for asset in self.assets] for item in self.items]

    @property
    def chip_shape(self) -> tuple[int, int, int, int]:
        """(dates, assets, rows, columns)."""
        return len(self.items), len(self.assets), self.size, self.size

    def slices(self) -> list[tuple[slice, slice]]:
        """The chips as torchgeo asks for them: x and y from low to high, m; all times."""
        left, top = self.origin
        size = self.size * self.res
        corners = [(left + col * self.res, top - row * self.res) for row, col in self.places]
        return [(slice(x, x + size), slice(y - size, y)) for x, y in corners]

    def told(self, answer: Answer) -> dict[str, Any]:
        """Seconds until the data set was ready, and a digest a chip. Raises ValueError for chips of another form."""
        chips = [chip for batch in answer.batches for chip in batch]
        if len(chips) != len(self.places):
            raise ValueError(f"{len(chips)} chips came, not {len(self.places)}")
        if wrong := next((chip.shape for chip in chips if chip.shape != self.chip_shape), None):
            raise ValueError(f"a chip has the shape {wrong}, not {self.chip_shape}")
        return {"opened": answer.opened, "digests": [digest(chip.astype(np.uint16)) for chip in chips]}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a data set gave."""

    opened: float
    """Seconds until it was ready for its first chip, headers that it takes at the start included."""
    batches: list[np.ndarray]
    """(chips, dates, assets, rows, columns) each, in the data set's own type."""


class ChipReader(ABC):
    """A data set with one job. Making it brings the items into the data set's own form, and fetches nothing."""

    job_class: ClassVar[type] = ChipJob
    keeps_headers: ClassVar[bool] = False

    def __init__(self, job: ChipJob) -> None:
        self.job = job

    @abstractmethod
    def open(self) -> None:
        """Make the data set."""

    @abstractmethod
    def batches(self) -> Iterable[np.ndarray]:
        """All chips in order, as `Answer.batches`."""

    def read(self) -> Answer:
        """Open, then read every chip, as one epoch would."""
        start = time.perf_counter()
        self.open()
        opened = time.perf_counter() - start
        return Answer(opened, list(self.batches()))

    def close(self) -> None:  # noqa: B027  # most have nothing to close
        """Let go of connections and processes."""

"""What a reader is asked to read, and the form of its adapter. Imported in every environment: needs numpy alone."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlsplit

import numpy as np


@dataclass(frozen=True, slots=True)
class Job:
    """One window of some assets of all items."""

    items: list[dict[str, Any]]
    """STAC items in order of time, with absolute addresses; they hold the assets asked for and no other."""
    assets: list[str]
    """In the order of the result."""
    level: int | None
    """None is full resolution, 0 the first overview."""
    window: tuple[int, int, int, int]
    """(row_off, col_off, height, width), in pixels of the level."""
    shape: tuple[int, int]
    """(rows, columns) of the level."""
    res: tuple[float, float]
    """(height, width) of the level's pixels, m."""
    origin: tuple[float, float]
    """(left, top) of the files, m."""
    epsg: int
    """Of the files' CRS."""

    @property
    def hrefs(self) -> list[list[str]]:
        """Addresses, (dates, assets)."""
        return [[item["assets"][asset]["href"] for asset in self.assets] for item in self.items]

    @property
    def root(self) -> str:
        """The server of the files, ``http://127.0.0.1:PORT/``."""
        parts = urlsplit(self.hrefs[0][0])
        return f"{parts.scheme}://{parts.netloc}/"

    @property
    def paths(self) -> list[str]:
        """Of the files below `root`, dates first."""
        return [href.removeprefix(self.root) for row in self.hrefs for href in row]

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(left, bottom, right, top) of the window, m."""
        (row, col, height, width), (res_y, res_x), (left, top) = self.window, self.res, self.origin
        return left + col * res_x, top - (row + height) * res_y, left + (col + width) * res_x, top - row * res_y

    @property
    def result_shape(self) -> tuple[int, int, int, int]:
        """(dates, assets, rows, columns)."""
        return len(self.items), len(self.assets), self.window[2], self.window[3]

    def told(self, pixels: np.ndarray) -> dict[str, Any]:
        """What the parent is told of the pixels. Raises ValueError where they have another shape or type."""
        if pixels.shape != self.result_shape:
            raise ValueError(f"the pixels have the shape {pixels.shape}, not {self.result_shape}")
        return {"digest": digest(pixels)}


class Adapter(ABC):
    """A reader with one job. Making it brings the items into the reader's own form, and fetches nothing."""

    job_class: ClassVar[type] = Job
    """What a request is made into."""
    keeps_headers: ClassVar[bool] = True
    """Whether `keep` can be called: whether a user of the reader can have headers before the pixels."""

    def __init__(self, job: Job) -> None:
        self.job = job

    @abstractmethod
    def read(self) -> np.ndarray:
        """The pixels, uint16 (dates, assets, rows, columns), after fetching what `keep` has not fetched."""

    def keep(self) -> None:
        """Fetch the headers, and keep them for `read`."""
        raise NotImplementedError

    def close(self) -> None:  # noqa: B027  # most have nothing to close
        """Let go of connections and open files."""


def digest(pixels: np.ndarray) -> str:
    """SHA-256 of uint16 pixels in C order. Raises ValueError for another type: it would be no exact copy."""
    if pixels.dtype != np.uint16:
        raise ValueError(f"the pixels are {pixels.dtype}, not uint16")
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()

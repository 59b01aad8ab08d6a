"""Byte ranges of many files, joined into what is fetched in one request each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..cog.level import ByteRange

if TYPE_CHECKING:
    from collections.abc import Iterator

#: A COG writes each tile's length before it and its last bytes after it (GDAL's leader and trailer, 4 bytes each):
#: such a gap is always cheaper than a request.
LEADER_GAP = 8


def worthwhile_gap(round_trip: float, bandwidth: float) -> int:
    """Bytes between two ranges that come sooner than another request does, `LEADER_GAP` at least.

    `round_trip` is in seconds; `bandwidth`, in bytes/s, is that of one connection, since requests run side by side.
    """
    return max(LEADER_GAP, math.ceil(round_trip * bandwidth) - 1)


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """Runs of bytes, in order of file and offset, and what they are made of."""

    files: np.ndarray
    """The file of each run, int64 (runs,)."""
    offsets: np.ndarray
    """First byte of each run, int64."""
    lengths: np.ndarray
    """Bytes of each run, int64."""
    tile_nbytes: int
    """Bytes of tiles that are fetched whole; one that two windows share counts once."""
    prefix_nbytes: int
    """Bytes of prefixes of tiles."""

    @property
    def nbytes(self) -> int:
        """All bytes."""
        return int(self.lengths.sum())

    @property
    def gap_nbytes(self) -> int:
        """Bytes between tiles, fetched because that is cheaper than a request."""
        return self.nbytes - self.tile_nbytes - self.prefix_nbytes

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[tuple[int, ByteRange]]:
        """File and bytes of each run."""
        for file, offset, length in zip(self.files.tolist(), self.offsets.tolist(), self.lengths.tolist(), strict=True):
            yield file, ByteRange(offset, length)


def join_runs(
    files: np.ndarray, offsets: np.ndarray, lengths: np.ndarray, wholes: np.ndarray, heads: np.ndarray, gap: int
) -> Runs:
    """Runs that cover the ranges of tiles beyond each file's first `heads[file]` bytes.

    The first four arrays are int64 (ranges,), one range may come often, and with several lengths; `wholes` are bytes of
    whole tiles. Two ranges of a file are joined over at most `gap` bytes.
    """
    starts = np.maximum(offsets, heads[files])
    stops = offsets + lengths
    beyond = np.flatnonzero(stops > starts)
    # by file, then first byte; of one tile the longest range first, which is the one that counts
    order = beyond[np.lexsort((-stops[beyond], offsets[beyond], files[beyond]))]
    file, offset, start, stop = files[order], offsets[order], starts[order], stops[order]
    new = np.ones(len(order), bool)
    new[1:] = (file[1:] != file[:-1]) | (offset[1:] != offset[:-1])
    order, file, start, stop = order[new], file[new], start[new], stop[new]
    if not len(order):
        return Runs(file, start, stop, 0, 0)
    ends = _reach(file, stop)
    first = np.ones(len(file), bool)
    first[1:] = (file[1:] != file[:-1]) | (start[1:] > ends[:-1] + gap)
    begin = np.flatnonzero(first)
    reach = ends[np.append(begin[1:], len(ends)) - 1]
    nbytes, partial = stop - start, lengths[order] < wholes[order]
    return Runs(
        file[begin], start[begin], reach - start[begin], int(nbytes[~partial].sum()), int(nbytes[partial].sum())
    )


def _reach(files: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """The furthest stop so far within each file; files come in order."""
    ranks = np.cumsum(np.concatenate([[0], files[1:] != files[:-1]]))
    stride = int(stops.max()) + 1
    reached: np.ndarray = np.maximum.accumulate(stops + ranks * stride) - ranks * stride
    return reached

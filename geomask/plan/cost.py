"""What channels cost, in bytes on the wire: exact for a hard selection, also where channels share a file.

Cost and plan are computed in two ways and must agree to the byte: here from tables of byte runs, in
:mod:`geomask.plan.manifest` from requests.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import SelectionError
from .manifest import Manifest, join_ranges

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..cog.layout import ByteRange


@dataclass(frozen=True)
class Cost:
    """Bytes of the channels of one selection over given chips."""

    alone: np.ndarray
    """Planned bytes of each channel if it were read alone, int64 (channels,); 0 where no item fills it."""
    shared: tuple[tuple[int, ...], ...]
    """Groups of channels that lie in one file: a group costs less than the sum of its members."""
    _files: tuple[tuple[str, int], ...]
    _tiles: tuple[frozenset[ByteRange], ...]

    @classmethod
    def of(cls, manifest: Manifest) -> Cost:
        """The cost of each channel of a manifest, headers included."""
        count = len(manifest.channels)
        files: list[tuple[str, int]] = [("", 0)] * count
        tiles: list[set[ByteRange]] = [set() for _ in range(count)]
        for request in manifest.requests:
            files[request.channel] = (request.href, request.header_nbytes)
            tiles[request.channel].update(request.ranges)
        alone = [_bytes(pieces, head) for pieces, (_, head) in zip(tiles, files, strict=True)]
        groups: dict[str, list[int]] = defaultdict(list)
        for channel, (href, _) in enumerate(files):
            groups[href].append(channel)
        shared = tuple(tuple(group) for href, group in groups.items() if href and len(group) > 1)
        return cls(np.array(alone, np.int64), shared, tuple(files), tuple(map(frozenset, tiles)))

    @property
    def dense(self) -> int:
        """Bytes of all channels."""
        return self.total(range(len(self.alone)))

    def total(self, channels: Iterable[int]) -> int:
        """Bytes of these channels together: a header and a tile that two of them share count once."""
        groups: dict[tuple[str, int], set[ByteRange]] = defaultdict(set)
        for channel in channels:
            groups[self._files[channel]] |= self._tiles[channel]
        return sum(_bytes(pieces, head) for (_, head), pieces in groups.items())

    def free_riders(self, channels: Iterable[int]) -> list[int]:
        """Channels that were left out and would not have cost a byte: their tiles are read for others."""
        kept = set(channels)
        total = self.total(kept)
        beside = {channel for group in self.shared if kept & set(group) for channel in group} - kept
        return sorted(channel for channel in beside if self.total(kept | {channel}) == total)

    def budget(self, text: str) -> int:
        """Bytes of a budget such as ``10%`` (of the dense plan) or ``250000`` (bytes).

        Raises SelectionError where it is neither, below the cheapest channel, or above all channels.
        """
        number, share = parse_budget(text)
        nbytes = number / 100 * self.dense if share else number
        cheapest = int(self.alone[self.alone > 0].min(initial=self.dense))
        if not cheapest <= nbytes <= self.dense:
            raise SelectionError(
                f"a budget of {text} is {nbytes:,.0f} bytes; choose from {cheapest:,} (the cheapest channel) "
                f"to {self.dense:,} (all {len(self.alone)} channels)"
            )
        return int(nbytes)


def parse_budget(text: str) -> tuple[float, bool]:
    """The number of a budget, and whether it is a percentage. Raises SelectionError where it is neither."""
    try:
        return float(text.removesuffix("%")), text.endswith("%")
    except ValueError:
        raise SelectionError(f"a budget is a percentage such as 10% or a number of bytes, not {text!r}") from None


def _bytes(tiles: Iterable[ByteRange], header_nbytes: int) -> int:
    return header_nbytes + sum(run.length for run in join_ranges(tiles, header_nbytes))

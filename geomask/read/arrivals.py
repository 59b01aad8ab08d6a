"""What a read has to fetch beyond what is there, and which parts wait for it."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..fetch import Want
from ..plan.runs import Runs, join_runs

if TYPE_CHECKING:
    from .canvas import Canvas
    from .part import Part


@dataclass(slots=True)
class _Waiting:
    part: Part
    left: int
    """Runs that are still to come."""


class Arrivals:
    """The runs of a canvas that are to come, and the parts that each of them completes."""

    def __init__(self, canvas: Canvas) -> None:
        hrefs = list(canvas.manifest.files)
        places = {href: place for place, href in enumerate(hrefs)}
        missing = [_missing(canvas, part) for part in canvas.parts]
        self.runs = _join([(places[href], start, stop) for pieces in missing for href, start, stop in pieces], canvas)
        """What is fetched, in order of file, which count as in the manifest, and offset."""
        self.ready: list[Part] = []
        """Parts of which everything is there."""
        self.wants: list[Want] = []
        """The same runs as they are fetched."""
        self._waiting: dict[tuple[str, int], list[_Waiting]] = defaultdict(list)
        starts: dict[str, list[int]] = defaultdict(list)
        for file, run in self.runs:
            source = canvas.manifest.files[hrefs[file]]
            self.wants.append(Want(source.href, run.offset, run.length, source.size, source.etag))
            starts[source.href].append(run.offset)
        for part, pieces in zip(canvas.parts, missing, strict=True):
            needs = {(href, starts[href][bisect_right(starts[href], start) - 1]) for href, start, _ in pieces}
            state = _Waiting(part, len(needs))
            for need in needs:
                self._waiting[need].append(state)
            if not needs:
                self.ready.append(part)

    def completed(self, want: Want) -> list[Part]:
        """The parts of which the last run has come with `want`."""
        done = []
        for state in self._waiting.pop((want.href, want.offset), ()):
            state.left -= 1
            if not state.left:
                done.append(state.part)
        return done


def _missing(canvas: Canvas, part: Part) -> list[tuple[str, int, int]]:
    """(href, first byte, one past the last) of what is not there of each range of a part."""
    pieces = canvas.pieces[part.href]
    found = ((pieces.reach(piece.offset), piece.stop) for piece in part.request.ranges)
    return [(part.href, start, stop) for start, stop in found if start < stop]


def _join(pieces: list[tuple[int, int, int]], canvas: Canvas) -> Runs:
    """Runs that cover (file, first byte, one past the last), joined as the plan joins them."""
    files, starts, stops = np.array(pieces, np.int64).reshape(-1, 3).T
    heads = np.zeros(len(canvas.manifest.files), np.int64)
    return join_runs(files, starts, stops - starts, stops - starts, heads, canvas.manifest.gap)

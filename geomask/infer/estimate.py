"""What a map will take, before it is begun: from the plan of all its tiles, or of some of very many."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from ..errors import GeomaskError
from ..selection import Selection
from .agenda import Agenda, whole_chips
from .blocks import Pattern
from .ground import Ground

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..signing import Sign
    from .draft import Draft

#: Tiles that are planned at most, in squares of `SQUARE`, evenly spaced: more than that are reckoned from these.
SAMPLE, SQUARE = 64, 4


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes and requests, headers included; what two tiles share counts once."""

    tiles: int
    chips: int
    """What the network is shown at once, over all tiles."""
    nbytes: int
    requests: int
    dense_nbytes: int | None
    """Of all channels at full resolution; None where nobody knows."""
    planned: int
    """Tiles that were planned; fewer than all: the figures are reckoned from those."""
    at_most: bool
    """Whether a policy, or a pattern of blocks, will leave out part of it."""

    @classmethod
    def of(cls, draft: Draft, sign: Sign | None = None) -> Self:
        """Of a map that is to be; only headers are fetched. Raises what planning and fetching raise."""
        job, pattern = draft.job, Pattern.of(draft.run, draft.job.selection)
        size = None if pattern is None else pattern.size
        agenda = Agenda(job, draft.items, size)
        some, tiling = _spread(agenda.tiles), job.tiling
        places = [tiling.tile(tile) for tile in some]
        # of some tiles the margins would count, though they are read for a neighbour as well
        all_planned = len(some) == len(agenda.tiles)
        windows = [whole_chips(place.window if all_planned else place.core, size) for place in places]
        ground = Ground(job.selection, tiling.grid, job.scaling, sign, draft.index)
        manifest, _ = ground.plan(agenda.coverage, windows)
        nbytes, requests = manifest.planned_nbytes, manifest.planned_requests
        if pattern is not None and pattern.policy is not None:
            preview, _ = ground.plan(agenda.coverage, windows, pattern.policy.terms.preview_selection)
            nbytes, requests = nbytes + preview.pixel_nbytes, requests + len(preview.runs)
        share = len(agenda.tiles) / max(1, len(some))
        dense = _dense_nbytes(draft, agenda, windows, sign)
        return cls(
            tiles=len(agenda.tiles),
            chips=sum(len(tiling.cuts(tiling.tile(tile))) for tile in agenda.tiles),
            nbytes=round(nbytes * share),
            requests=round(requests * share),
            dense_nbytes=None if dense is None else round(dense * share),
            planned=len(some),
            at_most=pattern is not None,
        )

    def seconds(self, bandwidth: float) -> float:
        """On the wire at `bandwidth`, bit/s."""
        return self.nbytes * 8 / bandwidth

    def cost(self, per_gb: float, per_thousand: float) -> float:
        """Money, at a price of 10^9 bytes and of 1,000 requests."""
        return self.nbytes / 1e9 * per_gb + self.requests / 1e3 * per_thousand

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def _dense_nbytes(draft: Draft, agenda: Agenda, windows: Sequence[Any], sign: Sign | None) -> int | None:
    selection = draft.job.selection
    every = Selection.dense(selection.slots, selection.bands, selection.rule)
    try:
        manifest, _ = Ground(every, draft.job.tiling.grid, sign=sign).plan(agenda.coverage, windows)
    except GeomaskError:  # a band of the profile that is in no item, or a file that is not there
        return None
    return None if manifest.fallbacks else manifest.planned_nbytes


def _spread(tiles: Sequence[int]) -> list[int]:
    """All tiles, or of more than `SAMPLE` some: neighbours in squares, since they share what lies at their borders."""
    if len(tiles) <= SAMPLE:
        return list(tiles)
    squares = SAMPLE // SQUARE
    starts = [number * (len(tiles) - SQUARE) // (squares - 1) // SQUARE * SQUARE for number in range(squares)]
    return [tiles[start + number] for start in starts for number in range(SQUARE)]

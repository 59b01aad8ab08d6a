"""What a map will take, before it is begun: from the plan of all its tiles, or of some of very many."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any, Self

from ..errors import GeomaskError, RunError
from ..selection import Selection
from .agenda import Agenda, whole_chips
from .draft import chip_size
from .ground import Ground
from .grounds import open_ground

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..plan.manifest import Manifest
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
        if draft.origin is not None and not draft.origin.side:
            raise RunError("a service makes features when they are asked for; what they will take is not known before")
        job, size = draft.job, chip_size(draft.run)
        agenda = Agenda(job, draft.items, size)
        some, tiling = _spread(agenda.tiles), job.tiling
        places = [tiling.tile(tile) for tile in some]
        # of some tiles the margins would count, though they are read for a neighbour as well
        all_planned = len(some) == len(agenda.tiles)
        windows = [whole_chips(place.window if all_planned else place.core, size) for place in places]
        ground = open_ground(job, draft.run, sign, draft.index, draft.origin)
        nbytes, requests = total(ground.manifests(agenda.coverage, windows).values())
        share = len(agenda.tiles) / max(1, len(some))
        dense = _dense_nbytes(draft, agenda, windows, sign)
        return cls(
            tiles=len(agenda.tiles),
            chips=sum(len(tiling.cuts(tiling.tile(tile))) for tile in agenda.tiles),
            nbytes=round(nbytes * share),
            requests=round(requests * share),
            dense_nbytes=None if dense is None else round(dense * share),
            planned=len(some),
            at_most=size is not None,
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


def total(manifests: Iterable[Manifest]) -> tuple[int, int]:
    """Bytes and requests of what is fetched by several manifests, each header once."""
    manifests = list(manifests)
    headers = reduce(or_, (manifest.headers for manifest in manifests), dict[str, int]())
    nbytes = sum(headers.values()) + sum(manifest.pixel_nbytes for manifest in manifests)
    return nbytes, len(headers) + sum(len(manifest.runs) for manifest in manifests)


def _dense_nbytes(draft: Draft, agenda: Agenda, windows: Sequence[Any], sign: Sign | None) -> int | None:
    if draft.origin is not None:  # whoever has the features may not reach the files
        return None
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

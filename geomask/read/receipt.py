"""What a read really cost."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..cog.index import HeaderIndex
    from ..fetch import Trip


@dataclass(frozen=True, slots=True)
class Fallback:
    """A window that GDAL read on its own: what went over the wire is not known."""

    href: str
    why: str
    """Why its byte ranges could not be planned."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a read really cost, beside what was planned. Bytes are those of response bodies."""

    planned_nbytes: int
    """Headers that were not kept, tiles, prefixes and gaps."""
    planned_requests: int
    headers: tuple[Trip, ...]
    """Each header that was fetched."""
    runs: tuple[Trip, ...]
    """Each run of tiles, prefixes and gaps."""
    refetches: tuple[Trip, ...]
    """Each rest of a GeoTIFF tile of which the planned prefix did not hold the rows that were wanted."""
    fallbacks: tuple[Fallback, ...]
    """Each window that GDAL read on its own; its bytes and requests are in no figure here."""
    seconds: float
    """From the first request to the last pixel decoded."""

    @property
    def header_nbytes(self) -> int:
        """Bytes of headers, and of the pixels that came with them."""
        return sum(trip.nbytes for trip in self.headers)

    @property
    def pixel_nbytes(self) -> int:
        """Bytes of runs beyond the headers."""
        return sum(trip.nbytes for trip in self.runs)

    @property
    def refetched_nbytes(self) -> int:
        """Bytes beyond the plan: rests of tiles, and bodies that came wrong, were thrown away and fetched again."""
        return sum(trip.nbytes for trip in self.refetches) + sum(trip.wasted for trip in self.trips)

    @property
    def nbytes(self) -> int:
        """All bytes on the wire: planned + refetched."""
        return self.header_nbytes + self.pixel_nbytes + self.refetched_nbytes

    @property
    def requests(self) -> int:
        """All requests, retries included."""
        return sum(trip.requests for trip in self.trips)

    @property
    def retries(self) -> int:
        """Requests that were made again after one had failed."""
        return self.requests - len(self.trips)

    @property
    def trips(self) -> tuple[Trip, ...]:
        """Everything that was fetched."""
        return (*self.headers, *self.runs, *self.refetches)

    def after(self, index: HeaderIndex) -> Receipt:
        """With what it took to fetch the headers in `index`, before this read."""
        return replace(
            self,
            planned_nbytes=self.planned_nbytes + sum(trip.nbytes for trip in index.trips),
            planned_requests=self.planned_requests + len(index.trips),
            headers=index.trips + self.headers,
            seconds=self.seconds + index.seconds,
        )

    def plus(self, later: Receipt) -> Receipt:
        """Both, one after the other."""
        return Receipt(
            planned_nbytes=self.planned_nbytes + later.planned_nbytes,
            planned_requests=self.planned_requests + later.planned_requests,
            headers=self.headers + later.headers,
            runs=self.runs + later.runs,
            refetches=self.refetches + later.refetches,
            fallbacks=self.fallbacks + later.fallbacks,
            seconds=self.seconds + later.seconds,
        )

    def to_dict(self) -> dict[str, Any]:
        """Totals as JSON has them, with each refetch and each file that GDAL read, by name."""
        names = ("planned_nbytes", "planned_requests", "header_nbytes", "pixel_nbytes", "refetched_nbytes", "nbytes")
        return {
            **{name: getattr(self, name) for name in (*names, "requests", "retries", "seconds")},
            "refetches": [{"href": t.href, "offset": t.offset, "nbytes": t.nbytes} for t in self.refetches],
            "fallbacks": {fallback.href: fallback.why for fallback in self.fallbacks},
        }

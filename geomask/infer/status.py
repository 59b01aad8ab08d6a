"""How far a map is, or features are, and what it has taken, as its ledger says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from ..errors import RunError
from .agenda import find_tiles
from .job import Job
from .ledger import BEGIN, done_tiles, load_entries

if TYPE_CHECKING:
    from .job import ProductName
    from .outbox import Outbox

#: Reasons that are shown; all of them are in the ledger.
SHOWN = 10


@dataclass(frozen=True, slots=True)
class Failure:
    """Pixels that could not be told."""

    tile: str
    window: tuple[int, int, int, int]
    """(row_off, col_off, height, width) of the map's grid."""
    reason: str


@dataclass(frozen=True, slots=True)
class Status:
    """A map, so far. Bytes are those of response bodies."""

    map: str
    """Where it is, or the features are."""
    tiles: int
    """Of the area."""
    done: int
    failed: int
    """Of those that are done: tiles with pixels that could not be read, which are nodata."""
    failures: tuple[Failure, ...]
    """The first of them, by tile."""
    planned_nbytes: int
    """Of all manifests: what tiles share counts for each."""
    planned_requests: int
    nbytes: int
    """That came: headers, pixels, and what came wrong."""
    header_nbytes: int
    pixel_nbytes: int
    refetched_nbytes: int
    """Rests of GeoTIFF tiles, and bodies that came wrong and were fetched again."""
    preview_nbytes: int
    """Of all these, what was read to decide by."""
    requests: int
    retries: int
    files: int
    """That were read."""
    fallbacks: int
    """Windows that GDAL read on its own: their bytes are in no figure."""
    output_nbytes: int
    seconds: float
    """That reading took, over all tiles; where tiles are made side by side that is more than passed."""
    network_seconds: float
    """Likewise, that the network took."""

    empty: tuple[str, ...]
    """``slot/band`` of channels that no item fills."""
    selection: str
    """Digest of what is read."""
    product: ProductName
    """What it is."""
    features: str | None
    """Where its features are from, in place of the pixels of some channels."""

    @classmethod
    def of(cls, box: Outbox, job: Job) -> Self:
        """Of a map. Raises RunError where its ledger is broken."""
        import pyarrow.compute as pc

        names = sorted(job.tiling.tile(tile).name for tile in find_tiles(job))
        done = sorted(done_tiles(box) & set(names))
        table = load_entries(box, [BEGIN, *done], ("tile", "read", "source", "failure", "output"))
        of_kind = {kind: table.filter(pc.equal(table["kind"], kind)) for kind in set(table["kind"].to_pylist())}
        nothing = table.slice(0, 0)
        tile, read, output, failure, source = (
            of_kind.get(kind, nothing) for kind in ("tile", "read", "output", "failure", "source")
        )

        def total(rows: Any, column: str) -> Any:
            return pc.sum(rows[column]).as_py() or 0

        def part(name: str) -> int:
            return int(total(read.filter(pc.equal(read["part"], name)), "nbytes"))

        trips = read.filter(pc.is_valid(read["part"]))
        wasted, preview = total(read, "wasted"), read.filter(pc.equal(read["stage"], "preview"))
        failures = sorted(failure.to_pylist(), key=lambda row: (row["tile"], row["row_off"], row["col_off"]))
        return cls(
            map=box.place,
            tiles=len(names),
            done=len(done),
            failed=len({row["tile"] for row in failures}),
            failures=tuple(
                Failure(row["tile"], (row["row_off"], row["col_off"], row["height"], row["width"]), row["reason"])
                for row in failures[:SHOWN]
            ),
            planned_nbytes=total(tile, "nbytes"),
            planned_requests=total(tile, "requests"),
            nbytes=total(read, "nbytes") + wasted,
            header_nbytes=part("header"),
            pixel_nbytes=part("pixels"),
            refetched_nbytes=part("rest") + wasted,
            preview_nbytes=total(preview, "nbytes") + total(preview, "wasted"),
            requests=total(trips, "requests"),
            retries=total(trips, "requests") - len(trips),
            files=len(pc.unique(source["href"])),
            fallbacks=len(read) - len(trips),
            output_nbytes=total(output, "nbytes"),
            seconds=total(tile, "reading"),
            network_seconds=total(tile, "network"),
            empty=job.empty,
            selection=job.selection.digest,
            product=job.product,
            features=job.features,
        )

    @classmethod
    def load(cls, box: Outbox) -> Self:
        """Of the map that is there. Raises RunError where there is none."""
        return cls.of(box, Job.load(box))

    def cost(self, per_gb: float, per_thousand: float) -> float:
        """Money for what was read, at a price of 10^9 bytes and of 1,000 requests."""
        return self.nbytes / 1e9 * per_gb + self.requests / 1e3 * per_thousand

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    def check(self) -> None:
        """Raise RunError where pixels could not be read."""
        if self.failed:
            first = self.failures[0]
            raise RunError(
                f"{self.failed} of {self.tiles} tiles have pixels that could not be read, which are nodata; the first, "
                f"{first.tile}: {first.reason}; see `geomask status`, and try them again with --retry-failed"
            )

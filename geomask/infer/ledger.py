"""What a map has taken so far: every read, source, failure and output, in Parquet beside the outputs.

::

    MAP/ledger/begin.parquet  headers that were read to decide on the map
    MAP/ledger/TILE.parquet   written last, when a tile's files are there: a tile that has one is done

======== ========================================================================
``kind`` a row is
======== ========================================================================
tile     a tile that is done; bytes and requests planned, seconds from begin to end
source   a file that it was made from, as it was then: size and ETag
read     a trip to one: bytes kept, requests, bytes thrown away, seconds
failure  pixels of the tile that could not be told, and why: they are nodata
output   a file that was written, with its bytes
======== ========================================================================
"""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Literal

from ..errors import RunError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pyarrow as pa

    from ..fetch import Trip
    from ..grid import Window
    from ..read.receipt import Receipt
    from .outbox import Outbox

Kind = Literal["tile", "source", "read", "failure", "output"]
Part = Literal["header", "pixels", "rest"]
"""Of a file: its header, planned bytes beyond it, or what a planned prefix did not hold."""
Stage = Literal["preview", "pixels", "latents"]
"""What was read first, to decide by, what the network saw, or what of that came as features."""
FOLDER, SUFFIX = "ledger/", ".parquet"
#: In place of a tile: what was read before the first of them, to decide on the map.
BEGIN = "begin"


@dataclass(frozen=True, slots=True)
class Entry:
    """A row; what a kind does not say is None."""

    kind: Kind
    tile: str
    href: str | None = None
    """Unsigned; of an output its name."""
    offset: int | None = None
    nbytes: int | None = None
    """Bytes planned of a tile, kept of a read, of the whole file of a source or an output."""
    requests: int | None = None
    """Planned of a tile, made for a read, retries included."""
    wasted: int | None = None
    """Bytes that came and were thrown away."""
    seconds: float | None = None
    etag: str | None = None
    reason: str | None = None
    row_off: int | None = None
    """Of the grid, as the next three: where a failure is."""
    col_off: int | None = None
    height: int | None = None
    width: int | None = None
    part: Part | None = None
    """Of a read."""
    stage: Stage | None = None
    """Of a read or a source."""
    reading: float | None = None
    """Of a tile: seconds from the first request to the last pixel decoded."""
    network: float | None = None
    """Of a tile: seconds that the network took."""

    @classmethod
    def failed(cls, tile: str, window: Window, reason: str) -> Entry:
        """Pixels that could not be told."""
        row, col, height, width = window.row_off, window.col_off, window.height, window.width
        return cls("failure", tile, reason=reason, row_off=row, col_off=col, height=height, width=width)


def read_entries(tile: str, receipt: Receipt, stage: Stage) -> Iterator[Entry]:
    """Every trip of a receipt, and each window that GDAL read on its own, of which only the seconds are known."""
    parts: tuple[tuple[Part, tuple[Trip, ...]], ...]
    parts = (("header", receipt.headers), ("pixels", receipt.runs), ("rest", receipt.refetches))
    for part, trips in parts:
        yield from read_trips(tile, part, trips, stage)
    for fallback in receipt.fallbacks:
        yield Entry("read", tile, fallback.href, seconds=round(fallback.seconds, 6), reason=fallback.why, stage=stage)


def read_trips(tile: str, part: Part, trips: Iterable[Trip], stage: Stage = "pixels") -> Iterator[Entry]:
    """Trips to files, for one part of them."""
    for trip in trips:
        yield Entry(
            "read",
            tile,
            trip.href,
            trip.offset,
            trip.nbytes,
            trip.requests,
            trip.wasted,
            round(trip.seconds, 6),
            part=part,
            stage=stage,
        )


def write_entries(box: Outbox, tile: str, entries: Iterable[Entry]) -> None:
    """Say that a tile is done, and what it took. Raises RunError where the place cannot be written to."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    rows = [asdict(entry) for entry in entries]
    pq.write_table(pa.Table.from_pylist(rows, _schema()), sink, compression="zstd")
    box.put(f"{FOLDER}{tile}{SUFFIX}", sink.getvalue())


def done_tiles(box: Outbox) -> set[str]:
    """Names of the tiles that are done."""
    names = (name.removeprefix(FOLDER) for name in box.names(FOLDER))
    return {name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX)}


def forget_tiles(box: Outbox, tiles: Iterable[str]) -> None:
    """Say that tiles are not done."""
    for tile in tiles:
        box.remove(f"{FOLDER}{tile}{SUFFIX}")


def load_entries(box: Outbox, tiles: Iterable[str], kinds: Iterable[Kind]) -> pa.Table:
    """The rows of these kinds of these tiles. Raises RunError where a part is missing or broken."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = pa.array(list(kinds), pa.string())

    def load(tile: str) -> pa.Table:
        table = _load_part(box, f"{FOLDER}{tile}{SUFFIX}")
        return table.filter(pc.is_in(table["kind"], wanted))

    with ThreadPoolExecutor() as threads:  # a bucket takes its time for each
        return pa.concat_tables([_schema().empty_table(), *threads.map(load, tiles)])


def _load_part(box: Outbox, name: str) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = box.get(name)
    if data is None:
        raise RunError(f"{box.place}/{name} is gone; run again")
    try:
        return pq.read_table(io.BytesIO(data), schema=_schema())
    except (pa.ArrowException, OSError, ValueError) as error:
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise RunError(f"{box.place}/{name} is broken ({said}); remove it") from error


def _schema() -> pa.Schema:
    import pyarrow as pa

    types = {"int": pa.int64(), "float": pa.float64()}
    names = ((field.name, str(field.type).partition(" ")[0]) for field in fields(Entry))
    return pa.schema([(name, types.get(kind, pa.string())) for name, kind in names])

"""What lies under a map whose near side was run elsewhere: features of a folder or a bucket, read and spread."""

from __future__ import annotations

import time
from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..bottleneck.container import Container
from ..cog.level import ByteRange
from ..errors import RunError
from ..fetch import Want, fetch
from ..grid import Window
from ..plan.limits import LATENT
from ..plan.manifest import Manifest
from ..plan.request import ReadRequest, Requests, Source
from ..read.receipt import Receipt
from .ground import Reading
from .origin import TILE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pystac import Item

    from ..bottleneck.tables import Tables
    from ..fetch import Trip
    from ..plan.coverage import Coverage
    from ..signing import Sign
    from .ledger import Stage
    from .origin import Origin
    from .tiling import Tile

#: Bytes of latents that are held, of the tiles that were asked for last: neighbouring windows share tiles.
KEPT = 1 << 28
#: What stands for a slot in a manifest of containers, and for the asset that they are.
SLOT = "features"


class Cells(NamedTuple):
    """Latents of some pixels."""

    symbols: np.ndarray
    """int32 (latents, rows, columns)."""
    seen: np.ndarray
    """bool (rows, columns)."""


class StoredLatents:
    """Reads windows of the containers that `geomask encode` wrote. Threads may share it."""

    def __init__(self, origin: Origin, tables: Tables, sign: Sign | None = None) -> None:
        """`tables` are the run's own. `sign` signs hrefs."""
        self.origin, self.planes = origin, origin.latents
        self._tables, self._sign, self._tiling = tables, sign, origin.tiling
        self._held: OrderedDict[int, tuple[Cells, str | None]] = OrderedDict()
        self._broken: dict[int, str] = {}
        self._lock = Lock()

    def manifests(self, items: Iterable[Item] | Coverage, windows: Sequence[Window]) -> dict[Stage, Manifest]:
        """What is fetched for some windows of the grid; nothing is fetched for it."""
        return {"latents": self._plan(windows, {})}

    def read(self, items: Iterable[Item], window: Window) -> Reading:
        """All latents of one window, spread over their pixels.

        Raises FetchError where a container does not come, RunError where it is broken or of another model.
        """
        start, needed = time.perf_counter(), list(self._meeting(window))
        cells, trips, etags = self._find(needed)
        manifest = self._plan([window], etags)
        receipt = make_receipt(trips, time.perf_counter() - start)
        return spread(self._paste(needed, cells, window), window, self.origin.stride, manifest, receipt)

    def _find(self, needed: Sequence[Tile]) -> tuple[dict[int, Cells], list[Trip], dict[str, str | None]]:
        """Latents by tile; those that are not held are fetched. Then the trips, and the ETags by href."""
        with self._lock:
            found = {tile.number: self._held[tile.number] for tile in needed if tile.number in self._held}
            broken = [self._broken[tile.number] for tile in needed if tile.number in self._broken]
        if broken:
            raise RunError(broken[0])
        missing = [tile for tile in needed if tile.number not in found]
        wants = [Want(self._href(tile), 0, self._size(tile), self._size(tile)) for tile in missing]
        trips = []
        for tile, got in zip(missing, fetch(wants, sign=self._sign), strict=True):
            trips.append(got.trip)
            found[tile.number] = self._decode(tile, got.data), got.etag
        self._hold(found)
        cells = {number: held for number, (held, _) in found.items()}
        return cells, trips, {self._href(tile): found[tile.number][1] for tile in needed}

    def _decode(self, tile: Tile, data: bytes) -> Cells:
        shape = self._cells(tile.core)
        stride = self.origin.stride
        try:
            made = Container.decode(data, self._tables, self.origin.model, (shape.height, shape.width))
            if made.stride != stride:
                raise RunError(f"features of stride {made.stride}, not {stride}; the sender is broken")
        except RunError as error:
            said = f"{self._href(tile)}: {error}"
            with self._lock:
                self._broken[tile.number] = said  # or it would be fetched for each cut
            raise RunError(said) from error
        return Cells(made.latents, made.seen)

    def _hold(self, found: dict[int, tuple[Cells, str | None]]) -> None:
        with self._lock:
            for number, held in found.items():
                self._held[number] = held
                self._held.move_to_end(number)
            total = sum(cells.symbols.nbytes for cells, _ in self._held.values())
            while total > KEPT and len(self._held) > 1:
                _, (cells, _) = self._held.popitem(last=False)
                total -= cells.symbols.nbytes

    def _paste(self, tiles: Iterable[Tile], found: dict[int, Cells], window: Window) -> Cells:
        """The latents that a window meets."""
        whole = self._cells(window)
        symbols = np.zeros((self.planes, whole.height, whole.width), np.int32)
        seen = np.zeros((whole.height, whole.width), bool)
        for tile in tiles:
            shown, core, cells = self._shown(tile, window), self._cells(tile.core), found[tile.number]
            into, out = _slices(shown, whole.row_off, whole.col_off), _slices(shown, core.row_off, core.col_off)
            symbols[:, *into], seen[into] = cells.symbols[:, *out], cells.seen[out]
        return Cells(symbols, seen)

    def _plan(self, windows: Sequence[Window], etags: dict[str, str | None]) -> Manifest:
        reads = []
        for chip, window in enumerate(windows):
            for tile in self._meeting(window):
                core, shown, size = self._cells(tile.core), self._shown(tile, window), self._size(tile)
                own = Window(shown.row_off - core.row_off, shown.col_off - core.col_off, shown.height, shown.width)
                source = self._source(tile, size, etags.get(self._href(tile)))
                reads.append(ReadRequest(source, chip, own, (ByteRange(0, size),), (size,)))
        return Manifest(
            grid=self.origin.grid,
            chips=tuple(windows),
            channels=tuple((SLOT, f"latent{number}") for number in range(self.planes)),
            scaling=((1.0, 0.0),) * self.planes,
            requests=Requests.of(sorted(reads, key=lambda read: read.source.href)),
            selection=self.origin.selection,
        )

    def _source(self, tile: Tile, size: int, etag: str | None) -> Source:
        planes = range(self.planes)
        return Source(
            item=f"{self.origin.name}-{tile.name}",
            collection=self.origin.name,
            asset=SLOT,
            href=self._href(tile),
            slot=SLOT,
            bands=tuple(f"latent{number}" for number in planes),
            channels=tuple(planes),
            indexes=tuple(number + 1 for number in planes),
            level=None,
            header_nbytes=0,
            size=size,
            etag=etag,
            dtype=LATENT,
            nodata=None,
            scales=(1.0,) * self.planes,
            offsets=(0.0,) * self.planes,
        )

    def _meeting(self, window: Window) -> Iterator[Tile]:
        """The tiles that a window meets and of which there are features."""
        side, (_, across) = self._tiling.side, self._tiling.shape
        for row in range(window.row_off // side, -(-window.row_stop // side)):
            for col in range(window.col_off // side, -(-window.col_stop // side)):
                tile = self._tiling.tile(row * across + col)
                if self._size(tile):
                    yield tile

    def _size(self, tile: Tile) -> int:
        """Bytes of a tile's container; 0: there is none, since nothing was seen or it lies outside the area."""
        return self.origin.tiles.get(tile.name) or 0

    def _href(self, tile: Tile) -> str:
        return f"{self.origin.place}/{TILE.format(tile.name)}"

    def _shown(self, tile: Tile, window: Window) -> Window:
        """What a window shows of a tile, in latents of the grid."""
        one, other = self._cells(tile.core), self._cells(window)
        row, col = max(one.row_off, other.row_off), max(one.col_off, other.col_off)
        stop, col_stop = min(one.row_stop, other.row_stop), min(one.col_stop, other.col_stop)
        return Window(row, col, stop - row, col_stop - col)

    def _cells(self, window: Window) -> Window:
        return cells_of(window, self.origin.stride)


def cells_of(window: Window, stride: int) -> Window:
    """The latents that pixels of the grid meet, counted from its first."""
    row, col = window.row_off // stride, window.col_off // stride
    return Window(row, col, -(-window.row_stop // stride) - row, -(-window.col_stop // stride) - col)


def spread(cells: Cells, window: Window, stride: int, manifest: Manifest | None, receipt: Receipt) -> Reading:
    """Latents of the cells that a window meets, over its pixels."""
    inside = _slices(window, window.row_off // stride * stride, window.col_off // stride * stride)

    def over(values: np.ndarray) -> np.ndarray:
        return values.repeat(stride, -2).repeat(stride, -1)[..., *inside]

    seen = np.ascontiguousarray(over(cells.seen))
    image = np.where(seen, over(cells.symbols), 0).astype(np.float32)
    valid = np.broadcast_to(seen, image.shape).copy()
    return Reading(image, valid, seen, {} if manifest is None else {"latents": manifest}, {"latents": receipt})


def make_receipt(trips: Sequence[Trip], seconds: float) -> Receipt:
    """Of containers, each of which is fetched whole."""
    nbytes = sum(trip.nbytes for trip in trips)
    return Receipt(nbytes, len(trips), (), tuple(trips), (), (), seconds)


def _slices(window: Window, row: int, col: int) -> tuple[slice, slice]:
    """Rows and columns of a window, counted from a row and a column."""
    return (
        slice(window.row_off - row, window.row_stop - row),
        slice(window.col_off - col, window.col_stop - col),
    )

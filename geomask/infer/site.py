"""Where a map, or features, are made, tile by tile: read, computed, written; the ledger's part comes last."""

from __future__ import annotations

import io
import json
import time
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import GeomaskError, RunError
from ..grid import Window
from ..plan.parquet import write_parquet
from .blocks import BlockGround
from .catalog import file_names, make_item
from .engine import make_engine
from .ground import Reading
from .grounds import open_ground
from .ledger import Entry, read_entries, write_entries
from .product import make_product

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pystac import Item

    from ..cog.index import HeaderIndex
    from ..signing import Sign
    from ..train.run import Run
    from .agenda import Errand
    from .engine import Engine
    from .job import Job
    from .origin import Origin
    from .outbox import Outbox
    from .tiling import Cut, Tile

#: The folder of a map's tiles.
TILES = "tiles/"


@dataclass
class Haul:
    """What was read for a tile."""

    tile: Tile
    items: tuple[Item, ...]
    reading: Reading | None
    """None where no item shows anything of it."""
    began: float
    read: float
    """As `time.perf_counter` says, like `began`."""
    failures: list[tuple[Cut, str]] = field(default_factory=list)
    """What could not be read, and why."""
    outside: np.ndarray | None = None
    """Which pixels of the tile's core lie outside the area, bool (rows, columns); None: there is none."""


class Made(NamedTuple):
    """A tile that is done."""

    tile: int
    failures: int
    """Cuts that could not be read."""


class Site:
    """A job on one machine: its network, and where it is read from and written to. Threads may share it."""

    def __init__(
        self,
        job: Job,
        run: Run,
        box: Outbox,
        sign: Sign | None = None,
        index: HeaderIndex | None = None,
        engine: Engine | None = None,
        origin: Origin | None = None,
    ) -> None:
        """Headers in `index` are not fetched again. `engine` is the job's, `origin` that of its features, where known.

        Raises what `open_ground` raises.
        """
        self.job, self.box = job, box
        self._ground, self._product = open_ground(job, run, sign, index, origin), make_product(run, job)
        self._compute = engine or make_engine(self._product.model, job.engine)
        self._stopped, self._turn = Event(), Lock()

    def stop(self) -> None:
        """Let what is under way end soon, with RunError."""
        self._stopped.set()

    def read(self, errand: Errand) -> Haul:
        """Fetch what a tile needs. What cannot be read is a failure of the haul; nothing is raised for it."""
        tile, began = self.job.tiling.tile(errand.tile), time.perf_counter()
        failures: list[tuple[Cut, str]] = []
        try:
            reading = self._ground.read(errand.items, tile.window) if errand.items else None
        except GeomaskError:
            reading = self._read_apart(tile, errand.items, failures)
        read = time.perf_counter()
        # here, since rasterio and shapely both change Python's warnings for a moment, which two threads must not do
        outside = None if reading is None else self._outside(tile)
        return Haul(tile, errand.items, reading, began, read, failures, outside)

    def finish(self, haul: Haul) -> Made:
        """Ask the network, and write the tile. Raises RunError where it cannot be written, or after `stop`."""
        tile, entries, network = haul.tile, list[Entry](), 0.0
        if haul.reading is not None:
            with self._turn:
                start = time.perf_counter()
                made = self._make(haul, haul.reading)
                network = time.perf_counter() - start
            entries += self._write(haul, haul.reading, made)
        manifests = haul.reading.manifests.values() if haul.reading is not None else ()
        done = Entry(
            "tile",
            tile.name,
            nbytes=sum(manifest.planned_nbytes for manifest in manifests),
            requests=sum(manifest.planned_requests for manifest in manifests),
            seconds=round(time.perf_counter() - haul.began, 6),
            reading=round(haul.read - haul.began, 6),
            network=round(network, 6),
        )
        write_entries(self.box, tile.name, [done, *entries])
        return Made(tile.number, len(haul.failures))

    def _read_apart(self, tile: Tile, items: Sequence[Item], failures: list[tuple[Cut, str]]) -> Reading:
        """Cut by cut, after all at once has failed: what cannot be read is added to `failures`."""
        shape = (self._ground.planes, tile.window.height, tile.window.width)
        whole = Reading(np.zeros(shape, np.float32), np.zeros(shape, bool), np.zeros(shape[1:], bool), {}, {})
        for cut in self.job.tiling.cuts(tile):
            seen = cut.seen
            row, col = tile.window.row_off + seen.row_off, tile.window.col_off + seen.col_off
            rows, cols = slice(seen.row_off, seen.row_stop), slice(seen.col_off, seen.col_stop)
            try:
                part = self._ground.read(items, Window(row, col, seen.height, seen.width))
            except GeomaskError as error:
                failures.append((cut, str(error)))
                continue
            whole.image[:, rows, cols], whole.valid[:, rows, cols] = part.image, part.valid
            whole.seen[rows, cols] = part.seen
            for stage, receipt in part.receipts.items():
                whole.receipts[stage] = whole.receipts[stage].plus(receipt) if stage in whole.receipts else receipt
        if not (failures or isinstance(self._ground, BlockGround)):
            whole.manifests.update(self._ground.manifests(items, [tile.window]))
        return whole

    def _make(self, haul: Haul, reading: Reading) -> Any:
        """What becomes of the tile's core."""
        lost = [_kept(cut) for cut, _ in haul.failures]
        return self._product.compute(self._engine, reading, haul.tile, self.job.tiling, lost, haul.outside)

    def _engine(self, image: np.ndarray, valid: np.ndarray) -> np.ndarray:
        if self._stopped.is_set():
            raise RunError("stopped; run it again to go on")
        return self._compute(image, valid)

    def _outside(self, tile: Tile) -> np.ndarray | None:
        """As `Haul` has it."""
        area = self.job.reach
        if area is None:
            return None
        import rasterio
        from rasterio.features import geometry_mask

        grid = self.job.tiling.grid.crop(tile.core)
        outside: np.ndarray = geometry_mask([area], (grid.height, grid.width), rasterio.Affine(*grid.transform))
        return outside

    def _write(self, haul: Haul, reading: Reading, made: Any) -> list[Entry]:
        """Write the tile's files; returns its rows of the ledger."""
        tile, job, product = haul.tile, self.job, self._product
        grid = job.tiling.grid.crop(tile.core)
        files: dict[str, bytes] = {product.name: product.pack(made, grid)}
        for stage, manifest in reading.manifests.items():
            sink = io.BytesIO()
            write_parquet(manifest, sink)
            files["manifest" if stage == "pixels" else stage] = sink.getvalue()
        read = {
            (source.collection, source.item)
            for manifest in reading.manifests.values()
            for source in manifest.requests.sources
        }
        named = [item for item in haul.items if (item.collection_id, item.id) in read]
        sources: Sequence[Item] = haul.items if job.features or not named else named  # features are of all of them
        item = make_item(tile.name, grid, sources, files, product.classes, job.selection.digest, job.name, product.said)
        files["item"] = (json.dumps(item, indent=1) + "\n").encode()
        names = file_names(tile.name)
        for name, data in files.items():
            self.box.put(f"{TILES}{names[name]}", data)
        return list(self._entries(haul, reading, {names[name]: len(data) for name, data in files.items()}))

    def _entries(self, haul: Haul, reading: Reading, outputs: dict[str, int]) -> list[Entry]:
        tile, entries = haul.tile, list[Entry]()
        for stage, manifest in reading.manifests.items():
            entries += [
                Entry("source", tile.name, href, nbytes=source.size, etag=source.etag, stage=stage)
                for href, source in manifest.files.items()
            ]
        for stage, receipt in reading.receipts.items():
            entries += read_entries(tile.name, receipt, stage)
        for cut, reason in haul.failures:
            kept = _kept(cut)
            row, col = tile.window.row_off + kept.row_off, tile.window.col_off + kept.col_off
            entries.append(Entry.failed(tile.name, Window(row, col, kept.height, kept.width), reason))
        entries += [Entry("output", tile.name, f"{TILES}{name}", nbytes=nbytes) for name, nbytes in outputs.items()]
        return entries


def _kept(cut: Cut) -> Window:
    """What is kept of a cut, counted from the first row and column that are read for its tile."""
    kept = cut.kept
    return Window(cut.seen.row_off + kept.row_off, cut.seen.col_off + kept.col_off, kept.height, kept.width)

"""What a chip store will hold, decided before a pixel is read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import shapely

from ..errors import GridError, SelectionError
from ..plan.sources import find_files
from .cells import as_windows, in_squares, tile_grid
from .classes import IGNORE
from .masks import read_masks
from .store import StoreRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from pystac import Item

    from .dataset import StacDataset

#: Bytes of a part's pixels, as float32 in memory. The chips in a part are a power of 4, so that they can be a square.
PART_NBYTES = 1 << 27

#: Places for chips that are looked at, most of which may have no item: each takes some hundred bytes of memory.
PLACES = 1 << 22


@dataclass(frozen=True, slots=True, eq=False)
class StorePlan:
    """The chips of a store, part by part, and what they are read from."""

    record: StoreRecord
    windows: np.ndarray
    """int64 (chips, 4), each row as `Window` has it, neighbours together."""
    items: tuple[Item, ...]
    """Those that are read, by id."""
    planned_nbytes: int
    """Headers and pixels; less where parts share tiles."""

    def part(self, number: int) -> np.ndarray:
        """Windows of a part."""
        return self.windows[number * self.record.part : (number + 1) * self.record.part]


def find_chips(dataset: StacDataset, size: tuple[int, int], stride: tuple[int, int]) -> np.ndarray:
    """Windows of all chips of `size` every `stride` that meet an item, and a label where the dataset has labels.

    int64 (chips, 4), each row as `Window` has it; neighbours come together, so that a part shares few tiles with
    others. Raises GridError where there is none, or where the grid has more than `PLACES` of them.
    """
    grid = dataset.grid
    if (places := -(-grid.height // stride[0]) * -(-grid.width // stride[1])) > PLACES:
        raise GridError(
            f"a grid of {grid.height} x {grid.width} pixels has {places} places for chips, more than {PLACES}; "
            "choose a smaller area, larger pixels or larger chips"
        )
    windows = _near(dataset, np.array([(w.row_off, w.col_off, *size) for w in tile_grid(dataset.grid, size, stride)]))
    windows = windows[in_squares(windows, max(stride))] if len(windows) else windows
    if dataset.labels is not None and len(windows):
        parts = np.array_split(windows, -(-len(windows) // _in_part(1, size)))
        shown = [(read_masks(dataset.labels_of, part) != IGNORE).any((1, 2)) for part in parts]
        windows = windows[np.concatenate(shown)]
    if not len(windows):
        also = " and a label" if dataset.labels is not None else ""
        raise GridError(f"no chip of {size[0]} x {size[1]} pixels meets an item{also}; look elsewhere")
    return windows


def _near(dataset: StacDataset, windows: np.ndarray) -> np.ndarray:
    """Those windows that meet an item's footprint."""
    grid, (row, col, height, width) = dataset.grid, windows.T
    left, top = grid.left + col * grid.res_x, grid.top - row * grid.res_y
    boxes = shapely.box(left, top - height * grid.res_y, left + width * grid.res_x, top)
    extent = dataset.index.geometry.union_all()
    shapely.prepare(extent)
    return np.asarray(windows[shapely.intersects(extent, boxes) & ~shapely.touches(extent, boxes)])


def plan_store(dataset: StacDataset, windows: np.ndarray, on_done: Callable[[], object] | None = None) -> StorePlan:
    """Fetch the headers of all files that the chips need, and plan every part once.

    The digest is of the plans and the labels, so that any other file, window, order or label gives another one.
    `on_done` is called for each header. Raises as planning does, and SelectionError for a selection of nothing.
    """
    selection, size = dataset.selection, (int(windows[0, 2]), int(windows[0, 3]))
    if not selection.channels:
        raise SelectionError("chips of no channel hold nothing; select one")
    dataset.fetch_headers(as_windows(windows), on_done)
    part, sums = min(_in_part(len(selection.channels), size), len(windows)), _Sums(dataset)
    for first in range(0, len(windows), part):
        sums.add(windows[first : first + part])
    record = StoreRecord(
        digest=sums.digest.hexdigest(),
        grid=dataset.grid,
        chips=len(windows),
        size=size,
        part=part,
        dtype=sums.dtype,
        channels=tuple((selection.slots[c.slot].name, selection.bands[c.band].name) for c in selection.channels),
        scaling=dataset.scaling,
        labelled=dataset.labels is not None,
        classes=dataset.class_names,
    )
    files = find_files(selection, dataset.coverage, windows)
    items = {(file.item.id, file.item.collection_id or ""): file.item for file in files}
    planned = sum(sums.headers.values()) + sums.nbytes
    return StorePlan(record, windows, tuple(items[key] for key in sorted(items)), planned)


def _in_part(channels: int, size: tuple[int, int]) -> int:
    """Chips in a part: the largest power of 4 whose pixels take at most `PART_NBYTES`."""
    chips = max(1, PART_NBYTES // (4 * channels * size[0] * size[1]))
    return int(4 ** ((chips.bit_length() - 1) // 2))


class _Sums:
    """What the plans of all parts come to."""

    def __init__(self, dataset: StacDataset) -> None:
        self._dataset, self.digest = dataset, hashlib.sha256()
        self.nbytes, self.headers = 0, dict[str, int]()
        self._types, self._as_stored = set[str](), True
        self._say(dataset.selection.digest, dataset.grid, dataset.class_names)

    @property
    def dtype(self) -> str:
        """That of the files where all are of one integer type and no value is rescaled, else float32."""
        (kind, *others) = self._types or {"float32"}
        return kind if not others and np.dtype(kind).kind in "iu" and self._as_stored else "float32"

    def add(self, windows: np.ndarray) -> None:
        """Plan a part."""
        manifest = self._dataset.plan(as_windows(windows))
        self.nbytes += manifest.pixel_nbytes
        self.headers |= manifest.headers
        for source in manifest.requests.sources:
            own = tuple(zip(source.scales, source.offsets, strict=True))
            self._types.add(source.dtype)
            self._as_stored &= own == tuple(manifest.scaling[channel] for channel in source.channels)
            self._say(source.href, source.size, source.etag, source.level, source.indexes, source.channels)
            self._say(own, source.nodata, source.dtype, source.why)
        requests = manifest.requests
        for column in (windows, requests.source, requests.chip, requests.windows):
            self.digest.update(np.ascontiguousarray(column, "<i8"))
        if self._dataset.labels is not None:
            self.digest.update(read_masks(self._dataset.labels_of, windows).astype("<i4"))

    def _say(self, *facts: object) -> None:
        self.digest.update(repr(facts).encode())

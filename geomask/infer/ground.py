"""What lies under a map: windows of its grid, planned and read from the items that fill them."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from ..cog.index import HeaderIndex
from ..plan.compile import compile_manifest
from ..plan.coverage import Coverage
from ..plan.sources import index_selection
from ..plan.tiles import window_array
from ..read.kept import Kept
from ..read.reader import read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pystac import Item

    from ..cog.layout import Layout
    from ..grid import Grid, Window
    from ..plan.manifest import Manifest
    from ..read.receipt import Receipt
    from ..selection import Selection
    from ..signing import Sign
    from .ledger import Stage

#: Headers that are held, of the files that were asked for last: some kilobytes each.
HEADERS = 4096
#: Bytes that are held of what was fetched last, compressed: neighbouring tiles share GeoTIFF tiles at their borders.
KEPT = 1 << 28


@dataclass(frozen=True)
class Reading:
    """Pixels of a window, and what they took."""

    image: np.ndarray
    """Stored values or latents, float32 (planes, rows, columns); 0 where not valid."""
    valid: np.ndarray
    """bool, same shape."""
    seen: np.ndarray
    """bool (rows, columns): where there is something to tell, though not all of it may have been read."""
    manifests: dict[Stage, Manifest]
    receipts: dict[Stage, Receipt]


class Ground:
    """Plans and reads windows of a grid. What it holds does not grow with the area; threads may share it."""

    def __init__(
        self,
        selection: Selection,
        grid: Grid,
        scaling: Sequence[tuple[float, float]] | None = None,
        sign: Sign | None = None,
        index: HeaderIndex | None = None,
    ) -> None:
        """`scaling` is what each channel's values have to be in, (scale, offset); None: as the items say.

        Headers in `index` are not fetched again.
        """
        self.selection, self.grid = selection, grid
        pairs = [] if scaling is None else zip(selection.channels, scaling, strict=True)
        self._scaling = {(channel.slot, channel.band): pair for channel, pair in pairs}
        self._sign, self._kept = sign, Kept(KEPT)
        self._headers: OrderedDict[str, Layout] = OrderedDict()
        for href in list(index or ())[:HEADERS]:
            self._headers[href] = index[href]  # type: ignore[index]  # there is one
        self._lock = Lock()

    @property
    def planes(self) -> int:
        """Of what is read."""
        return len(self.selection.channels)

    def manifests(self, items: Iterable[Item] | Coverage, windows: Sequence[Window]) -> dict[Stage, Manifest]:
        """What is fetched for some windows, by what for. Raises what planning does."""
        return {"pixels": self.plan(items, windows)[0]}

    def plan(
        self, items: Iterable[Item] | Coverage, windows: Sequence[Window], selection: Selection | None = None
    ) -> tuple[Manifest, HeaderIndex]:
        """What fills the channels in some windows, and the headers of its files.

        `selection`, None: all of it, has the same slots, and channels of the same slots and bands. Raises what planning
        does.
        """
        selection = selection or self.selection
        coverage = Coverage.of(selection, items, self.grid)
        found = self._index(selection, coverage, windows)
        scaling = [self._scaling[c.slot, c.band] for c in selection.channels] if self._scaling else None
        manifest = compile_manifest(selection, coverage, found, self.grid, windows, dense=False, scaling=scaling)
        return manifest, found

    def fetch(self, manifest: Manifest, index: HeaderIndex) -> tuple[np.ndarray, np.ndarray, Receipt]:
        """Image and valid, (chips, channels, rows, columns), and what they took. Raises what reading raises."""
        cube, receipt = read_manifest(manifest, index, kept=self._kept)
        return cube.image.astype(np.float32, copy=False), cube.valid, receipt.after(index)

    def read(self, items: Iterable[Item], window: Window) -> Reading:
        """All channels of one window. Raises what planning and reading raise."""
        manifest, index = self.plan(items, [window])
        image, valid, receipt = self.fetch(manifest, index)
        return Reading(image[0], valid[0], valid[0].any(0), {"pixels": manifest}, {"pixels": receipt})

    def _index(self, selection: Selection, coverage: Coverage, windows: Sequence[Window]) -> HeaderIndex:
        """The headers of the files that fill some windows; those not held are fetched."""
        with self._lock:
            held = HeaderIndex(dict(self._headers), sign=self._sign)
        found = index_selection(selection, coverage, kept=held, sign=self._sign, windows=window_array(windows))
        with self._lock:
            for href in found:
                self._headers[href] = found[href]
                self._headers.move_to_end(href)
            while len(self._headers) > HEADERS:
                self._headers.popitem(last=False)
        return found

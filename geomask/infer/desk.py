"""What a service of features answers: manifests, held against its own catalog, with containers for their windows.

Who asks is not believed. What is read is planned here, of this catalog's own items; a manifest says for which windows,
and that it means the same model input: selection, grid and files.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import asdict
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from pystac.utils import is_absolute_href

from ..bottleneck.container import MAX_SIDE, Container
from ..errors import ItemError, ManifestError, RunError
from ..grid import Window
from ..plan.coverage import Coverage
from ..plan.kinds import brief
from ..plan.tiles import window_array
from ..signing import unsigned
from ..stac.frozen import item_collection
from ..stac.source import band_href
from .extent import Extent
from .features import FeatureMaker, near_field
from .ground import Ground
from .tiling import Tile, Tiling

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pystac import Item

    from ..plan.manifest import Manifest
    from ..signing import Sign
    from ..train.run import Run

VERSION = 1
#: Rows and columns that are read at once; and that are kept of a cut at least, which the network is shown.
PIECE, CUT = 1024, 256
#: Halos that a cut is as long as, or longer.
HALOS = 4
#: Windows of a request at most, pixels of all of them, and values of latents of one.
CHIPS, PIXELS, VALUES = 1024, 1 << 24, 1 << 26
#: Bytes of answers that are held: who was cut off asks again.
HELD = 1 << 26


class ForeignError(ManifestError):
    """A manifest that names files which are not of this catalog."""


class TooMuchError(ManifestError):
    """A manifest that asks for more than is answered at once."""


class Desk:
    """Features of one run over one catalog. Threads may share it."""

    def __init__(self, run: Run, items: Iterable[Item], extent: Extent | None = None, sign: Sign | None = None) -> None:
        """The grid is that of `extent`, as of a map; None: that of the finest file that the run reads.

        `sign` signs hrefs; None: as the items' own are. Raises RunError where the run's network has no link in its
        middle, or looks at everything; ItemError where no item fills a channel; and what `Extent.grid` raises.
        """
        self._maker = FeatureMaker(run)
        if run.record.scaling is None:
            raise RunError("this run does not say in which scales its network learned the pixels; train it anew")
        self.items = tuple(items)
        selection, near = run.selection.on(self.items), sorted(self._maker.channels)
        self.grid, index = (extent or Extent()).grid(selection, self.items, run.record.gsd, sign)
        self.selection = selection.keep(near)
        """What is read here."""
        self._order = [near.index(channel) for channel in self._maker.channels]
        self._coverage = Coverage.of(self.selection, self.items, self.grid)
        self._known = self._check_items()
        scaling = [(run.record.scaling[channel][0], run.record.scaling[channel][1]) for channel in near]
        self._ground = Ground(self.selection, self.grid, scaling, sign, index)
        self.stride, self._tables = self._maker.stride, self._maker.tables
        self.halo = near_field(run).halo
        chip = max(_up(CUT, self.stride), HALOS * self.halo)
        self._tiling = Tiling(self.grid, _up(PIECE, self.stride), chip, self.halo, self.stride)
        self._made: OrderedDict[Window, bytes] = OrderedDict()
        self._planning, self._turn, self._keeping = Lock(), Lock(), Lock()

    def describe(self) -> dict[str, Any]:
        """What it makes, as JSON has it: digests, grid, stride and halo in pixels, number of latents."""
        return {
            "geomask": "features",
            "version": VERSION,
            "model": self._maker.digest,
            "tables": self._tables.digest,
            "selection": self.selection.digest,
            "grid": asdict(self.grid),
            "stride": self.stride,
            "latents": self._tables.latents,
            "halo": self.halo,
        }

    def answer(self, manifest: Manifest) -> list[bytes]:
        """A container for each window of a manifest, in its order. Raises as `check`, and what reading raises."""
        self.check(manifest)
        return self.make(manifest.chips)

    def check(self, manifest: Manifest) -> None:
        """That a manifest asks for what can be had here, and for no other file.

        Raises ManifestError, ForeignError or TooMuchError, with no word of this machine.
        """
        if manifest.selection != self.selection.digest:
            raise ManifestError(
                f"a manifest of selection {brief(manifest.selection)}; features are made of {self.selection.digest}"
            )
        if manifest.grid != self.grid:
            raise ManifestError("a manifest on another grid; /features.json has the one that features are made on")
        self._check_chips(manifest.chips)
        for source in manifest.requests.sources:
            if (source.item, source.collection, source.asset, source.href) not in self._known:
                foreign = f"item {brief(source.item)}, asset {brief(source.asset)} at {json.dumps(source.href[:200])}"
                raise ForeignError(f"{foreign} is not of this catalog; /items.json has its items")

    def make(self, chips: Iterable[Window]) -> list[bytes]:
        """A container for each window, which `check` would pass. Raises what planning and reading raise."""
        return [self._held(chip) or self._hold(chip, self._encoded(chip)) for chip in chips]

    def _check_items(self) -> frozenset[tuple[str, str | None, str, str]]:
        """(item, collection, asset, unsigned href) of all files of the channels. Raises ItemError where there are none.

        It asks the coverage for the first time, which then is the same for all threads.
        """
        bands = [self.selection.bands[number] for number in sorted({one.band for one in self.selection.channels})]
        if not self._coverage.items:
            raise ItemError("no item fills a slot of the run; search for those dates")
        self._coverage.check(bands)
        self._coverage.fills([band.asset for band in bands], window_array([Window(0, 0, 1, 1)]))
        files = ((item, band, band_href(item, band)) for item in self.items for band in bands)
        return frozenset((item.id, item.collection_id, band.asset, href) for item, band, href in files if href)

    def _check_chips(self, chips: tuple[Window, ...]) -> None:
        if not 1 <= len(chips) <= CHIPS:
            raise (TooMuchError if chips else ManifestError)(f"{len(chips)} windows; ask for 1 to {CHIPS}")
        for chip in chips:
            if not chip.within(self.grid.height, self.grid.width):
                raise ManifestError(f"{chip} reaches over the grid of {self.grid.height} x {self.grid.width}")
            ends = ((chip.row_stop, self.grid.height), (chip.col_stop, self.grid.width))
            if chip.row_off % self.stride or chip.col_off % self.stride:
                raise ManifestError(f"{chip} does not begin at multiples of the stride, {self.stride}")
            if any(stop % self.stride and stop != last for stop, last in ends):
                raise ManifestError(f"{chip} ends neither at multiples of the stride, {self.stride}, nor with the grid")
            rows, cols = self._cells(chip)
            if max(rows, cols) > MAX_SIDE or self._tables.latents * rows * cols > VALUES:
                raise TooMuchError(f"{chip} has {rows} x {cols} x {self._tables.latents} latents; ask for parts of it")
        if (pixels := sum(chip.height * chip.width for chip in chips)) > PIXELS:
            raise TooMuchError(f"windows of {pixels} pixels together; ask for {PIXELS} at once, or fewer")

    def _encoded(self, chip: Window) -> bytes:
        shape = self._cells(chip)
        symbols, seen = np.empty((self._tables.latents, *shape), np.int32), np.zeros(shape, bool)
        for core in self._pieces(chip):
            at = self._place(core, chip.row_off, chip.col_off)
            symbols[:, *at], seen[at] = self._make(core)
        return Container(symbols, seen, self._maker.digest, self.stride).encode(self._tables)

    def _pieces(self, chip: Window) -> Iterator[Window]:
        side = self._tiling.side
        for row in range(chip.row_off, chip.row_stop, side):
            for col in range(chip.col_off, chip.col_stop, side):
                yield Window(row, col, min(side, chip.row_stop - row), min(side, chip.col_stop - col))

    def _make(self, core: Window) -> tuple[np.ndarray, np.ndarray]:
        """Symbols, int32 (latents, rows, columns), of what is read with a halo, and which were seen, bool."""
        shape, tile = self._cells(core), Tile(0, "", core, self._around(core))
        with self._planning:  # GEOS is asked with shapes that all threads share
            manifest, index = self._ground.plan(self._coverage, [tile.window])
        image, valid, _ = self._ground.fetch(manifest, index)
        if not valid.any():
            blanks = self._tables.blanks[:, None, None]
            return np.broadcast_to(blanks, (len(blanks), *shape)), np.zeros(shape, bool)
        with self._turn:  # torch takes all processors
            made = self._maker.make(image[0][self._order], valid[0][self._order], self._tiling.cuts(tile))
        at = self._place(core, tile.window.row_off, tile.window.col_off)
        return made.latents[:, *at], made.seen[at]

    def _around(self, core: Window) -> Window:
        """A window and its halo, as far as it lies on the grid."""
        row, col = max(0, core.row_off - self.halo), max(0, core.col_off - self.halo)
        stop = min(self.grid.height, core.row_stop + self.halo), min(self.grid.width, core.col_stop + self.halo)
        return Window(row, col, stop[0] - row, stop[1] - col)

    def _cells(self, window: Window) -> tuple[int, int]:
        """Rows and columns of latents."""
        return -(-window.height // self.stride), -(-window.width // self.stride)

    def _place(self, window: Window, row: int, col: int) -> tuple[slice, slice]:
        """Where the latents of a window lie in an array that begins at a row and a column of pixels."""
        (rows, cols), top, left = self._cells(window), (window.row_off - row), (window.col_off - col)
        first, first_col = top // self.stride, left // self.stride
        return slice(first, first + rows), slice(first_col, first_col + cols)

    def _held(self, chip: Window) -> bytes | None:
        with self._keeping:
            if chip in self._made:
                self._made.move_to_end(chip)
            return self._made.get(chip)

    def _hold(self, chip: Window, made: bytes) -> bytes:
        with self._keeping:
            self._made[chip] = made
            while sum(map(len, self._made.values())) > HELD:
                self._made.popitem(last=False)
        return made


def bare_items(items: Iterable[Item]) -> dict[str, Any]:
    """An item collection without what gives access: hrefs of assets are absolute and unsigned.

    Of links those stay that have an address beyond the machine.
    """
    features = []
    for item in items:
        said = _bare(item.to_dict(include_self_link=True, transform_hrefs=False))
        said["links"] = [
            link for link in said["links"] if str(link["href"]).lower().startswith(("http://", "https://"))
        ]
        for name, asset in item.assets.items():
            href = asset.href if is_absolute_href(asset.href) else asset.get_absolute_href() or asset.href
            said["assets"][name]["href"] = unsigned(href)
        features.append(said)
    return item_collection(features)


def _bare(value: Any) -> Any:
    """JSON whose addresses have lost what signs them."""
    match value:
        case str():
            return unsigned(value) if "://" in value else value
        case dict():
            return {name: _bare(part) for name, part in value.items()}
        case list() | tuple():
            return [_bare(part) for part in value]
    return value


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple

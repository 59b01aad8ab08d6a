"""A torchgeo dataset over STAC items: what a sampler asks for is planned, then read, and nothing else is fetched."""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from torchgeo.datasets import GeoDataset, UnionDataset

from ..cog.index import HeaderIndex
from ..errors import GridError, ItemError, SelectionError
from ..grid import Window
from ..plan.compile import compile_manifest
from ..plan.coverage import Coverage
from ..plan.sources import find_files, index_selection
from ..plan.tiles import window_array
from ..read.kept import Kept
from ..read.reader import read_manifest
from ..signing import signed_by
from .extent import OutsideError, make_index, meets, naive
from .joined import JoinedDataset, unite_samples
from .labels import ArrayLabels
from .sample import Sample, SampleForm, unstack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pyproj import CRS
    from pystac import Item
    from torchgeo.datasets.utils import GeoSlice

    from ..grid import Grid
    from ..plan.manifest import Manifest
    from ..read.cube import Cube
    from ..read.receipt import Receipt
    from ..selection import Selection
    from ..signing import Sign
    from .labels import Labels


def as_it_is(href: str) -> str:
    """The signature of what needs none."""
    return href


def _may_be_signed(item: Item) -> bool:
    return any("?" in asset.href or "@" in asset.href for asset in item.assets.values())


class StacDataset(GeoDataset):
    """The channels of a selection over a grid, for torchgeo's samplers; `SampleForm` says what a sample holds.

    It is indexed by the items' metadata alone: no file is opened before the first sample, and then only headers and
    tiles that the sample needs. A batch is planned and read at once, so that its round trips are made together::

        sampler = RandomChipSampler(dataset, size=64, length=1000)
        DataLoader(dataset, batch_size=16, sampler=sampler, collate_fn=stack_samples)

    The index has one row: where any item lies on the grid, from the first slot's start to the last one's end, as naive
    UTC. Workers of a DataLoader are started by forkserver or spawn; in forked ones reading raises FetchError.
    """

    def __init__(
        self,
        items: Iterable[Item] | Coverage,
        selection: Selection,
        grid: Grid,
        labels: np.ndarray | Labels | None = None,
        index: HeaderIndex | None = None,
        *,
        series: bool = False,
        sign: Sign | None = None,
    ) -> None:
        """`labels` are on the grid, as int64 (rows, columns) or opened; headers in `index` are not fetched again.

        `series` puts image and valid into (slots, bands, rows, columns). `sign` signs hrefs; None: as the items' own
        are. Raises GridError where the labels are not of the grid's size, or no item meets the grid.
        """
        if isinstance(labels, np.ndarray) and labels.shape != (grid.height, grid.width):
            raise GridError(f"labels of {labels.shape} rows and columns on a grid of {(grid.height, grid.width)}")
        self.selection, self.grid, self.labels = selection, grid, labels
        self.coverage = Coverage.of(selection, items, grid)
        self.form = SampleForm(selection, grid, series)
        self.headers = index or HeaderIndex()
        """Of the files that were asked for so far, and those that were given."""
        self.index = make_index(self.coverage.shapes, selection.slots, grid)
        self._labels = ArrayLabels(labels) if isinstance(labels, np.ndarray) else labels
        self._sign, self._kept, self._scaling = sign, Kept(), dict[int, tuple[float, float]]()
        self._res = (grid.res_x, grid.res_y)

    @cached_property
    def sign(self) -> Sign:
        """What signs hrefs."""
        if self._sign is not None:
            return self._sign
        # only these can be signed, and to take 10^5 items' addresses apart takes seconds
        return signed_by(item for item in self.coverage.items if _may_be_signed(item)) or as_it_is

    @property
    def items(self) -> list[Item]:
        """The items that may fill a slot, by slot, then rank."""
        return list(self.coverage.items)

    @property
    def crs(self) -> CRS:
        """The grid's."""
        crs: CRS = self.index.crs
        return crs

    @crs.setter
    def crs(self, crs: CRS) -> None:
        """Raises GridError for another one: torchgeo's operators set it, and chips stay where they are."""
        if crs != self.index.crs:
            raise GridError(f"chips stay in {self.grid.crs[:60]}; put them left of & and |, or use one grid for all")

    @property
    def res(self) -> tuple[float, float]:
        """Width and height of a pixel."""
        return self._res

    @res.setter
    def res(self, res: float | tuple[float, float]) -> None:
        """Raises GridError for another one, as `crs` does."""
        if res not in (self._res, self._res[0] if self._res[0] == self._res[1] else None):
            raise GridError(f"chips keep pixels of {self._res}; put them left of & and |, or use one grid for all")

    def window_of(self, index: GeoSlice) -> Window:
        """The window of the grid that a sampler's slice means: as many pixels as it is long, at the nearest edges.

        It may reach over the grid, as those of torchgeo's gridded sampler do: what lies outside is not valid and has no
        label. Raises OutsideError where it meets no item's footprint or time, GridError for pixels of another size.
        """
        x, y, t = self._disambiguate_slice(index)
        if (x.step, y.step) != self._res:
            raise GridError(f"pixels of {x.step} x {y.step} on a grid of {self._res}; make a dataset on another grid")
        height, width = (max(1, round((at.stop - at.start) / at.step)) for at in (y, x))
        corner = self.grid.window_of((x.start, y.stop - y.step, x.start + x.step, y.stop))
        window = Window(corner.row_off, corner.col_off, height, width)
        if self.grid.place(window, self.grid) is None:
            raise OutsideError(f"{window} does not meet the grid of {self.grid.height} x {self.grid.width} pixels")
        if not meets(self.index, self.grid.bounds_of(window), t):
            raise OutsideError(f"no item meets {window} of the grid from {t.start} to {t.stop}")
        return window

    def snap(self, index: GeoSlice) -> tuple[slice, slice, slice]:
        """A slice that means the same window, on the edges of its pixels. Raises as `window_of` does."""
        x, y, t = self._disambiguate_slice(index)
        left, bottom, right, top = self.grid.bounds_of(self.window_of(index))
        return slice(left, right, x.step), slice(bottom, top, y.step), t

    def labels_of(self, window: Window) -> np.ndarray:
        """The labels of a window, int64 (rows, columns), -1 outside the grid.

        Raises SelectionError where the dataset has none.
        """
        if self._labels is None:
            raise SelectionError("chips to learn from need labels; give the dataset some")
        return self._labels.read(window)

    @property
    def scaling(self) -> tuple[tuple[float, float], ...]:
        """(scale, offset) of each channel's values, as far as chips were planned: physical = value * scale + offset."""
        return tuple(self._scaling.get(channel, (1.0, 0.0)) for channel in range(len(self.selection.channels)))

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the labels' classes; None where they are numbers, or there are no labels."""
        return self._labels.names if self._labels is not None else None

    def fetch_headers(self, windows: Sequence[Window], on_done: Callable[[], object] | None = None) -> None:
        """Fetch the headers of the files that some chips need, those that are not in `headers` yet, all at once."""
        places = window_array(windows)
        if {file.href for file in find_files(self.selection, self.coverage, places)} <= self.headers.keys():
            return
        found = index_selection(
            self.selection, self.coverage, on_done, kept=self.headers, sign=self.sign, windows=places
        )
        self.headers = self.headers.join(found)

    def plan(self, windows: Sequence[Window]) -> Manifest:
        """The manifest of some chips; headers that are missing are fetched."""
        self.fetch_headers(windows)
        manifest = compile_manifest(self.selection, self.coverage, self.headers, self.grid, windows, dense=False)
        for channel in {channel for source in manifest.requests.sources for channel in source.channels}:
            said = self._scaling.setdefault(channel, manifest.scaling[channel])
            if said != manifest.scaling[channel]:
                raise ItemError(
                    f"files of {'/'.join(manifest.channels[channel])} differ in scale and offset, {said} and "
                    f"{manifest.scaling[channel]}; say in the band's profile which of them values shall have"
                )
        return manifest

    def read(self, windows: Sequence[Window], on_done: Callable[[], object] | None = None) -> tuple[Cube, Receipt]:
        """The pixels of some chips of one size, planned and read as one manifest; `on_done` is called for each file.

        Tiles that were fetched before are not fetched again while they are in memory. Raises as `read_manifest` does.
        """
        return read_manifest(self.plan(windows), self.headers, on_done, sign=self.sign, kept=self._kept)

    def __getitem__(self, index: GeoSlice) -> Sample:
        """The sample of a slice [x0:x1, y0:y1, t0:t1]; times are naive UTC. Raises as `window_of` and reading do."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[GeoSlice]) -> list[Sample]:
        """The samples of some slices, planned and read as one manifest for each size that they have."""
        windows = [self.window_of(index) for index in indices]
        sizes: dict[tuple[int, int], list[int]] = defaultdict(list)
        for place, window in enumerate(windows):
            sizes[window.height, window.width].append(place)
        samples: dict[int, Sample] = {}
        for places in sizes.values():
            seen = np.stack([self._in_interval(indices[place]) for place in places])
            samples |= zip(places, unstack(self._batch([windows[place] for place in places], seen)), strict=True)
        return [samples[place] for place in range(len(windows))]

    def __and__(self, other: GeoDataset) -> JoinedDataset:
        """The chips with what another dataset has at the same place, such as labels in its ``mask``."""
        return JoinedDataset(self, other)

    def __or__(self, other: GeoDataset) -> UnionDataset:
        """The chips of both, see `unite_samples`."""
        return UnionDataset(self, other, collate_fn=unite_samples)

    def _batch(self, windows: Sequence[Window], seen: np.ndarray) -> Sample:
        """Chips of one size; `seen` is bool (chips, channels)."""
        cube, _ = self.read(windows)
        valid = cube.valid & seen[:, :, None, None]
        masks = None if self._labels is None else np.stack([self.labels_of(window) for window in windows])
        return self.form.batch(cube.image * valid, valid, windows, masks)

    def _in_interval(self, index: GeoSlice) -> np.ndarray:
        """Whether each channel's slot meets the interval, bool (channels,)."""
        t = self._disambiguate_slice(index)[2]
        start, stop = naive(t.start), naive(t.stop)
        meets = [naive(slot.start) <= stop and start < naive(slot.end) for slot in self.selection.slots]
        return np.array([meets[channel.slot] for channel in self.selection.channels], bool)

"""What a tile becomes: a part of a map, or features for whoever makes the map elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from ..bottleneck.container import Container
from ..bottleneck.transfer import encoder_digest, far_model, near_model, seen_cells, transfer_of
from ..errors import RunError
from ..train.fold import FoldedMask
from ..train.network import MaskedNetwork
from .answer import answer
from .features import FeatureMaker, far_field, link_field, link_of, near_field
from .geotiff import NODATA, encode_cog
from .origin import check_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..grid import Grid, Window
    from ..selection import Selection
    from ..train.run import Run
    from .engine import Engine
    from .field import Field
    from .ground import Reading
    from .job import Job, ProductName
    from .tiling import Tile, Tiling


#: Rows and columns of what a network is shown at once that looks at everything (`draft.CHIP`).
SHOWN = 256


class Product(Protocol):
    """What becomes of tiles. Threads may share it."""

    name: ProductName
    """Also of the tile's own file (`catalog.file_names`)."""
    model: MaskedNetwork
    """What is computed for it."""
    classes: Sequence[str] | None
    """Of a map of classes, their names."""
    said: dict[str, Any] | None
    """Of features, what their STAC items say of them."""
    stride: int
    """Pixels to a side of a latent; 1 where there are none."""
    digest: str | None
    """Of the encoder, where features are of one."""

    def field(self) -> Field | None:
        """How far it looks; None: as far as its model (`find_field`)."""

    def keep(self, selection: Selection) -> Selection:
        """What it is made from, of a run's selection."""

    def margin(self) -> int:
        """Pixels around an area that are made too."""

    def check(self, tiling: Tiling) -> None:
        """Raise RunError where its tiles cannot be of that size."""

    def compute(
        self,
        engine: Engine,
        reading: Reading,
        tile: Tile,
        tiling: Tiling,
        lost: Sequence[Window],
        outside: np.ndarray | None,
    ) -> Any:
        """The core of a tile. `lost` could not be read, counted from the first pixel that is read for the tile.

        `outside`: which pixels of the core lie outside the area, bool (rows, columns); None: there is none.
        """

    def pack(self, made: Any, grid: Grid) -> bytes:
        """As a file, what `compute` has made of a tile whose core is `grid`."""


class MapProduct:
    """Classes, uint8, or values, float32, as COGs."""

    name: ProductName = "map"
    said: dict[str, Any] | None = None

    def __init__(self, run: Run, *, from_features: bool = False) -> None:
        """`from_features`: of a run's far side; else of all of its network."""
        self._run, self._from_features = run, from_features
        link = link_of(run) if from_features else transfer_of(run.model)
        self._near, self._far = ([], []) if link is None else (link.near.tolist(), link.far.tolist())
        self.stride = 1 if link is None else link.stride
        self.model = far_model(run.model) if from_features else plain_network(run.model)
        self.classes: Sequence[str] | None = run.record.class_names if self.model.objective.has_classes else None
        self.digest: str | None = encoder_digest(run.model) if from_features else None

    def field(self) -> Field | None:
        """As the protocol says."""
        if self._from_features:
            return far_field(self._run)
        return link_field(self._run) if self._near else None

    def margin(self) -> int:
        """As the protocol says."""
        return 0

    def keep(self, selection: Selection) -> Selection:
        """As the protocol says."""
        return selection

    def check(self, tiling: Tiling) -> None:
        """As the protocol says."""

    def compute(
        self,
        engine: Engine,
        reading: Reading,
        tile: Tile,
        tiling: Tiling,
        lost: Sequence[Window],
        outside: np.ndarray | None,
    ) -> np.ndarray:
        """As the protocol says: uint8 or float32 (rows, columns)."""
        objective, nothing = self.model.objective, NODATA if self.model.objective.has_classes else np.nan
        cuts, seen = tiling.cuts(tile), self._seen(reading)
        values = answer(engine, objective, reading.image, reading.valid, cuts, tiling.overlap, seen)
        for window in lost:
            values[window.row_off : window.row_stop, window.col_off : window.col_stop] = nothing
        row, col = tile.core.row_off - tile.window.row_off, tile.core.col_off - tile.window.col_off
        core = values[row : row + tile.core.height, col : col + tile.core.width]
        return core if outside is None else np.where(outside, np.asarray(nothing, core.dtype), core)

    def pack(self, made: np.ndarray, grid: Grid) -> bytes:
        """As the protocol says: a COG."""
        return encode_cog(made, grid, None if self.classes is None else len(self.classes))

    def _seen(self, reading: Reading) -> np.ndarray:
        """Where there is something to tell: with a link, all over a latent of which anything was seen."""
        if self._from_features or self.stride == 1 or not self._near:
            return reading.seen
        cells = find_cells(reading.valid[self._near].any(0), self.stride)
        rows, columns = reading.seen.shape
        near = cells.repeat(self.stride, 0).repeat(self.stride, 1)[:rows, :columns]
        seen: np.ndarray = near | reading.valid[self._far].any(0) if self._far else near
        return seen


class FeatureProduct:
    """What the near side of a run says, as containers."""

    name: ProductName = "features"
    classes: Sequence[str] | None = None

    def __init__(self, run: Run) -> None:
        """Raises RunError where the run's network has no link in its middle."""
        self._run, self._maker = run, FeatureMaker(run)
        self.model, self.stride = near_model(run.model), self._maker.stride
        self.digest: str | None = self._maker.digest
        self.said: dict[str, Any] | None = {
            "geomask:model": self.digest,
            "geomask:tables": self._maker.tables.digest,
            "geomask:stride": self.stride,
            "geomask:latents": self._maker.tables.latents,
        }
        near = sorted(self._maker.channels)
        self._order = [near.index(channel) for channel in self._maker.channels]

    def field(self) -> Field | None:
        """As the protocol says."""
        return near_field(self._run)

    def margin(self) -> int:
        """As the protocol says: what the far side looks at; where that is everything, what it is shown at once."""
        try:
            return far_field(self._run).halo
        except RunError:
            return SHOWN

    def keep(self, selection: Selection) -> Selection:
        """As the protocol says: the channels that the near side sees."""
        return selection.keep(sorted(self._maker.channels))

    def check(self, tiling: Tiling) -> None:
        """As the protocol says."""
        if tiling.overlap:
            raise RunError("features are put side by side; leave out --blend")
        check_size(self._maker.tables.latents, tiling.side, self.stride)

    def compute(
        self,
        engine: Engine,
        reading: Reading,
        tile: Tile,
        tiling: Tiling,
        lost: Sequence[Window],
        outside: np.ndarray | None,
    ) -> Container:
        """As the protocol says."""
        cuts = tiling.cuts(tile)
        made = self._maker.make(reading.image[self._order], reading.valid[self._order], cuts, engine)
        for window in lost:
            rows, cols = (slice(first // self.stride, -(-stop // self.stride)) for first, stop in _ends(window))
            made.seen[rows, cols] = False
        tops = tile.core.row_off - tile.window.row_off, tile.core.col_off - tile.window.col_off
        sizes = tile.core.height, tile.core.width
        at = tuple(
            slice(first // self.stride, first // self.stride - (-size // self.stride))
            for first, size in zip(tops, sizes, strict=True)
        )
        seen = made.seen[at] if outside is None else made.seen[at] & find_cells(~outside, self.stride)
        return Container(made.latents[:, *at], seen, made.model, made.stride)

    def pack(self, made: Container, grid: Grid) -> bytes:
        """As the protocol says: a container."""
        return made.encode(self._maker.tables)


def make_product(run: Run, job: Job) -> Product:
    """What the tiles of a job become. Raises RunError where the run cannot make such."""
    return product_of(run, job.product, from_features=job.features is not None)


def product_of(run: Run, name: ProductName, *, from_features: bool) -> Product:
    """A product by name. Raises RunError where the run cannot make such."""
    return FeatureProduct(run) if name == "features" else MapProduct(run, from_features=from_features)


def plain_network(model: MaskedNetwork) -> MaskedNetwork:
    """The network of a run for images of any size: blocks that are not read are not valid, and need no mask."""
    gate = model.gate
    if not isinstance(gate, FoldedMask) or not gate.is_spatial:
        return model
    at = gate.at.tolist()
    plain = FoldedMask(at, torch.ones(len(at), 1, 1), gate.heads)
    return MaskedNetwork(model.mean, model.deviation, plain, model.network, model.objective).eval()


def find_cells(seen: np.ndarray, stride: int) -> np.ndarray:
    """Which latents have anything of some pixels, bool (rows, columns) each."""
    cells: np.ndarray = seen_cells(torch.from_numpy(seen)[None, None], stride)[0, 0].numpy()
    return cells


def _ends(window: Window) -> tuple[tuple[int, int], tuple[int, int]]:
    return (window.row_off, window.row_stop), (window.col_off, window.col_stop)

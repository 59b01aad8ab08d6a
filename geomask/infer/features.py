"""What the near side of a network with a link says of a tile: symbols, cut by cut, put together as a container."""

from __future__ import annotations

from math import lcm
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from ..bottleneck.container import Container
from ..bottleneck.transfer import encoder_digest, far_model, near_model, seen_cells, spread_cells, transfer_of
from ..errors import RunError
from ..train.network import MaskedNetwork
from .answer import ask, batches
from .engine import make_engine
from .field import Field, find_field

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from ..bottleneck.transfer import Transfer
    from ..train.run import Run
    from .engine import Engine
    from .tiling import Cut


class FeatureMaker:
    """The near side of a run, ready to be shown tiles. Threads may share it."""

    def __init__(self, run: Run, engine: Engine | None = None) -> None:
        """`engine` is that of `near_model(run.model)`, where it has been made already.

        Raises RunError where the run's network has no link in its middle.
        """
        link = link_of(run)
        self.channels: list[int] = link.near.tolist()
        """Of the run's selection: what it sees."""
        self.stride, self.tables, self.digest = link.stride, link.tables, encoder_digest(run.model)
        self._engine = engine or make_engine(near_model(run.model), "eager")

    def make(
        self, image: np.ndarray, valid: np.ndarray, cuts: Sequence[Cut], engine: Engine | None = None
    ) -> Container:
        """Features of the pixels that are read for a tile, all of them.

        `image`, float32 stored values, and `valid`, bool, are (channels, rows, columns), of the channels that it sees;
        rows and columns begin at multiples of the stride. What no cut keeps is not seen. `engine` takes the place of
        its own.
        """
        engine = engine or self._engine
        shape = tuple(-(-side // self.stride) for side in image.shape[1:])
        symbols = np.repeat(self.tables.blanks[:, None], shape[0] * shape[1], 1).reshape(-1, *shape)
        seen = np.zeros(shape, bool)
        there = seen_cells(torch.from_numpy(valid.any(0))[None, None], self.stride)[0, 0].numpy()
        for batch in batches(cuts, len(image)):
            for cut, said in zip(batch, ask(engine, image, valid, batch), strict=True):
                rows, cols = (self._cells(cut, axis) for axis in (0, 1))
                first_row, first_col = cut.seen.row_off // self.stride, cut.seen.col_off // self.stride
                at = (
                    slice(first_row + rows.start, first_row + rows.stop),
                    slice(first_col + cols.start, first_col + cols.stop),
                )
                symbols[:, *at] = said[:, rows, cols].astype(np.int32)
                seen[at] = there[at]
        return Container(symbols, seen, self.digest, self.stride)

    def _cells(self, cut: Cut, axis: int) -> slice:
        """Rows (0) or columns (1) of latents that are kept of a cut, counted from its first."""
        kept = cut.kept
        first, stop = ((kept.row_off, kept.row_stop), (kept.col_off, kept.col_stop))[axis]
        return slice(first // self.stride, -(-stop // self.stride))


class _Spread(nn.Module):
    """An encoder whose latents are spread over their pixels."""

    def __init__(self, encoder: nn.Module, stride: int) -> None:
        super().__init__()
        self.encoder, self.stride = encoder, stride

    def forward(self, image: Tensor) -> Tensor:
        return spread_cells(self.encoder(image), self.stride, (image.shape[-2], image.shape[-1]))


def link_of(run: Run) -> Transfer:
    """The link in the middle of a run's network. Raises RunError where it has none."""
    link = transfer_of(run.model)
    if link is None:
        raise RunError("this run sends no features; train one with --transfer bottleneck or auto")
    return link


def near_field(run: Run) -> Field:
    """How far the near side of a run looks. Raises RunError as `find_field` does, and where there is none."""
    link = link_of(run)
    near = near_model(run.model)
    spread = _Spread(link.near_side.encoder, link.stride)
    found = find_field(MaskedNetwork(near.mean, near.deviation, near.gate, spread, near.objective).eval())
    return _whole(found.halo, found.stride, link.stride)


def far_field(run: Run) -> Field:
    """How far the far side of a run looks, in pixels. Raises RunError as `near_field` does."""
    link = link_of(run)
    found = find_field(far_model(run.model))
    return _whole(found.halo, found.stride, link.stride)


def link_field(run: Run) -> Field:
    """How far both sides of a run look, one behind the other. Raises RunError as `near_field` does.

    That of the network as one would be looked for through symbols, which rounding may flip.
    """
    near, far = near_field(run), far_field(run)
    return _whole(near.halo + far.halo, near.stride, far.stride)


def _whole(halo: int, *strides: int) -> Field:
    """A field at multiples of all strides."""
    stride = lcm(*strides)
    return Field(-(-halo // stride) * stride, stride)

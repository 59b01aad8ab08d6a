"""Costs of channels whose tiles are made up."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np

from geomask.cog.level import ByteRange
from geomask.plan.cost import Cost, Table
from geomask.plan.tiles import Tiles
from geomask.selection import Selection
from geomask.stac.profile import Band
from geomask.stac.slots import Slot

Blocks = Sequence[Sequence[ByteRange]]
"""Tiles of each block."""


def tiles_of(blocks: Blocks) -> Tiles:
    ranges = np.array([(piece.offset, piece.length) for block in blocks for piece in block], np.int64).reshape(-1, 2)
    starts = np.concatenate([[0], np.cumsum([len(block) for block in blocks])]).astype(np.int64)
    return Tiles(starts, ranges[:, 0], ranges[:, 1], ranges[:, 1])


def cost_of(channels: Mapping[int, tuple[str, int, Blocks]], count: int, blocks: int = 1) -> Cost:
    """`count` channels of one slot; some lie in a file: its name, bytes of its header, and tiles of each block."""
    slot = Slot(datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 2, 1, tzinfo=UTC), "slot")
    selection = Selection.dense([slot], [Band(f"b{band}", "asset", 10) for band in range(count)])
    tables = {
        (0, band, None): [Table(href, header, np.array([bool(len(block)) for block in pieces]), tiles_of(pieces))]
        for band, (href, header, pieces) in channels.items()
    }
    return Cost(selection, np.zeros((blocks, 4), np.int64), tables)


def priced(prices: Sequence[int], header: int = 10) -> Cost:
    """Channels in files of their own, of these bytes each: a header, the rest one tile. 0: no item fills it."""
    files = {
        band: (f"{band}.tif", header, [[ByteRange(header, price - header)]])
        for band, price in enumerate(prices)
        if price
    }
    return cost_of(files, len(prices))

"""Plans of single files, without a catalog."""

from pathlib import Path

import numpy as np

from geomask.cog.index import index_headers
from geomask.cog.layout import Layout
from geomask.grid import Window
from geomask.plan.compile import plan_requests
from geomask.plan.manifest import Manifest
from geomask.plan.request import Source
from geomask.plan.sources import Use


def manifest_of(path: Path, chips: list[Window], level: int | None = None) -> tuple[Manifest, Layout]:
    """All bands of one level of a file but its alpha, on that level's own grid, headers no longer than they must be."""
    index = index_headers([str(path)])
    layout = index[str(path)]
    bands = tuple(range(1, layout.count + (layout.alpha is None)))
    source = Source(
        item="i",
        collection=None,
        asset="a",
        href=str(path),
        slot="s",
        bands=tuple(f"b{band}" for band in bands),
        channels=tuple(band - 1 for band in bands),
        indexes=bands,
        level=level,
        header_nbytes=layout.header_end,
        size=layout.size,
        etag=layout.etag,
        dtype=layout.dtype,
        nodata=layout.nodata,
        scales=(1.0,) * len(bands),
        offsets=(0.0,) * len(bands),
    )
    grid = layout.level_grid(level)
    requests = plan_requests([Use(source, np.arange(len(chips)))], index, grid, chips)
    names, scaling = tuple(("s", name) for name in source.bands), ((1.0, 0.0),) * len(bands)
    return Manifest(grid, tuple(chips), names, scaling, requests, ""), layout

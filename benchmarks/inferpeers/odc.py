"""odc-stac and dask as a user sets them up: ``python odc.py JOB.json``, the job's fields as arguments of `run`.

All channels of a run are loaded lazily, a dask chunk of pixels holds every channel of it, and the run's own network
maps it with what it looks at around. What is done is written as it comes. It prints one object of JSON.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from contenders.gdal import tune

tune()  # GDAL reads its settings when it is first imported

import json  # noqa: E402
import threading  # noqa: E402
from time import perf_counter  # noqa: E402
from typing import TYPE_CHECKING, Any, Self  # noqa: E402

import dask  # noqa: E402
import dask.array as da  # noqa: E402
import numpy as np  # noqa: E402
import odc.stac  # noqa: E402
import pystac  # noqa: E402
import rasterio  # noqa: E402
import torch  # noqa: E402
from rasterio.windows import Window  # noqa: E402

from geomask.train.run import load_run  # noqa: E402

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from geomask.selection import Selection
    from geomask.train.run import Run

#: Rows and columns of a dask chunk: whole GeoTIFF tiles, and few enough that several fit into memory.
CHUNK = 1024
#: Loads side by side: enough to hide the latency of a link.
THREADS = 32
#: Pixels that the network looks at to each side.
REACH = 2
#: What a block of classes is like, for dask.
EMPTY = np.empty((0, 0), np.uint8)


class Network:
    """A run's network on blocks of (channels, rows, columns), one block at a time: torch uses all cores for it."""

    seconds = 0.0
    """That it has computed."""

    def __init__(self, run: Run) -> None:
        self._model = run.model.to(memory_format=torch.channels_last)  # faster on a CPU
        self._alone = threading.Lock()

    def __call__(self, block: np.ndarray) -> np.ndarray:
        """Classes, uint8 (rows, columns); 0 is nodata in every band."""
        with self._alone, torch.inference_mode():
            start = perf_counter()
            stored = torch.from_numpy(block.astype(np.float32))[None].contiguous(memory_format=torch.channels_last)
            classes = self._model.objective.decide(self._model(stored, stored != 0))
            self.seconds += perf_counter() - start
        said: np.ndarray = classes[0].numpy().astype(np.uint8)
        return said


class MapFile:
    """A GeoTIFF that blocks are written to, as `dask.array.store` writes: by index, one at a time."""

    def __init__(self, path: Path, geobox: GeoBox) -> None:
        size = {"height": geobox.shape.y, "width": geobox.shape.x, "count": 1, "dtype": "uint8", "nodata": 255}
        place = {"crs": str(geobox.crs), "transform": geobox.transform}
        tiles = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "DEFLATE"}
        self._file = rasterio.open(path, "w", driver="GTiff", **size, **place, **tiles)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __setitem__(self, index: tuple[slice, slice], block: np.ndarray) -> None:
        """Write a block of (rows, columns)."""
        self._file.write(block, 1, window=Window.from_slices(*index))


def run(items: str, network: str, out: str) -> dict[str, Any]:
    """Map the items of a file with the network of a run's folder into ``out/map.tif``."""
    odc.stac.configure_rio(cloud_defaults=True)
    torch.set_num_threads(os.cpu_count() or 1)
    trained = load_run(network)
    answer = Network(trained)
    stack, geobox = load_channels(pystac.ItemCollection.from_file(items), trained.selection)
    with MapFile(Path(out) / "map.tif", geobox) as file, dask.config.set(scheduler="threads", num_workers=THREADS):
        reach = {0: 0, 1: REACH, 2: REACH}
        done = da.map_overlap(answer, stack, depth=reach, boundary="none", drop_axis=0, dtype="uint8", meta=EMPTY)
        da.store(done, file, lock=True)
    return {"network_seconds": answer.seconds}


def load_channels(items: pystac.ItemCollection, selection: Selection) -> tuple[da.Array, GeoBox]:
    """A lazy array (channels, rows, columns), a dask chunk of which holds all channels, and where it lies.

    An overview is loaded at its own pixel size, as odc-stac then reads it from the file, and repeated to full size.
    """
    names = [selection.bands[channel.band].name for channel in selection.channels]
    geobox = odc.stac.load(items, names[:1], chunks={}).odc.geobox
    layers = []
    for name, channel in zip(names, selection.channels, strict=True):
        factor = 1 if channel.level is None else 2 ** (channel.level + 1)
        chunks = {"time": 1, "y": CHUNK // factor, "x": CHUNK // factor}
        loaded = odc.stac.load(items, [name], geobox=geobox.zoom_out(factor), chunks=chunks)
        day = np.datetime64(selection.slots[channel.slot].start.date())
        layer = loaded[name].sel(time=day, method="nearest").data
        layers.append(layer if factor == 1 else layer.repeat(factor, axis=0).repeat(factor, axis=1))
    return da.stack(layers).rechunk({0: -1, 1: CHUNK, 2: CHUNK}), geobox


if __name__ == "__main__":
    print(json.dumps(run(**json.loads(Path(sys.argv[1]).read_text()))))

"""rslearn: ``python rslearning.py JOB.json``, the job's fields as arguments of `run`; it prints one object of JSON.

It has no source of items that are given: `Source` is what its user has to write. Windows are prepared and materialized
by rslearn, side by side, and mapped by the run's own network as soon as they lie on disk.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
sys.path.append(str(Path(__file__).parents[2]))  # geomask, of which only the network is used

from contenders.gdal import THREADS, tune

tune()  # GDAL reads its settings when it is first imported

import json  # noqa: E402
from concurrent.futures import ThreadPoolExecutor, as_completed  # noqa: E402
from datetime import datetime, timedelta  # noqa: E402
from time import perf_counter  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import rasterio  # noqa: E402
import shapely  # noqa: E402
import torch  # noqa: E402
from rasterio.crs import CRS  # noqa: E402
from rslearn.config import QueryConfig  # noqa: E402
from rslearn.data_sources.data_source import Item  # noqa: E402
from rslearn.data_sources.direct_materialize_data_source import DirectMaterializeDataSource  # noqa: E402
from rslearn.data_sources.utils import match_candidate_items_to_window  # noqa: E402
from rslearn.dataset import Dataset, Window  # noqa: E402
from rslearn.dataset.add_windows import add_windows_from_box  # noqa: E402
from rslearn.dataset.manage import materialize_dataset_windows, prepare_dataset_windows  # noqa: E402
from rslearn.utils.geometry import Projection, STGeometry  # noqa: E402
from upath import UPath  # noqa: E402

from geomask.train.run import load_run  # noqa: E402

#: Rows and columns of a window.
SIDE = 1024


class Source(DirectMaterializeDataSource[Item]):
    """The item of one date, its files read where they are."""

    def __init__(self, items: str, date: str, context: Any = None) -> None:
        found = [item for item in json.loads(Path(items).read_text())["features"] if _date(item) == date]
        self._assets = {item["id"]: item["assets"] for item in found}
        super().__init__({name: [name] for name in found[0]["assets"]})
        self._items = [Item(item["id"], _place(item)) for item in found]

    def get_items(self, geometries: list[STGeometry], query_config: QueryConfig) -> list[Any]:
        """All that meet the windows."""
        return [match_candidate_items_to_window(geometry, self._items, query_config) for geometry in geometries]

    def deserialize_item(self, serialized_item: dict[str, Any]) -> Item:
        """An item as it was written down."""
        return Item.deserialize(serialized_item)

    def get_asset_url(self, item: Item, asset_key: str) -> str:
        """Where a file is."""
        return str(self._assets[item.name][asset_key]["href"])


def run(items: str, network: str, out: str) -> dict[str, Any]:
    """Map the items of a file with the network of a run's folder, a GeoTIFF a window, into `out`."""
    torch.set_num_threads(os.cpu_count() or 1)
    trained, seconds = load_run(network), 0.0
    selection = trained.selection
    names = [(selection.slots[one.slot].name, selection.bands[one.band].name) for one in trained.selection.channels]
    features = json.loads(Path(items).read_text())["features"]
    root = UPath(out) / "dataset"
    root.mkdir()
    (root / "config.json").write_text(json.dumps(_config(items, names)))
    dataset = Dataset(root)
    windows = _windows(dataset, features)
    prepare_dataset_windows(dataset, windows)
    with ThreadPoolExecutor(THREADS) as pool:
        jobs = {pool.submit(materialize_dataset_windows, dataset, [window]): window for window in windows}
        for job in as_completed(jobs):
            job.result()
            image, profile = _read(jobs[job], names)
            start = perf_counter()
            classes = _classify(trained.model, image)
            seconds += perf_counter() - start
            with rasterio.open(Path(out) / f"{jobs[job].name}.tif", "w", **profile) as file:
                file.write(classes, 1)
    return {"network_seconds": seconds}


def _config(items: str, names: list[tuple[str, str]]) -> dict[str, Any]:
    """Of the dataset: a layer a date, with the bands that are read of it."""
    layers = {}
    for date in dict.fromkeys(date for date, _ in names):
        source = {"class_path": f"{__name__}.Source", "init_args": {"items": items, "date": date}, "ingest": False}
        bands = [{"dtype": "uint16", "bands": [name]} for of, name in names if of == date]
        layers[date] = {"type": "raster", "band_sets": bands, "resampling_method": "nearest", "data_source": source}
    return {"layers": layers}


def _windows(dataset: Dataset, features: list[dict[str, Any]]) -> list[Window]:
    """Windows of whole GeoTIFF tiles, where rslearn's pixels, counted from the CRS's origin, come nearest to them."""
    times = [datetime.fromisoformat(item["properties"]["datetime"]) for item in features]
    projection, (left, top, right, bottom) = _bounds(features[0])
    row, column = round(top), round(left)
    last_row, last_column = row + round(bottom - top), column + round(right - left)
    span = (min(times), max(times) + timedelta(days=1))
    found = []
    for y in range(row, last_row, SIDE):
        for x in range(column, last_column, SIDE):
            box = (x, y, min(x + SIDE, last_column), min(y + SIDE, last_row))
            found += add_windows_from_box(dataset, "default", box, projection, name=f"{y}_{x}", time_range=span)
    return found


def _bounds(item: dict[str, Any]) -> tuple[Projection, tuple[float, float, float, float]]:
    """Left, top, right and bottom in pixels of a projection."""
    rows, columns = item["properties"]["proj:shape"]
    res, _, left, _, _, top = item["properties"]["proj:transform"]
    projection = Projection(CRS.from_epsg(item["properties"]["proj:epsg"]), res, -res)
    return projection, (left / res, -top / res, left / res + columns, rows - top / res)


def _place(item: dict[str, Any]) -> STGeometry:
    time = datetime.fromisoformat(item["properties"]["datetime"])
    projection, box = _bounds(item)
    around = shapely.box(*box).buffer(1)  # a window of the nearest pixels lies in it
    return STGeometry(projection, around, (time, time + timedelta(hours=1)))


def _date(item: dict[str, Any]) -> str:
    return str(item["properties"]["datetime"][:10])


def _read(window: Window, names: list[tuple[str, str]]) -> tuple[np.ndarray, dict[str, Any]]:
    """Stored pixels (channels, rows, columns) of a window that was materialized, and what its map is like."""
    layers = []
    for date, name in names:
        with rasterio.open(window.get_raster_dir(date, [name]) / "geotiff.tif") as file:
            layers.append(file.read(1))
            profile = {key: file.profile[key] for key in ("driver", "height", "width", "crs", "transform")}
    return np.stack(layers), {**profile, "count": 1, "dtype": "uint8", "nodata": 255, "compress": "DEFLATE"}


@torch.inference_mode()
def _classify(model: Any, image: np.ndarray) -> np.ndarray:
    stored = torch.from_numpy(image.astype(np.float32))[None].contiguous(memory_format=torch.channels_last)
    said: np.ndarray = model.objective.decide(model(stored, stored != 0))[0].numpy().astype(np.uint8)
    return said


if __name__ == "__main__":
    print(json.dumps(run(**json.loads(Path(sys.argv[1]).read_text()))))

"""Pixels that a file masks, by a mask of its own or an alpha band, are not valid."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from plans import manifest_of
from rasterio.io import MemoryFile
from rasterio.transform import from_origin

from geomask.grid import Window
from geomask.read.reader import read_manifest

SHAPE = (500, 420)


def write_masked(path: Path, how: str, **options: Any) -> Path:
    """A COG of which about one pixel in five is masked, in patches; overviews have masks of their own."""
    draw = np.random.default_rng(3)
    bands = options.pop("bands", 3)
    pixels = draw.integers(1, 250, (bands, *SHAPE)).astype("uint8")
    shown = (draw.random((25, 21)).repeat(20, 0).repeat(20, 1) > 0.2) * np.uint8(255)
    profile = {"driver": "GTiff", "height": SHAPE[0], "width": SHAPE[1], "dtype": "uint8", "crs": "EPSG:32633"}
    profile |= {"count": bands + (how == "alpha"), "transform": from_origin(500_000, 5_000_000, 10, 10)}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), MemoryFile() as memory:
        with memory.open(**profile, **({"ALPHA": "YES"} if how == "alpha" else {})) as dataset:
            dataset.write(pixels, list(range(1, bands + 1)))
            if how == "alpha":
                dataset.write(shown, bands + 1)
            else:
                dataset.write_mask(shown)
        creation = {"blocksize": 128, "compress": "deflate", "overview_resampling": "nearest", **options}
        with memory.open() as dataset:
            rasterio.shutil.copy(dataset, path, driver="COG", **creation)
    return path


@pytest.mark.parametrize("level", [None, 0])
@pytest.mark.parametrize(
    ("how", "options"),
    [
        *((how, {"interleave": interleave}) for how in ("mask", "alpha") for interleave in ("pixel", "band", "tile")),
        ("mask", {"compress": "jpeg"}),
        ("mask", {"compress": "webp"}),
        ("mask", {"compress": "lerc"}),
        ("mask", {"compress": "zstd", "bands": 1}),
        ("mask", {"compress": "none", "bands": 1}),
        ("mask", {"compress": "lzw", "bigtiff": "YES"}),
        ("alpha", {"compress": "lzw", "bands": 1}),
        ("alpha", {"compress": "webp"}),
    ],
    ids=str,
)
def test_masked_pixels_are_not_valid(how: str, options: dict[str, Any], level: int | None, tmp_path: Path) -> None:
    path = write_masked(tmp_path / "a.tif", how, **options)
    height, width = (side >> (0 if level is None else level + 1) for side in SHAPE)
    rows, cols = height // 3, width // 3
    chips = [Window(row, col, rows, cols) for row in (0, height // 4, height - rows) for col in (0, width - cols)]
    manifest, layout = manifest_of(path, chips, level)
    assert (layout.alpha is not None, layout.levels[0].mask is not None) == (how == "alpha", how == "mask")
    cube, receipt = read_manifest(manifest)
    assert receipt.nbytes == receipt.planned_nbytes
    bands = list(range(1, len(manifest.channels) + 1))
    with rasterio.open(path, **({} if level is None else {"overview_level": level})) as dataset:
        for chip, window in enumerate(chips):
            place = rasterio.windows.Window(window.col_off, window.row_off, window.width, window.height)
            seen = dataset.read_masks(bands, window=place) != 0
            assert 0 < seen.mean() < 1
            np.testing.assert_array_equal(cube.valid[chip], seen)
            np.testing.assert_array_equal(cube.image[chip], np.where(seen, dataset.read(bands, window=place), 0))

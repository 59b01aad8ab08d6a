"""Every encoding that GDAL here can write, read through a manifest and by rasterio: the same to the bit.

All of them take minutes: ``pytest -m slow tests/read/test_matrix.py``. By default a sample is drawn, always the same.
"""

import itertools
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from plans import manifest_of
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError
from rasterio.transform import from_origin

from geomask.grid import Window
from geomask.read.reader import read_manifest

SHAPE = (210, 170)
"""No multiple of any tile: the last ones are cut by the edge."""
COMPRESSIONS = [
    *("none", "deflate", "lzw", "zstd", "lerc", "lerc_deflate", "lerc_zstd", "jpeg", "webp", "lzma", "packbits"),
]
DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64"]
SAMPLE = 150


@dataclass(frozen=True)
class Kind:
    """One way to write a file."""

    compress: str
    predictor: int
    interleave: str
    dtype: str
    masked: str
    """no, nodata, mask or alpha."""
    bands: int
    big_endian: bool

    def __str__(self) -> str:
        order = "big" if self.big_endian else "little"
        return f"{self.compress}-{self.predictor}-{self.interleave}-{self.dtype}-{self.masked}-{self.bands}-{order}"


def kinds() -> list[Kind]:
    """All that GDAL's documents allow; the few that it then does not write are skipped, by name."""
    found = []
    for compress, dtype in itertools.product(COMPRESSIONS, DTYPES):
        if compress in ("jpeg", "webp") and dtype != "uint8":
            continue
        if compress.startswith("lerc") and dtype in ("int64", "uint64", "float16"):
            continue
        predictors = {1}
        if compress in ("deflate", "lzw", "zstd") and dtype != "float16":
            predictors = {1, 3 if dtype.startswith("float") else 2}
        rest = itertools.product(
            sorted(predictors), ("band", "pixel"), ("no", "nodata", "mask", "alpha"), (1, 3), (False, True)
        )
        for predictor, interleave, masked, bands, big_endian in rest:
            if compress != "webp" or (interleave == "pixel" and bands == 3):
                found.append(Kind(compress, predictor, interleave, dtype, masked, bands, big_endian))
    return found


def write(path: Path, kind: Kind) -> None:
    """Smooth with noise; one pixel in six is masked. Raises RasterioError for what GDAL cannot write."""
    draw = np.random.default_rng(5)
    bands = kind.bands + (kind.masked == "alpha")
    rows, cols = np.mgrid[: SHAPE[0], : SHAPE[1]]
    pixels = (60 + 30 * np.sin(rows / 30) + 20 * np.cos(cols / 40) + draw.integers(0, 9, (bands, *SHAPE))).astype(
        kind.dtype
    )
    shown = draw.random(SHAPE) > 1 / 6
    if kind.masked == "nodata":
        pixels[:, ~shown] = 0
    if kind.masked == "alpha":
        pixels[-1] = shown * (255 if kind.dtype != "int8" else 127)
    options: dict[str, Any] = {"compress": kind.compress, "interleave": kind.interleave, "tiled": True}
    options |= {"blockxsize": 64, "blockysize": 64, "ENDIANNESS": "BIG" if kind.big_endian else "LITTLE"}
    options |= {"predictor": kind.predictor} if kind.predictor > 1 else {}
    options |= {"ALPHA": "YES"} if kind.masked == "alpha" else {}
    options |= {"nodata": 0} if kind.masked == "nodata" else {}
    profile = {"driver": "GTiff", "height": SHAPE[0], "width": SHAPE[1], "count": bands, "dtype": kind.dtype}
    place = {"crs": "EPSG:32633", "transform": from_origin(500_000, 5_000_000, 10, 10)}
    overview = rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True, GDAL_TIFF_OVR_BLOCKSIZE=64)
    with overview, rasterio.open(path, "w", **profile, **place, **options) as dataset:
        dataset.write(pixels)
        if kind.masked == "mask":
            dataset.write_mask(shown)
        # GDAL 3.12 never ends building overviews of 64-bit integers with nodata
        if not (kind.dtype in ("uint64", "int64") and kind.masked == "nodata"):
            dataset.build_overviews([2])


def check(kind: Kind, path: Path) -> None:
    try:
        write(path, kind)
        with rasterio.open(path) as dataset:
            dataset.read(1)
            levels = [None, *range(len(dataset.overviews(1)))]
    except (RasterioError, CPLE_BaseError) as error:
        pytest.skip(f"GDAL here does not write it: {str(error).splitlines()[0][:60]}")
    for level in levels:
        shape = tuple(side if level is None else -(-side // 2) for side in SHAPE)
        rows, cols = 70, 60
        chips = [Window(row, col, rows, cols) for row in (0, 20, shape[0] - rows) for col in (5, shape[1] - cols)]
        manifest, layout = manifest_of(path, chips, level)
        assert layout.why is None
        cube, receipt = read_manifest(manifest)
        assert receipt.nbytes == receipt.planned_nbytes + receipt.refetched_nbytes
        bands = list(range(1, len(manifest.channels) + 1))
        with rasterio.open(path, **({} if level is None else {"overview_level": level})) as dataset:
            for chip, window in enumerate(chips):
                place = rasterio.windows.Window(window.col_off, window.row_off, window.width, window.height)
                seen = dataset.read_masks(bands, window=place) != 0
                np.testing.assert_array_equal(cube.valid[chip], seen)
                np.testing.assert_array_equal(cube.image[chip], np.where(seen, dataset.read(bands, window=place), 0))


ALL = kinds()


@pytest.mark.parametrize("kind", random.Random(11).sample(ALL, SAMPLE), ids=str)
def test_a_sample_of_all_encodings_reads_as_rasterio_reads_it(kind: Kind, tmp_path: Path) -> None:
    check(kind, tmp_path / "a.tif")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ALL, ids=str)
def test_every_encoding_reads_as_rasterio_reads_it(kind: Kind, tmp_path: Path) -> None:
    check(kind, tmp_path / "a.tif")

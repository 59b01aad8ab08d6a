"""Tiny COGs whose every pixel says where it belongs.

The value of a pixel follows from (band, level, row, column) on its own level, overviews included, so that a wrong
level, a wrong band or a window that is off by one shows as wrong numbers. :func:`expected` computes them without the
file. Four low bits are scrambled: without them the pixels compress to nothing and byte counts say little.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.io import MemoryFile
from rasterio.transform import from_origin

FACTORS = (2, 4)
"""Of the overviews that `overviews=True` makes."""

MODULUS = {"uint8": 251, "int8": 113, "int16": 32_749}
"""Primes; values run from 1 to them, so that 0 and the dtype's maximum stay free for nodata. Other dtypes: 65521."""

Values = Callable[[int, int | None, np.ndarray, np.ndarray], np.ndarray]
"""(band, level, rows, columns) -> values; the rows come as (n, 1) and the columns as (1, m)."""


def expected(
    band: int,
    level: int | None,
    rows: Sequence[int] | np.ndarray,
    columns: Sequence[int] | np.ndarray,
    *,
    dtype: str = "uint16",
    holes: bool = False,
    nodata: float = 0,
) -> np.ndarray:
    """Values (len(rows), len(columns)) of a band (1-based) on a level (None: full resolution, 0: first overview).

    `rows` and `columns` count on that level. With `holes`, one pixel in eleven is `nodata`: see :func:`is_hole`.
    """
    r, c = np.asarray(rows, "int64")[:, None], np.asarray(columns, "int64")[None, :]
    k = 0 if level is None else level + 1
    mixed = (r * 73_856_093 ^ c * 19_349_663) % 2**31
    scrambled = (mixed ^ mixed >> 13) * 1_664_525 >> 16 & 15
    values = 1 + (band * 9_973 + k * 21_001 + r * 331 + c * 37 + scrambled) % MODULUS.get(dtype, 65_521)
    return np.where(holes & is_hole(r, c), nodata, values).astype(dtype)


def is_hole(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Which pixels of a level are nodata where holes are asked for; broadcasts."""
    return (5 * rows + 3 * columns) % 11 == 0


def write_cog(
    path: Path,
    *,
    height: int = 100,
    width: int = 90,
    bands: int = 1,
    first: int = 1,
    block: int = 32,
    dtype: str = "uint16",
    compress: str = "deflate",
    predictor: int = 2,
    interleave: str = "band",
    nodata: float | None = 0,
    overviews: bool | Sequence[int] = True,
    bigtiff: bool = False,
    crs: str = "EPSG:32633",
    gsd: float = 10.0,
    origin: tuple[float, float] = (500_000, 5_000_000),
    holes: bool = False,
    values: Values | None = None,
    driver: str = "COG",
    **options: Any,
) -> Path:
    """Write one file and return its path.

    Band b of the file holds `expected(first + b - 1, ...)`, or what `values` says. `overviews` are factors, or True
    for `FACTORS`; a level has ceil(size / factor) pixels. `interleave` is band, pixel or (COG only) tile. `origin` is
    the outer upper left corner (x, y). `driver="GTiff"` gives tiles, but overviews after the data and gaps: no COG;
    with `tiled=False, blockysize=n` it is striped. GDAL tiles no overview under 64 pixels, so there a smaller `block`
    becomes 64.
    """
    if values is None:
        values = _encoded(first, dtype, holes, 0 if nodata is None else nodata)
    factors = FACTORS if overviews is True else tuple(overviews or ())
    shape = {"height": height, "width": width, "count": bands, "dtype": dtype, "nodata": nodata}
    shape |= {"crs": crs, "transform": from_origin(*origin, gsd, gsd)}
    creation = {"compress": compress, "interleave": interleave, "bigtiff": "YES" if bigtiff else "NO"}
    creation |= {"predictor": predictor} if compress in ("deflate", "lzw", "zstd") else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    # GDAL warns of a COG's BLOCKSIZE under 128, and then honours it
    with rasterio.Env(GDAL_TIFF_OVR_BLOCKSIZE=max(block, 64), GDAL_VALIDATE_CREATION_OPTIONS=False):
        if driver == "GTiff":
            tiles = {"tiled": True, "blockxsize": block, "blockysize": block}
            _draw(str(path), factors, values, **shape, **{**creation, **tiles, **options})
            return path
        creation |= {"blocksize": block, "overviews": "FORCE_USE_EXISTING" if factors else "NONE", **options}
        with MemoryFile() as memory:
            _draw(memory.name, factors, values, **shape)
            rasterio.shutil.copy(memory.name, path, driver="COG", **creation)
    return path


def _draw(name: str, factors: Sequence[int], values: Values, **profile: Any) -> None:
    """Write a TIFF with overviews, then overwrite what GDAL computed for these with their own values."""
    with rasterio.open(name, "w", driver="GTiff", **profile):
        pass
    _fill(name, None, values)
    if factors:
        with rasterio.open(name, "r+") as dataset:
            dataset.build_overviews(factors)
    for level in range(len(factors)):
        _fill(name, level, values)


def _encoded(first: int, dtype: str, holes: bool, nodata: float) -> Values:
    def values(band: int, level: int | None, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return expected(first + band - 1, level, rows[:, 0], columns[0], dtype=dtype, holes=holes, nodata=nodata)

    return values


def _fill(name: str, level: int | None, values: Values) -> None:
    """Overwrite all bands of one level in place; GDAL writes into an overview that is opened as a dataset."""
    options = {} if level is None else {"overview_level": level}
    with rasterio.open(name, "r+", **options) as dataset:
        rows, columns = np.arange(dataset.height)[:, None], np.arange(dataset.width)[None, :]
        for band in dataset.indexes:
            dataset.write(values(band, level, rows, columns).astype(dataset.dtypes[0]), band)

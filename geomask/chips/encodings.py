"""Copies of an image in fewer bytes: JPEG and WebP at a quality, or fewer bits, with the bytes that they really take.

Each copy is a tiled GeoTIFF in memory, written and read back by GDAL, so its pixels are what a reader of such a file
gets, on the same grid, and its bytes are what a plan for such a file counts.

JPEG and WebP hold 8 bits. A band of 16 bits is brought to them between two limits, low and high:
y = round((x - low) / (high - low) * 255), and back by x = round(low + y (high - low) / 255). That alone is off by up to
(high - low) / 510, beside what the codec loses. A band of 8 bits stays as it is. Values that stand for nodata do not
survive: keep the validity of the original.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..errors import LayoutError, SelectionError

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Largest number of each kind of encoding; the least is 1.
MOST = {"jpeg": 100, "webp": 100, "bits": 16}
#: WebP stores three bands as one.
WEBP_BANDS = 3


@dataclass(frozen=True, slots=True)
class Encoding:
    """One way to store an image."""

    kind: str
    """original, jpeg, webp or bits."""
    value: int = 0
    """Quality from 1 to 100 (jpeg, webp), bits from 1 to 16 (bits), 0 (original)."""

    @classmethod
    def parse(cls, name: str) -> Self:
        """Of ``original``, ``jpeg:75``, ``webp:50``, or ``bits:4``. Raises SelectionError for anything else."""
        kind, _, value = name.partition(":")
        if name == "original":
            return cls(name)
        if kind in MOST and value.isascii() and value.isdigit() and 1 <= int(value) <= MOST[kind]:
            return cls(kind, int(value))
        ranges = ", ".join(f"{kind}:1 to {kind}:{most}" for kind, most in MOST.items())
        raise SelectionError(f"no encoding {name!r}; choose original, {ranges}")

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}" if self.value else self.kind

    @property
    def is_lossy(self) -> bool:
        """Whether GDAL decodes other values than were stored."""
        return self.kind in ("jpeg", "webp")

    def levels(self, dtype: np.dtype[Any]) -> int:
        """The greatest number that is stored for pixels of `dtype`; 0 where those are stored as they are."""
        if self.kind == "bits":
            return int(2**self.value - 1)
        return 255 if self.is_lossy and dtype == np.uint16 else 0


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """An image as a reader of its encoding gets it."""

    encoding: Encoding
    pixels: np.ndarray
    """(bands, rows, columns), of the original's dtype."""
    tiles: np.ndarray
    """Bytes of the GeoTIFF tiles, int64 (planes, rows, columns of tiles): a plane a band, for WebP a plane three bands,
    of which one cannot be read without the others."""
    header_nbytes: int
    """Bytes of the files that are not tiles, the tables of JPEG included."""

    @property
    def nbytes(self) -> int:
        """Bytes of the whole, header included."""
        return self.header_nbytes + int(self.tiles.sum())


def encode(
    pixels: np.ndarray, encoding: str, tile: int = 256, limits: tuple[np.ndarray, np.ndarray] | None = None
) -> Encoded:
    """A copy of `pixels`, uint8 or uint16 (bands, rows, columns), in GeoTIFF tiles of `tile` x `tile` pixels.

    ``original`` and ``bits:N`` are stored by DEFLATE with predictor 2, the latter as round((x - low) / (high - low) *
    (2^N - 1)). `limits` are low and high, each a number or one a band, beyond which values are cut off; None: 0 and 255
    for uint8, the least and the greatest value of each band for uint16, so give them where several images are to be
    scaled alike. Tiles at the edge are filled up, as in any GeoTIFF.

    Raises SelectionError for no such encoding, and LayoutError for pixels that it cannot hold.
    """
    way = Encoding.parse(encoding)
    _check(way, pixels, tile)
    stored, low, step = _scale(pixels, way, limits)
    parts = [_write(part, way, tile) for part in _files(stored, way)]
    decoded = np.concatenate([part for part, _, _ in parts])
    if step is not None:
        decoded = np.rint(low + decoded * step).astype(pixels.dtype)
    return Encoded(way, decoded, np.concatenate([tiles for _, tiles, _ in parts]), sum(head for _, _, head in parts))


def encode_all(
    pixels: np.ndarray, encodings: Sequence[str], tile: int = 256, limits: tuple[np.ndarray, np.ndarray] | None = None
) -> list[Encoded]:
    """`encode` for each of `encodings`, in order: the versions of an image."""
    return [encode(pixels, encoding, tile, limits) for encoding in encodings]


def _check(way: Encoding, pixels: np.ndarray, tile: int) -> None:
    if pixels.ndim != 3 or 0 in pixels.shape or pixels.dtype not in (np.uint8, np.uint16):
        raise LayoutError(
            f"pixels of {pixels.dtype} {pixels.shape} cannot be encoded; give uint8 or uint16 (bands, rows, columns)"
        )
    if way.kind == "webp" and len(pixels) % WEBP_BANDS:
        raise LayoutError(f"WebP stores {WEBP_BANDS} bands as one, not {len(pixels)}; choose a multiple, or JPEG")
    if way.kind == "bits" and way.value > 8 * pixels.dtype.itemsize:
        raise LayoutError(f"{pixels.dtype} has no {way.value} bits; choose up to {8 * pixels.dtype.itemsize}")
    if tile < 16 or tile % 16:
        raise LayoutError(f"GeoTIFF tiles of {tile} pixels; choose a multiple of 16")


def _scale(
    pixels: np.ndarray, way: Encoding, limits: tuple[np.ndarray, np.ndarray] | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """What is stored, and low and step, float64 (bands or 1, 1, 1), of x = low + step * stored; no step: as it is."""
    levels = way.levels(pixels.dtype)
    if not levels:
        return pixels, np.zeros(1), None
    if limits is None:
        bounds = (
            (pixels.min((1, 2)), pixels.max((1, 2))) if pixels.dtype == np.uint16 else (np.zeros(1), np.full(1, 255))
        )
    else:
        bounds = limits
    low, high = (np.asarray(bound, np.float64).reshape(-1, 1, 1) for bound in bounds)
    if not (len(low) in (1, len(pixels)) and len(high) in (1, len(pixels)) and (low <= high).all()):
        raise LayoutError(
            f"limits {low.ravel()} to {high.ravel()} for {len(pixels)} bands; give low <= high, or one each"
        )
    step = (high - low) / levels
    shares = (np.clip(pixels, low, high) - low) / np.where(step > 0, step, 1)  # a constant band is all low
    return np.rint(shares).astype(np.uint8 if levels <= 255 else np.uint16), low, step


def _files(stored: np.ndarray, way: Encoding) -> list[np.ndarray]:
    if way.kind == "webp":
        return [stored[band : band + WEBP_BANDS] for band in range(0, len(stored), WEBP_BANDS)]
    return [stored]


def _write(stored: np.ndarray, way: Encoding, tile: int) -> tuple[np.ndarray, np.ndarray, int]:
    """What GDAL reads of what it wrote, bytes of tiles (planes, rows, columns of tiles), and bytes of the rest."""
    import rasterio
    import tifffile
    from rasterio.io import MemoryFile
    from rasterio.transform import from_origin

    bands, rows, columns = stored.shape
    options: dict[str, Any] = {
        "jpeg": {"compress": "JPEG", "jpeg_quality": way.value, "interleave": "band"},
        "webp": {"compress": "WEBP", "webp_level": way.value, "interleave": "pixel"},
    }.get(way.kind, {"compress": "DEFLATE", "predictor": 2, "interleave": "band"})
    shape: dict[str, Any] = {"count": bands, "height": rows, "width": columns, "dtype": stored.dtype.name}
    try:
        with MemoryFile() as memory:
            place = from_origin(0, rows, 1, 1)  # anywhere: rasterio warns of files that lie nowhere
            blocks = {"tiled": True, "blockxsize": tile, "blockysize": tile}
            with memory.open(driver="GTiff", transform=place, **shape, **blocks, **options) as file:
                file.write(stored)
            data = memory.read()
            with memory.open() as file:
                decoded: np.ndarray = file.read()
    except rasterio.errors.RasterioError as error:
        raise LayoutError(f"GDAL {rasterio.__gdal_version__} does not write {way}: {error}") from error
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        counts = np.array(tiff.pages.first.databytecounts, np.int64)
    tiles = counts.reshape(-1, -(-rows // tile), -(-columns // tile))
    return decoded, tiles, len(data) - int(counts.sum())

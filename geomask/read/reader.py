"""Fetch what a manifest says, decode it with GDAL, and say what it really cost."""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..cog.index import HeaderIndex, index_headers
from ..cog.minitiff import cut_tiff
from ..errors import FetchError, LayoutError, ManifestError
from ..fetch import Want, fetch
from .cube import Cube

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..cog.layout import ByteRange, Layout
    from ..fetch import Got
    from ..plan.manifest import Manifest
    from ..plan.request import ReadRequest


#: Up to here float64 holds every integer.
EXACT = 1 << 53

#: Pixels of all chips and channels together, 5 bytes each or more: beyond it a manifest is broken or hostile.
MAX_VALUES = 1 << 31


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a read really cost, beside what was planned. Bytes are those of response bodies."""

    planned_nbytes: int
    """Headers, tiles and gaps."""
    planned_requests: int
    header_nbytes: int
    """Bytes of headers, and of the pixels that came with them."""
    pixel_nbytes: int
    """Bytes of runs beyond the headers."""
    refetched_nbytes: int
    """Bytes that came wrong, were thrown away and fetched again."""
    requests: int
    """All requests, retries included."""
    seconds: float
    """Of reading the headers, and from the first request for pixels to the last one decoded."""

    @property
    def nbytes(self) -> int:
        """All bytes on the wire: planned + refetched."""
        return self.header_nbytes + self.pixel_nbytes + self.refetched_nbytes


def read_manifest(
    manifest: Manifest, index: HeaderIndex | None = None, on_done: Callable[[], object] | None = None
) -> tuple[Cube, Receipt]:
    """The pixels of all chips of a manifest, and the receipt.

    Chips must be of one size. Headers that are in `index` are not fetched again; without it they are fetched first.
    `on_done` is called once for each file. Raises FetchError where bytes do not come, or a file changed since it was
    planned, and LayoutError where a tile does not decode.
    """
    shape = _shape(manifest)
    index = index_headers(manifest.headers) if index is None else index
    start = time.perf_counter()
    for request in manifest.requests:
        _check_unchanged(request, index[request.href])
    wants = [
        Want(href, run.offset, run.length, index[href].size, index[href].etag)
        for href, runs in manifest.runs.items()
        for run in runs
    ]
    came = fetch(wants)
    parts: dict[str, list[tuple[int, bytes]]] = {href: [] for href in manifest.headers}
    for want, got in zip(wants, came, strict=True):
        parts[want.href].append((want.offset, got.data))
    image, valid = np.zeros(shape, _value_type(manifest)), np.zeros(shape, bool)
    files = _by_file(manifest.requests)
    with ThreadPoolExecutor() as threads:  # GDAL decodes outside the GIL

        def decode(href: str) -> None:
            pieces = _Pieces(index[href], parts[href])
            for request in files[href]:
                _paste(request, index[href], pieces, manifest, image, valid)
            if on_done:
                on_done()

        list(threads.map(decode, files))
    seconds = index.seconds + time.perf_counter() - start
    return Cube(manifest, image, valid), _receipt(manifest, index, came, seconds)


def read_window(layout: Layout, request: ReadRequest, pieces: Callable[[ByteRange], bytes]) -> np.ndarray:
    """The pixels of one request, (rows, columns) of its window, in the file's dtype.

    `pieces` gives the bytes of a tile. Raises LayoutError where they do not decode.
    """
    from rasterio.errors import RasterioError
    from rasterio.io import MemoryFile
    from rasterio.windows import Window as RasterioWindow

    window = request.window
    content, row, col = cut_tiff(layout, request.level, request.index, window, pieces)
    try:
        # GDAL_NUM_THREADS stays at 1: the threads are ours, one a file.
        with MemoryFile(content) as file, file.open() as dataset:
            place = RasterioWindow(col, row, window.width, window.height)  # type: ignore[call-arg, unused-ignore]
            pixels: np.ndarray = dataset.read(request.index, window=place)
            return pixels
    except RasterioError as error:
        raise LayoutError(f"{request.href}: a tile of {window} does not decode: {error}") from error


class _Pieces:
    """Tiles out of what was fetched of one file: its header and its runs."""

    def __init__(self, layout: Layout, runs: list[tuple[int, bytes]]) -> None:
        parts = [(0, layout.header), *sorted(runs)]
        self._href, self._starts, self._data = layout.href, [start for start, _ in parts], [data for _, data in parts]

    def __call__(self, piece: ByteRange) -> bytes:
        """The bytes of a tile; one that the header cuts is put together from both."""
        number = bisect_right(self._starts, piece.offset) - 1
        begin = piece.offset - self._starts[number]
        data = self._data[number][begin : begin + piece.length]
        rest = piece.length - len(data)
        if rest and number + 1 < len(self._data) and self._starts[number + 1] == piece.offset + len(data):
            data += self._data[number + 1][:rest]
        if len(data) < piece.length:
            raise FetchError(f"{self._href}: the tile at {piece.offset} was not fetched; compile the manifest anew")
        return data


def _paste(
    request: ReadRequest, layout: Layout, pieces: _Pieces, manifest: Manifest, image: np.ndarray, valid: np.ndarray
) -> None:
    chip = manifest.chips[request.chip]
    placement = manifest.grid.place(chip, layout.level_grid(request.level))
    if placement is None or placement.source != request.window or not 1 <= request.index <= layout.count:
        raise FetchError(f"{request.href}: the manifest's window does not fit the file any more; compile it anew")
    pixels = read_window(layout, request, pieces)
    seen = _observed(pixels, request.nodata)
    if pixels.dtype.itemsize == 8 and pixels.dtype.kind in "iu" and (pixels[seen] > EXACT).any():
        raise LayoutError(f"{request.href} holds integers over 2^53, which no float holds; read it with rasterio")
    placement.paste(seen, valid[request.chip, request.channel])
    placement.paste(np.where(seen, pixels, 0), image[request.chip, request.channel])


def _observed(pixels: np.ndarray, nodata: float | None) -> np.ndarray:
    with np.errstate(over="ignore"):  # of nodata values that the type cannot hold
        seen = np.ones(pixels.shape, bool) if nodata is None else pixels != nodata
    return seen & np.isfinite(pixels)


def _by_file(requests: Sequence[ReadRequest]) -> dict[str, list[ReadRequest]]:
    files: dict[str, list[ReadRequest]] = {}
    for request in requests:
        files.setdefault(request.href, []).append(request)
    return files


def _shape(manifest: Manifest) -> tuple[int, int, int, int]:
    """(chips, channels, rows, columns) of what a manifest fills."""
    shapes = {(chip.height, chip.width) for chip in manifest.chips}
    if len(shapes) != 1:
        raise ManifestError(f"chips of {len(shapes)} sizes cannot be stacked; read them one by one")
    shape = (len(manifest.chips), len(manifest.channels), *shapes.pop())
    if math.prod(shape) > MAX_VALUES:
        raise ManifestError(f"{shape} chips, channels, rows and columns do not fit memory; plan and read them in parts")
    return shape


def _value_type(manifest: Manifest) -> type[np.floating[Any]]:
    """float32, unless the files hold numbers that it would round."""
    types = {request.dtype for request in manifest.requests}
    return np.float32 if all(np.can_cast(dtype, np.float32, "safe") for dtype in types) else np.float64


def _check_unchanged(request: ReadRequest, layout: Layout) -> None:
    planned = (request.size, request.etag, request.header_nbytes)
    if planned != (layout.size, layout.etag, len(layout.header)):
        raise FetchError(
            f"{request.href} changed since it was planned (size {request.size} -> {layout.size}, "
            f"ETag {request.etag} -> {layout.etag}); compile the manifest anew"
        )


def _receipt(manifest: Manifest, index: HeaderIndex, came: list[Got], seconds: float) -> Receipt:
    hrefs = manifest.headers
    return Receipt(
        planned_nbytes=manifest.planned_nbytes,
        planned_requests=manifest.planned_requests,
        header_nbytes=sum(len(index[href].header) for href in hrefs),
        pixel_nbytes=sum(len(got.data) for got in came),
        refetched_nbytes=sum(index.wasted[href] for href in hrefs) + sum(got.wasted for got in came),
        requests=sum(index.requests[href] for href in hrefs) + sum(got.requests for got in came),
        seconds=seconds,
    )

"""Fetch what a manifest says, decode it with GDAL, and say what it really cost."""

from __future__ import annotations

import math
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from ..cog.level import ByteRange
from ..errors import FetchError, LayoutError, ManifestError
from ..fetch import Want, fetch
from .cube import Cube
from .decode import Pieces, decode
from .fallback import read_with_gdal
from .frame import value_type
from .headers import fetch_layouts
from .receipt import Fallback, Receipt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..cog.index import HeaderIndex
    from ..cog.layout import Layout
    from ..fetch import Got, Trip
    from ..plan.manifest import Manifest
    from ..plan.request import ReadRequest
    from ..signing import Sign


#: Up to here float64 holds every integer.
EXACT = 1 << 53

#: Pixels of all chips and channels together, 5 bytes each or more: beyond it a manifest is broken or hostile.
MAX_VALUES = 1 << 31

#: What is fetched of a tile, as a share of it, each time that a prefix does not hold the rows of the window.
LONGER = (0.0, 1 / 16, 1.0)


def read_manifest(
    manifest: Manifest,
    index: HeaderIndex | None = None,
    on_done: Callable[[], object] | None = None,
    *,
    sign: Sign | None = None,
) -> tuple[Cube, Receipt]:
    """The pixels of all chips of a manifest, and the receipt.

    Chips must be of one size. Headers that are in `index` are not fetched again. `sign` signs hrefs; None: as those of
    the index were. `on_done` is called once for each file. Raises FetchError where bytes do not come, or a file changed
    since it was planned, and LayoutError where a GeoTIFF tile does not decode.
    """
    shape, start = _shape(manifest), time.perf_counter()
    sign = sign or (index.sign if index is not None else None)
    layouts, headers = fetch_layouts(manifest, index, sign)
    cube = Cube(manifest, np.zeros(shape, value_type(manifest)), np.zeros(shape, bool))
    canvas = _Canvas(cube, layouts, sign)
    with _threads() as threads:
        by_gdal = [threads.submit(canvas.read_with_gdal, request) for request in canvas.foreign]
        runs, decoded = _fetch_runs(canvas, threads, on_done)
        for job in decoded:
            job.result()
        fallbacks = tuple(job.result() for job in by_gdal)
    return cube, Receipt(
        planned_nbytes=manifest.pixel_nbytes + sum(trip.nbytes for trip in headers),
        planned_requests=len(manifest.runs) + len(headers),
        headers=headers,
        runs=tuple(got.trip for got in runs),
        refetches=tuple(sorted(canvas.refetches, key=lambda trip: (trip.href, trip.offset))),
        fallbacks=fallbacks,
        seconds=time.perf_counter() - start,
    )


@contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """Threads that decode; GDAL does so outside the GIL. After an error what they have not begun is left undone."""
    with ThreadPoolExecutor(thread_name_prefix="geomask-decode") as threads:
        try:
            yield threads
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def _fetch_runs(
    canvas: _Canvas, threads: ThreadPoolExecutor, on_done: Callable[[], object] | None
) -> tuple[list[Got], list[Future[None]]]:
    """Fetch all runs; each file is decoded as soon as the last of its own is there."""
    hrefs, wants = list(canvas.manifest.files), []
    for file, run in canvas.manifest.runs:
        source = canvas.manifest.files[hrefs[file]]
        wants.append(Want(source.href, run.offset, run.length, source.size, source.etag))
    left = Counter(want.href for want in wants)
    jobs: list[Future[None]] = []

    def complete(href: str) -> None:
        jobs.extend(threads.submit(canvas.paste, request) for request in canvas.requests[href])
        if on_done:
            on_done()

    def arrived(want: Want, got: Got) -> None:
        canvas.pieces[want.href].add(want.offset, got.data)
        left[want.href] -= 1
        if not left[want.href]:
            complete(want.href)

    for href in canvas.requests:
        if not left[href]:  # all in the header, or sparse
            complete(href)
    return fetch(wants, arrived, canvas.sign), jobs


class _Canvas:
    """The cube that is filled, and what fills it."""

    def __init__(self, cube: Cube, layouts: dict[str, Layout], sign: Sign | None) -> None:
        self.manifest, self.sign = cube.manifest, sign
        self._cube, self._layouts = cube, layouts
        self.requests: dict[str, list[ReadRequest]] = {href: [] for href in self.manifest.headers}
        self.foreign: list[ReadRequest] = []
        """Requests that are GDAL's."""
        for request in self.manifest.requests:
            (self.foreign if request.source.why else self.requests[request.source.href]).append(request)
        self.pieces = {href: Pieces(href, layouts[href].header) for href in self.requests}
        self.refetches: list[Trip] = []
        """What it took to make prefixes longer."""
        self._locks = {href: Lock() for href in self.requests}

    def paste(self, request: ReadRequest) -> None:
        """Decode a request and paste its pixels; where a prefix of a tile turns out too short, fetch more of it."""
        layout = self._layouts[request.source.href]
        for share in LONGER:
            request = self._lengthen(request, share) if share else request
            try:
                pixels, seen = decode(layout, request, self.pieces[layout.href])
            except LayoutError:
                if not request.rests:
                    raise
            else:
                self._put(request, pixels, seen)
                return

    def _lengthen(self, request: ReadRequest, share: float) -> ReadRequest:
        """The request with a further `share` of each tile of which it has a prefix, fetched now."""
        source, rests = request.source, {rest.offset: rest.length for rest in request.rests}
        more = [
            ByteRange(piece.stop, min(rests.get(piece.stop, 0), math.ceil(share * whole)))
            for piece, whole in zip(request.ranges, request.wholes, strict=True)
        ]
        pieces = self.pieces[source.href]
        with self._locks[source.href]:  # requests that share a tile find it too short at the same time
            wants = [
                Want(source.href, part.offset, part.length, source.size, source.etag)
                for part in more
                if part.length and not pieces.hold(part)
            ]
            for want, got in zip(wants, fetch(wants, sign=self.sign), strict=True):
                pieces.add(want.offset, got.data)
                self.refetches.append(got.trip)
        longer = (
            ByteRange(piece.offset, piece.length + part.length)
            for piece, part in zip(request.ranges, more, strict=True)
        )
        return replace(request, ranges=tuple(longer))

    def read_with_gdal(self, request: ReadRequest) -> Fallback:
        """Let GDAL read a request, and paste its pixels."""
        pixels, seen, fallback = read_with_gdal(self._layouts[request.source.href], request, self.sign)
        self._put(request, pixels, seen)
        return fallback

    def _put(self, request: ReadRequest, pixels: np.ndarray, seen: np.ndarray) -> None:
        """Paste `pixels` and `seen`, both (bands, rows, columns), into their channels."""
        source, layout = request.source, self._layouts[request.source.href]
        level = layout.level(source.level)
        chip = self.manifest.chips[request.chip]
        placement = self.manifest.grid.place(chip, layout.grid, (level.height, level.width))
        if placement is None or placement.source != request.window:
            raise FetchError(f"{source.href}: the manifest's window does not fit the file any more; compile it anew")
        if pixels.dtype.itemsize == 8 and pixels.dtype.kind in "iu" and (pixels[seen] > EXACT).any():
            raise LayoutError(f"{source.href} holds integers over 2^53, which no float holds; read it with rasterio")
        for channel, band, known in zip(source.channels, pixels, seen, strict=True):
            placement.paste(known, self._cube.valid[request.chip, channel])
            placement.paste(np.where(known, band, 0), self._cube.image[request.chip, channel])


def _shape(manifest: Manifest) -> tuple[int, int, int, int]:
    """(chips, channels, rows, columns) of what a manifest fills."""
    shapes = {(chip.height, chip.width) for chip in manifest.chips}
    if len(shapes) != 1:
        raise ManifestError(f"chips of {len(shapes)} sizes cannot be stacked; read them one by one")
    shape = (len(manifest.chips), len(manifest.channels), *shapes.pop())
    if math.prod(shape) > MAX_VALUES:
        raise ManifestError(f"{shape} chips, channels, rows and columns do not fit memory; plan and read them in parts")
    return shape

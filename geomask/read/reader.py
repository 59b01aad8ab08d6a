"""Fetch what a manifest says, decode it with GDAL, and say what it really cost."""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ManifestError
from ..fetch import fetch
from .arrivals import Arrivals
from .canvas import Canvas
from .cube import Cube
from .frame import value_type
from .headers import fetch_layouts
from .receipt import Receipt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..cog.index import HeaderIndex
    from ..fetch import Got, Want
    from ..plan.manifest import Manifest
    from ..signing import Sign
    from .kept import Kept


#: Pixels of all chips and channels together, 5 bytes each or more: beyond it a manifest is broken or hostile.
MAX_VALUES = 1 << 31


def read_manifest(
    manifest: Manifest,
    index: HeaderIndex | None = None,
    on_done: Callable[[], object] | None = None,
    *,
    sign: Sign | None = None,
    kept: Kept | None = None,
) -> tuple[Cube, Receipt]:
    """The pixels of all chips of a manifest, and the receipt.

    Where several sources fill a pixel, the first of them in the manifest that is valid there is shown. Chips must be of
    one size. Headers that are in `index` are not fetched again. `sign` signs hrefs; None: as those of the index were.
    What is in `kept` is not fetched again, nor in the receipt, and what comes is put there. `on_done` is called once
    for each file. Raises FetchError where bytes do not come, or a file changed since it was planned, LayoutError where
    a GeoTIFF tile does not decode, and ManifestError where files are containers of features.
    """
    kind = value_type(manifest)
    shape, start = _shape(manifest), time.perf_counter()
    sign = sign or (index.sign if index is not None else None)
    layouts, headers = fetch_layouts(manifest, index, sign)
    cube = Cube(manifest, np.zeros(shape, kind), np.zeros(shape, bool))
    canvas = Canvas(cube, layouts, sign, kept)
    arrivals = Arrivals(canvas)
    with _threads() as threads, _threads() as others:
        by_gdal = [others.submit(canvas.read_with_gdal, part) for part in canvas.foreign]
        runs, decoded = _fetch_runs(canvas, arrivals, threads, on_done)
        for job in decoded:
            job.result()
        fallbacks = tuple(job.result() for job in by_gdal)
    return cube, Receipt(
        planned_nbytes=arrivals.runs.nbytes + sum(trip.nbytes for trip in headers),
        planned_requests=len(arrivals.runs) + len(headers),
        headers=headers,
        runs=tuple(got.trip for got in runs),
        refetches=tuple(sorted(canvas.refetches, key=lambda trip: (trip.href, trip.offset))),
        fallbacks=fallbacks,
        seconds=time.perf_counter() - start,
    )


@contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """Threads that decode; GDAL does so outside the GIL. After an error what they have not begun is left undone."""
    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="geomask-decode") as threads:
        try:
            yield threads
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def _fetch_runs(
    canvas: Canvas, arrivals: Arrivals, threads: ThreadPoolExecutor, on_done: Callable[[], object] | None
) -> tuple[list[Got], list[Future[None]]]:
    """Fetch all runs; each part of a request is decoded as soon as the last run that it needs is there."""
    jobs = [threads.submit(canvas.paste, part) for part in arrivals.ready]  # all in the header, kept, or sparse
    left = Counter(want.href for want in arrivals.wants)

    def arrived(want: Want, got: Got) -> None:
        canvas.add(want, got)
        jobs.extend(threads.submit(canvas.paste, part) for part in arrivals.completed(want))
        left[want.href] -= 1
        if on_done and not left[want.href]:
            on_done()

    if on_done:
        for _ in range(len(canvas.manifest.files) - len(left)):
            on_done()
    return fetch(arrivals.wants, arrived, canvas.sign), jobs


def _shape(manifest: Manifest) -> tuple[int, int, int, int]:
    """(chips, channels, rows, columns) of what a manifest fills."""
    shapes = {(chip.height, chip.width) for chip in manifest.chips}
    if len(shapes) != 1:
        raise ManifestError(f"chips of {len(shapes)} sizes cannot be stacked; read them one by one")
    shape = (len(manifest.chips), len(manifest.channels), *shapes.pop())
    if math.prod(shape) > MAX_VALUES:
        raise ManifestError(f"{shape} chips, channels, rows and columns do not fit memory; plan and read them in parts")
    return shape

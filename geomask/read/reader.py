"""Fetch what a manifest says, decode it with GDAL, and say what it really cost."""

from __future__ import annotations

import math
import os
import time
from bisect import bisect_right
from collections import Counter, defaultdict
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ManifestError
from ..fetch import Want, fetch
from .canvas import Canvas, Part
from .cube import Cube
from .frame import value_type
from .headers import fetch_layouts
from .receipt import Receipt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..cog.index import HeaderIndex
    from ..fetch import Got
    from ..plan.manifest import Manifest
    from ..signing import Sign


#: Pixels of all chips and channels together, 5 bytes each or more: beyond it a manifest is broken or hostile.
MAX_VALUES = 1 << 31


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
    _check_places(manifest)
    sign = sign or (index.sign if index is not None else None)
    layouts, headers = fetch_layouts(manifest, index, sign)
    cube = Cube(manifest, np.zeros(shape, value_type(manifest)), np.zeros(shape, bool))
    canvas = Canvas(cube, layouts, sign)
    with _threads() as threads, _threads() as others:
        by_gdal = [others.submit(canvas.read_with_gdal, part) for part in canvas.foreign]
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
    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="geomask-decode") as threads:
        try:
            yield threads
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def _fetch_runs(
    canvas: Canvas, threads: ThreadPoolExecutor, on_done: Callable[[], object] | None
) -> tuple[list[Got], list[Future[None]]]:
    """Fetch all runs; each part of a request is decoded as soon as the last run that it needs is there."""
    hrefs, wants = list(canvas.manifest.files), []
    starts: dict[str, list[int]] = {href: [] for href in hrefs}
    for file, run in canvas.manifest.runs:
        source = canvas.manifest.files[hrefs[file]]
        wants.append(Want(source.href, run.offset, run.length, source.size, source.etag))
        starts[source.href].append(run.offset)
    waiting: dict[tuple[str, int], list[_Waiting]] = defaultdict(list)
    jobs: list[Future[None]] = []
    for part in canvas.parts:
        needs = {(part.href, run) for run in _runs_of(part, starts[part.href])}
        state = _Waiting(part, len(needs))
        for need in needs:
            waiting[need].append(state)
        if not needs:  # all in the header, or sparse
            jobs.append(threads.submit(canvas.paste, part))
    left = Counter(want.href for want in wants)

    def arrived(want: Want, got: Got) -> None:
        canvas.pieces[want.href].add(want.offset, got.data)
        for state in waiting.pop((want.href, want.offset), ()):
            state.left -= 1
            if not state.left:
                jobs.append(threads.submit(canvas.paste, state.part))
        left[want.href] -= 1
        if on_done and not left[want.href]:
            on_done()

    if on_done:
        for _ in range(len(hrefs) - len(left)):
            on_done()
    return fetch(wants, arrived, canvas.sign), jobs


@dataclass(slots=True)
class _Waiting:
    part: Part
    left: int
    """Runs that are still to come."""


def _runs_of(part: Part, starts: list[int]) -> set[int]:
    """First bytes of the runs that hold a part's ranges beyond the header."""
    head = part.request.source.header_nbytes
    beyond = (max(piece.offset, head) for piece in part.request.ranges if piece.stop > head)
    return {starts[bisect_right(starts, at) - 1] for at in beyond}


def _check_places(manifest: Manifest) -> None:
    """Raise ManifestError where two requests fill one channel of one chip: which of them shows would be chance."""
    requests = manifest.requests
    wide = max((len(source.channels) for source in requests.sources), default=0)
    table = np.full((len(requests.sources), wide), -1)
    for row, source in zip(table, requests.sources, strict=True):
        row[: len(source.channels)] = source.channels
    channels = table[requests.source]
    places = (requests.chip[:, None] * len(manifest.channels) + channels)[channels >= 0]
    found, times = np.unique(places, return_counts=True)
    if (times > 1).any():
        chip, channel = divmod(int(found[times > 1][0]), len(manifest.channels))
        raise ManifestError(
            f"two requests fill channel {'/'.join(manifest.channels[channel])} of chip {chip}; leave one"
        )


def _shape(manifest: Manifest) -> tuple[int, int, int, int]:
    """(chips, channels, rows, columns) of what a manifest fills."""
    shapes = {(chip.height, chip.width) for chip in manifest.chips}
    if len(shapes) != 1:
        raise ManifestError(f"chips of {len(shapes)} sizes cannot be stacked; read them one by one")
    shape = (len(manifest.chips), len(manifest.channels), *shapes.pop())
    if math.prod(shape) > MAX_VALUES:
        raise ManifestError(f"{shape} chips, channels, rows and columns do not fit memory; plan and read them in parts")
    return shape

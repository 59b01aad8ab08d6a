"""What a manifest must keep to, whoever wrote it: arrays and readers rely on it."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ManifestError
from ..window import MAX_SIZE
from .kinds import LIMIT, brief

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..grid import Window
    from .manifest import Manifest
    from .request import ReadRequest, Requests, Source
    from .tiles import Tiles

#: numpy's names of what a GeoTIFF stores.
DTYPE = re.compile(r"u?int(8|16|32|64)|float(16|32|64)")
#: In place of one: the file is a container of features (`geomask encode`), read whole.
LATENT = "latent"


class Sources:
    """Distinct sources in order of their first request, each checked when it comes first."""

    def __init__(self, channels: Sequence[tuple[str, str]]) -> None:
        self._channels = channels
        self._places: dict[Source, int] = {}
        self._files: dict[str, tuple[Any, ...]] = {}
        self._largest = 0

    def __iter__(self) -> Iterator[Source]:
        return iter(self._places)

    def place(self, source: Source) -> int:
        """Its position, in a new place where it is new. Raises ManifestError where it breaks a limit."""
        place = self._places.get(source)
        if place is None:
            self._check(source)
            place = self._places[source] = len(self._places)
        return place

    def _check(self, source: Source) -> None:
        _check_text(source)
        _check_bands(source, self._channels)
        _check_file(source)
        facts = (source.size, source.etag, source.header_nbytes, source.why)
        if self._files.setdefault(source.href, facts) != facts:
            raise ManifestError(f"the requests of {source.href} differ in the file's size, ETag, header or why")
        self._largest = max(self._largest, source.size)
        if len(self._files) * (self._largest + 1) >= 1 << 63:  # runs are found with all files end to end
            raise ManifestError(f"{len(self._files)} files of up to {self._largest} bytes reach over 2^63; plan fewer")


def _check_text(source: Source) -> None:
    texts = (source.item, source.collection, source.asset, source.href, source.slot, *source.bands, source.etag)
    try:
        "".join(text or "" for text in (*texts, source.why)).encode()
    except UnicodeEncodeError as error:
        raise ManifestError(f"the texts of item {brief(source.item)} are no Unicode: {error.reason}") from error
    if not source.href:
        raise ManifestError(f"item {source.item} has an empty href; a file has an address")


def _check_bands(source: Source, channels: Sequence[tuple[str, str]]) -> None:
    lists = (source.bands, source.channels, source.indexes, source.scales, source.offsets)
    counts = [len(values) for values in lists]
    if min(counts) < 1 or max(counts) > min(counts):
        raise ManifestError(
            f"bands, channels, indexes, scales and offsets of {source.href} have {counts} entries; "
            "each has one for every band, and there is at least one"
        )
    for channel, band in zip(source.channels, source.bands, strict=True):
        if not 0 <= channel < len(channels):
            raise ManifestError(f"{source.href} fills channel {channel} of {len(channels)}; they count from 0")
        if channels[channel] != (source.slot, band):
            wanted = "/".join(channels[channel])
            raise ManifestError(f"{source.href} fills channel {channel} with {source.slot}/{band}, which is {wanted}")
    if not 1 <= min(source.indexes) <= max(source.indexes) <= LIMIT:
        raise ManifestError(f"{source.href} has bands {list(source.indexes)}; they count from 1")
    if not all(map(math.isfinite, (*source.scales, *source.offsets))):
        raise ManifestError(f"{source.href} has a scale or an offset that is not finite")


def _check_file(source: Source) -> None:
    if source.dtype == LATENT:
        _check_container(source)
        return
    if source.level is not None and not 0 <= source.level <= LIMIT:
        raise ManifestError(f"level of {source.href} is {source.level}; overviews count from 0, null is full size")
    if not 0 <= source.header_nbytes <= source.size <= LIMIT or not (source.header_nbytes or source.why is not None):
        raise ManifestError(f"{source.href} of {source.size} bytes cannot have a header of {source.header_nbytes}")
    if not DTYPE.fullmatch(source.dtype):
        raise ManifestError(f"dtype of {source.href} is {brief(source.dtype)}; numpy has names such as uint16")


def _check_container(source: Source) -> None:
    if (source.level, source.header_nbytes, source.why) != (None, 0, None):
        raise ManifestError(
            f"{source.href} holds latents at level {source.level} behind a header of {source.header_nbytes}; a "
            "container has neither, and GDAL reads none"
        )
    if not 1 <= source.size <= LIMIT:
        raise ManifestError(f"{source.href} holds latents in {source.size} bytes; a container has some")


def check_scaling(scaling: Sequence[tuple[float, float]], channels: int) -> tuple[tuple[float, float], ...]:
    """The scaling of a manifest's channels, if it can be one. Raises ManifestError where it cannot."""
    if len(scaling) != channels:
        raise ManifestError(f"{channels} channels have {len(scaling)} pairs of scale and offset; each has one")
    for scale, offset in scaling:
        if not (math.isfinite(scale) and math.isfinite(offset)) or scale == 0:
            raise ManifestError(f"a channel has scale {scale} and offset {offset}; they are finite, the scale is not 0")
    return tuple(scaling)


def check_manifest(manifest: Manifest) -> None:
    """What cannot be read back is not written. Raises ManifestError as `check_requests` and `Sources` do."""
    check_scaling(manifest.scaling, len(manifest.channels))
    sources = Sources(manifest.channels)
    for source in manifest.requests.sources:
        sources.place(source)
    nbytes = request_nbytes(manifest.requests.tiles)
    check_requests(manifest.requests, nbytes, manifest.chips, lambda at: f"request {at}")


def check_requests(
    requests: Requests, nbytes: np.ndarray, chips: Sequence[Window], where: Callable[[int], str]
) -> None:
    """Raise ManifestError for the first request that breaks a limit; `where` says where it stands.

    `nbytes` is what each is said to take, int64 (requests,).
    """
    windows = requests.windows
    _refuse(
        (requests.chip < 0) | (requests.chip >= len(chips)),
        lambda at: f"{where(at)}: chip {requests.chip[at]} of {len(chips)}; they count from 0",
    )
    _refuse(
        (windows[:, :2] < 0).any(1) | (windows[:, 2:] < 1).any(1) | (windows > MAX_SIZE).any(1),
        lambda at: (
            f"{where(at)}: window {windows[at].tolist()} (row_off, col_off, height, width) "
            f"begins before 0, is empty, or reaches over {MAX_SIZE}"
        ),
    )
    for wrong in (~_ranges_fit(requests), nbytes != request_nbytes(requests.tiles)):
        _refuse(wrong, lambda at: f"{where(at)}: {_say_bytes(requests[at], int(nbytes[at]))}")
    whole = np.array([source.size if source.dtype == LATENT else -1 for source in requests.sources], np.int64)
    _refuse(
        _cut_up(requests, whole),
        lambda at: f"{where(at)}: a part of {requests[at].source.href}; a container of latents is read whole",
    )
    gdal = np.array([source.why is not None for source in requests.sources], bool)
    _refuse(
        gdal[requests.source] & (requests.tiles.counts > 0),
        lambda at: f"{where(at)}: GDAL reads {requests[at].source.href} ({requests[at].source.why}); no range does",
    )


def _refuse(wrong: np.ndarray, say: Callable[[int], str]) -> None:
    if wrong.any():
        raise ManifestError(say(int(np.argmax(wrong))))


def _ranges_fit(requests: Requests) -> np.ndarray:
    """Whether the ranges of each request lie in its file, bool (requests,)."""
    tiles, owners = requests.tiles, requests.tiles.owners
    sizes = np.array([source.size for source in requests.sources], np.int64)[requests.source]
    fit = (tiles.offsets >= 0) & (tiles.lengths > 0) & (tiles.lengths <= tiles.wholes)
    fit &= (tiles.wholes <= LIMIT) & (tiles.offsets <= sizes[owners] - np.minimum(tiles.wholes, LIMIT))
    all_fit: np.ndarray = np.bincount(owners[~fit], minlength=len(requests)) == 0
    return all_fit


def _cut_up(requests: Requests, whole: np.ndarray) -> np.ndarray:
    """Whether a request of a container asks for anything but all of it, bool (requests,).

    `whole`: bytes of each source that is a container, else -1, int64 (sources,).
    """
    tiles, wanted = requests.tiles, whole[requests.source]
    cut: np.ndarray = (wanted >= 0) & (tiles.counts != 1)
    owners = tiles.owners
    parts = (wanted[owners] >= 0) & ((tiles.offsets != 0) | (tiles.lengths != wanted[owners]))
    cut[owners[parts]] = True
    return cut


def _say_bytes(request: ReadRequest, nbytes: int) -> str:
    ranges = [[piece.offset, piece.length, whole] for piece, whole in zip(request.ranges, request.wholes, strict=True)]
    return (
        f"the bytes of {request.source.href} do not add up: {nbytes} in [offset, length, whole] {brief(ranges)} "
        f"of {request.source.size}"
    )


def request_nbytes(tiles: Tiles) -> np.ndarray:
    """Bytes of the ranges of each request, int64 (requests,)."""
    upto = np.concatenate([[0], np.cumsum(tiles.lengths)])
    nbytes: np.ndarray = upto[tiles.starts[1:]] - upto[tiles.starts[:-1]]
    return nbytes

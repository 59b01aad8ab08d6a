"""The plan of a read: requests with byte ranges, and totals that hold to the byte.

On disk it is JSON Lines (``*.geomask.jsonl``): the header, then one request a line.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ..atomic import atomic_path
from ..cog.index import header_requests
from ..cog.layout import ByteRange
from ..errors import GeomaskError, ManifestError
from ..grid import Grid
from .request import ReadRequest, parse_window, window_list

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

    from ..grid import Window

VERSION = 1

#: A COG writes each tile's length before it and its last bytes after it (GDAL's leader and trailer, 4 bytes each):
#: such a gap is always cheaper than a request.
LEADER_GAP = 8


@dataclass(frozen=True)
class Manifest:
    """What is read for some chips, and where on the grid it lands."""

    grid: Grid
    """The target grid."""
    chips: tuple[Window, ...]
    """Windows of the target grid."""
    channels: tuple[tuple[str, str], ...]
    """(slot, band) of each channel of the output, also of those that no item fills."""
    requests: tuple[ReadRequest, ...]
    selection: str
    """Digest of the selection that it was compiled from."""

    @cached_property
    def runs(self) -> dict[str, list[ByteRange]]:
        """What to fetch of each file beyond its header: every tile once, neighbours joined, in order."""
        tiles: dict[str, set[ByteRange]] = defaultdict(set)
        heads: dict[str, int] = {}
        for request in self.requests:
            tiles[request.href].update(request.ranges)
            heads[request.href] = request.header_nbytes
        return {href: join_ranges(ranges, heads[href]) for href, ranges in tiles.items()}

    @cached_property
    def headers(self) -> dict[str, int]:
        """Bytes of each file's header."""
        return {request.href: request.header_nbytes for request in self.requests}

    @property
    def header_nbytes(self) -> int:
        """Bytes of all headers, with the pixels that lie in them."""
        return sum(self.headers.values())

    @cached_property
    def gap_nbytes(self) -> int:
        """Bytes between joined tiles, fetched because that is cheaper than a request."""
        return sum(run.length for runs in self.runs.values() for run in runs) - self.tile_nbytes

    @cached_property
    def tile_nbytes(self) -> int:
        """Bytes of tiles beyond the headers; a tile that two requests share counts once."""
        tiles = {(request.href, piece, request.header_nbytes) for request in self.requests for piece in request.ranges}
        return sum(max(0, piece.stop - max(piece.offset, head)) for _, piece, head in tiles)

    @property
    def planned_nbytes(self) -> int:
        """Bytes of bodies on the wire: headers, tiles, gaps."""
        return self.header_nbytes + self.tile_nbytes + self.gap_nbytes

    @property
    def planned_requests(self) -> int:
        """Requests on the wire: for headers and for runs."""
        return sum(map(header_requests, self.headers.values())) + sum(map(len, self.runs.values()))

    @property
    def empty(self) -> list[tuple[str, str]]:
        """(slot, band) of the channels that no item fills: their pixels are not valid."""
        filled = {request.channel for request in self.requests}
        return [name for number, name in enumerate(self.channels) if number not in filled]

    def summary(self) -> str:
        """One line for people."""
        empty = f" ({len(self.empty)} empty)" if self.empty else ""
        return (
            f"{len(self.channels)} channels{empty} of {len(self.headers)} files, {len(self.chips)} chips: "
            f"{self.planned_requests} requests, {self.planned_nbytes:,} bytes "
            f"(headers {self.header_nbytes:,}, tiles {self.tile_nbytes:,}, gaps {self.gap_nbytes:,})"
        )

    def lines(self) -> Iterator[str]:
        """As JSON Lines, without line ends."""
        yield json.dumps(
            {
                "geomask": "manifest",
                "version": VERSION,
                "created_with": f"geomask {version('geomask')}",
                "selection": self.selection,
                "grid": asdict(self.grid),
                "chips": [window_list(chip) for chip in self.chips],
                "channels": self.channels,
            }
        )
        for request in self.requests:
            yield json.dumps(request.to_dict())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write ``*.geomask.jsonl``, whole or not at all."""
        with atomic_path(path) as draft, draft.open("w", encoding="utf-8") as file:
            file.writelines(line + "\n" for line in self.lines())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote. Raises ManifestError where it is broken, foreign or of another version."""
        try:
            with Path(path).open(encoding="utf-8") as file:
                return cls.parse(file)
        except OSError as error:
            raise ManifestError(f"cannot read the manifest {path}: {error.strerror}") from error
        except (ManifestError, UnicodeDecodeError) as error:
            raise ManifestError(f"{path}: {error}") from error

    @classmethod
    def parse(cls, lines: Iterable[str]) -> Self:
        """From JSON Lines. Raises ManifestError as `load` does, naming the line."""
        header, requests = None, []
        number = 0
        try:
            for line in lines:
                number += 1
                if header is None:
                    header = _parse_header(json.loads(line))
                elif line.strip():
                    requests.append(ReadRequest.from_dict(json.loads(line)))
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            reason = str(error) if isinstance(error, GeomaskError) else f"{type(error).__name__} {error}"
            raise ManifestError(f"line {number}: {reason}") from error
        if header is None:
            raise ManifestError("an empty file is no manifest")
        manifest = cls(**header, requests=tuple(requests))
        manifest._check_references()
        return manifest

    def _check_references(self) -> None:
        files: dict[str, tuple[int, str | None, int]] = {}
        for request in self.requests:
            file = (request.size, request.etag, request.header_nbytes)
            if files.setdefault(request.href, file) != file:
                raise ManifestError(f"the requests of {request.href} differ in the file's size, ETag or header")
            if not (0 <= request.channel < len(self.channels) and 0 <= request.chip < len(self.chips)):
                raise ManifestError(
                    f"a request of {request.item} is for a channel or chip that the header does not list"
                )


def join_ranges(ranges: Iterable[ByteRange], skip: int, gap: int = LEADER_GAP) -> list[ByteRange]:
    """Runs that cover `ranges` beyond the file's first `skip` bytes; two are joined over at most `gap` bytes."""
    runs: list[ByteRange] = []
    for piece in sorted(ranges):
        start, stop = max(piece.offset, skip), piece.stop
        if start >= stop:
            continue
        if runs and start <= runs[-1].stop + gap:
            start, stop = runs[-1].offset, max(runs[-1].stop, stop)
            runs.pop()
        runs.append(ByteRange(start, stop - start))
    return runs


def _parse_header(document: Any) -> dict[str, Any]:
    """The first line's part of a manifest. Raises ManifestError, KeyError, TypeError or GridError."""
    if not isinstance(document, dict) or document.get("geomask") != "manifest":
        raise ManifestError("this is no geomask manifest")
    if document.get("version") != VERSION:
        raise ManifestError(
            f"a manifest of version {document.get('version')}; this geomask reads version {VERSION}: compile it anew"
        )
    grid = Grid(**document["grid"])
    if not isinstance(grid.crs, str) or type(grid.height) is not int or type(grid.width) is not int:
        raise ManifestError(f"a grid has a CRS as text, and whole numbers of rows and columns, not {document['grid']}")
    for names in document["channels"]:
        if not isinstance(names, list) or [type(name) for name in names] != [str, str]:
            raise ManifestError(f"a channel is a slot and a band, not {names}")
    channels = tuple(map(tuple, document["channels"]))
    chips = tuple(map(parse_window, document["chips"]))
    return {"grid": grid, "chips": chips, "channels": channels, "selection": str(document["selection"])}

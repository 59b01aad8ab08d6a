"""A manifest as JSON Lines: the header, then one request a line."""

from __future__ import annotations

import json
from array import array
from functools import partial
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ManifestError
from ..signing import unsigned
from ..stac.profile import json_number
from .header import header_document, parse_header
from .kinds import LIMIT, brief, decode, each, finite, maybe, members, number, text, whole
from .limits import Sources, check_manifest, check_requests, request_nbytes
from .request import Requests, Source
from .tiles import Tiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ..grid import Window
    from .manifest import Manifest

#: Requests that are turned into Python's numbers at once.
BLOCK = 1 << 14

_FIRST = ("item", "collection", "asset", "href", "slot", "bands", "channels", "indexes", "level")
_OWN = ("chip", "window", "ranges", "nbytes")
_LAST = ("header_nbytes", "size", "etag", "dtype", "nodata", "scales", "offsets", "why")
_MEMBERS = (*_FIRST, *_OWN, *_LAST)
_NAMES = frozenset(_MEMBERS)


def manifest_lines(manifest: Manifest) -> Iterator[str]:
    """The lines, without line ends. Raises ManifestError for what `parse_lines` would not read."""
    check_manifest(manifest)
    yield dump_header(manifest)
    requests = manifest.requests
    texts = [_source_texts(source) for source in requests.sources]
    for start in range(0, len(requests), BLOCK):
        yield from _request_lines(requests, slice(start, start + BLOCK), texts)


def dump_header(manifest: Manifest) -> str:
    """The header in one line. Raises ManifestError where the search is nothing that JSON can say."""
    try:
        return json.dumps(header_document(manifest), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        if isinstance(error, ManifestError):
            raise
        raise ManifestError(f"the header is nothing that JSON can say: {error}") from error


def _source_texts(source: Source) -> tuple[str, str]:
    """What stands before and after a request's own members: the same for all requests of a source."""
    values: dict[str, Any] = {name: getattr(source, name) for name in (*_FIRST, *_LAST)}
    values["href"] = unsigned(source.href)
    values["nodata"] = None if source.nodata is None else json_number(float(source.nodata))
    values |= {name: list(map(float, values[name])) for name in ("scales", "offsets")}
    first, last = (json.dumps({name: values[name] for name in names}) for names in (_FIRST, _LAST))
    return first[:-1], last[1:]


def _request_lines(requests: Requests, rows: slice, texts: list[tuple[str, str]]) -> Iterator[str]:
    starts = requests.tiles.starts[rows.start : rows.stop + 1]
    pieces = slice(starts[0], starts[-1])
    tiles = Tiles(starts - starts[0], *(getattr(requests.tiles, name)[pieces] for name in _COLUMNS))
    ranges = np.stack([tiles.offsets, tiles.lengths, tiles.wholes], 1).tolist()
    columns = (requests.source, requests.chip, requests.windows)
    numbers = (column[rows].tolist() for column in columns)
    for source, chip, window, nbytes, (begin, end) in zip(
        *numbers, request_nbytes(tiles).tolist(), pairwise(tiles.starts.tolist()), strict=True
    ):
        first, last = texts[source]
        own = f'"chip": {chip}, "window": {window}, "ranges": {ranges[begin:end]}, "nbytes": {nbytes}'
        yield f"{first}, {own}, {last}"


_COLUMNS = ("offsets", "lengths", "wholes")


def parse_lines(lines: Iterable[str], item: str | None = None) -> dict[str, Any]:
    """The fields of a manifest, or of the requests of one item of it. Raises ManifestError, naming the line."""
    header, at = None, 0
    try:
        for at, line in enumerate(lines, 1):
            if header is None:
                header = parse_header(decode(line))
                columns = _Columns(header["channels"])
            elif line.strip():
                columns.add(at, decode(line), item)
    except UnicodeDecodeError as error:
        raise ManifestError(f"after line {at}: no text in UTF-8: {error.reason}") from error
    except ManifestError as error:
        raise ManifestError(f"line {at}: {error}") from error
    if header is None:
        raise ManifestError("an empty file is no manifest")
    return {**header, "requests": columns.requests(header["chips"])}


class _Columns:
    """Requests as they come, in numbers: a million take some 150 MB."""

    def __init__(self, channels: Sequence[tuple[str, str]]) -> None:
        self._sources = Sources(channels)
        self._known: dict[str, int] = {}
        self._lines, self._source, self._counts = array("q"), array("q"), array("q")
        self._own = array("q")  # chip, nbytes, and the window's four
        self._ranges = array("q")

    def add(self, line: int, document: Any, item: str | None) -> None:
        """The request of one line, if it is of that item."""
        if type(document) is not dict or document.keys() != _NAMES:
            members(document, _MEMBERS)  # says what is wrong
        if item is not None and document["item"] != item:
            return
        own = _own_numbers(*(document.pop(name) for name in _OWN))
        said = _said(document)  # equal for nearly all lines of a source, which then is parsed once
        place = self._known.get(said)
        if place is None:
            place = self._known[said] = self._sources.place(_parse_source(document))
        self._lines.append(line)
        self._source.append(place)
        self._counts.append(len(own) // 3 - 2)
        self._own.extend(own[:6])
        self._ranges.extend(own[6:])

    def requests(self, chips: Sequence[Window]) -> Requests:
        """All in columns, checked."""
        own = np.array(self._own, np.int64).reshape(-1, 6)
        starts = np.concatenate([[0], np.cumsum(np.array(self._counts, np.int64))])
        ranges = np.array(self._ranges, np.int64).reshape(-1, 3).T
        tiles = Tiles(starts, *np.ascontiguousarray(ranges))
        source, chip, windows = np.array(self._source, np.int64), own[:, 0].copy(), own[:, 2:].copy()
        requests = Requests(tuple(self._sources), source, chip, windows, tiles)
        check_requests(requests, own[:, 1], chips, lambda at: f"line {self._lines[at]}")
        return requests


def _own_numbers(chip: Any, window: Any, ranges: Any, nbytes: Any) -> list[int]:
    """Chip, bytes, the window's four numbers, and three for each range."""
    if type(window) is not list or len(window) != 4:
        raise ManifestError(f"window is {brief(window)}, not [row_off, col_off, height, width]")
    if type(ranges) is not list or any(type(piece) is not list or len(piece) != 3 for piece in ranges):
        raise ManifestError(f"ranges is {brief(ranges)}, no list of [offset, length, whole]")
    numbers = [chip, nbytes, *window, *chain.from_iterable(ranges)]
    if set(map(type, numbers)) != {int} or not -LIMIT <= min(numbers) <= max(numbers) <= LIMIT:
        for name, value in zip(("chip", "nbytes", *["window"] * 4, *["ranges"] * len(numbers)), numbers, strict=False):
            whole(name, value)  # one of them says what is wrong with it
    return numbers


def _said(document: dict[str, Any]) -> str:
    try:
        return repr(document)
    except (RecursionError, ValueError) as error:  # ValueError: a number of thousands of digits
        raise ManifestError(f"a value that cannot be: {error}") from error


def _parse_source(document: dict[str, Any]) -> Source:
    return Source(**{name: kind(name, document[name]) for name, kind in _KINDS.items()})


def _href(name: str, value: Any) -> str:
    return unsigned(text(name, value))


#: What the members of a source have to hold.
_KINDS: dict[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(("item", "asset", "slot", "dtype"), text),
    **dict.fromkeys(("collection", "etag", "why"), partial(maybe, text)),
    **dict.fromkeys(("header_nbytes", "size"), whole),
    **dict.fromkeys(("channels", "indexes"), partial(each, whole)),
    **dict.fromkeys(("scales", "offsets"), partial(each, finite)),
    "bands": partial(each, text),
    "href": _href,
    "level": partial(maybe, whole),
    "nodata": partial(maybe, number),
}

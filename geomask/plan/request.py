"""One read: a window of a band of a file, and the bytes that hold it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

from ..cog.layout import ByteRange
from ..errors import ManifestError
from ..grid import Window
from ..stac.profile import json_number, parse_number


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """One window of one band of one file, for one channel of one chip."""

    item: str
    """The item's id."""
    collection: str | None
    asset: str
    href: str
    slot: str
    """Name of the channel's slot."""
    band: str
    """Name of the channel's band."""
    channel: int
    """Position in the manifest's channels, 0-based."""
    chip: int
    """Position in the manifest's chips, 0-based."""
    index: int
    """The band's number in the file, 1-based."""
    level: int | None
    """Version: None is full resolution, 0 the first overview."""
    window: Window
    """Of the level's pixels."""
    ranges: tuple[ByteRange, ...]
    """The GeoTIFF tiles of the window, in order of tile row, then column."""
    header_nbytes: int
    """First bytes of the file, which are fetched before its pixels; what lies in them is not fetched again."""
    size: int
    """Bytes of the whole file."""
    etag: str | None
    dtype: str
    nodata: float | None
    scale: float
    offset: float

    @property
    def nbytes(self) -> int:
        """Bytes of the window's tiles, alone and whole."""
        return sum(piece.length for piece in self.ranges)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, with `nbytes`."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        ranges = [[piece.offset, piece.length] for piece in self.ranges]
        values |= {"window": window_list(self.window), "ranges": ranges, "nodata": json_number(self.nodata)}
        return {**values, "nbytes": self.nbytes}

    @classmethod
    def from_dict(cls, document: Any) -> Self:
        """What `to_dict` made. Raises ManifestError, KeyError, TypeError or ValueError for anything else."""
        values = dict(document)
        nbytes = values.pop("nbytes")
        for name, kinds in _KINDS.items():
            if type(values[name]) not in kinds:
                raise ManifestError(f"{name} is {values[name]!r}")
        ranges = tuple(ByteRange(*_whole(piece)) for piece in values["ranges"])
        values |= {"window": parse_window(values["window"]), "ranges": ranges, "nodata": parse_number(values["nodata"])}
        request = cls(**values)
        inside = all(piece.offset >= 0 and piece.length > 0 and piece.stop <= request.size for piece in ranges)
        if not inside or nbytes != request.nbytes or not 0 < request.header_nbytes <= request.size:
            raise ManifestError(f"the bytes of {request.href} do not add up: {nbytes} in {ranges} of {request.size}")
        return request


def window_list(window: Window) -> list[int]:
    """As JSON has it."""
    return [window.row_off, window.col_off, window.height, window.width]


def parse_window(document: Any) -> Window:
    """What `window_list` made. Raises ManifestError, TypeError or GridError for anything else."""
    return Window(*_whole(document))


def _whole(values: Any) -> list[int]:
    if not isinstance(values, list) or any(type(value) is not int for value in values):
        raise ManifestError(f"{values!r} are not whole numbers")
    return values


#: What JSON has to hold; windows, ranges and nodata are parsed.
_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("item", "asset", "href", "slot", "band", "dtype"), (str,)),
    **dict.fromkeys(("collection", "etag"), (str, type(None))),
    **dict.fromkeys(("channel", "chip", "index", "header_nbytes", "size"), (int,)),
    **dict.fromkeys(("scale", "offset"), (int, float)),
    "level": (int, type(None)),
}

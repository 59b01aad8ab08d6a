"""A TIFF of a few tiles: what GDAL needs to decode them, and nothing else of the file.

The tags of the level are copied as they stand (compression, predictor, nodata, ...); only the image's size and place
and the tile tables are new. Tiles of other rows and columns do not exist in it, so it is as small as what was fetched.
Written as BigTIFF in the source's byte order ("The BigTIFF File Format", Aware Systems; TIFF 6.0, section 2).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ..grid import Window
from .layout import PLACE_TAGS
from .level import ByteRange, Tag
from .prefix import shorter_tile

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from .layout import Layout
    from .level import Level

#: Geokeys, their doubles and their text (GeoTIFF 1.1, section 7.1). Left out: pixels need no CRS, and for one GDAL
#: opens PROJ's database, in each thread anew, which takes longer than to decode.
CRS_TAGS = frozenset({34735, 34736, 34737})

LONG, DOUBLE, LONG8 = 4, 12, 16
WIDTH, HEIGHT, TILE_LENGTH, TILE_OFFSETS, TILE_COUNTS, PIXEL_SCALE, TIE_POINT = 256, 257, 323, 324, 325, 33550, 33922


def cut_tiff(
    layout: Layout,
    level: Level,
    planes: Collection[int],
    window: Window,
    tile: Callable[[ByteRange], bytes],
    rows: int | None = None,
) -> tuple[bytes, int, int]:
    """A TIFF that holds the tiles of `window` of a level or a mask, and the (row, column) of the window in it.

    `tile` gives the bytes of a tile. In a band-interleaved file only `planes` (0-based) are filled; the others read as
    nodata. With `rows` the window lies in the first so many rows of one row of tiles, and `tile` gives what
    `first_rows` makes of a prefix.
    """
    tile_rows, tile_cols = level.tiles(window)
    top, left = tile_rows.start * level.tile_height, tile_cols.start * level.tile_width
    tile_height = level.tile_height if rows is None else shorter_tile(rows)
    height = rows or min(tile_rows.stop * level.tile_height, level.height) - top
    width = min(tile_cols.stop * level.tile_width, level.width) - left
    offsets, lengths = level.offsets[:, tile_rows, tile_cols], level.lengths[:, tile_rows, tile_cols].copy()
    lengths[[plane for plane in range(len(lengths)) if plane not in planes]] = 0
    data = [
        tile(ByteRange(offset, length)) if length else b""
        for offset, length in zip(offsets.ravel().tolist(), lengths.ravel().tolist(), strict=True)
    ]
    order = layout.byteorder
    place = layout.grid.resized(level.height, level.width).crop(Window(top, left, height, width))
    tags = [
        # the place of the whole file would be wrong here, and overviews have none
        *(tag for tag in level.tags if tag.code not in PLACE_TAGS | CRS_TAGS and tag.code != TILE_LENGTH),
        _number(WIDTH, LONG, order, width),
        _number(HEIGHT, LONG, order, height),
        _number(TILE_LENGTH, LONG, order, tile_height),
        _number(PIXEL_SCALE, DOUBLE, order, place.res_x, place.res_y, 0.0),
        _number(TIE_POINT, DOUBLE, order, 0.0, 0.0, 0.0, place.left, place.top, 0.0),
    ]
    return _write(tags, data, order), window.row_off - top, window.col_off - left


def _number(code: int, dtype: int, order: str, *values: float) -> Tag:
    letter = {LONG: "I", DOUBLE: "d", LONG8: "Q"}[dtype]
    return Tag(code, dtype, len(values), struct.pack(f"{order}{len(values)}{letter}", *values))


def _write(tags: list[Tag], tiles: list[bytes], order: str) -> bytes:
    """Header, one IFD, long values, then the tiles."""
    lengths = _number(TILE_COUNTS, LONG8, order, *map(len, tiles))
    ifd_at, entries = 16, len(tags) + 2
    values_at = ifd_at + 8 + 20 * entries + 8
    long_values = sum(len(tag.value) for tag in [*tags, lengths] if len(tag.value) > 8)
    table_at = values_at + long_values
    first_tile = table_at + (8 * len(tiles) if len(tiles) > 1 else 0)
    places, position = [], first_tile
    for tile in tiles:
        places.append(position if tile else 0)  # 0, 0: a sparse tile
        position += len(tile)
    offsets = _number(TILE_OFFSETS, LONG8, order, *places)
    entry_bytes, value_bytes = [], []
    for tag in sorted([*tags, lengths, offsets], key=lambda tag: tag.code):
        if len(tag.value) > 8:
            place = struct.pack(f"{order}Q", values_at)
            value_bytes.append(tag.value)
            values_at += len(tag.value)
        else:
            place = tag.value.ljust(8, b"\0")
        entry_bytes.append(struct.pack(f"{order}HHQ", tag.code, tag.dtype, tag.count) + place)
    mark = b"II" if order == "<" else b"MM"
    head = mark + struct.pack(f"{order}HHHQQ", 43, 8, 0, ifd_at, entries)
    return b"".join([head, *entry_bytes, struct.pack(f"{order}Q", 0), *value_bytes, *tiles])

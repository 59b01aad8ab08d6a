"""The pages of a TIFF, as the levels and masks of one image. tifffile finds their tags.

GDAL writes a page for each: the image, its overviews, and the masks of both; they say which they are in their
NewSubfileType (TIFF 6.0, section 8).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ..errors import LayoutError
from .level import Level, Tag
from .partial import PartialFile, TruncatedHeaderError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tifffile import TiffFile, TiffPage, TiffTag

# Bits of NewSubfileType; any other, or none of them on a page that is not the first, means an image of its own.
REDUCED, MASK = 1, 4
PLANAR_SEPARATE = 2

# What tifffile stumbles over is raised here as one error; unless somebody listens, its own lines need not go to stderr.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

#: Tags that say where pixels lie and how many there are, or that point to other pages: a cut-out of a few tiles sets
#: the first anew and must not copy the others. 254 kind of page, 256 and 257 size, 273 and 279 strips, 324 and 325
#: tiles, 330 sub-pages, 34665 and 34853 EXIF.
RESET_TAGS = frozenset({254, 256, 257, 273, 279, 324, 325, 330, 34665, 34853})

#: Compressions that GDAL decodes tile by tile from a cut-out: none, LZW, JPEG, DEFLATE (two numbers), PackBits, LERC,
#: LZMA, ZSTD, WebP.
COMPRESSIONS = frozenset({1, 5, 7, 8, 32946, 32773, 34887, 34925, 50000, 50001})
_NAMES = {
    2: "CCITT",
    3: "CCITT",
    4: "CCITT",
    6: "old-style JPEG",
    34712: "JPEG 2000",
    50002: "JPEG XL",
    52546: "JPEG XL",
}


@dataclass(frozen=True, slots=True)
class Pages:
    """One image of a TIFF."""

    levels: tuple[Level, ...]
    """Full resolution first, then the overviews as GDAL counts them."""
    byteorder: str
    """``<`` or ``>``."""
    why: str | None
    """Why no cut-out of a few tiles can be made of it; None where one can."""
    end: int
    """One past the last byte that was needed to tell."""


def parse_pages(href: str, header: bytes, size: int) -> Pages:
    """The levels of the file of `size` bytes that begins with `header`.

    Raises TruncatedHeaderError where more bytes are needed, and LayoutError where it is no TIFF, or a broken one.
    """
    import tifffile

    source = PartialFile(header, size)
    try:
        with tifffile.TiffFile(source) as tiff:  # type: ignore[arg-type]  # duck-typed file
            found = _sorted_pages(tiff, source)
    except Exception as error:  # whatever a broken file makes of a parser, it is a broken file
        if source.missing:
            raise TruncatedHeaderError(source.missing) from error
        raise LayoutError(f"{href} is no readable TIFF: {error}") from error
    if source.missing:
        raise TruncatedHeaderError(source.missing)
    return found


def with_masks(levels: Sequence[Level]) -> list[Level]:
    """The levels and their masks."""
    return [*levels, *(level.mask for level in levels if level.mask)]


def check_tables(href: str, levels: Sequence[Level], size: int) -> None:
    """Raise LayoutError where a tile table points out of the file: say so before anything is fetched."""
    for level in with_masks(levels):
        offsets, lengths = level.offsets, level.lengths
        outside = (offsets < 0) | (lengths < 0) | (lengths > size) | (offsets > size - np.minimum(lengths, size))
        if outside.any():
            stop = int(offsets[outside][0]) + int(lengths[outside][0])
            raise LayoutError(f"{href} is cut short: a tile ends at byte {stop} of a file of {size} bytes")


def _sorted_pages(tiff: TiffFile, source: PartialFile) -> Pages:
    """The first page is the image; the others are its overviews, their masks, or images of their own."""
    first, *others = _walk(tiff)
    _check_last(tiff, source)
    images, masks, more = [first], [], 0
    for page in others:
        kind = int(page.subfiletype)
        if kind & MASK:
            masks.append(page)
        elif kind & REDUCED:
            images.append(page)
        else:
            more += 1
    mask_of = {(mask.height, mask.width): mask for mask in (_level(page, source) for page in masks)}
    levels = [_level(page, source) for page in images]
    levels = [replace(level, mask=mask_of.get((level.height, level.width))) for level in levels]
    tiled = all(page.is_tiled for page in (*images, *masks))
    return Pages(tuple(levels), tiff.byteorder, _why(levels, tiled, more), source.reach)


def _walk(tiff: TiffFile) -> Iterator[TiffPage]:
    for page in tiff.pages:
        yield page.aspage()
    for page in tiff.pages.first.pages or ():  # sub-pages: GDAL takes them for overviews too
        yield page.aspage()


def _check_last(tiff: TiffFile, source: PartialFile) -> None:
    """tifffile passes over a page that would lie beyond the end: a file cut there would be one without overviews."""
    pages = tiff.pages
    if any(source.piece(pages.next_page_offset or 0, tiff.tiff.offsetsize)):
        raise ValueError(f"it is cut short: after page {len(pages)} there is another, which the file does not hold")


def _why(levels: Sequence[Level], tiled: bool, more: int) -> str | None:
    if more:
        return f"it holds {1 + more} images"
    if not tiled:
        return "it is stored in strips, not tiles"
    for level in with_masks(levels):
        if level.compression not in COMPRESSIONS:
            name = _NAMES.get(level.compression, "an unknown method")
            return f"it is compressed with {name} (TIFF compression {level.compression})"
    return None


#: Most tags of a file are those of its neighbours: one object serves all.
_shared_tag = lru_cache(maxsize=1 << 14)(Tag)


def _tag(tag: TiffTag, source: PartialFile) -> Tag:
    make = _shared_tag if tag.valuebytecount < 1 << 10 else Tag
    return make(tag.code, int(tag.dtype), tag.count, source.piece(tag.valueoffset, tag.valuebytecount))


def _level(page: TiffPage, source: PartialFile) -> Level:
    height, width = page.imagelength, page.imagewidth
    tile_height, tile_width = (
        (page.tilelength, page.tilewidth) if page.is_tiled else (min(page.rowsperstrip, height), width)
    )
    planes = page.samplesperpixel if page.planarconfig == PLANAR_SEPARATE else 1
    shape = (planes, -(-height // tile_height), -(-width // tile_width))
    offsets, lengths = (np.asarray(table, np.int64).reshape(shape) for table in (page.dataoffsets, page.databytecounts))
    tags = tuple(_tag(tag, source) for tag in page.tags if tag.code not in RESET_TAGS)
    return Level(
        height,
        width,
        tile_height,
        tile_width,
        offsets,
        lengths,
        tags=tags,
        compression=int(page.compression),
        row_nbytes=_row_nbytes(page, tile_width),
    )


def _row_nbytes(page: TiffPage, tile_width: int) -> int:
    """GDAL packs samples of odd widths (NBITS) without regard to bytes; a row still begins with a new one."""
    bits = page.bitspersample
    depth = int(bits[0]) if isinstance(bits, tuple) else int(bits)
    samples = 1 if page.planarconfig == PLANAR_SEPARATE else page.samplesperpixel
    return -(-tile_width * samples * depth // 8)

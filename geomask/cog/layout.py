"""The header facts of one GeoTIFF: which bytes hold which pixels.

tifffile finds the tags and GDAL (through rasterio) says what they mean on the ground, both from the first bytes of the
file alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import GridError, LayoutError
from ..grid import Grid, Window, crs_text
from .partial import PartialFile, TruncatedHeaderError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tifffile import TiffPage

#: Stop growing here: the largest headers of real archives have 4-5 MB, and a hostile one may claim anything.
MAX_HEADER = 32 << 20

REDUCED_IFD = 1  # bit of NewSubfileType (TIFF 6.0, section 8); any other means a mask or a page
PLANAR_SEPARATE = 2


@dataclass(frozen=True, slots=True, order=True)
class ByteRange:
    """A run of bytes in a file."""

    offset: int
    """First byte, 0-based."""
    length: int
    """Bytes."""

    @property
    def stop(self) -> int:
        """One past the last byte."""
        return self.offset + self.length


@dataclass(frozen=True, slots=True)
class Tag:
    """A TIFF tag as it stands in the file, to be copied."""

    code: int
    dtype: int
    count: int
    value: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """One resolution of a file: full size or an overview."""

    height: int
    """Rows."""
    width: int
    """Columns."""
    tile_height: int
    """Rows of a GeoTIFF tile."""
    tile_width: int
    """Columns of a GeoTIFF tile."""
    offsets: np.ndarray
    """First byte of each tile, int64 (planes, tile rows, tile columns); planes is 1 where bands are interleaved."""
    lengths: np.ndarray
    """Bytes of each tile, same shape; 0 where the file holds no such tile (sparse: nodata)."""
    tags: tuple[Tag, ...] = field(repr=False, default=())
    """All tags of the level but its sizes and tile tables."""

    def tiles(self, window: Window) -> tuple[slice, slice]:
        """Tile rows and tile columns that hold `window`. Raises GridError where it reaches over the level."""
        if not window.within(self.height, self.width):
            raise GridError(f"{window} reaches over the level of {self.height} x {self.width} pixels")
        rows = slice(window.row_off // self.tile_height, -(-window.row_stop // self.tile_height))
        cols = slice(window.col_off // self.tile_width, -(-window.col_stop // self.tile_width))
        return rows, cols

    def ranges(self, index: int, window: Window) -> Iterator[ByteRange]:
        """The bytes of the tiles that hold `window` of band `index` (1-based); sparse tiles have none."""
        rows, cols = self.tiles(window)
        plane = min(index - 1, len(self.offsets) - 1)
        offsets, lengths = self.offsets[plane, rows, cols], self.lengths[plane, rows, cols]
        for offset, length in zip(offsets.flat, lengths.flat, strict=True):
            if length:
                yield ByteRange(int(offset), int(length))


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """One GeoTIFF, by its header."""

    href: str
    """Where the file is."""
    size: int
    """Bytes of the whole file."""
    etag: str | None
    """The server's name for this version of the file."""
    header: bytes = field(repr=False)
    """The first bytes of the file, at least up to the end of the last tag; pixels may lie in them too."""
    levels: tuple[Level, ...]
    """Full resolution first, then the overviews as rasterio counts them."""
    grid: Grid
    """Of the full resolution."""
    count: int
    """Bands."""
    dtype: str
    """numpy's name of the pixel type."""
    nodata: float | None
    byteorder: str
    """``<`` or ``>``."""

    @property
    def interleaved(self) -> bool:
        """Whether all bands of a pixel lie in one tile, so that leaving one band out saves nothing."""
        return self.count > 1 and len(self.levels[0].offsets) == 1

    def level(self, version: int | None) -> Level:
        """The level of a version: None is full size, 0 the first overview. Raises LayoutError if there is none."""
        if version is None:
            return self.levels[0]
        if not 0 <= version < len(self.levels) - 1:
            raise LayoutError(f"{self.href} has {len(self.levels) - 1} overviews, no level {version}")
        return self.levels[version + 1]

    def level_grid(self, version: int | None) -> Grid:
        """The grid of a version's pixels: its real size over the file's extent."""
        level = self.level(version)
        return self.grid.resized(level.height, level.width)


def parse_layout(href: str, header: bytes, size: int, etag: str | None = None) -> Layout:
    """The layout of the file whose first bytes are `header`.

    Raises TruncatedHeaderError where more bytes are needed and LayoutError where the file is no tiled GeoTIFF, is
    broken, or carries a mask of its own (not supported: it would be passed off as data).
    """
    import tifffile

    source = PartialFile(header, size)
    try:
        with tifffile.TiffFile(source) as tiff:  # type: ignore[arg-type]  # duck-typed file
            pages = [page.aspage() for page in tiff.pages]
            _check_kinds(href, [int(page.subfiletype) for page in pages])
            levels = tuple(_level(page, source, href) for page in pages)
            byteorder = tiff.byteorder
    except LayoutError:
        raise
    except Exception as error:  # whatever a broken file makes of a parser, it is a broken file
        if source.missing:
            raise TruncatedHeaderError(source.missing) from error
        raise LayoutError(f"{href} is no readable TIFF: {error}") from error
    if source.missing:
        raise TruncatedHeaderError(source.missing)
    _check_tables(href, levels, size)
    if not PLACE_TAGS.intersection(tag.code for tag in levels[0].tags):
        raise LayoutError(f"{href} does not say where it lies: it has no transform")
    return Layout(href, size, etag, header, levels, byteorder=byteorder, **_meaning(href, header))


#: Tags that a cut-out of a few tiles sets anew: sizes, tile tables, and the sub-IFD kind.
RESET_TAGS = frozenset({254, 256, 257, 324, 325})
#: Pixel scale, tie points, transformation (GeoTIFF 1.1, section 7.3).
PLACE_TAGS = frozenset({33550, 33922, 34264})


def _level(page: TiffPage, source: PartialFile, href: str) -> Level:
    if not page.is_tiled:
        raise LayoutError(f"{href} is stored in strips, not tiles; rewrite it with GDAL's COG driver")
    planes = page.samplesperpixel if page.planarconfig == PLANAR_SEPARATE else 1
    rows, cols = -(-page.imagelength // page.tilelength), -(-page.imagewidth // page.tilewidth)
    shape = (planes, rows, cols)
    offsets, lengths = (np.asarray(table, np.int64).reshape(shape) for table in (page.dataoffsets, page.databytecounts))
    tags = tuple(
        Tag(tag.code, int(tag.dtype), tag.count, source.piece(tag.valueoffset, tag.valuebytecount))
        for tag in page.tags
        if tag.code not in RESET_TAGS
    )
    return Level(page.imagelength, page.imagewidth, page.tilelength, page.tilewidth, offsets, lengths, tags)


def _check_kinds(href: str, kinds: list[int]) -> None:
    """One image, then its overviews: GDAL reads other pages as masks or as images of their own."""
    if not kinds:
        raise LayoutError(f"{href} holds no image")
    if any(kind & ~REDUCED_IFD for kind in kinds):
        raise LayoutError(f"{href} carries an internal mask, which is not supported; write its nodata value")
    if not all(kind & REDUCED_IFD for kind in kinds[1:]):
        raise LayoutError(f"{href} holds several images, which is not supported; write each to a file of its own")


def _check_tables(href: str, levels: tuple[Level, ...], size: int) -> None:
    """A tile table that points out of the file is a broken or hostile header: say so before anything is fetched."""
    for level in levels:
        stops = level.offsets + level.lengths
        if (level.offsets < 0).any() or (level.lengths < 0).any() or (stops > size).any():
            raise LayoutError(f"{href} is cut short: a tile ends at byte {int(stops.max())} of a file of {size} bytes")


def _meaning(href: str, header: bytes) -> dict[str, Any]:
    """What GDAL makes of the header: grid, type, nodata."""
    from rasterio.enums import MaskFlags
    from rasterio.errors import RasterioError
    from rasterio.io import MemoryFile

    try:
        with MemoryFile(header) as file, file.open() as dataset:
            crs = dataset.crs
            if crs is None:
                raise LayoutError(f"{href} names no CRS; assign one with `rio edit-info --crs`")
            if any(MaskFlags.alpha in flags for flags in dataset.mask_flag_enums):
                raise LayoutError(f"{href} masks pixels by an alpha band, which is not supported; write a nodata value")
            if dataset.dtypes[0].startswith("complex"):
                raise LayoutError(f"{href} has complex pixels, which is not supported; write their parts as bands")
            grid = Grid.from_transform(crs_text(crs), tuple(dataset.transform), dataset.height, dataset.width)
            return {"grid": grid, "count": dataset.count, "dtype": dataset.dtypes[0], "nodata": dataset.nodata}
    except RasterioError as error:
        raise LayoutError(f"{href} is no GeoTIFF that GDAL opens: {error}") from error
    except GridError as error:
        raise LayoutError(f"{href}: {error}") from error

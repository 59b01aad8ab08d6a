"""The header facts of one file: which bytes hold which pixels, and what these mean.

tifffile finds the tags and GDAL (through rasterio) says what they mean on the ground, both from the first bytes of the
file alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import LayoutError
from ..grid import Grid
from .level import Level
from .meaning import header_meaning
from .pages import check_tables, parse_pages

#: Stop growing here: the largest headers of real archives have 4-5 MB, and a hostile one may claim anything.
MAX_HEADER = 32 << 20

#: Pixel scale, tie points, transformation (GeoTIFF 1.1, section 7.3).
PLACE_TAGS = frozenset({33550, 33922, 34264})

#: A pixel that is larger than asked for by less than this share is as large: catalogs round what they say.
SAME_RES = 1e-2


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """One file, by its header."""

    href: str
    """Where the file is, without what signs it."""
    size: int
    """Bytes of the whole file."""
    etag: str | None
    """The server's name for this version of the file."""
    modified: str | None
    """When it was last changed, ISO 8601; None where the server does not say."""
    header: bytes = field(repr=False)
    """The first bytes of the file, at least `header_end` of them; pixels may lie in them too."""
    header_end: int
    """One past the last byte that the tags need: ``header[:header_end]`` alone parses to an equal layout."""
    levels: tuple[Level, ...]
    """Full resolution first, then the overviews as rasterio counts them."""
    grid: Grid
    """Of the full resolution."""
    count: int
    """Bands."""
    dtype: str
    """numpy's name of the pixel type."""
    nodata: float | None
    alpha: int | None
    """The band (1-based) that says which pixels are valid, None where there is none."""
    scales: tuple[float, ...]
    """Of each band, as the file says: value = scale * pixel + offset. 1 where it says nothing."""
    offsets: tuple[float, ...]
    """Of each band; 0 where the file says nothing."""
    byteorder: str
    """``<`` or ``>``."""
    why: str | None = None
    """Why GDAL has to read it, such as "it is stored in strips, not tiles"; None: tiles can be cut out of it."""
    sidecar: bytes | None = field(repr=False, default=None)
    """Header of the ``.ovr`` file that holds the overviews; None where they lie in the file, or nobody looked."""

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

    def version_for(self, res_y: float, res_x: float) -> int | None:
        """The coarsest version whose pixels are no larger than these, in units of the CRS.

        None, full resolution, also where its own are larger.
        """
        found, coarsest = None, 0.0
        for version in range(len(self.levels) - 1):
            grid = self.level_grid(version)
            fits = grid.res_y <= res_y * (1 + SAME_RES) and grid.res_x <= res_x * (1 + SAME_RES)
            if fits and grid.res_y * grid.res_x > coarsest:
                found, coarsest = version, grid.res_y * grid.res_x
        return found


def parse_layout(href: str, header: bytes, size: int, etag: str | None = None, modified: str | None = None) -> Layout:
    """The layout of the file whose first bytes are `header`.

    Raises TruncatedHeaderError where more bytes are needed and LayoutError where the file is no GeoTIFF, is broken or
    cut short, rotated, without CRS or transform, or has complex pixels.
    """
    pages = parse_pages(href, header, size)
    check_tables(href, pages.levels, size)
    if not PLACE_TAGS.intersection(tag.code for tag in pages.levels[0].tags):
        raise LayoutError(f"{href} does not say where it lies: it has no transform")
    return Layout(
        href=href,
        size=size,
        etag=etag,
        modified=modified,
        header=header,
        header_end=pages.end,
        levels=pages.levels,
        byteorder=pages.byteorder,
        why=pages.why,
        **header_meaning(href, header, pages),
    )

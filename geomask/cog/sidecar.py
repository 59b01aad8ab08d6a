"""Overviews in a file of their own: ``.ovr`` beside the file, as ``gdaladdo -ro`` leaves them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .level import Level, no_tables
from .pages import parse_pages

if TYPE_CHECKING:
    from .layout import Layout

_WHY = "its overviews are in a file of their own (.ovr)"


def sidecar_href(href: str) -> str:
    """Where a file's overviews are if they are not inside."""
    parts = urlsplit(href)
    return parts._replace(path=f"{parts.path}.ovr").geturl() if len(parts.scheme) > 1 else f"{href}.ovr"


def with_sidecar(layout: Layout, header: bytes, size: int | None = None) -> Layout:
    """`layout` with the overviews of an ``.ovr`` file of `size` bytes that begins with `header`.

    `size` is None for a header that was checked before. Their tiles lie in that file, so these levels have no tables.
    Raises TruncatedHeaderError and LayoutError as `parse_pages` does.
    """
    pages = parse_pages(sidecar_href(layout.href), header, len(header) if size is None else size)
    levels = tuple(
        Level(level.height, level.width, level.tile_height, level.tile_width, no_tables(), no_tables())
        for level in pages.levels
    )
    why = layout.why or _WHY
    if not why.endswith(_WHY):
        why = f"{why}, and {_WHY}"
    return replace(layout, levels=(layout.levels[0], *levels), why=why, sidecar=header[: pages.end])

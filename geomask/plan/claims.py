"""What an item says of a file, held against the file's header: where they differ, the header is right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..crs import same_crs
from ..errors import GridError
from ..grid import ALIGNED

if TYPE_CHECKING:
    from pystac import Item

    from ..cog.layout import Layout
    from ..grid import Grid

#: Characters of what an item says that a message repeats.
MOST = 200


def contradictions(item: Item, asset: str, layout: Layout) -> list[str]:
    """A sentence for each field of the projection extension that the header of the asset's file does not bear out.

    An asset's own fields go before those of its item (projection extension 2.0, "Item Properties or Asset Fields").
    """
    fields = item.assets[asset].extra_fields
    grid = layout.grid
    shape = fields.get("proj:shape", item.properties.get("proj:shape"))
    transform = fields.get("proj:transform", item.properties.get("proj:transform"))
    crs = next((text for text in map(_crs, (fields, item.properties)) if text), None)
    said: list[tuple[str, Any, Any]] = []
    if shape is not None and shape != [grid.height, grid.width]:
        said.append(("proj:shape", shape, [grid.height, grid.width]))
    if transform is not None and not _same_transform(transform, grid):
        said.append(("proj:transform", transform, list(grid.transform)))
    if crs is not None and not _same_crs(crs, grid.crs):
        said.append(("proj:code", crs, grid.crs[:60]))
    return [
        f"item {item.id}, asset {asset}: {name} is {str(wrong)[:MOST]} where the header of {layout.href} says {right}; "
        "the header is taken at its word"
        for name, wrong, right in said
    ]


def _crs(fields: dict[str, Any]) -> str | None:
    """``proj:code`` (version 2), else ``proj:epsg`` (version 1)."""
    code, epsg = fields.get("proj:code"), fields.get("proj:epsg")
    if isinstance(code, str):
        return code
    return f"EPSG:{epsg}" if isinstance(epsg, int) else None


def _same_transform(transform: Any, grid: Grid) -> bool:
    """Whether the corners lie less apart than `ALIGNED` pixels."""
    try:
        a, b, c, d, e, f, *_ = (float(number) for number in transform)
    except (TypeError, ValueError, OverflowError):
        return False
    far = abs(a - grid.res_x) * grid.width + abs(c - grid.left), abs(e + grid.res_y) * grid.height + abs(f - grid.top)
    return not (b or d) and far[0] < ALIGNED * grid.res_x and far[1] < ALIGNED * grid.res_y


def _same_crs(one: str, other: str) -> bool:
    try:
        return same_crs(one, other)
    except GridError:
        return False

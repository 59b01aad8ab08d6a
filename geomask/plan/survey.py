"""What has to be known before a plan: where items lie, their headers, and the grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .coverage import Coverage
from .sources import choose_grid, index_selection
from .tiles import window_array

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pystac import Item

    from ..cog.index import HeaderIndex
    from ..grid import Grid
    from ..selection import Selection
    from ..signing import Sign


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """All that `compile_manifest` asks for beside the selection."""

    coverage: Coverage
    index: HeaderIndex
    """Of every file that fills a pixel of the grid."""
    grid: Grid


def survey(
    selection: Selection,
    items: Iterable[Item],
    on_done: Callable[[], object] | None = None,
    *,
    grid: Grid | None = None,
    kept: HeaderIndex | None = None,
    sign: Sign | None = None,
) -> Survey:
    """Fetch the headers that `kept` lacks of the files that fill `grid`, or without one that of the finest file.

    Raises as `index_selection` and `choose_grid` do.
    """
    items, first = list(items), None
    if grid is None:
        first = kept = index_selection(selection, items, on_done, kept=kept, sign=sign)
        grid = choose_grid(selection, items, first)
    coverage, windows = Coverage.of(selection, items, grid), window_array([grid.window])
    found = index_selection(selection, coverage, on_done, kept=kept, sign=sign, windows=windows)
    return Survey(coverage, first.join(found) if first else found, grid)

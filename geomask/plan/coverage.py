"""Which items fill which chips of a slot.

A slot is a mosaic: its items are taken in the order of the selection's rule until their footprints cover a chip, and
each pixel shows the first of them that is valid there. What adds nothing to a chip is not read for it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import numpy as np
import shapely

from ..crs import is_geographic, transform
from ..errors import GridError, ItemError
from ..stac.footprint import LONLAT, footprints, named_crs
from ..stac.slots import rank_items

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pystac import Item

    from ..grid import Grid
    from ..selection import Selection
    from ..stac.band import Band

#: What is left of a chip when less than this share of its area is not covered: corners are rounded.
NOTHING = 1e-6

#: Footprints are simplified: a file may have pixels as far outside of it as this share of its longer side.
MARGIN = 5e-3

#: Half the side of a square that holds everything, in any CRS: where an item lies that does not say so.
ANYWHERE = 1e12


@dataclass(frozen=True, slots=True)
class Fill:
    """An item that fills some chips of a slot."""

    slot: int
    """Position in the selection's slots."""
    item: Item
    chips: np.ndarray
    """Positions of the windows that it fills, int64, ascending."""


@dataclass(frozen=True, slots=True, eq=False)
class Coverage:
    """The items of every slot, best first, and where they lie. Made once, it answers for any chip."""

    items: tuple[Item, ...]
    """By slot, then rank."""
    slots: np.ndarray
    """The slot of each, int64 (items,)."""
    shapes: np.ndarray
    """The footprint of each on the grid's CRS, or on that of most items; empty where the item does not say."""
    grid: Grid | None
    """What windows count on; None: there are no windows, only the whole of all footprints."""
    _tree: shapely.STRtree
    _having: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(cls, selection: Selection, items: Iterable[Item] | Coverage, grid: Grid | None = None) -> Coverage:
        """Of the items that may fill the selection's slots; a coverage of the same grid is taken as it is."""
        if isinstance(items, Coverage):
            return items if items.grid == grid else cls._of(items.items, items.slots, grid)
        ranks = rank_items(selection.slots, items, selection.rule.mosaic)
        slots = np.repeat(np.arange(len(ranks)), [len(rank) for rank in ranks])
        return cls._of(tuple(item for rank in ranks for item in rank), slots, grid)

    @classmethod
    def _of(cls, items: tuple[Item, ...], slots: np.ndarray, grid: Grid | None) -> Self:
        distinct = {id(item): item for item in items}  # an item may be in several slots
        places = {key: place for place, key in enumerate(distinct)}
        crs = grid.crs if grid else _usual_crs(distinct.values())
        shapes = footprints(list(distinct.values()), crs, _longitude(grid))
        shapes = shapes[[places[id(item)] for item in items]] if items else shapes
        shapely.prepare(shapes)
        return cls(items, slots, shapes, grid, shapely.STRtree(_boxes_around(shapes)))

    def fill(self, asset: str, windows: np.ndarray | None = None) -> list[Fill]:
        """What fills an asset of each slot, by slot, then rank; an item without the asset gives way to the next.

        `windows` are chips on the grid, int64 (chips, 4), each row as `Window` has it; None: all that there is, as one.
        """
        chips, at = self._candidates(windows)
        kept = self._have(asset)[at]
        chips, at = chips[kept], at[kept]
        boxes = self._whole() if windows is None else self._boxes(windows)
        fills = []
        for slot in np.unique(self.slots[at]).tolist():
            here = self.slots[at] == slot
            fills += self._fill_slot(slot, chips[here], at[here], boxes)
        return fills

    def check(self, bands: Iterable[Band]) -> None:
        """Raise ItemError for a band that no item has; where some have it, the others give way to them."""
        for band in bands:
            if self.items and not self._have(band.asset).any():
                assets = ", ".join(sorted(self.items[0].assets))
                raise ItemError(
                    f"no item has the asset {band.asset} of band {band.name}; item {self.items[0].id} has {assets}"
                )

    def _fill_slot(self, slot: int, chips: np.ndarray, at: np.ndarray, boxes: np.ndarray) -> list[Fill]:
        """Of pairs (chip, item position), sorted, those that are needed, by item."""
        first = np.ones(len(chips), bool)
        first[1:] = chips[1:] != chips[:-1]
        alone = first & np.append(first[1:], True)
        done = alone | (first & shapely.covers(self.shapes[at], boxes[chips]))
        taken: dict[int, list[int]] = defaultdict(list)
        for item, chip in zip(at[done].tolist(), chips[done].tolist(), strict=True):
            taken[item].append(chip)
        open_chips = np.setdiff1d(chips, chips[done])
        starts, stops = (np.searchsorted(chips, open_chips, side) for side in ("left", "right"))
        for chip, start, stop in zip(open_chips.tolist(), starts.tolist(), stops.tolist(), strict=True):
            for item in self._needed(boxes[chip], at[start:stop].tolist()):
                taken[item].append(chip)
        return [Fill(slot, self.items[item], np.sort(np.array(taken[item], np.int64))) for item in sorted(taken)]

    def _needed(self, box: shapely.Geometry, candidates: list[int]) -> list[int]:
        """Those of the candidates, best first, that add to what is covered of a box."""
        left, taken = box, list[int]()
        # of the whole, whatever can be needed for a window
        least = (NOTHING if self.grid else NOTHING**2) * _area(box)
        for item in candidates:
            if _area(left) > least and _area(shapely.intersection(left, self.shapes[item])) > least:
                left = shapely.difference(left, self.shapes[item])
                taken.append(item)
        if _area(left) <= least:
            return taken
        # Nearer to an edge than a footprint is exact: what none covers may be in the file of one after all.
        for item in taken:
            left = shapely.difference(left, self._wider(item))
        for item in candidates:
            wider = self._wider(item)
            if item not in taken and _area(shapely.intersection(left, wider)) > least:
                left = shapely.difference(left, wider)
                taken.append(item)
        return sorted(taken)

    def _wider(self, item: int) -> shapely.Geometry:
        """The footprint with its margin; everything for an item that does not say where it lies."""
        shape = self.shapes[item]
        if shapely.is_empty(shape):
            return shapely.box(-ANYWHERE, -ANYWHERE, ANYWHERE, ANYWHERE)
        west, south, east, north = shapely.bounds(shape)
        wider: shapely.Geometry = shapely.buffer(shape, MARGIN * max(east - west, north - south), join_style="mitre")
        return wider

    def _candidates(self, windows: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Pairs (chip, item position) that may meet, sorted."""
        if windows is None:
            return np.zeros(len(self.items), np.int64), np.arange(len(self.items))
        chips, at = self._tree.query(self._boxes(windows))
        order = np.lexsort((at, chips))
        return chips[order], at[order]

    def _boxes(self, windows: np.ndarray) -> np.ndarray:
        if self.grid is None:
            raise GridError("a coverage without a grid has no windows; give it one")
        row, col, height, width = windows.T
        left, top = self.grid.left + col * self.grid.res_x, self.grid.top - row * self.grid.res_y
        return np.asarray(shapely.box(left, top - height * self.grid.res_y, left + width * self.grid.res_x, top))

    def _whole(self) -> np.ndarray:
        """Everything that a footprint covers, as the one chip that there is."""
        whole = shapely.union_all(self.shapes)
        return np.array([whole if _area(whole) else shapely.box(-1, -1, 1, 1)])

    def _have(self, asset: str) -> np.ndarray:
        """Whether each item has the asset, bool (items,)."""
        if asset not in self._having:
            self._having[asset] = np.array([asset in item.assets for item in self.items], bool)
        return self._having[asset]


def _boxes_around(shapes: np.ndarray) -> np.ndarray:
    bounds = shapely.bounds(shapes).reshape(-1, 4)
    margin = MARGIN * np.maximum(bounds[:, 2] - bounds[:, 0], bounds[:, 3] - bounds[:, 1])
    low, high = bounds[:, :2] - margin[:, None], bounds[:, 2:] + margin[:, None]
    return np.asarray(shapely.box(*np.nan_to_num(low, nan=-ANYWHERE).T, *np.nan_to_num(high, nan=ANYWHERE).T))


def _usual_crs(items: Iterable[Item]) -> str:
    """The CRS that most items name (``proj:code``, ``proj:epsg``); degrees where none does."""
    named = Counter(crs for crs in map(named_crs, items) if crs is not None)
    return min(named, key=lambda crs: (-named[crs], crs), default=LONLAT)


def _area(shape: shapely.Geometry) -> float:
    return float(shapely.area(shape))


def _longitude(grid: Grid | None) -> float | None:
    """Of the middle of the grid: footprints are put into its turn around the Earth."""
    if grid is None:
        return None
    x, y = grid.left + grid.width / 2 * grid.res_x, grid.top - grid.height / 2 * grid.res_y
    return x if is_geographic(grid.crs) else float(transform(grid.crs, LONLAT, np.array([x]), np.array([y]))[0][0])

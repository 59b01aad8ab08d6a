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

from ..crs import is_crs, is_geographic, transform
from ..errors import GridError, ItemError
from ..stac.footprint import LONLAT, footprints, named_crs
from ..stac.slots import rank_items

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pystac import Item

    from ..grid import Grid
    from ..selection import Selection
    from ..stac.band import Band
    from ..stac.slot import Slot

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
    place: int
    """Position in the coverage's items: the lower one is shown where two are valid."""
    item: Item
    chips: np.ndarray
    """Positions of the windows that it fills, int64, ascending."""


@dataclass(frozen=True, slots=True, eq=False)
class Coverage:
    """The items of every slot, best first, and where they lie. Made once, it answers for any chip."""

    items: tuple[Item, ...]
    """By slot, then rank; of each slot those last that do not say where they lie."""
    slots: np.ndarray
    """The slot of each, int64 (items,)."""
    shapes: np.ndarray
    """The footprint of each on the grid's CRS, or on that of most items; empty where the item does not say."""
    grid: Grid | None
    """What windows count on; None: there are no windows, only the whole of all footprints."""
    order: tuple[tuple[Slot, ...], str]
    """The selection's slots, and its rule by which items fill them."""
    _tree: shapely.STRtree
    _having: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(cls, selection: Selection, items: Iterable[Item] | Coverage, grid: Grid | None = None) -> Coverage:
        """Of the items that may fill the selection's slots; a coverage of the same grid is taken as it is.

        Raises ItemError for a coverage of other slots, or of another rule to fill them.
        """
        order = selection.slots, selection.rule.mosaic
        if isinstance(items, Coverage):
            if items.order != order:
                raise ItemError("the coverage is of other slots than the selection's; make one of the items again")
            return items if items.grid == grid else cls._of(items.items, items.slots, grid, order)
        ranks = rank_items(selection.slots, items, selection.rule.mosaic)
        slots = np.repeat(np.arange(len(ranks)), [len(rank) for rank in ranks])
        return cls._of(tuple(item for rank in ranks for item in rank), slots, grid, order)

    @classmethod
    def _of(
        cls, items: tuple[Item, ...], slots: np.ndarray, grid: Grid | None, order: tuple[tuple[Slot, ...], str]
    ) -> Self:
        distinct = {id(item): item for item in items}  # an item may be in several slots
        places = {key: place for place, key in enumerate(distinct)}
        crs = grid.crs if grid else _usual_crs(distinct.values())
        shapes = footprints(list(distinct.values()), crs, _longitude(grid))
        shapes = shapes[[places[id(item)] for item in items]] if items else shapes
        at = np.lexsort((shapely.is_empty(shapes), slots))
        items, slots, shapes = tuple(items[place] for place in at), slots[at], shapes[at]
        shapely.prepare(shapes)
        return cls(items, slots, shapes, grid, order, shapely.STRtree(_boxes_around(shapes)))

    def fill(self, asset: str, windows: np.ndarray | None = None) -> list[Fill]:
        """What fills an asset of each slot, by slot, then rank; an item without the asset gives way to the next.

        `windows` are chips on the grid, int64 (chips, 4), each row as `Window` has it. None: whatever any window can
        need, as one chip.
        """
        if windows is None:
            return self._fill_all(np.flatnonzero(self._have(asset)))
        chips, at = self._candidates(windows)
        kept = self._have(asset)[at]
        chips, at = chips[kept], at[kept]
        boxes, fills = self._boxes(windows), list[Fill]()
        for slot in np.unique(self.slots[at]).tolist():
            here = self.slots[at] == slot
            fills += self._fill_slot(slot, chips[here], at[here], boxes)
        return fills

    def fills(self, assets: Iterable[str], windows: np.ndarray | None = None) -> dict[str, list[Fill]]:
        """`fill` of several assets: found once for those that the same items have, as nearly all are."""
        shared: dict[bytes, list[Fill]] = {}
        found = {}
        for asset in assets:
            having = self._have(asset).tobytes()
            if having not in shared:
                shared[having] = self.fill(asset, windows)
            found[asset] = shared[having]
        return found

    def best(self, slot: int, asset: str) -> Item | None:
        """The item of a slot that comes first of those with an asset."""
        first, stop = np.searchsorted(self.slots, (slot, slot + 1)).tolist()
        having = self._have(asset)[first:stop]
        return self.items[first + int(having.argmax())] if having.any() else None

    def check(self, bands: Iterable[Band]) -> None:
        """Raise ItemError for a band that no item has; where some have it, the others give way to them."""
        for band in bands:
            if self.items and not self._have(band.asset).any():
                assets = ", ".join(sorted(self.items[0].assets))
                raise ItemError(
                    f"no item has the asset {band.asset} of band {band.name}; item {self.items[0].id} has {assets}"
                )

    def _fill_all(self, at: np.ndarray) -> list[Fill]:
        """Of item positions, ascending, all but those that better ones hide, with and without their margins."""
        unknown = shapely.is_empty(self.shapes[at])
        needed, known = set(at[unknown].tolist()), at[~unknown]
        for shapes in (self.shapes[known], _wider(self.shapes[known])):
            for slot in np.unique(self.slots[known]).tolist():
                here = self.slots[known] == slot
                whole = shapely.union_all(shapes[here])
                candidates = dict(zip(known[here].tolist(), shapes[here], strict=True))
                needed.update(_adding(whole, candidates, NOTHING**2 * _area(whole))[0])
        return [Fill(int(self.slots[at]), at, self.items[at], np.zeros(1, np.int64)) for at in sorted(needed)]

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
        return [Fill(slot, at, self.items[at], np.sort(np.array(taken[at], np.int64))) for at in sorted(taken)]

    def _needed(self, box: shapely.Geometry, candidates: list[int]) -> list[int]:
        """Those of the candidates, best first, that add to what is covered of a box."""
        least, unknown = NOTHING * _area(box), [item for item in candidates if shapely.is_empty(self.shapes[item])]
        known = candidates[: len(candidates) - len(unknown)]
        taken, left = _adding(box, {item: self.shapes[item] for item in known}, least)
        if _area(left) <= least:
            return taken
        # Nearer to an edge than a footprint is exact: what none covers may be in the file of one after all.
        left = shapely.difference(left, shapely.union_all(_wider(self.shapes[taken])))
        others = [item for item in known if item not in taken]
        beside, _ = _adding(left, dict(zip(others, _wider(self.shapes[others]), strict=True)), least)
        # Nobody knows what items without a footprint cover: none of them hides another.
        return sorted(taken + beside + unknown)

    def _candidates(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pairs (chip, item position) that may meet, sorted."""
        chips, at = self._tree.query(self._boxes(windows))
        order = np.lexsort((at, chips))
        return chips[order], at[order]

    def _boxes(self, windows: np.ndarray) -> np.ndarray:
        if self.grid is None:
            raise GridError("a coverage without a grid has no windows; give it one")
        row, col, height, width = windows.T
        left, top = self.grid.left + col * self.grid.res_x, self.grid.top - row * self.grid.res_y
        return np.asarray(shapely.box(left, top - height * self.grid.res_y, left + width * self.grid.res_x, top))

    def _have(self, asset: str) -> np.ndarray:
        """Whether each item has the asset, bool (items,)."""
        if asset not in self._having:
            self._having[asset] = np.array([asset in item.assets for item in self.items], bool)
        return self._having[asset]


def _adding(
    left: shapely.Geometry, shapes: Mapping[int, shapely.Geometry], least: float
) -> tuple[list[int], shapely.Geometry]:
    """Those of `shapes`, in their order, that cover over `least` of what those before leave, and what all leave."""
    taken = []
    for item, shape in shapes.items():
        if _area(left) > least and _area(shapely.intersection(left, shape)) > least:
            left = shapely.difference(left, shape)
            taken.append(item)
    return taken, left


def _margins(shapes: np.ndarray) -> np.ndarray:
    bounds = shapely.bounds(shapes).reshape(-1, 4)
    margins: np.ndarray = MARGIN * np.maximum(bounds[:, 2] - bounds[:, 0], bounds[:, 3] - bounds[:, 1])
    return margins


def _wider(shapes: np.ndarray) -> np.ndarray:
    """Footprints with their margins."""
    return np.asarray(shapely.buffer(shapes, _margins(shapes), join_style="mitre"), object)


def _boxes_around(shapes: np.ndarray) -> np.ndarray:
    bounds, margin = shapely.bounds(shapes).reshape(-1, 4), _margins(shapes)
    low, high = bounds[:, :2] - margin[:, None], bounds[:, 2:] + margin[:, None]
    return np.asarray(shapely.box(*np.nan_to_num(low, nan=-ANYWHERE).T, *np.nan_to_num(high, nan=ANYWHERE).T))


def _usual_crs(items: Iterable[Item]) -> str:
    """The CRS that most items name (``proj:code``, ``proj:epsg``); degrees where none does, or PROJ knows none."""
    named = Counter(crs for crs in map(named_crs, items) if crs is not None)
    return next((crs for crs in sorted(named, key=lambda crs: (-named[crs], crs)) if is_crs(crs)), LONLAT)


def _area(shape: shapely.Geometry) -> float:
    return float(shapely.area(shape))


def _longitude(grid: Grid | None) -> float | None:
    """Of the middle of the grid: footprints are put into its turn around the Earth."""
    if grid is None:
        return None
    x, y = grid.left + grid.width / 2 * grid.res_x, grid.top - grid.height / 2 * grid.res_y
    return x if is_geographic(grid.crs) else float(transform(grid.crs, LONLAT, np.array([x]), np.array([y]))[0][0])

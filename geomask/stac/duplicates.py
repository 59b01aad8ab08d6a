"""Items that show one acquisition twice, because it was processed again."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from .acquisition import item_box, item_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pystac import Item

#: Instants that differ by no more are one: Sentinel-2's milliseconds change with the processing.
SAME_TIME = timedelta(seconds=1)

#: Share of the union of two bounding boxes that both hold, from which on they are one place. What two ground stations
#: received of one Sentinel-2 tile has one name and one instant, and lies in two boxes: those are no duplicates.
SAME_PLACE = 0.9

type _Cell = tuple[int, int]
type _Box = tuple[float, float, float, float]

#: Properties that name the tile of a grid; the first ones of which an item has all count.
TILE_FIELDS = (
    ("grid:code",),
    ("s2:mgrs_tile",),
    ("mgrs:utm_zone", "mgrs:latitude_band", "mgrs:grid_square"),
    ("sentinel:utm_zone", "sentinel:latitude_band", "sentinel:grid_square"),
    ("landsat:wrs_path", "landsat:wrs_row"),
    ("odc:region_code",),
)

#: Properties with the version of the processing, and with its time; the first of each that an item has counts.
VERSION_FIELDS = ("s2:processing_baseline", "processing:version", "odc:dataset_version", "version")
TIME_FIELDS = ("processing:datetime", "s2:generation_time", "landsat:product_generated", "odc:processing_datetime")


def drop_duplicates(items: Iterable[Item]) -> list[Item]:
    """The items, in their order, without those of which a later processing is there too.

    Two items show one acquisition if they have the same collection, platform, CRS, tile and instant (`SAME_TIME`), and
    their boxes agree (`SAME_PLACE`). The later processing is that of the higher version, then of the later time of
    processing, of update, of creation, then the last by id. An item stays if the later one lacks one of its assets.
    """
    items = list(items)
    groups: dict[tuple[str, ...], list[tuple[datetime, int]]] = {}
    for number, item in enumerate(items):
        groups.setdefault(_group(item), []).append((item_time(item), number))
    dropped: set[int] = set()
    for group in groups.values():
        for run in _runs(sorted(group)):
            dropped |= _older(items, run)
    return [item for number, item in enumerate(items) if number not in dropped]


def _group(item: Item) -> tuple[str, ...]:
    """What duplicates have in common to the letter. Tiles of two UTM zones may show the same ground: CRSs differ."""
    properties = item.properties
    crs = properties.get("proj:code") or properties.get("proj:epsg")
    return item.collection_id or "", str(properties.get("platform")).lower(), str(crs), _tile(item)


def _tile(item: Item) -> str:
    """The tile's name, empty where it has none."""
    for fields in TILE_FIELDS:
        parts = [item.properties.get(field) for field in fields]
        if None not in parts:
            return "/".join(map(str, parts))
    return ""


def _runs(group: Sequence[tuple[datetime, int]]) -> Iterable[list[int]]:
    """Those of two and more that follow each other closely; `group` is in order of time."""
    run = [group[0][1]]
    for (before, _), (instant, number) in pairwise(group):
        if instant - before > SAME_TIME:
            if len(run) > 1:
                yield run
            run = []
        run.append(number)
    if len(run) > 1:
        yield run


def _older(items: Sequence[Item], run: Sequence[int]) -> set[int]:
    """Of a run, those that a later one replaces."""
    beside = _pairs(items, run)
    kept: set[int] = set()
    dropped: set[int] = set()
    for number in sorted(sorted(beside), key=lambda number: _processing(items[number]), reverse=True):
        later = (items[other] for other in beside[number] & kept)
        replaced = any(item.assets.keys() >= items[number].assets.keys() for item in later)
        (dropped if replaced else kept).add(number)
    return dropped


def _pairs(items: Sequence[Item], run: Sequence[int]) -> dict[int, set[int]]:
    """Those of a run that lie in one place with another, each with the others: thousands may share an instant."""
    boxes = {number: item_box(items[number]) for number in run}
    cells: dict[_Cell | None, list[int]] = {}
    pairs: dict[int, set[int]] = {}
    for number, box in boxes.items():
        cell = _cell(box)
        near = list(cells) if cell is None else [None, *_around(cell)]
        for other in (other for place in near for other in cells.get(place, ())):
            if _same_box(box, boxes[other]) if box and boxes[other] else _same_name(items[number], items[other]):
                pairs.setdefault(number, set()).add(other)
                pairs.setdefault(other, set()).add(number)
        cells.setdefault(cell, []).append(number)
    return pairs


def _cell(box: _Box | None) -> _Cell | None:
    """The degree of longitude and latitude in which the middle of a box lies.

    None where there is no box, or one so wide that `SAME_PLACE` lets middles be farther apart than a degree.
    """
    if box is None or max(box[2:]) > 5:
        return None
    west, south, width, height = box
    return math.floor(west + width / 2) % 360, math.floor(south + height / 2)


def _around(cell: _Cell) -> list[_Cell]:
    """A cell and those that touch it, around the globe."""
    return [((cell[0] + right) % 360, cell[1] + up) for right in (-1, 0, 1) for up in (-1, 0, 1)]


def _same_name(one: Item, other: Item) -> bool:
    """Whether two items of one group, of which one has no box, lie in one place: by tile or id."""
    return one.id == other.id or bool(_tile(one))


def _same_box(one: _Box | None, other: _Box | None) -> bool:
    """Whether two boxes (west, south, width, height) agree by `SAME_PLACE`."""
    if one is None or other is None:
        return False
    (west, south, width, height), (left, bottom, wide, high) = one, other
    shift = (left - west + 180) % 360 - 180  # the shorter way around the globe
    across = min(width, shift + wide) - max(0.0, shift)
    along = min(south + height, bottom + high) - max(south, bottom)
    common = max(0.0, across) * max(0.0, along)
    union = width * height + wide * high - common
    return common >= SAME_PLACE * union if union else (shift, south) == (0, bottom)


def _processing(item: Item) -> tuple[Any, ...]:
    """What orders the processings of one acquisition, the latest last; the hrefs, so that their order never matters."""
    properties = item.properties
    version = next((str(properties[field]) for field in VERSION_FIELDS if properties.get(field) is not None), "")
    processed = next((properties[field] for field in TIME_FIELDS if properties.get(field) is not None), None)
    times = (_seconds(value) for value in (processed, properties.get("updated"), properties.get("created")))
    numbers = tuple(int(part) for part in re.findall(r"[0-9]{1,18}", version))
    return numbers, *times, item.id, sorted(asset.href for asset in item.assets.values())


def _seconds(value: Any) -> float:
    """An instant as JSON has it, or pystac; before all others where it is none."""
    try:
        instant = datetime.fromisoformat(str(value))
        return (instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant).timestamp()
    except (ValueError, OverflowError):
        return -math.inf

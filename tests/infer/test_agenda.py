"""Which tiles there are, in which order, and from which items; and what they will take."""

from pathlib import Path

import items as stac
import maps
import numpy as np
import pystac
import pytest
import shapely
from shapely.geometry import mapping

from geomask.crs import transform
from geomask.grid import Grid, Window
from geomask.infer import draft, estimate
from geomask.infer.agenda import Agenda, find_tiles, whole_chips
from geomask.infer.draft import Wish
from geomask.infer.field import Field
from geomask.infer.job import Job
from geomask.infer.outbox import Outbox
from geomask.infer.run import _decide
from geomask.infer.tiling import Tiling
from geomask.plan.coverage import Coverage
from geomask.plan.sources import find_files
from geomask.plan.tiles import window_array
from geomask.selection import Selection
from geomask.stac.profile import Band
from geomask.stac.slots import make_slots

GRID = Grid("EPSG:32633", 500_000, 5_000_000, 10, 10, 90, 130)


def square(item: pystac.Item, left: int, top: int, side: int) -> pystac.Item:
    """The item with a footprint of some pixels of `GRID`."""
    bounds = GRID.bounds_of(Window(top, left, side, side))
    corners = np.array(shapely.box(*bounds).exterior.coords)
    lon, lat = transform(GRID.crs, "EPSG:4326", corners[:, 0], corners[:, 1])
    ring = np.stack([lon, lat], 1).tolist()
    item.geometry = {"type": "Polygon", "coordinates": [ring]}
    item.bbox = [lon.min(), lat.min(), lon.max(), lat.max()]
    return item


@pytest.fixture
def items(tmp_path: Path) -> list[pystac.Item]:
    """Two months of items on squares that overlap; nothing lies to the far right."""
    found = stac.write_items(tmp_path, dates=6, bands=("B02", "B03"), height=8, width=8)
    places = [(0, 0, 60), (30, 20, 60), (10, 40, 50), (0, 0, 90), (50, 10, 40), (5, 5, 20)]
    for number, (item, place) in enumerate(zip(found, places, strict=True)):
        square(item, *place)
        item.properties["eo:cloud_cover"] = 10.0 * number
    return found


def job(items: list[pystac.Item], **changes: object) -> Job:
    selection = Selection.dense(make_slots(items), [Band("B02", "B02", 10), Band("B03", "B03", 10)]).keep([0, 3])
    return Job("a", selection, None, Tiling(GRID, 32, 16, 2), "eager", "", "", **changes)  # type: ignore[arg-type]


def test_a_tile_is_made_from_the_items_that_fill_it_and_no_others(items: list[pystac.Item]) -> None:
    one = job(items)
    agenda, coverage = Agenda(one, items), Coverage.of(one.selection, items, GRID)
    found = {errand.tile: [item.id for item in errand.items] for errand in agenda.errands(set())}
    assert sorted(found) == list(range(15))
    for number, names in found.items():
        window = window_array([one.tiling.tile(number).window])
        want = {file.item.id for file in find_files(one.selection, coverage, window)}
        assert set(names) == want
        assert len(names) == len(want)
    assert found[4] == []  # the far right


def test_neighbours_come_together_and_what_is_done_is_left_out(items: list[pystac.Item]) -> None:
    agenda = Agenda(job(items), items)
    assert agenda.tiles[:6] == [0, 1, 5, 6, 2, 3]
    assert [errand.tile for errand in agenda.errands({0, 5, 14})] == [
        tile for tile in agenda.tiles if tile not in (0, 5, 14)
    ]


def test_an_area_leaves_out_the_tiles_that_it_does_not_meet(items: list[pystac.Item]) -> None:
    left, _, _, top = GRID.bounds
    corner = shapely.box(left, top - 320, left + 320, top)  # the first tile, to its very edge
    assert find_tiles(job(items, area=mapping(corner))) == [0]
    assert find_tiles(job(items, area=mapping(shapely.box(0, 0, 1, 1)))) == []


def test_windows_of_whole_chips() -> None:
    assert whole_chips(Window(5, 9, 20, 20), None) == Window(5, 9, 20, 20)
    assert whole_chips(Window(5, 9, 20, 20), (8, 10)) == Window(0, 0, 32, 30)
    assert whole_chips(Window(16, 20, 8, 10), (8, 10)) == Window(16, 20, 8, 10)


def test_of_many_tiles_some_in_squares_are_planned_and_the_rest_is_reckoned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draft, "find_field", lambda _: Field(2, 1))
    items = stac.write_items(tmp_path / "files", dates=4, bands=("B02", "B03"), height=512, width=512, block=32)
    run = maps.write_run(tmp_path / "run", items)
    plan = _decide(Outbox(tmp_path / "map"), run, items, Wish(tile=32))
    exact = estimate.Estimate.of(plan)
    assert (exact.tiles, exact.planned) == (256, 64)
    monkeypatch.setattr(estimate, "SAMPLE", 1000)
    whole = estimate.Estimate.of(plan)
    assert whole.planned == 256
    assert whole.dense_nbytes is not None
    assert exact.dense_nbytes is not None
    # here all tiles share the headers, which are reckoned as if they were a share of them
    assert whole.nbytes < exact.nbytes < 1.25 * whole.nbytes
    assert whole.dense_nbytes < exact.dense_nbytes < 1.25 * whole.dense_nbytes
    assert exact.chips == whole.chips == 256

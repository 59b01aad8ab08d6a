import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pystac
import pytest

from geomask.stac.duplicates import drop_duplicates

INSTANT = datetime(2020, 2, 19, 11, 21, 5, 24000, tzinfo=UTC)
BOX = [-9.0, 27.0, -7.9, 28.0]


def item(name: str, box: Sequence[float] | None = BOX, seconds: float = 0, **properties: Any) -> pystac.Item:
    """Of one tile and platform, but for what `properties` say; ``__`` in their names stands for a colon."""
    assets = properties.pop("assets", ("B02",))
    collection = properties.pop("collection", "sentinel-2-l2a")
    values = {"platform": "sentinel-2a", "s2__mgrs_tile": "29RKH", "proj__code": "EPSG:32629", **properties}
    fields = {key.replace("__", ":"): value for key, value in values.items() if value is not None}
    instant = INSTANT + timedelta(seconds=seconds)
    shape = {"type": "Point", "coordinates": [0, 0]} if box is not None else None
    found = pystac.Item(name, shape, None if box is None else list(box), instant, fields, collection=collection)
    for asset in assets:
        found.add_asset(asset, pystac.Asset(f"https://host/{name}/{asset}.tif"))
    return found


def kept(*items: pystac.Item) -> list[str]:
    """Names of what is left, sorted; the same in any order."""
    found = [{one.id for one in drop_duplicates(order)} for order in itertools.permutations(items)]
    assert all(names == found[0] for names in found)
    return sorted(found[0])


LATER = [
    ({"s2__processing_baseline": "02.14"}, {"s2__processing_baseline": "05.00"}),
    ({"s2__processing_baseline": "9.99"}, {"s2__processing_baseline": "10.00"}),
    ({}, {"s2__processing_baseline": "02.14"}),
    ({"processing__version": "v1.0"}, {"processing__version": "v1.0.1"}),
    ({"version": "1"}, {"version": "2"}),
    ({"s2__generation_time": "2020-02-19T14:00:00.5Z"}, {"s2__generation_time": "2020-10-06T08:05:31Z"}),
    ({"updated": "2020-02-19T14:00:00Z"}, {"updated": "2020-02-19T14:00:00.1Z"}),
    ({"updated": "2020-02-19T14:00:00+02:00"}, {"updated": "2020-02-19T13:00:00Z"}),
    ({"updated": "yesterday"}, {"updated": "2020-02-19T13:00:00"}),
    ({"created": "2020-02-19T14:00:00Z"}, {"created": "2021-02-19T14:00:00Z"}),
    # the first that differs counts: version, processing, update, creation
    ({"version": "1", "processing__datetime": "2021-01-01T00:00:00Z"}, {"version": "2", "updated": None}),
    (
        {"processing__datetime": "2020-02-20T00:00:00Z", "updated": "2023-01-01T00:00:00Z"},
        {"processing__datetime": "2021-01-01T00:00:00Z", "updated": "2022-01-01T00:00:00Z"},
    ),
    (
        {"updated": "2020-02-20T00:00:00Z", "created": "2023-01-01T00:00:00Z"},
        {"updated": "2021-01-01T00:00:00Z", "created": "2022-01-01T00:00:00Z"},
    ),
]


@pytest.mark.parametrize(("old", "new"), LATER)
def test_the_latest_processing_wins(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert kept(item("z old", **old), item("a new", **new)) == ["a new"]


def test_where_nothing_says_which_is_later_the_last_by_name_wins_then_by_its_files() -> None:
    assert kept(item("S2A_29RKH_20200219_0_L2A"), item("S2A_29RKH_20200219_1_L2A")) == ["S2A_29RKH_20200219_1_L2A"]
    copies = [item("same"), item("same")]
    copies[1].assets["B02"].href = "https://other/B02.tif"
    for order in (copies, copies[::-1]):
        assert [one.assets["B02"].href for one in drop_duplicates(order)] == ["https://other/B02.tif"]


def test_the_very_same_item_twice_stays_once() -> None:
    one = item("one")
    assert drop_duplicates([one, one]) == [one]


def test_what_stays_keeps_its_order() -> None:
    items = [item(name, seconds=100 * number) for number, name in enumerate("dbca")]
    assert drop_duplicates([*items, items[2]]) == items


@pytest.mark.parametrize("seconds", [0.0, 0.003, 1.0])
def test_an_instant_is_the_same_to_a_second(seconds: float) -> None:
    assert kept(item("a"), item("b", seconds=seconds)) == ["b"]


def test_platforms_are_the_same_in_any_case() -> None:
    assert kept(item("a", platform="Sentinel-2A"), item("b", platform="sentinel-2a")) == ["b"]


@pytest.mark.parametrize(
    "other",
    [
        {"seconds": 1.001},
        {"seconds": 86400.0},
        {"platform": "sentinel-2b"},
        {"collection": "sentinel-2-l1c"},
        {"s2__mgrs_tile": "29RLH"},  # the neighbour
        {"s2__mgrs_tile": "28RGN", "proj__code": "EPSG:32628"},  # the same ground in the next UTM zone
        {"s2__mgrs_tile": None, "proj__code": "EPSG:32628"},
        {"box": [-9.0, 27.0, -7.9, 27.5]},  # the other half of the tile, from another ground station
        {"box": [-9.0, 27.5, -7.9, 28.0]},
    ],
)
def test_another_acquisition_is_no_duplicate(other: dict[str, Any]) -> None:
    assert kept(item("a"), item("b", **other)) == ["a", "b"]


def test_the_older_one_stays_where_the_later_one_lacks_an_asset_of_it() -> None:
    assert kept(item("a", assets=("B02", "B8A")), item("b", assets=("B02",))) == ["a", "b"]
    assert kept(item("a", assets=("B02",)), item("b", assets=("B02", "B8A"))) == ["b"]
    assert kept(item("a", assets=("B8A",)), item("b", assets=("B02", "B8A")), item("c", assets=("B02",))) == ["b", "c"]


@pytest.mark.parametrize(
    "fields",
    [
        {"s2__mgrs_tile": None, "grid__code": "MGRS-29RKH"},
        {"s2__mgrs_tile": None, "mgrs__utm_zone": 29, "mgrs__latitude_band": "R", "mgrs__grid_square": "KH"},
        {"s2__mgrs_tile": None, "landsat__wrs_path": "203", "landsat__wrs_row": "041"},
    ],
)
def test_a_tile_goes_by_any_of_its_names(fields: dict[str, Any]) -> None:
    assert kept(item("a", None, **fields), item("b", None, **fields)) == ["b"]
    last = list(fields)[-1]
    assert kept(item("a", None, **fields), item("b", None, **{**fields, last: "other"})) == ["a", "b"]


def test_without_tile_and_box_only_the_same_id_is_the_same_place() -> None:
    bare = {"box": None, "s2__mgrs_tile": None}
    assert kept(item("a", **bare), item("b", **bare)) == ["a", "b"]
    assert len(drop_duplicates([item("a", **bare), item("a", **bare, created="2021-01-01T00:00:00Z")])) == 1


def test_boxes_agree_across_the_date_line_and_with_heights() -> None:
    boxes = {"a": [179.5, 0.0, -179.5, 1.0], "b": [-180.5, 0.0, -179.5, 1.0], "c": [179.5, 0.0, 0.0, 180.5, 1.0, 99.0]}
    assert kept(*(item(name, box) for name, box in boxes.items())) == ["c"]
    assert kept(item("a", boxes["a"]), item("b", [179.0, 0.0, 179.9, 1.0])) == ["a", "b"]


@pytest.mark.parametrize("box", [[179.0, 0.0, 179.0, 0.0], [-180.0, 0.0, 180.0, 1.0]])
def test_points_and_boxes_around_the_globe_agree_with_themselves(box: list[float]) -> None:
    assert kept(item("a", box), item("b", box)) == ["b"]
    assert kept(item("a", box), item("b", [10.0, 3.0, 10.0, 3.0])) == ["a", "b"]


@pytest.mark.parametrize("box", [[], [1.0, 2.0], [None, 0, 1, 1], [0, 0, float("nan"), 1], ["0", "0", "1", "1"]])
def test_a_box_that_is_none_is_as_if_it_were_not_there(box: Any) -> None:
    other = item("b")
    other.bbox = box
    assert kept(item("a"), other) == ["b"]  # the tile says it


def test_a_chain_of_seconds_is_not_one_instant_for_tiles_apart() -> None:
    row = [item(f"{n}", [n, 0.0, n + 1.0, 1.0], seconds=n, s2__mgrs_tile=f"{n}") for n in range(5)]
    assert kept(*row) == list("01234")


def test_real_items_of_one_overpass_and_of_one_tile_all_stay() -> None:
    """Names, boxes and times as the Planetary Computer had them: one instant for a whole strip."""
    strip = {
        "S2B_MSIL2A_20200606T080609_R078_T35MNM_20200826T094900": [26.9998, -8.2305, 27.9967, -7.2362],
        "S2B_MSIL2A_20200606T080609_R078_T35LNL_20201027T072719": [26.9998, -9.1352, 27.9991, -8.1408],
        "S2B_MSIL2A_20200606T080609_R078_T35LNK_20201027T072717": [26.9998, -10.0393, 28.0018, -9.0448],
    }
    items = [item(name, box, s2__mgrs_tile=name.split("_")[4][1:]) for name, box in strip.items()]
    again = item("S2B_MSIL2A_20200606T080609_R078_T35MNM_20211027T072719", items[0].bbox, s2__mgrs_tile="35MNM")
    assert kept(*items) == sorted(strip)
    assert kept(*items, again) == sorted([*list(strip)[1:], again.id])

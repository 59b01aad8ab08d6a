import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest

from geomask.errors import GeomaskError, ItemError, SelectionError
from geomask.selection import Channel, Selection
from geomask.stac.profile import Band
from geomask.stac.slot import Slot
from geomask.stac.slot_rule import SlotRule

SLOTS = tuple(
    Slot(datetime(2020, month, 1, tzinfo=UTC), datetime(2020, month + 1, 1, tzinfo=UTC), f"2020-{month:02}")
    for month in (4, 6, 7)
)
BANDS = (Band("B02", "B02", 10), Band("B8A", "nir", 20, nodata=None, scale=1e-4, offset=-0.1, index=2))
DENSE = Selection.dense(SLOTS, BANDS)


def test_dense_reads_every_channel_at_full_resolution_by_slot_then_band() -> None:
    assert [(c.slot, c.band, c.level) for c in DENSE.channels] == [(s, b, None) for s in range(3) for b in range(2)]
    assert DENSE.names == ["2020-04/B02", "2020-04/B8A", "2020-06/B02", "2020-06/B8A", "2020-07/B02", "2020-07/B8A"]


def test_channels_are_sorted_by_slot_then_band_whatever_their_level() -> None:
    given = (Channel(2, 0), Channel(0, 1), Channel(0, 0, 1), Channel(1, 1, 0))
    assert Selection(SLOTS, BANDS, given).channels == (given[2], given[1], given[3], given[0])


def test_keep_takes_channels_by_their_position() -> None:
    kept = DENSE.keep([4, 1]).keep([1])
    assert kept.names == ["2020-07/B02"]
    assert (kept.slots, kept.bands) == (SLOTS, BANDS)
    ruled = Selection.dense(SLOTS, BANDS, SlotRule("season", mosaic="nearest"), "local").keep([4])
    assert (ruled.rule, ruled.profile) == (SlotRule("season", mosaic="nearest"), "local")


@pytest.mark.parametrize("unit", [-1, 6])
def test_keep_refuses_a_channel_that_is_not_there(unit: int) -> None:
    with pytest.raises(SelectionError, match=f"no channel {unit} in a selection of 6"):
        DENSE.keep([0, unit])


@pytest.mark.parametrize("channel", [Channel(3, 0), Channel(-1, 0), Channel(0, 2), Channel(0, -1)])
def test_a_channel_outside_is_refused(channel: Channel) -> None:
    with pytest.raises(SelectionError, match="outside 3 slots x 2 bands"):
        Selection(SLOTS, BANDS, (channel,))


def test_a_channel_that_is_named_twice_is_refused_also_at_another_level() -> None:
    with pytest.raises(SelectionError, match="twice"):
        Selection(SLOTS, BANDS, (Channel(0, 0), Channel(0, 0, 1)))


@pytest.mark.parametrize("level", [-1, 1.0, True, "0"])
def test_a_level_that_no_file_has_is_refused(level: Any) -> None:
    with pytest.raises(SelectionError, match="overview"):
        Channel(0, 0, level)


def test_names_that_are_not_unique_are_refused_as_they_could_not_be_read_back() -> None:
    with pytest.raises(SelectionError, match="two bands"):
        Selection(SLOTS, (BANDS[0], BANDS[0]), ())
    with pytest.raises(SelectionError, match="two slots"):
        Selection((SLOTS[0], SLOTS[0]), BANDS, ())


def test_xarray_shows_what_is_read_under_the_names_of_slots_and_bands() -> None:
    array = DENSE.keep([0, 3]).to_xarray()
    np.testing.assert_array_equal(array, [[True, False], [False, True], [False, False]])
    assert bool(array.sel(slot="2020-06", band="B8A"))
    assert array["time"].values[1] == np.datetime64("2020-06-01")


def test_the_digest_changes_with_everything_that_is_decided() -> None:
    others = [
        DENSE.keep([0, 1, 2, 3, 4]),
        Selection(SLOTS, BANDS, (*DENSE.channels[:-1], Channel(2, 1, 0))),
        Selection.dense(SLOTS[:2], BANDS),
        Selection.dense(SLOTS, (BANDS[1], BANDS[0])),
        Selection.dense(SLOTS, (BANDS[0], Band("B8A", "nir", 20, nodata=None, scale=1e-4, offset=-0.1))),
        Selection.dense(SLOTS, BANDS, "season"),
        Selection.dense(SLOTS, BANDS, SlotRule(mosaic="first")),
        Selection.dense(SLOTS, BANDS, profile="local"),
    ]
    assert len({DENSE.digest, *(other.digest for other in others)}) == 9
    assert Selection.dense(SLOTS, BANDS).digest == DENSE.digest


def test_the_digest_does_not_depend_on_the_zone_in_which_a_time_is_written() -> None:
    zone = timezone(timedelta(hours=-5))
    slots = tuple(Slot(slot.start.astimezone(zone), slot.end.astimezone(zone), slot.name) for slot in SLOTS)
    assert Selection.dense(slots, BANDS).digest == DENSE.digest


def test_a_file_says_what_is_read_by_name(tmp_path: Path) -> None:
    Selection(SLOTS, BANDS, (Channel(1, 1, 0),)).save(tmp_path / "selection.json")
    document = json.loads((tmp_path / "selection.json").read_text())
    assert document["channels"] == [["2020-06", "B8A", 0]]
    assert document["slots"][1]["start"] == "2020-06-01T00:00:00+00:00"
    assert document["rule"] == {"slots": "month", "mosaic": "least-cloudy"}
    assert document["profile"] is None


def test_a_nodata_value_that_json_has_no_word_for_is_written_as_stac_does(tmp_path: Path) -> None:
    Selection.dense(SLOTS, (Band("a", "a", 10, nodata=float("nan")),)).save(tmp_path / "selection.json")
    document = json.loads((tmp_path / "selection.json").read_text(), parse_constant=pytest.fail)
    assert document["bands"][0]["nodata"] == "nan"
    assert np.isnan(Selection.load(tmp_path / "selection.json").bands[0].nodata)


def changed(**values: Any) -> dict[str, Any]:
    return {**DENSE.to_dict(), **values}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "no geomask selection"),
        ({"geomask": "manifest"}, "no geomask selection"),
        (changed(version=1), "version 1; this geomask reads version 2: train anew"),
        (changed(version=None), "version None"),
        (changed(channels=[["2020-05", "B02", None]]), "'2020-05'"),
        (changed(channels=[["2020-04", "B99", None]]), "'B99'"),
        (changed(channels=[["2020-04", "B02", -1]]), "-1"),
        (changed(channels=[["2020-04", "B02"]]), "broken"),
        (changed(channels=3), "broken"),
        (changed(profile=3), "3 is no name of a profile"),
        (changed(rule="month"), "a rule has slots and a mosaic; this one is 'month'"),
        (changed(rule={"slots": "week", "mosaic": "first"}), "no rule for slots: 'week'"),
        ({key: value for key, value in DENSE.to_dict().items() if key != "rule"}, "rule"),
        (changed(slots=[{"name": "2020-04", "start": "April", "end": "May"}]), "April"),
        (changed(bands=[{"name": "B02"}]), "asset"),
        (changed(bands=[{**BANDS[0].to_dict(), "colour": "red"}]), "colour"),
        ({key: value for key, value in DENSE.to_dict().items() if key != "slots"}, "slots"),
    ],
)
def test_a_document_that_is_no_selection_is_refused(document: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "selection.json"
    path.write_text(json.dumps(document))
    with pytest.raises(SelectionError, match=message) as caught:
        Selection.load(path)
    assert str(path) in str(caught.value)


def test_a_slot_without_time_zone_is_refused() -> None:
    with pytest.raises(ItemError, match="UTC"):
        Slot(datetime(2020, 4, 1), datetime(2020, 5, 1), "2020-04")


def items_of(year: int, *months: int) -> list[pystac.Item]:
    return [pystac.Item(f"{month}", None, None, datetime(year, month, 9, tzinfo=UTC), {}) for month in months]


def test_the_same_channels_on_items_of_another_year() -> None:
    learned = DENSE.keep([1, 4])
    moved = learned.on(items_of(2021, 4, 6, 7))
    assert moved.names == ["2021-04/B8A", "2021-07/B02"]
    assert (moved.channels, moved.bands, moved.rule) == (learned.channels, learned.bands, learned.rule)
    assert moved.digest != learned.digest
    assert learned.on(items_of(2020, 7, 4)) is learned
    assert learned.on([]) is learned


def test_what_is_read_decides_to_which_year_slots_move() -> None:
    items = [*items_of(2020, 4, 6), *items_of(2022, 7)]
    assert DENSE.on(items) is DENSE
    assert DENSE.keep([5]).on(items).names == ["2022-07/B8A"]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe"])
def test_a_file_that_is_no_json_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_bytes(content)
    with pytest.raises(SelectionError, match=r"broken\.json is no JSON"):
        Selection.load(tmp_path / "broken.json")


@pytest.mark.parametrize("name", ["absent.json", "."])
def test_a_file_that_cannot_be_read_is_an_error_of_ours(name: str, tmp_path: Path) -> None:
    with pytest.raises(GeomaskError, match="cannot read the selection"):
        Selection.load(tmp_path / name)

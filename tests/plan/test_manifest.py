import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geomask.cog.layout import ByteRange
from geomask.errors import ManifestError
from geomask.grid import Grid, Window
from geomask.plan.manifest import LEADER_GAP, Manifest, join_ranges
from geomask.plan.request import ReadRequest

GRID = Grid("EPSG:32633", 500_000, 5_000_000, 10, 10, 64, 64)
READ = ReadRequest(
    item="tiny",
    collection="tinies",
    asset="B02",
    href="https://host/tiny/B02.tif",
    slot="2020-01",
    band="B02",
    channel=0,
    chip=1,
    index=1,
    level=0,
    window=Window(3, 4, 5, 6),
    ranges=(ByteRange(700, 200), ByteRange(905, 100)),
    header_nbytes=600,
    size=5000,
    etag='"1-2"',
    dtype="uint16",
    nodata=0,
    scale=0.0001,
    offset=-0.1,
)
OTHER = replace(READ, href="/data/ü b.tif", channel=1, chip=0, header_nbytes=800, ranges=(ByteRange(700, 200),))
MANIFEST = Manifest(
    GRID, (Window(0, 0, 32, 32), Window(32, 32, 32, 32)), (("2020-01", "B02"), ("2020-01", "B03")), (READ, OTHER), "x"
)


def test_bytes_of_headers_tiles_and_gaps_are_listed_apart_and_add_up() -> None:
    assert MANIFEST.headers == {READ.href: 600, OTHER.href: 800}
    assert (MANIFEST.header_nbytes, MANIFEST.tile_nbytes, MANIFEST.gap_nbytes) == (1400, 400, 5)
    assert MANIFEST.planned_nbytes == 1805
    assert MANIFEST.planned_requests == 4
    assert READ.nbytes == 300


def test_runs_leave_out_the_header_and_join_neighbours() -> None:
    assert MANIFEST.runs == {READ.href: [ByteRange(700, 305)], OTHER.href: [ByteRange(800, 100)]}


def test_the_summary_says_what_is_planned() -> None:
    text = MANIFEST.summary()
    assert text == "2 channels of 2 files, 2 chips: 4 requests, 1,805 bytes (headers 1,400, tiles 400, gaps 5)"


pieces = st.lists(st.builds(ByteRange, st.integers(0, 400), st.integers(1, 60)), max_size=12)


@given(pieces, st.integers(0, 300))
@settings(deadline=None)
def test_joined_runs_cover_every_wanted_byte_and_only_gaps_besides(ranges: list[ByteRange], skip: int) -> None:
    runs = join_ranges(ranges, skip)
    wanted = {byte for piece in ranges for byte in range(piece.offset, piece.stop) if byte >= skip}
    covered = {byte for run in runs for byte in range(run.offset, run.stop)}
    assert wanted <= covered
    assert all(wanted & set(range(byte - LEADER_GAP, byte)) for byte in covered - wanted)
    assert {byte for run in runs for byte in (run.offset, run.stop - 1)} <= wanted
    for before, after in pairwise(runs):
        assert after.offset - before.stop > LEADER_GAP
    assert sum(run.length for run in runs) == len(covered)


@pytest.mark.parametrize(("distance", "count"), [(0, 1), (LEADER_GAP, 1), (LEADER_GAP + 1, 2)])
def test_only_the_gap_of_a_leader_and_a_trailer_is_bridged(distance: int, count: int) -> None:
    assert len(join_ranges([ByteRange(100, 50), ByteRange(150 + distance, 50)], 0)) == count


def test_a_saved_manifest_is_read_back_equal_and_says_the_same(tmp_path: Path) -> None:
    MANIFEST.save(tmp_path / "new folder" / "plan.geomask.jsonl")
    loaded = Manifest.load(tmp_path / "new folder" / "plan.geomask.jsonl")
    assert loaded == MANIFEST
    assert loaded.summary() == MANIFEST.summary()


def test_a_file_is_one_header_and_one_request_a_line(tmp_path: Path) -> None:
    MANIFEST.save(tmp_path / "a.jsonl")
    header, *requests = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert (header["geomask"], header["version"], header["channels"]) == (
        "manifest",
        1,
        [["2020-01", "B02"], ["2020-01", "B03"]],
    )
    assert [request["href"] for request in requests] == [READ.href, OTHER.href]
    assert requests[0]["window"] == [3, 4, 5, 6]
    assert (requests[0]["ranges"], requests[0]["nbytes"]) == ([[700, 200], [905, 100]], 300)


@pytest.mark.parametrize("nodata", [float("nan"), float("inf"), float("-inf")])
def test_a_nodata_value_that_json_has_no_word_for_is_written_as_stac_does(nodata: float, tmp_path: Path) -> None:
    replace(MANIFEST, requests=(replace(READ, nodata=nodata),)).save(tmp_path / "a.jsonl")
    line = (tmp_path / "a.jsonl").read_text().splitlines()[1]
    assert json.loads(line, parse_constant=pytest.fail)["nodata"] == str(nodata)
    assert str(Manifest.load(tmp_path / "a.jsonl").requests[0].nodata) == str(nodata)


def test_a_save_that_fails_half_way_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    MANIFEST.save(tmp_path / "a.jsonl")
    before = (tmp_path / "a.jsonl").read_bytes()
    real, calls = ReadRequest.to_dict, iter([True, False])
    monkeypatch.setattr(ReadRequest, "to_dict", lambda request: real(request) if next(calls) else object())
    with pytest.raises(TypeError, match="JSON"):
        MANIFEST.save(tmp_path / "a.jsonl")
    assert (tmp_path / "a.jsonl").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def changed(number: int, **values: Any) -> list[str]:
    """The lines of the manifest, some values of one of them replaced; `...` takes one away."""
    lines = list(MANIFEST.lines())
    document = {**json.loads(lines[number]), **values}
    lines[number] = json.dumps({key: value for key, value in document.items() if value is not ...})
    return lines


GRID_DICT = json.loads(next(MANIFEST.lines()))["grid"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "an empty file is no manifest"),
        (["{"], "line 1: JSONDecodeError"),
        (["", ""], "line 1: JSONDecodeError"),
        (["[" * 100_000], "line 1: RecursionError"),
        (["[]"], "line 1: this is no geomask manifest"),
        (['{"geomask": "selection"}'], "line 1: this is no geomask manifest"),
        (changed(0, version=2), "line 1: a manifest of version 2; this geomask reads version 1: compile it anew"),
        (changed(0, version=...), "line 1: a manifest of version None"),
        (changed(0, grid=...), "line 1: KeyError 'grid'"),
        (changed(0, grid={**GRID_DICT, "height": 0}), "line 1: a grid has at least one row"),
        (changed(0, grid={**GRID_DICT, "height": 64.5}), "line 1: a grid has a CRS as text"),
        (changed(0, grid={**GRID_DICT, "crs": 32633}), "line 1: a grid has a CRS as text"),
        (changed(0, grid={**GRID_DICT, "left": "west"}), "line 1: TypeError"),
        (changed(0, grid={**GRID_DICT, "depth": 3}), "line 1: TypeError"),
        (changed(0, chips=[[0, 0, 32]]), "line 1: TypeError"),
        (changed(0, chips=[[0, 0, 32, 0]]), "line 1: a window has at least one row"),
        (changed(0, chips=[[0, 0, 32, 32.5]]), "line 1: .* not whole numbers"),
        (changed(0, channels=["ab", "cd"]), "line 1: a channel is a slot and a band, not ab"),
        (changed(0, channels=[["2020-01", 2]]), "line 1: a channel is a slot and a band"),
        (changed(0, channels=[["2020-01", "B02"]]), "channel or chip that the header does not list"),
        (changed(0, chips=[[0, 0, 32, 32]]), "channel or chip that the header does not list"),
        (changed(1, channel=-1), "channel or chip that the header does not list"),
        (changed(1, channel="0"), "line 2: channel is '0'"),
        (changed(1, chip=None), "line 2: chip is None"),
        (changed(1, level=0.5), "line 2: level is 0.5"),
        (changed(1, level=True), "line 2: level is True"),
        (changed(1, href=3), "line 2: href is 3"),
        (changed(1, scale="1"), "line 2: scale is '1'"),
        (changed(1, nodata="none"), "line 2: ValueError"),
        (changed(2, size=...), "line 3: KeyError 'size'"),
        (changed(2, colour="red"), "line 3: TypeError .*colour"),
        (changed(1, window=[1, 2, 3]), "line 2: TypeError"),
        (changed(1, window=[1, 2, 0, 3]), "line 2: a window has at least one row"),
        (changed(1, ranges=[[700, 200, 1]]), "line 2: TypeError"),
        (changed(1, ranges=[["700", 300]]), "line 2: .*not whole numbers"),
        (changed(1, ranges=[[-1, 300]]), "line 2: the bytes of .*B02.tif do not add up"),
        (changed(1, ranges=[[700, 300], [900, 0]]), "line 2: the bytes .* do not add up"),
        (changed(1, ranges=[[4701, 300]]), "line 2: the bytes .* do not add up"),
        (changed(1, nbytes=301), "line 2: the bytes .* do not add up"),
        (changed(1, nbytes=...), "line 2: KeyError 'nbytes'"),
        (changed(1, header_nbytes=0), "line 2: the bytes .* do not add up"),
        (changed(1, header_nbytes=5001), "line 2: the bytes .* do not add up"),
        ([*changed(1), "null"], "line 4: TypeError"),
        ([*changed(1)[:2], changed(1)[1][:50]], "line 3: JSONDecodeError"),
        ([*changed(1), changed(1, size=6000)[1]], "differ in the file's size, ETag or header"),
    ],
)
def test_a_broken_manifest_is_refused_with_its_name_and_line(lines: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "odd.jsonl").write_text("\n".join(lines))
    with pytest.raises(ManifestError, match=message) as caught:
        Manifest.load(tmp_path / "odd.jsonl")
    assert "odd.jsonl" in str(caught.value)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "odd.jsonl").write_bytes(b"\xff\xfe{}")
    with pytest.raises(ManifestError, match=r"odd\.jsonl: line 1: UnicodeDecodeError|odd\.jsonl: line 0"):
        Manifest.load(tmp_path / "odd.jsonl")


@pytest.mark.parametrize("name", ["absent.jsonl", "."])
def test_a_file_that_cannot_be_read_is_an_error_of_ours(name: str, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="cannot read the manifest"):
        Manifest.load(tmp_path / name)


def test_a_manifest_is_parsed_from_any_lines_and_blank_ones_are_passed_over() -> None:
    header, *requests = MANIFEST.lines()
    assert Manifest.parse([header, "", *requests, "\n"]) == MANIFEST

"""Totals of a manifest, and its parts. What stands on disk: test_manifest_files.py."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from manifests import CHANNELS, FIRST, FOREIGN, LOCAL, MANIFEST, READS, SIGNED

from geomask.cog.level import ByteRange
from geomask.errors import ManifestError
from geomask.plan.manifest import Manifest
from geomask.plan.request import Requests
from geomask.plan.runs import LEADER_GAP, Runs, join_runs


def test_bytes_of_headers_tiles_prefixes_and_gaps_are_listed_apart_and_add_up() -> None:
    assert MANIFEST.headers == {SIGNED.href: 600, LOCAL.href: 800}
    parts = (MANIFEST.header_nbytes, MANIFEST.tile_nbytes, MANIFEST.prefix_nbytes, MANIFEST.gap_nbytes)
    assert parts == (1400, 300, 100, 5)
    assert MANIFEST.pixel_nbytes == 405
    assert MANIFEST.planned_nbytes == 1805
    assert MANIFEST.planned_requests == 4
    assert FIRST.nbytes == 300


def test_runs_leave_out_the_header_and_join_neighbours() -> None:
    assert list(MANIFEST.runs) == [(0, ByteRange(700, 305)), (1, ByteRange(800, 100))]
    assert list(MANIFEST.files) == [SIGNED.href, LOCAL.href, FOREIGN.href]


def test_the_gap_is_the_manifests() -> None:
    apart = replace(MANIFEST, gap=4)
    assert (apart.planned_requests, apart.gap_nbytes) == (5, 0)


def test_a_file_that_gdal_reads_is_apart_from_the_totals() -> None:
    assert MANIFEST.fallbacks == {FOREIGN.href: FOREIGN.why}
    without = replace(MANIFEST, requests=MANIFEST.requests[:3])
    assert (without.planned_nbytes, without.planned_requests) == (1805, 4)


def test_explain_lists_every_byte_that_is_planned() -> None:
    rows = list(MANIFEST.explain())
    assert rows == [
        (SIGNED.href, ByteRange(0, 600), "header"),
        (LOCAL.href, ByteRange(0, 800), "header"),
        (SIGNED.href, ByteRange(700, 305), "pixels"),
        (LOCAL.href, ByteRange(800, 100), "pixels"),
    ]
    assert sum(piece.length for _, piece, _ in rows) == MANIFEST.planned_nbytes
    assert len(rows) == MANIFEST.planned_requests


def test_the_summary_says_what_is_planned() -> None:
    assert MANIFEST.summary() == (
        "4 channels (1 empty) of 3 files, 2 chips: 4 requests, 1,805 bytes "
        "(headers 1,400, tiles 300, prefixes 100, gaps 5); GDAL reads 1 files more"
    )
    assert MANIFEST.empty == [CHANNELS[3]]


def test_requests_come_out_as_they_went_in() -> None:
    assert MANIFEST.requests == READS
    assert MANIFEST.requests[-1] == READS[-1]
    assert list(MANIFEST.requests[1:3]) == list(READS[1:3])
    with pytest.raises(IndexError):
        MANIFEST.requests[4]


def test_a_part_keeps_the_requests_of_its_chips_and_channels() -> None:
    turned = MANIFEST.part([1, 0])
    assert turned.chips == (MANIFEST.chips[1], MANIFEST.chips[0])
    assert [read.chip for read in turned.requests] == [0, 1, 1, 0]
    assert (turned.planned_nbytes, turned.dense_nbytes) == (1805, None)
    one = MANIFEST.part([0], channels=[1, 3])
    assert one.requests == [READS[2]]
    assert (one.channels, one.empty) == (CHANNELS, [CHANNELS[0], CHANNELS[2], CHANNELS[3]])
    assert one.headers == {LOCAL.href: 800}


@pytest.mark.parametrize("chip", [2, -1])
def test_a_part_of_a_chip_that_is_not_there(chip: int) -> None:
    with pytest.raises(ManifestError, match=f"no chip {chip} in a manifest of 2"):
        MANIFEST.part([0, chip])


def test_without_prefixes_the_tiles_are_whole() -> None:
    whole = MANIFEST.without_prefixes()
    assert (whole.prefix_nbytes, whole.tile_nbytes, whole.gap_nbytes) == (0, 450, 5)
    assert whole.requests[0].ranges == (ByteRange(700, 200), ByteRange(905, 150))


def test_what_was_parted_is_joined_again_with_each_source_once() -> None:
    whole = Requests.of(sorted(READS, key=lambda read: (MANIFEST.requests.sources.index(read.source), read.chip)))
    parts = [whole[::2], whole[1::2]]
    assert Requests.join(parts) == whole
    assert Requests.join(parts).sources == whole.sources
    assert Requests.join([whole]) == whole
    assert Requests.join([]) == Requests.join([Requests.of(())]) == []


def test_what_is_shown_first_in_a_part_stays_first_where_parts_are_joined() -> None:
    best, second = (replace(SIGNED, item=name, href=f"https://host/{name}.tif") for name in ("best", "second"))
    only, both = (
        Requests.of([replace(FIRST, source=source, chip=chip) for source in sources])
        for chip, sources in (
            (0, [second]),
            (1, [best, second]),
        )
    )
    joined = Requests.join([only, both])
    assert joined.sources == (best, second)
    assert [(read.source.item, read.chip) for read in joined] == [("best", 1), ("second", 0), ("second", 1)]
    again = Manifest.parse(replace(MANIFEST, requests=joined).lines())
    assert again.requests.sources == (best, second)
    turned = Requests.of([replace(FIRST, source=source) for source in (second, best)])
    with pytest.raises(ManifestError, match=r"differ in which of .*(best|second)\.tif .* is shown first"):
        Requests.join([both, turned])


def test_a_manifest_of_nothing() -> None:
    nothing = replace(MANIFEST, requests=Requests.of(()))
    assert (nothing.planned_nbytes, nothing.planned_requests, list(nothing.explain())) == (0, 0, [])
    assert nothing.empty == list(CHANNELS)


# --- runs -------------------------------------------------------------------------------------------------------------


def join(pieces: list[tuple[int, ByteRange]], skip: int, gap: int = LEADER_GAP, whole: int = 0) -> Runs:
    files = np.array([file for file, _ in pieces], np.int64)
    offsets = np.array([piece.offset for _, piece in pieces], np.int64)
    lengths = np.array([piece.length for _, piece in pieces], np.int64)
    return join_runs(files, offsets, lengths, np.maximum(lengths, whole), np.full(3, skip), gap)


pieces = st.lists(st.tuples(st.integers(0, 2), st.builds(ByteRange, st.integers(0, 400), st.integers(1, 60))))


@given(pieces, st.integers(0, 300), st.integers(0, 20))
@settings(deadline=None)
def test_joined_runs_cover_every_wanted_byte_and_only_gaps_besides(
    ranges: list[tuple[int, ByteRange]], skip: int, gap: int
) -> None:
    runs = list(join(ranges, skip, gap))
    wanted = {(file, at) for file, piece in ranges for at in range(piece.offset, piece.stop) if at >= skip}
    covered = [(file, at) for file, run in runs for at in range(run.offset, run.stop)]
    assert wanted <= set(covered)
    assert len(covered) == len(set(covered))
    assert {(file, at) for file, run in runs for at in (run.offset, run.stop - 1)} <= wanted
    for file, at in set(covered) - wanted:
        assert any((file, before) in wanted for before in range(at - gap, at))
    for (file, before), (next_file, after) in pairwise(runs):
        assert (file, before.stop + gap) < (next_file, after.offset)


@pytest.mark.parametrize(("distance", "count"), [(0, 1), (LEADER_GAP, 1), (LEADER_GAP + 1, 2)])
def test_only_gaps_up_to_the_limit_are_bridged(distance: int, count: int) -> None:
    assert len(join([(0, ByteRange(100, 50)), (0, ByteRange(150 + distance, 50))], 0)) == count


def test_of_a_tile_that_two_windows_share_the_longer_range_counts() -> None:
    both = join([(0, ByteRange(100, 30)), (0, ByteRange(100, 90)), (0, ByteRange(100, 60))], 0, whole=90)
    assert (list(both), both.tile_nbytes, both.prefix_nbytes) == ([(0, ByteRange(100, 90))], 90, 0)
    prefixes = join([(0, ByteRange(100, 30)), (0, ByteRange(100, 60))], 0, whole=90)
    assert (prefixes.nbytes, prefixes.tile_nbytes, prefixes.prefix_nbytes) == (60, 0, 60)

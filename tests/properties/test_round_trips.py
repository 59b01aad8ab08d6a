"""What is written is read back equal, for any values."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from geomask.cog.layout import ByteRange
from geomask.grid import Grid, Window
from geomask.plan.manifest import Manifest
from geomask.plan.request import ReadRequest
from geomask.selection import Channel, Selection
from geomask.stac.profile import Band, Profile, load_profile
from geomask.stac.slots import Slot

names = st.text(min_size=1, max_size=12)
finite = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(1e-6, 1e9)
counts = st.integers(1, 2**53)
nodata = st.none() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False)

bands = st.builds(
    Band,
    name=names,
    asset=names,
    gsd=positive,
    common_name=st.none() | names,
    wavelength=st.none() | positive,
    index=st.integers(1, 400),
    dtype=names,
    nodata=nodata,
    scale=finite,
    offset=finite,
)
instants = st.datetimes(datetime(1972, 7, 1), datetime(2100, 1, 1)).map(lambda instant: instant.replace(tzinfo=UTC))
lasting = st.timedeltas(timedelta(microseconds=1), timedelta(days=400))
slots = st.builds(lambda start, length, name: Slot(start, start + length, name), instants, lasting, names)
crs_texts = st.just("EPSG:32633") | names.map('PROJCS["{}"]'.format)
grids = st.builds(Grid, crs_texts, finite, finite, positive, positive, counts, counts)
windows = st.builds(Window, st.integers(-99, 2**40), st.integers(-99, 2**40), counts, counts)


@st.composite
def selections(draw: st.DrawFn) -> Selection:
    time_axis = draw(st.lists(slots, max_size=4, unique_by=lambda slot: slot.name))
    all_bands = draw(st.lists(bands, max_size=4, unique_by=lambda band: band.name))
    places = [(slot, band) for slot in range(len(time_axis)) for band in range(len(all_bands))]
    chosen = draw(st.lists(st.sampled_from(places), unique=True)) if places else []
    levels = st.none() | st.integers(0, 12)
    return Selection(tuple(time_axis), tuple(all_bands), tuple(Channel(*place, draw(levels)) for place in chosen))


@st.composite
def requests(draw: st.DrawFn, channels: int, chips: int, file: int) -> ReadRequest:
    size = 10_000 + file
    ranges = st.builds(ByteRange, st.integers(0, 9000), st.integers(1, 1000))
    return ReadRequest(
        item=draw(names),
        collection=draw(st.none() | names),
        asset=draw(names),
        href=f"{file} {draw(st.just('https://host/ä b/%20#') | st.just('/data/B 02.tif'))}{file}",
        slot=draw(names),
        band=draw(names),
        channel=draw(st.integers(0, channels - 1)),
        chip=draw(st.integers(0, chips - 1)),
        index=draw(st.integers(1, 400)),
        level=draw(st.none() | st.integers(0, 12)),
        window=draw(windows),
        ranges=tuple(draw(st.lists(ranges, max_size=4))),
        header_nbytes=100 + file,
        size=size,
        etag=None if file % 2 else f'"{file}"',
        dtype=draw(names),
        nodata=draw(nodata),
        scale=draw(finite),
        offset=draw(finite),
    )


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    channels = draw(st.lists(st.tuples(names, names), min_size=1, max_size=4))
    chips = draw(st.lists(windows, min_size=1, max_size=3))
    reads = [draw(requests(len(channels), len(chips), file)) for file in range(draw(st.integers(0, 4)))]
    return Manifest(draw(grids), tuple(chips), tuple(channels), tuple(reads), draw(names))


@contextmanager
def scratch(name: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / name


@given(selections())
@settings(deadline=None)
def test_a_selection_is_read_back_equal(selection: Selection) -> None:
    with scratch("sel ü.json") as path:
        selection.save(path)
        loaded = Selection.load(path)
    assert loaded == selection
    assert loaded.digest == selection.digest


@given(manifests())
@settings(deadline=None)
def test_a_manifest_is_read_back_equal_and_plans_the_same_bytes(manifest: Manifest) -> None:
    with scratch("plan ü.geomask.jsonl") as path:
        manifest.save(path)
        loaded = Manifest.load(path)
    assert loaded == manifest
    assert loaded.runs == manifest.runs
    assert loaded.summary() == manifest.summary()
    assert list(loaded.lines()) == list(manifest.lines())


@given(manifests())
@settings(deadline=None)
def test_what_is_written_is_json_that_any_parser_knows(manifest: Manifest) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    for line in manifest.lines():
        assert "\n" not in line
        json.loads(line, parse_constant=refuse)


@given(st.lists(bands, min_size=1, max_size=4, unique_by=lambda band: band.name), names, st.none() | names)
@settings(deadline=None)
def test_a_profile_is_read_back_equal(some: list[Band], name: str, cloud_mask: str | None) -> None:
    document = {"name": name, "bands": [band.to_dict() for band in some], "collections": [name]}
    if cloud_mask:
        document["cloud_mask"] = {"asset": cloud_mask, "clear_classes": [4, 5]}
    with scratch("p.yaml") as path:
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        loaded = load_profile(path)
    classes = (4, 5) if cloud_mask else ()
    assert loaded == Profile(name, tuple(some), "", None, (name,), cloud_mask, classes)

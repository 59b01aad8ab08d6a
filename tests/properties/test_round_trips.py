"""What is written is read back equal, for any values."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from manifests import manifests

from geomask.plan.manifest import Manifest
from geomask.plan.schema import line_schema
from geomask.selection import Channel, Selection
from geomask.stac.band import Scaling
from geomask.stac.clouds import CloudMask
from geomask.stac.profile import Band, Profile, load_profile
from geomask.stac.slot import Slot
from geomask.stac.slot_rule import parse_slots

SCHEMA = Draft202012Validator(line_schema())

names = st.text(min_size=1, max_size=12)
finite = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(1e-6, 1e9)
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
    scalings=st.lists(st.builds(Scaling, names, finite, finite, equals=st.booleans() | names), max_size=2).map(tuple),
)
instants = st.datetimes(datetime(1972, 7, 1), datetime(2100, 1, 1)).map(lambda instant: instant.replace(tzinfo=UTC))
lasting = st.timedeltas(timedelta(microseconds=1), timedelta(days=400))
rules = st.builds(
    parse_slots,
    st.sampled_from(["month", "season", "clearest:3", "dates:2018-05-01,2020-02-29~10", "days:100-150,335-59"]),
    st.sampled_from(["least-cloudy", "first", "nearest"]),
)
slots = st.builds(lambda start, length, name: Slot(start, start + length, name), instants, lasting, names)


@st.composite
def selections(draw: st.DrawFn) -> Selection:
    time_axis = draw(st.lists(slots, max_size=4, unique_by=lambda slot: slot.name))
    all_bands = draw(st.lists(bands, max_size=4, unique_by=lambda band: band.name))
    places = [(slot, band) for slot in range(len(time_axis)) for band in range(len(all_bands))]
    chosen = draw(st.lists(st.sampled_from(places), unique=True)) if places else []
    levels = st.none() | st.integers(0, 12)
    channels = tuple(Channel(*place, draw(levels)) for place in chosen)
    return Selection(tuple(time_axis), tuple(all_bands), channels, draw(rules), draw(st.none() | names))


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
    for form in ("jsonl", "parquet"):
        with scratch(f"plan ü.geomask.{form}") as path:
            manifest.save(path)
            loaded = Manifest.load(path)
        assert loaded == manifest
        assert loaded.requests.sources == manifest.requests.sources
        assert loaded.summary() == manifest.summary()
        assert list(loaded.lines()) == list(manifest.lines())


@given(manifests(), st.data())
@settings(deadline=None)
def test_one_item_of_a_manifest_is_the_same_from_both_forms(manifest: Manifest, data: st.DataObject) -> None:
    assume(len(manifest.requests))
    item = data.draw(st.sampled_from([source.item for source in manifest.requests.sources]))
    for form in ("jsonl", "parquet"):
        with scratch(f"plan.geomask.{form}") as path:
            manifest.save(path)
            loaded = Manifest.load(path, item=item)
        assert loaded.requests == [request for request in manifest.requests if request.source.item == item]


@given(manifests())
@settings(deadline=None)
def test_what_is_written_is_json_that_any_parser_knows_and_the_schema_accepts(manifest: Manifest) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    for line in manifest.lines():
        assert "\n" not in line
        SCHEMA.validate(json.loads(line, parse_constant=refuse))


@given(st.lists(bands, min_size=1, max_size=4, unique_by=lambda band: band.name), names, st.none() | names)
@settings(deadline=None)
def test_a_profile_is_read_back_equal(some: list[Band], name: str, cloud_mask: str | None) -> None:
    document = {"name": name, "bands": [band.to_dict() for band in some], "collections": [name]}
    if cloud_mask:
        document["cloud_mask"] = {"asset": cloud_mask, "clear_classes": [4, 5]}
    with scratch("p.yaml") as path:
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        loaded = load_profile(path)
    mask = CloudMask(cloud_mask, (4, 5)) if cloud_mask else None
    assert loaded == Profile(name, tuple(some), "", None, (name,), mask)

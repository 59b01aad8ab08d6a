"""Manifests of files that are not there: one to look at, and any that can be written."""

import json
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from geomask.cog.level import ByteRange
from geomask.grid import MAX_SIZE, Grid, Window
from geomask.plan.kinds import LIMIT
from geomask.plan.manifest import Manifest
from geomask.plan.request import ReadRequest, Requests, Source

CHANNELS = (("2020-01", "B02"), ("2020-01", "B03"), ("2020-02", "B02"), ("2020-02", "B08"))
COMMON: dict[str, Any] = {"dtype": "uint16", "nodata": 0.0, "scales": (0.0001,), "offsets": (-0.1,)}
SIGNED = Source(
    item="tiny",
    collection="tinies",
    asset="B02",
    href="https://host/tiny/B02.tif",
    slot="2020-01",
    bands=("B02",),
    channels=(0,),
    indexes=(1,),
    level=0,
    header_nbytes=600,
    size=5000,
    etag='"1-2"',
    **COMMON,
)
LOCAL = Source(
    item="tiny",
    collection=None,
    asset="ü",
    href="/data/ü b.tif",
    slot="2020-01",
    bands=("B03",),
    channels=(1,),
    indexes=(3,),
    level=None,
    header_nbytes=800,
    size=900,
    etag=None,
    **COMMON,
)
FOREIGN = Source(
    item="other",
    collection="tinies",
    asset="B02",
    href="https://host/other/B02.jp2",
    slot="2020-02",
    bands=("B02",),
    channels=(2,),
    indexes=(1,),
    level=None,
    header_nbytes=0,
    size=7000,
    etag=None,
    why="it is JPEG 2000, not TIFF",
    **COMMON,
)
FIRST = ReadRequest(SIGNED, 1, Window(3, 4, 5, 6), (ByteRange(700, 200), ByteRange(905, 100)), (200, 150))
READS = (
    FIRST,
    ReadRequest(SIGNED, 0, Window(0, 0, 3, 4), (ByteRange(700, 200),), (200,)),
    ReadRequest(LOCAL, 0, Window(0, 0, 32, 32), (ByteRange(700, 200),), (200,)),
    ReadRequest(FOREIGN, 1, Window(32, 32, 32, 32), (), ()),
)
#: Two GeoTIFFs and a file that GDAL reads fill three of four channels of two chips.
MANIFEST = Manifest(
    Grid("EPSG:32633", 500_000, 5_000_000, 10, 10, 64, 64),
    (Window(0, 0, 32, 32), Window(32, 32, 32, 32)),
    CHANNELS,
    ((0.0001, -0.1), *((1.0, 0.0),) * 3),
    Requests.of(READS),
    "a digest",
    dense_nbytes=4321,
    profile="tinies",
    search={"collections": ["tinies"], "bbox": [26.9, -8.1, 27.2, -7.9]},
)


def of(*reads: ReadRequest, **values: Any) -> Manifest:
    """`MANIFEST` with other requests."""
    return replace(MANIFEST, requests=Requests.of(reads), **values)


def many(sources: list[Source], chips: int) -> Manifest:
    """A request for each source and chip."""
    window, ranges = Window(0, 0, 8, 8), (ByteRange(700, 200), ByteRange(905, 100))
    reads = [ReadRequest(source, chip, window, ranges, (200, 150)) for source in sources for chip in range(chips)]
    return of(*reads, chips=(Window(0, 0, 32, 32),) * chips)


#: More than any number of Python's or numpy's that has a size.
HUGE = 10**400

texts = st.text(st.characters(codec="utf-8"), max_size=12)
finite = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(1e-6, 1e9)
sides = st.integers(1, MAX_SIZE)
crs_texts = st.just("EPSG:32633") | texts.map('PROJCS["{}"]'.format)
grids = st.builds(Grid, crs_texts, finite, finite, positive, positive, sides, sides)
chips = st.builds(Window, st.integers(-99, MAX_SIZE), st.integers(-99, MAX_SIZE), sides, sides)
dtypes = st.sampled_from(["uint8", "int8", "uint16", "int16", "float32", "float64"])
nodata = st.none() | st.integers(-LIMIT, LIMIT) | st.floats()
json_values = st.recursive(st.none() | st.booleans() | st.integers() | finite | texts, st.lists, max_leaves=5)


@st.composite
def sources(draw: st.DrawFn, channels: list[tuple[str, str]], file: int) -> Source:
    slot = draw(st.sampled_from(channels))[0]
    mine = [place for place, names in enumerate(channels) if names[0] == slot]
    filled = draw(st.lists(st.sampled_from(mine), min_size=1, max_size=3))
    several = st.lists(finite, min_size=len(filled), max_size=len(filled)).map(tuple)
    return Source(
        item=draw(texts),
        collection=draw(st.none() | texts),
        asset=draw(texts),
        href=f"{draw(st.sampled_from(['https://host/ä b/%20?a=b&c#', '/data/B 02.tif', 's3://bucket/']))}{file}",
        slot=slot,
        bands=tuple(channels[place][1] for place in filled),
        channels=tuple(filled),
        indexes=tuple(draw(st.lists(st.integers(1, LIMIT), min_size=len(filled), max_size=len(filled)))),
        level=draw(st.none() | st.integers(0, LIMIT)),
        header_nbytes=100 + file,
        size=LIMIT - file,
        etag=None if file % 2 else f'"{file}"',
        dtype=draw(dtypes),
        nodata=draw(nodata),
        scales=draw(several),
        offsets=draw(several),
        why=None if file % 3 else "strips",
    )


@st.composite
def reads(draw: st.DrawFn, source: Source, chips: int) -> ReadRequest:
    ranges, wholes = [], []
    for _ in range(0 if source.why else draw(st.integers(0, 3))):
        whole = draw(st.integers(1, 1 << 40))
        ranges.append(ByteRange(draw(st.integers(0, source.size - whole)), draw(st.integers(1, whole))))
        wholes.append(whole)
    corner = st.integers(0, MAX_SIZE)
    window = draw(st.builds(Window, corner, corner, sides, sides))
    return ReadRequest(source, draw(st.integers(0, chips - 1)), window, tuple(ranges), tuple(wholes))


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """Requests come in any order, so that those of one source are apart."""
    channels = draw(st.lists(st.tuples(texts, texts), min_size=1, max_size=4))
    places = draw(st.lists(chips, min_size=1, max_size=3))
    files = [draw(sources(channels, file)) for file in range(draw(st.integers(0, 3)))]
    chosen = draw(st.lists(st.sampled_from(files), max_size=6)) if files else []
    return Manifest(
        draw(grids),
        tuple(places),
        tuple(channels),
        tuple(draw(st.tuples(finite.filter(bool), finite)) for _ in channels),
        Requests.of([draw(reads(source, len(places))) for source in chosen]),
        draw(texts),
        gap=draw(st.integers(0, LIMIT)),
        dense_nbytes=draw(st.none() | st.integers(0, LIMIT)),
        profile=draw(st.none() | texts),
        search=draw(st.none() | st.dictionaries(texts, json_values, max_size=3)),
    )


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([LIMIT, -1, 2**63, HUGE]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def mutations(draw: st.DrawFn) -> list[str]:
    """The lines of `MANIFEST`, one value of one of them changed, at any depth."""
    lines = list(MANIFEST.lines())
    number = draw(st.integers(0, len(lines) - 1))
    document = json.loads(lines[number])
    inside, key = document, draw(st.sampled_from(list(document)))
    while isinstance(inside[key], (list, dict)) and inside[key] and draw(st.booleans()):
        inside = inside[key]
        key = draw(st.sampled_from(list(inside) if isinstance(inside, dict) else range(len(inside))))
    inside[key] = draw(anything)
    lines[number] = json.dumps(document)
    return lines

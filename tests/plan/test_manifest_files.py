"""A manifest on disk, in both forms, and as JSON Lines: what stands there, and what is refused."""

import json
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from manifests import FIRST, FOREIGN, HUGE, LOCAL, MANIFEST, READS, SIGNED, many, mutations, of

from geomask.errors import ManifestError, RunError
from geomask.grid import MAX_SIZE
from geomask.plan import jsonl
from geomask.plan.kinds import LIMIT
from geomask.plan.manifest import Manifest
from geomask.plan.request import ReadRequest

FORMS = ["jsonl", "parquet"]
MEMBERS = [
    "item",
    "collection",
    "asset",
    "href",
    "slot",
    "bands",
    "channels",
    "indexes",
    "level",
    "chip",
    "window",
    "ranges",
    "nbytes",
    "header_nbytes",
    "size",
    "etag",
    "dtype",
    "nodata",
    "scales",
    "offsets",
    "why",
]


# --- both forms -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_a_saved_manifest_is_read_back_equal_and_says_the_same(form: str, tmp_path: Path) -> None:
    path = tmp_path / "new folder" / f"plan ü.geomask.{form}"
    MANIFEST.save(path)
    loaded = Manifest.load(path)
    assert loaded == MANIFEST
    assert loaded.summary() == MANIFEST.summary()
    assert list(loaded.explain()) == list(MANIFEST.explain())
    assert list(loaded.lines()) == list(MANIFEST.lines())


@pytest.mark.parametrize("form", FORMS)
def test_a_manifest_of_no_request_is_one(form: str, tmp_path: Path) -> None:
    of().save(tmp_path / f"a.{form}")
    assert Manifest.load(tmp_path / f"a.{form}") == of()


@pytest.mark.parametrize("form", FORMS)
def test_one_item_of_a_manifest(form: str, tmp_path: Path) -> None:
    of(*READS[1:], *READS).save(tmp_path / f"a.{form}")
    loaded = Manifest.load(tmp_path / f"a.{form}", item="other")
    assert loaded == of(READS[3], READS[3], dense_nbytes=None)
    assert loaded.requests.sources == (FOREIGN,)
    with pytest.raises(ManifestError, match=rf"a\.{form}: no request is of item 'tin'"):
        Manifest.load(tmp_path / f"a.{form}", item="tin")


@pytest.mark.parametrize("form", FORMS)
def test_what_signs_an_href_is_never_on_disk(form: str, tmp_path: Path) -> None:
    signed = replace(SIGNED, href=f"{SIGNED.href}?sv=2021&sig=SECRET&page=2")
    manifest = of(replace(FIRST, source=signed), search={"of": [{"href": "https://host/api?token=SECRET"}]})
    manifest.save(tmp_path / f"a.{form}")
    assert b"SECRET" not in (tmp_path / f"a.{form}").read_bytes()
    loaded = Manifest.load(tmp_path / f"a.{form}")
    assert list(loaded.files) == [f"{SIGNED.href}?page=2"]
    assert loaded.search == {"of": [{"href": "https://host/api"}]}


def test_what_signs_an_href_in_somebodys_file_is_left_out() -> None:
    lines = [line.replace("B02.tif", "B02.tif?sig=SECRET") for line in MANIFEST.lines()]
    assert Manifest.parse(lines) == MANIFEST


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("nodata", [float("nan"), float("inf"), float("-inf"), None, 0])
def test_any_nodata_value_is_kept(form: str, nodata: float | None, tmp_path: Path) -> None:
    sources = [replace(SIGNED, nodata=nodata), replace(SIGNED, href=LOCAL.href, nodata=nodata)]
    manifest = many(sources, 2)
    manifest.save(tmp_path / f"a.{form}")
    loaded = Manifest.load(tmp_path / f"a.{form}")
    assert loaded == manifest
    assert loaded.requests.sources == tuple(sources)


@pytest.mark.parametrize("form", FORMS)
def test_sources_that_differ_in_one_value_are_kept_apart_and_equal_ones_are_one(form: str, tmp_path: Path) -> None:
    channels = (*MANIFEST.channels, ("2020-01", "B04"))
    two = replace(SIGNED, bands=("B02", "B03"), channels=(0, 1), indexes=(1, 2), scales=(1.0, 2.0), offsets=(0.0, 0.5))
    changes: list[dict[str, Any]] = [
        {"item": "i"}, {"collection": None}, {"collection": ""}, {"asset": "a"}, {"level": None}, {"dtype": "int16"},
        {"nodata": None}, {"nodata": 1.0}, {"nodata": float("nan")}, {"indexes": (1, 3)}, {"indexes": (2, 1)},
        {"scales": (1.0, 3.0)}, {"offsets": (0.25, 0.5)}, {"bands": ("B03", "B02"), "channels": (1, 0)},
        {"bands": ("B02", "B04"), "channels": (0, 4)}, {"href": "/elsewhere"}, {"href": "/b", "etag": None},
        {"href": "/c", "etag": ""}, {"href": "/d", "size": 6000}, {"href": "/e", "header_nbytes": 601},
    ]  # fmt: skip
    one = {name: getattr(two, name)[:1] for name in ("bands", "channels", "indexes", "scales", "offsets")}
    sources = [two, *(replace(two, **change) for change in [*changes, one])]
    reads = [replace(FIRST, source=source) for source in [*sources, *reversed(sources), two, two]]
    of(*reads, channels=channels, scaling=((1.0, 0.0),) * 5).save(tmp_path / f"a.{form}")
    loaded = Manifest.load(tmp_path / f"a.{form}")
    assert loaded.requests == reads
    assert loaded.requests.sources == tuple(sources)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("read", "message"),
    [
        (replace(FIRST, source=replace(SIGNED, scales=(float("nan"),))), "a scale or an offset that is not finite"),
        (replace(FIRST, source=replace(SIGNED, bands=("B02", "B03"))), r"have \[2, 1, 1, 1, 1\] entries"),
        (replace(FIRST, source=replace(SIGNED, item="\ud800")), "no Unicode"),
        (replace(FIRST, source=replace(SIGNED, dtype="complex_int16")), "numpy has names such as uint16"),
        (replace(FIRST, wholes=(200, 99)), r"request 0: the bytes of .*B02\.tif do not add up"),
        (replace(FIRST, source=replace(FOREIGN, size=7000)), "request 0: GDAL reads .* no range does"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(form: str, read: ReadRequest, message: str, tmp_path: Path) -> None:
    MANIFEST.save(tmp_path / f"a.{form}")
    before = (tmp_path / f"a.{form}").read_bytes()
    with pytest.raises(ManifestError, match=message):
        of(read).save(tmp_path / f"a.{form}")
    assert (tmp_path / f"a.{form}").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [f"a.{form}"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "search", [{"a": float("nan")}, {"a": {1, 2}}, reduce(lambda inner, _: {"a": inner}, range(3000), {})]
)
def test_a_search_that_json_cannot_say_is_not_written(form: str, search: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"nothing that JSON can say|nested too deeply"):
        of(search=search).save(tmp_path / f"a.{form}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", FORMS)
def test_a_save_that_fails_half_way_leaves_the_old_file(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    MANIFEST.save(tmp_path / f"a.{form}")
    before = (tmp_path / f"a.{form}").read_bytes()

    def stop(*args: Any) -> None:
        raise RuntimeError("no more")

    monkeypatch.setattr("geomask.plan.jsonl._request_lines", stop)
    monkeypatch.setattr("geomask.plan.parquet.request_table", stop)
    with pytest.raises(RuntimeError, match="no more"):
        MANIFEST.save(tmp_path / f"a.{form}")
    assert (tmp_path / f"a.{form}").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [f"a.{form}"]


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_cannot_be_read_or_written_is_an_error_of_ours(form: str, tmp_path: Path) -> None:
    (tmp_path / f"folder.{form}").mkdir()
    for name in ("absent", "folder"):
        with pytest.raises(ManifestError, match=rf"cannot read the manifest .*{name}\.{form}: (No such|Is a dir)"):
            Manifest.load(tmp_path / f"{name}.{form}")
    with pytest.raises(RunError, match="it is a folder"):
        MANIFEST.save(tmp_path / f"folder.{form}")


# --- JSON Lines -------------------------------------------------------------------------------------------------------


def test_a_file_is_one_header_and_one_request_a_line(tmp_path: Path) -> None:
    MANIFEST.save(tmp_path / "a.jsonl")
    header, *requests = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert (header["geomask"], header["version"], header["gap"], header["dense_nbytes"]) == ("manifest", 3, 8, 4321)
    assert header["created_with"].startswith("geomask ")
    assert header["channels"][0] == ["2020-01", "B02"]
    assert header["chips"] == [[0, 0, 32, 32], [32, 32, 32, 32]]
    assert [list(request) for request in requests] == [MEMBERS] * 4
    assert [request["href"] for request in requests] == [SIGNED.href, SIGNED.href, LOCAL.href, FOREIGN.href]
    assert requests[0]["window"] == [3, 4, 5, 6]
    assert (requests[0]["ranges"], requests[0]["nbytes"]) == ([[700, 200, 200], [905, 100, 150]], 300)
    assert (requests[3]["ranges"], requests[3]["why"]) == ([], FOREIGN.why)


def test_more_lines_than_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = list(MANIFEST.lines())
    monkeypatch.setattr(jsonl, "BLOCK", 3)
    assert list(MANIFEST.lines()) == whole
    assert Manifest.parse(whole) == MANIFEST


def test_a_manifest_is_parsed_from_any_lines_and_blank_ones_are_passed_over() -> None:
    header, *requests = MANIFEST.lines()
    assert Manifest.parse([header, "", *requests, "\n"]) == MANIFEST
    with pytest.raises(ManifestError, match="line 4: chip 9 of 2"):
        Manifest.parse([header, "", *requests[:1], changed(1, chip=9)[1]])


def changed(number: int, **values: Any) -> list[str]:
    """The lines of the manifest, some values of one of them replaced; `...` takes one away."""
    lines = list(MANIFEST.lines())
    document = {**json.loads(lines[number]), **values}
    lines[number] = json.dumps({key: value for key, value in document.items() if value is not ...})
    return lines


def raw(number: int, old: str, new: str) -> list[str]:
    """The lines of the manifest, some text of one of them replaced."""
    lines = list(MANIFEST.lines())
    assert old in lines[number]
    lines[number] = lines[number].replace(old, new)
    return lines


GRID = json.loads(next(MANIFEST.lines()))["grid"]

BROKEN_HEADERS: list[tuple[list[str], str]] = [
    ([], "an empty file is no manifest"),
    (["{"], "line 1: no JSON"),
    (["", ""], "line 1: no JSON"),
    (["[" * 100_000], "line 1: .*nested too deeply"),
    (["[]"], "line 1: this is no geomask manifest"),
    (['{"geomask": "selection"}'], "line 1: this is no geomask manifest"),
    (changed(0, version=1), "line 1: a manifest of version 1; this geomask reads version 3: compile it anew"),
    (changed(0, version=2.0), "line 1: a manifest of version 2.0;"),
    (changed(0, version=...), "line 1: a manifest of version null"),
    (changed(0, colour="red"), 'line 1: "colour" is unknown'),
    (changed(0, grid=...), "line 1: grid is missing"),
    (changed(0, created_with=None), "line 1: created_with is null, no text"),
    (changed(0, selection=7), "line 1: selection is 7, no text"),
    (changed(0, profile=[]), r"line 1: profile is \[\], no text"),
    (changed(0, search="all"), 'line 1: search is "all", no object'),
    (raw(0, '"search": {', '"search": {"deep": ' + "[" * 3000 + "]" * 3000 + ", "), "line 1: .*nested too deeply"),
    (changed(0, gap=-1), "line 1: gap is -1, below 0"),
    (changed(0, gap=LIMIT + 1), r"line 1: gap is 9007199254740993, beyond \+-2\^53"),
    (changed(0, dense_nbytes=1.5), "line 1: dense_nbytes is 1.5, no whole number"),
    (changed(0, grid=[]), "line 1: an object is wanted"),
    (changed(0, grid={**GRID, "height": 0}), "line 1: a grid has at least one row"),
    (changed(0, grid={**GRID, "height": 64.5}), "line 1: grid.height is 64.5, no whole number"),
    (changed(0, grid={**GRID, "width": True}), "line 1: grid.width is true, no whole number"),
    (changed(0, grid={**GRID, "crs": 32633}), "line 1: grid.crs is 32633, no text"),
    (changed(0, grid={**GRID, "crs": "http://host/crs"}), "line 1: a grid has a CRS as text"),
    (changed(0, grid={**GRID, "left": "west"}), 'line 1: grid.left is "west", no number'),
    (changed(0, grid={**GRID, "left": HUGE}), "line 1: grid.left is 1000.*too large"),
    (raw(0, '"left": 500000', '"left": NaN'), "line 1: no JSON: NaN"),
    (raw(0, '"left": 500000', '"left": 1e999'), "line 1: grid.left is inf, not finite"),
    (raw(0, '"left": 500000', f'"left": {"1" * 5000}'), "line 1: no JSON: .*4300 digits"),
    (changed(0, grid={**GRID, "depth": 3}), 'line 1: "depth" is unknown'),
    (changed(0, chips=[[0, 0, 32]]), r"line 1: chips\[0\] has 3 numbers"),
    (changed(0, chips=[[0, 0, 32, 0]]), "line 1: a window has at least one row"),
    (changed(0, chips=[[0, 0, 32, 32.5]]), r"line 1: chips\[0\]\[3\] is 32.5, no whole number"),
    (changed(0, chips=[[0, 0, 32, MAX_SIZE + 1]]), "line 1: Window.* reaches over"),
    (changed(0, chips={}), "line 1: chips is {}, no list"),
    (changed(0, channels=["ab", "cd"]), r'line 1: channels\[0\] is "ab", no list'),
    (changed(0, channels=[["2020-01", 2]]), r"line 1: channels\[0\]\[1\] is 2, no text"),
    (changed(0, channels=[["2020-01"]]), r"line 1: channels\[0\] has 1 names"),
    (
        changed(0, channels=[["2020-01", "B02"]], scaling=[[1, 0]]),
        "line 4: /data/ü b.tif fills channel 1 of 1; they count from 0",
    ),
    (changed(0, scaling=[[1, 0]]), "line 1: 4 channels have 1 pairs of scale and offset"),
    (changed(0, scaling=[[1, 0, 2]] * 4), r"line 1: scaling\[0\] has 3 numbers; it is a scale and an offset"),
    (changed(0, scaling=[[0, 1]] * 4), r"line 1: a channel has scale 0.0 and offset 1.0; they are finite"),
    (changed(0, chips=[[0, 0, 32, 32]]), "line 2: chip 1 of 1; they count from 0"),
]
BROKEN_REQUESTS: list[tuple[list[str], str]] = [
    ([*changed(1), "null"], "line 6: an object is wanted, not null"),
    ([*changed(1)[:2], changed(1)[1][:50]], "line 3: no JSON"),
    ([*changed(1), changed(1)[0]], "line 6: item is missing"),
    ([*changed(1), changed(1, size=6000)[1]], "line 6: the requests of .* differ in the file's size, ETag, header"),
    ([*changed(1), changed(1, etag=None)[1]], "line 6: the requests of .* differ in the file's size, ETag, header"),
    ([*changed(1), changed(1, header_nbytes=1)[1]], "line 6: .* differ in the file's size, ETag, header or why"),
    (changed(2, size=...), "line 3: size is missing"),
    (changed(2, chip=...), "line 3: chip is missing"),
    (changed(2, colour="red"), 'line 3: "colour" is unknown'),
    (changed(1, item=None), "line 2: item is null, no text"),
    (changed(1, href=3), "line 2: href is 3, no text"),
    (changed(1, href=""), "line 2: item tiny has an empty href"),
    (changed(1, asset="\ud800"), "line 2: the texts of item .* are no Unicode"),
    (changed(1, bands=[]), r"line 2: bands, channels.* have \[0, 1, 1, 1, 1\] entries"),
    (changed(1, bands="B02"), 'line 2: bands is "B02", no list'),
    (changed(1, bands=["B03"]), "line 2: .* fills channel 0 with 2020-01/B03, which is 2020-01/B02"),
    (changed(1, slot="2020-02"), "line 2: .* fills channel 0 with 2020-02/B02, which is 2020-01/B02"),
    (changed(1, channels=[4]), "line 2: .* fills channel 4 of 4; they count from 0"),
    (changed(1, channels=[-1]), "line 2: .* fills channel -1 of 4"),
    (changed(1, channels=["0"]), r'line 2: channels\[0\] is "0", no whole number'),
    (changed(1, channels=[0, 0]), "line 2: bands, channels.* entries"),
    (changed(1, indexes=[0]), r"line 2: .* has bands \[0\]; they count from 1"),
    (changed(1, indexes=[HUGE]), r"line 2: indexes\[0\] is 1000.*beyond"),
    (changed(1, level=0.5), "line 2: level is 0.5, no whole number"),
    (changed(2, level=True), "line 3: level is true, no whole number"),
    (changed(1, level=-1), "line 2: level of .* is -1"),
    (changed(1, chip=None), "line 2: chip is null, no whole number"),
    (changed(1, chip=2), "line 2: chip 2 of 2; they count from 0"),
    (changed(2, chip=-1), "line 3: chip -1 of 2"),
    (changed(2, chip=False), "line 3: chip is false, no whole number"),
    (changed(1, window=[1, 2, 3]), r"line 2: window is \[1, 2, 3\], not"),
    (changed(1, window={"0": 1}), "line 2: window is .*, not"),
    (changed(1, window=[1, 2, 0, 3]), r"line 2: window \[1, 2, 0, 3\] .* is empty"),
    (changed(1, window=[-1, 2, 3, 3]), r"line 2: window \[-1, 2, 3, 3\] .* begins before 0"),
    (changed(1, window=[1, 2, 3, MAX_SIZE + 1]), "line 2: window .* reaches over"),
    (changed(1, window=[1, 2, 3, "4"]), 'line 2: window is "4", no whole number'),
    (changed(1, ranges=None), "line 2: ranges is null, no list"),
    (changed(1, ranges=[[700, 300]]), r"line 2: ranges is \[\[700, 300\]\], no list of \[offset, length, whole\]"),
    (changed(1, ranges=[["700", 300, 300]]), 'line 2: ranges is "700", no whole number'),
    (changed(1, ranges=[[HUGE, 300, 300]]), "line 2: ranges is 1000.*beyond"),
    (changed(1, ranges=[[-1, 300, 300]]), r"line 2: the bytes of .*B02\.tif do not add up"),
    (changed(1, ranges=[[700, 300, 300], [900, 0, 1]]), "line 2: the bytes .* do not add up"),
    (changed(1, ranges=[[700, 300, 299]]), "line 2: the bytes .* do not add up"),
    (changed(1, ranges=[[4701, 300, 300]]), "line 2: the bytes .* do not add up"),
    (changed(1, ranges=[[700, 300, LIMIT]]), "line 2: the bytes .* do not add up"),
    (changed(1, ranges=[[LIMIT, 300, LIMIT]]), "line 2: the bytes .* do not add up"),
    (changed(1, nbytes=301), "line 2: the bytes .* do not add up: 301 in"),
    (changed(1, nbytes=-300), "line 2: the bytes .* do not add up"),
    (changed(1, header_nbytes=0), "line 2: .* of 5000 bytes cannot have a header of 0"),
    (changed(1, header_nbytes=5001), "line 2: .* of 5000 bytes cannot have a header of 5001"),
    (changed(1, size=-1), "line 2: .* of -1 bytes"),
    (changed(1, size=LIMIT + 1), "line 2: size is 9007199254740993, beyond"),
    (changed(1, dtype="<u2"), 'line 2: dtype of .* is "<u2"'),
    (changed(1, dtype="uint16\n"), "line 2: dtype of .*"),
    (changed(1, nodata="none"), 'line 2: nodata is "none", no number'),
    (changed(1, nodata=HUGE), "line 2: nodata is 1000.*too large"),
    (raw(1, '"nodata": 0.0', '"nodata": NaN'), "line 2: no JSON: NaN is no number there; set it in quotes"),
    (raw(1, '"nodata": 0.0', '"nodata": 1e999'), "line 2: nodata is inf, not finite"),
    (changed(1, scales=["1"]), r'line 2: scales\[0\] is "1", no number'),
    (changed(1, scales=[]), "line 2: bands, channels, .* entries"),
    (raw(1, '"offsets": [-0.1]', '"offsets": [1e999]'), r"line 2: offsets\[0\] is inf, not finite"),
    (raw(1, '"why": null', f'"why": {"[" * 900}{"]" * 900}'), r"line 2: .*(no text|cannot be)"),
    (changed(4, ranges=[[700, 300, 300]], nbytes=300), "line 5: GDAL reads .* no range does"),
]


@pytest.mark.parametrize(("lines", "message"), BROKEN_HEADERS + BROKEN_REQUESTS)
def test_a_broken_manifest_is_refused_with_its_name_and_line(lines: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "odd.jsonl").write_text("\n".join(lines))
    with pytest.raises(ManifestError, match=message) as caught:
        Manifest.load(tmp_path / "odd.jsonl")
    assert "odd.jsonl" in str(caught.value)
    assert len(str(caught.value).removeprefix(str(tmp_path))) < 400


def test_a_line_that_breaks_off_is_refused_wherever_it_does() -> None:
    header, request = list(MANIFEST.lines())[:2]
    for end in range(len(header)):
        with pytest.raises(ManifestError):
            Manifest.parse([header[:end]])
    for end in range(1, len(request)):
        with pytest.raises(ManifestError):
            Manifest.parse([header, request[:end]])


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "odd.jsonl").write_bytes(b"\xff\xfe{}")
    with pytest.raises(ManifestError, match=r"odd\.jsonl: after line 0: no text in UTF-8"):
        Manifest.load(tmp_path / "odd.jsonl")


@given(mutations())
@settings(deadline=None, max_examples=300)
def test_hostile_lines_are_refused_or_mean_something(lines: list[str]) -> None:
    try:
        manifest = Manifest.parse(lines)
    except ManifestError:
        return
    assert Manifest.parse(manifest.lines()) == manifest
    assert manifest.planned_nbytes == sum(piece.length for _, piece, _ in manifest.explain())

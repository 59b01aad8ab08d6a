"""The JSON Schema of a manifest: sound itself, no looser than it must be, and never stricter than the reader."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from jsonschema import Draft202012Validator
from manifests import MANIFEST, mutations

from geomask.errors import ManifestError
from geomask.grid import MAX_SIZE
from geomask.plan.header import VERSION
from geomask.plan.kinds import LIMIT
from geomask.plan.manifest import Manifest
from geomask.plan.schema import line_schema, sound_lines

SCHEMA = Draft202012Validator(line_schema())
HEADER, REQUEST = (json.loads(line) for line in list(MANIFEST.lines())[:2])


def objects(schema: dict[str, Any]) -> list[dict[str, Any]]:
    definitions = schema["$defs"]
    return [definitions["header"], definitions["header"]["properties"]["grid"], definitions["request"]]


def test_the_schema_is_one() -> None:
    schema = line_schema()
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"urn:geomask:manifest:{VERSION}"
    for part in objects(schema):
        assert part["required"] == list(part["properties"])
        assert part["additionalProperties"] is False
        assert all("description" in member or "const" in member for member in part["properties"].values())


def test_the_schema_names_what_is_written() -> None:
    header, grid, request = objects(line_schema())
    assert header["required"] == list(HEADER)
    assert grid["required"] == list(HEADER["grid"])
    assert request["required"] == list(REQUEST)
    assert all(SCHEMA.is_valid(json.loads(line)) for line in MANIFEST.lines())


@pytest.mark.parametrize("name", list(HEADER))
def test_a_header_without_one_of_its_members_is_refused(name: str) -> None:
    assert not SCHEMA.is_valid({key: value for key, value in HEADER.items() if key != name})


@pytest.mark.parametrize("name", list(REQUEST))
def test_a_request_without_one_of_its_members_is_refused(name: str) -> None:
    assert not SCHEMA.is_valid({key: value for key, value in REQUEST.items() if key != name})


@pytest.mark.parametrize(
    "change",
    [
        {"geomask": "selection"}, {"version": 1}, {"version": "2"}, {"colour": "red"}, {"created_with": None},
        {"selection": 1}, {"profile": 1}, {"search": []}, {"gap": -1}, {"gap": 0.5}, {"gap": LIMIT + 1},
        {"dense_nbytes": -1}, {"grid": {**HEADER["grid"], "height": 0}}, {"grid": {**HEADER["grid"], "res_x": 0}},
        {"grid": {**HEADER["grid"], "crs": "https://host/crs"}}, {"grid": {**HEADER["grid"], "depth": 1}},
        {"chips": [[0, 0, 32]]}, {"chips": [[0, 0, 32, 32, 32]]}, {"chips": [[0, 0, 0, 32]]},
        {"chips": [[0, 0, 32, MAX_SIZE + 1]]}, {"channels": [["a"]]}, {"channels": [["a", "b", "c"]]},
        {"channels": [["a", 1]]},
    ],
    ids=str,
)  # fmt: skip
def test_a_broken_header_is_refused(change: dict[str, Any]) -> None:
    assert SCHEMA.is_valid(HEADER)
    assert not SCHEMA.is_valid({**HEADER, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"colour": "red"}, {"item": None}, {"collection": 1}, {"href": ""}, {"bands": []}, {"bands": "B02"},
        {"channels": [-1]}, {"channels": [True]}, {"indexes": [0]}, {"level": -1}, {"level": 0.5}, {"chip": -1},
        {"chip": None}, {"window": [0, 0, 1]}, {"window": [-1, 0, 1, 1]}, {"window": [0, 0, 0, 1]},
        {"window": [0, 0, 1, 1, 1]}, {"ranges": [[0, 1]]}, {"ranges": [[-1, 1, 1]]}, {"ranges": [[0, 0, 1]]},
        {"ranges": [[0, 1, 0]]}, {"ranges": [[0, 1, 1, 1]]}, {"ranges": None}, {"nbytes": -1}, {"header_nbytes": -1},
        {"size": LIMIT + 1}, {"etag": 1}, {"dtype": "<u2"}, {"nodata": "none"}, {"nodata": True}, {"scales": []},
        {"scales": ["nan"]}, {"offsets": [None]}, {"why": 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_broken_request_is_refused(change: dict[str, Any]) -> None:
    assert SCHEMA.is_valid(REQUEST)
    assert not SCHEMA.is_valid({**REQUEST, **change})


@pytest.mark.parametrize("document", [None, [], "header", 1, {}])
def test_what_is_no_line_at_all_is_refused(document: Any) -> None:
    assert not SCHEMA.is_valid(document)


@given(mutations())
@settings(deadline=None, max_examples=300)
def test_the_schema_accepts_all_that_the_reader_does(lines: list[str]) -> None:
    try:
        Manifest.parse(lines)
    except ManifestError:
        return
    assert all(SCHEMA.is_valid(json.loads(line)) for line in lines)


# --- lines ------------------------------------------------------------------------------------------------------------


def check(lines: list[str], most: int = 10) -> tuple[list[str], list[str]]:
    faults: list[str] = []
    return list(sound_lines(lines, faults, most)), faults


def test_sound_lines_pass() -> None:
    lines = list(MANIFEST.lines())
    assert check([lines[0], "", *lines[1:], "\n"]) == ([lines[0], "", *lines[1:], "\n"], [])


def test_lines_before_the_first_fault_pass_and_those_after_it_are_checked() -> None:
    lines = list(MANIFEST.lines())
    lines[2] = json.dumps({**REQUEST, "chip": -1, "window": [0, 0, 1, 0]})
    lines[3] = "{"
    lines.append("[" * 100_000)
    passed, faults = check(lines)
    assert passed == lines[:2]
    assert faults[:2] == [
        "line 3: chip: -1 is less than the minimum of 0",
        "line 3: window[3]: 0 is less than the minimum of 1",
    ]
    assert [fault[:15] for fault in faults[2:]] == ["line 4: no JSON", "line 6: JSON th"]


def test_no_more_faults_than_asked_for_are_named() -> None:
    read = []
    lines = (read.append(at) or "null" for at in range(100))
    passed, faults = check(lines, most=3)  # type: ignore[arg-type]
    assert (passed, len(faults), len(read)) == ([], 3, 3)
    assert len(check([json.dumps({**REQUEST, "href": 1, "item": 1, "asset": 1})], most=2)[1]) == 2


def test_a_fault_is_short_however_long_the_line() -> None:
    _, (fault,) = check([json.dumps({**REQUEST, "bands": "x" * 10_000})])
    assert fault.startswith("line 1: bands: 'xxx")
    assert len(fault) < 250

"""`geomask catalogs`: the list, one profile, a file of the user's own."""

from importlib.metadata import entry_points
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from geomask.stac.profile import load_profile, profile_names

(ENTRY,) = entry_points(group="console_scripts", name="geomask")


def run(*args: object) -> Result:
    return CliRunner().invoke(ENTRY.load(), ["catalogs", *map(str, args)])


def test_all_profiles_are_listed_in_aligned_columns_on_stdout() -> None:
    result = run()
    assert (result.exit_code, result.stderr) == (0, "")
    head, *lines = result.stdout.splitlines()
    assert head.split() == ["name", "bands", "collections", "endpoint", "title"]
    assert [line.split()[0] for line in lines] == profile_names()
    for line in lines:
        name, bands, collections, endpoint, title = line.split(maxsplit=4)
        profile = load_profile(name)
        assert (int(bands), title, endpoint) == (len(profile.bands), profile.title, profile.endpoint or "-")
        assert tuple(collections.split(",")) == profile.collections
        assert [line.index(cell, head.index(key)) for key, cell in (("bands", bands), ("title", title))] == [
            *(head.index("bands"), head.index("title"))
        ]


@pytest.mark.parametrize("name", profile_names())
def test_one_profile_is_shown_with_all_its_bands(name: str) -> None:
    result = run(name)
    assert (result.exit_code, result.stderr) == (0, "")
    facts, _, table = result.stdout.partition("\n\n")
    assert f"name         {name}" in facts
    head, *rows = table.splitlines()
    assert head.split()[:4] == ["band", "common_name", "um", "gsd"]
    profile = load_profile(name)
    assert [row.split()[0] for row in rows] == [band.name for band in profile.bands]
    assert all(band.asset in row.split() for band, row in zip(profile.bands, rows, strict=True))
    assert ("requester pays" in facts) is profile.cost.requester_pays
    assert all(rule.property in facts for band in profile.bands for rule in band.scalings)


def test_rules_classes_and_what_gives_access_are_shown() -> None:
    shown = run("earth-search-sentinel-2-l2a").stdout
    assert "where        earthsearch:boa_offset_applied is True: scale 0.0001, offset 0\n" in shown
    assert "where        s2:processing_baseline from 04.00: scale 0.0001, offset -0.1\n" in shown
    assert "clear        scl, classes 4, 5, 6, 7, 11\n" in shown
    shown = run("planetary-computer-hls2-s30").stdout
    assert "clear        Fmask, none of bits 1, 2, 3\n" in shown
    assert "sign         --sign planetary_computer:sign_url\n" in shown
    assert "set          AWS_REQUEST_PAYER=requester" in run("earth-search-naip").stdout


def test_a_file_of_the_users_own_is_shown_and_does_nothing_to_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        r"""
title: "red \e[31m\nsecond line"
bands:
  - {name: a, asset: x, gsd: 10, scalings: [{property: p, equals: 1, scale: 2, offset: 3}]}
  - {name: "b\a", asset: y, gsd: 2.5, nodata: nan}
"""
    )
    result = run(path)
    assert result.exit_code == 0, result.stderr
    assert "title  red ?[31m?second line\n" in result.stdout
    assert "where  p is 1.0: scale 2, offset 3 (a)\n" in result.stdout
    assert result.stdout.splitlines()[-1].split() == ["b?", "-", "-", "2.5", "y", "1", "uint16", "nan", "1", "0"]


def test_a_profile_that_is_none_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_text("bands: 1")
    for name, said in (("gone", "no profile gone: neither one of"), (tmp_path / "odd.yaml", "has no list of bands")):
        result = run(name)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
        assert said in result.stderr

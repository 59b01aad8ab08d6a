"""`geomask index`, reached as users reach it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cogs import write_cog
from items import write_items

from geomask.cog.index import HeaderIndex
from geomask.demo.server import Server
from geomask.stac.search import save_items

SCRIPT = Path(sys.executable).with_name("geomask")
(ENTRY,) = entry_points(group="console_scripts", name="geomask")


def run(*args: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(ENTRY.load(), ["index", *map(str, args)], input=stdin)


def said(result: Result) -> str:
    """stderr as it stays on a terminal: a progress bar is wiped from the start of its line."""
    return "\n".join(line.rpartition("\r")[2] for line in result.stderr.split("\n"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two items of two bands and a class map each, as ``items.json``; and ``one.tif``."""
    folder = tmp_path_factory.mktemp("served")
    save_items(write_items(folder, dates=2, bands=["B02", "B03"], scl=True), folder / "items.json")
    write_cog(folder / "one.tif")
    return folder


@pytest.fixture
def items(folder: Path, server: Server, tmp_path: Path) -> Path:
    """The items, over the server."""
    text = (folder / "items.json").read_text().replace(f"{folder}/", server.url)
    (tmp_path / "items.json").write_text(text)
    return tmp_path / "items.json"


def many(server: Server, path: Path, count: int) -> Path:
    """One item with so many assets, all of them links to one file."""
    for number in range(count):
        link = server.directory / f"link {number:03}.tif"
        if not link.exists():
            link.hardlink_to(server.directory / "one.tif")
    assets = {str(number): {"href": server.href(f"link {number:03}.tif")} for number in range(count)}
    path.write_text(json.dumps(collection(assets)))
    return path


def collection(assets: dict[str, Any]) -> dict[str, Any]:
    properties = {"datetime": "2020-01-01T00:00:00Z"}
    item = {"type": "Feature", "stac_version": "1.0.0", "id": "a", "geometry": None, "properties": properties}
    return {"type": "FeatureCollection", "features": [{**item, "links": [], "assets": assets}]}


def test_all_headers_of_the_items_are_kept_and_come_once(items: Path, server: Server, tmp_path: Path) -> None:
    out = tmp_path / "headers.parquet"
    result = run(items, "-o", out)
    assert (result.exit_code, result.stdout) == (0, "")
    assert said(result).startswith("6 files: 6 new, 0 kept, 0 failed; ")
    assert f"; {server.log().nbytes:,} bytes in 6 requests, " in said(result)
    assert len(HeaderIndex.load(out)) == 6
    server.reset()
    assert said(run("-", "--out", out, stdin=items.read_text())).startswith("6 files: 0 new, 6 kept, 0 failed; 0 bytes")
    assert server.log().requests == 0


def test_files_that_fail_are_named_and_the_rest_is_saved(server: Server, tmp_path: Path) -> None:
    items = many(server, tmp_path / "items.json", 15)
    for number in range(12):
        server.fail(f"link {number:03}.tif", "status", status=404, times=None)
    result = run(items, "-o", tmp_path / "headers.parquet")
    assert result.exit_code == 1
    *failed, more, summary = said(result).splitlines()
    assert [line.split(": ")[0] for line in failed] == ["Failed"] * 10
    assert failed[3] == f"Failed: {server.href('link 003.tif')}: no such file"
    assert more == "Failed: 2 more."
    assert summary.startswith("15 files: 3 new, 0 kept, 12 failed; ")
    server.heal()
    assert run(items, "-o", tmp_path / "headers.parquet").exit_code == 0
    assert len(HeaderIndex.load(tmp_path / "headers.parquet")) == 15


def test_a_function_signs_what_is_fetched_and_nothing_that_is_kept(
    items: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_signer.py").write_text("def sign(href):\n    return href + '?sig=secret'\n")
    monkeypatch.syspath_prepend(tmp_path)
    out = tmp_path / "headers.parquet"
    result = run(items, "-o", out, "--sign", "my_signer:sign")
    assert result.exit_code == 0, result.stderr
    assert all(href.startswith(server.url) and "?" not in href for href in HeaderIndex.load(out))
    assert run(items, "-o", out, "--sign", "my_signer:absent").exit_code == 2


@pytest.mark.parametrize(
    ("assets", "message"),
    [({}, "no asset of"), ({"a": {"href": "https://host/a.xml"}}, "is a GeoTIFF or JPEG 2000")],
)
def test_items_without_a_raster_are_an_error(assets: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "items.json").write_text(json.dumps(collection(assets)))
    result = run(tmp_path / "items.json", "-o", tmp_path / "a.parquet")
    assert result.exit_code == 1
    assert message in said(result)
    assert not (tmp_path / "a.parquet").exists()


def test_a_file_in_the_way_is_left_alone(items: Path, tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("mine")
    result = run(items, "-o", tmp_path / "a.parquet")
    assert result.exit_code == 1
    assert "is no header index" in said(result)
    assert len(said(result).splitlines()) == 1
    assert (tmp_path / "a.parquet").read_text() == "mine"


def test_without_a_place_for_it_nothing_is_fetched(items: Path, server: Server) -> None:
    result = run(items)
    assert result.exit_code == 2
    assert server.log().requests == 0


def test_ctrl_c_keeps_what_came_and_the_next_call_goes_on(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "headers.parquet"
    with Server(folder, latency=0.1) as server:
        items = many(server, tmp_path / "items.json", 300)
        process = subprocess.Popen([SCRIPT, "index", items, "-o", out], stderr=subprocess.PIPE)
        while server.log().requests < 60:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 130
        assert stderr.decode().rstrip().endswith("Interrupted.")
        came = len(HeaderIndex.load(out))
        assert 24 <= came < 300
        server.reset()
        result = run(items, "-o", out)
        assert said(result).startswith(f"300 files: {300 - came} new, {came} kept, 0 failed; ")
        assert server.log().requests == 300 - came

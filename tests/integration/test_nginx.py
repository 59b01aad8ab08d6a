"""Byte ranges from nginx: its own log says what went over the wire."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pystac
import pytest
from buckets import forget_clouds
from cogs import write_cog
from months import FOREIGN, TILED, assert_pixels, moved, planned, write_scene
from nginx import Nginx, nginx

from geomask import fetch as module
from geomask.cog.index import index_headers
from geomask.errors import FetchError
from geomask.fetch import CONCURRENCY
from geomask.read.reader import read_manifest
from geomask.stac.search import search


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("behind nginx")


@pytest.fixture(scope="module")
def scene(folder: Path) -> list[pystac.Item]:
    return write_scene(folder)


@pytest.fixture(scope="module")
def started(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    with nginx(folder, tmp_path_factory.mktemp("nginx")) as server:
        yield server


@pytest.fixture
def server(started: Nginx, monkeypatch: pytest.MonkeyPatch) -> Nginx:
    """nginx, with nothing unread in its log, and quick retries."""
    monkeypatch.setattr(module, "FIRST_WAIT", 0.01)
    started.log()
    return started


@pytest.mark.parametrize("prefix", ["", "zipped/"])
def test_bytes_in_its_log_are_those_of_the_receipt_and_pixels_those_of_rasterio(
    prefix: str, scene: list[pystac.Item], server: Nginx
) -> None:
    """Also where it would rather compress what it sends: nobody asks for that, a range of it would be of no use."""
    manifest, index = planned(moved(scene, lambda path: server.href(path, prefix)))
    cube, receipt = read_manifest(manifest, index)
    log, whole = server.log(), receipt.after(index)
    assert {answer.status for answer in log} == {206}
    assert (sum(answer.nbytes for answer in log), len(log)) == (whole.nbytes, whole.requests)
    assert whole.nbytes == manifest.planned_nbytes + whole.refetched_nbytes
    assert whole.retries == 0
    assert_pixels(cube, manifest, scene)


def test_without_kept_headers_the_same_comes_as_was_planned(scene: list[pystac.Item], server: Nginx) -> None:
    manifest, _ = planned(moved(scene, server.href))
    server.log()
    cube, receipt = read_manifest(manifest)
    log = server.log()
    assert (sum(answer.nbytes for answer in log), len(log)) == (receipt.nbytes, receipt.requests)
    assert receipt.header_nbytes == manifest.header_nbytes > 0
    assert_pixels(cube, manifest, scene)


def test_connections_are_used_again(scene: list[pystac.Item], server: Nginx) -> None:
    manifest, index = planned(moved(scene, server.href))
    read_manifest(manifest, index)
    read_manifest(manifest, index)
    log = server.log()
    connections = {answer.connection for answer in log}
    assert len(connections) <= CONCURRENCY
    assert 2 * len(connections) < len(log)


def test_what_gdal_reads_is_named_and_its_bytes_are_in_no_receipt(scene: list[pystac.Item], server: Nginx) -> None:
    manifest, index = planned(moved(scene, server.href), FOREIGN)
    server.log()
    cube, receipt = read_manifest(manifest, index)
    assert {answer.status for answer in server.log()} <= {200, 206}
    assert (receipt.nbytes, receipt.requests) == (0, 0)
    files = {asset.href for item in moved(scene, server.href) for name, asset in item.assets.items() if name in FOREIGN}
    assert {fallback.href for fallback in receipt.fallbacks} == files
    assert_pixels(cube, manifest, scene)


def test_a_file_shorter_than_the_first_request_comes_once(folder: Path, server: Nginx) -> None:
    path = write_cog(folder / "small one.tif", height=60, width=50)
    index = index_headers([server.href(path)])
    (answer,) = server.log()
    assert (answer.status, answer.nbytes) == (206, path.stat().st_size)
    assert sum(trip.nbytes for trip in index.trips) == path.stat().st_size


def test_what_is_not_there_is_said_after_one_request(folder: Path, server: Nginx) -> None:
    href = server.href(folder / "a folder" / "absent #1.tif")
    with pytest.raises(FetchError, match=f"{href}: no such file"):
        index_headers([href])
    (answer,) = server.log()
    assert (answer.path, answer.status) == ("/a folder/absent #1.tif", 404)


def test_a_server_without_ranges_is_an_error_after_one_request(scene: list[pystac.Item], server: Nginx) -> None:
    with pytest.raises(FetchError, match="ignores byte ranges"):
        index_headers([server.href(Path(scene[0].assets["B02"].href), "whole/")])
    (answer,) = server.log()
    assert answer.status == 200


def test_a_file_that_changed_since_it_was_planned_is_not_read(tmp_path: Path, folder: Path, server: Nginx) -> None:
    """Of the same size: only its ETag tells, which nginx makes of the time of the change."""
    scene = write_scene(folder / "changes")
    items = moved(scene, server.href)
    manifest, index = planned(items)
    changed = Path(scene[1].assets["B03"].href)
    os.utime(changed, (0, 1_000_000_000))
    with pytest.raises(FetchError, match=r"B03\.tif changed since it was planned .*ETag .* compile the manifest anew"):
        read_manifest(manifest, index)
    with pytest.raises(FetchError, match=r"B03\.tif changed since it was planned"):
        read_manifest(manifest)
    again, index = planned(items)
    cube, _ = read_manifest(again, index)
    assert_pixels(cube, again, scene)


@pytest.mark.parametrize("names", [TILED, FOREIGN])
def test_a_public_bucket_is_a_folder_in_path_style(
    names: tuple[str, ...],
    scene: list[pystac.Item],
    server: Nginx,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forget_clouds(tmp_path, monkeypatch)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    items = moved(scene, lambda path: f"s3://{path.relative_to(server.folder)}")
    assert items[0].assets["B02"].href.startswith("s3://bucket/a scene, 100% cloudy/")
    manifest, index = planned(items, names)
    cube, receipt = read_manifest(manifest, index)
    assert len(receipt.fallbacks) == (len(manifest.requests) if names == FOREIGN else 0)
    assert {answer.status for answer in server.log()} <= {200, 206}
    assert_pixels(cube, manifest, scene)


def test_a_static_catalog_is_searched_as_on_the_disk(published: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with nginx(published.parent, tmp_path_factory.mktemp("nginx")) as server:
        asked = {"datetime": "2016-01/2019-12", "sortby": "-eo:cloud_cover"}
        found = search(server.href(published), **asked)
        wanted = search(str(published), **asked)
    assert [item.id for item in found] == [item.id for item in wanted]
    assert len(found) > 1
    here, there = (item.assets["B04"].get_absolute_href() for item in (wanted[0], found[0]))
    assert there == server.href(Path(str(here)))

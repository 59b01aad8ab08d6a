"""Whole reads from an S3 that checks signatures: through obstore, and through GDAL's /vsis3.

tests/test_clouds.py has single requests, and how the environment is understood.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pystac
import pytest
from buckets import KEYS, forget_clouds, s3_server
from months import FOREIGN, TILED, assert_pixels, moved, planned, write_scene

from geomask import fetch as module
from geomask.errors import FetchError, GeomaskError
from geomask.plan.manifest import Manifest
from geomask.read.reader import read_manifest
from geomask.store import locate

SECRET = KEYS["AWS_SECRET_ACCESS_KEY"]
ENVIRONMENTS = {
    "as the AWS tools say it": {"AWS_ENDPOINT_URL": "http://{host}"},
    "as obstore says it": {"AWS_ENDPOINT": "http://{host}/"},
    "as GDAL says it": {"AWS_S3_ENDPOINT": "{host}", "AWS_HTTPS": "NO", "AWS_VIRTUAL_HOSTING": "FALSE"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s3")


@pytest.fixture(scope="module")
def scene(folder: Path) -> list[pystac.Item]:
    return write_scene(folder)


@pytest.fixture(scope="module")
def started(folder: Path) -> Iterator[str]:
    with s3_server(folder) as host:
        yield host


@pytest.fixture
def host(started: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The server's host and port; the environment has them and the keys, and knows of no other cloud."""
    forget_clouds(tmp_path, monkeypatch)
    monkeypatch.setattr(module, "FIRST_WAIT", 0.01)
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": f"http://{started}"}.items():
        monkeypatch.setenv(name, value)
    return started


@pytest.fixture
def bucket(folder: Path) -> Callable[[Path], str]:
    """From a path to its address in the bucket; a key is written as it is, spaces and all."""
    return lambda path: f"s3://{path.relative_to(folder)}"


@pytest.fixture
def presigned(bucket: Callable[[Path], str], host: str) -> Callable[[Path], str]:
    """From a path to an address that anybody can read for five minutes."""
    import obstore

    def sign(path: Path) -> str:
        store, key = locate(bucket(path))
        return obstore.sign(store, "GET", key, timedelta(minutes=5))

    return sign


@pytest.mark.parametrize("names", [TILED, FOREIGN])
@pytest.mark.parametrize("words", ENVIRONMENTS)
def test_a_signed_read_moves_what_was_planned_and_reads_as_rasterio_does(
    names: tuple[str, ...],
    words: str,
    scene: list[pystac.Item],
    bucket: Callable[[Path], str],
    host: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    for name, value in ENVIRONMENTS[words].items():
        monkeypatch.setenv(name, value.format(host=host))
    items = moved(scene, bucket)
    manifest, index = planned(items, names)
    cube, receipt = read_manifest(manifest, index)
    assert_pixels(cube, manifest, scene)
    assert receipt.nbytes == manifest.pixel_nbytes + receipt.refetched_nbytes
    assert receipt.retries == 0
    by_gdal = {item.assets[name].href for item in items for name in names if name in FOREIGN}
    assert {fallback.href for fallback in receipt.fallbacks} == by_gdal


@pytest.mark.parametrize("names", [TILED, FOREIGN])
def test_presigned_addresses_are_read_without_keys_and_written_nowhere(
    names: tuple[str, ...],
    scene: list[pystac.Item],
    presigned: Callable[[Path], str],
    host: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    items = moved(scene, presigned)
    for name in KEYS:
        monkeypatch.delenv(name)
    manifest, index = planned(items, names)
    assert all(href.startswith(f"http://{host}/bucket/") and "?" not in href for href in manifest.headers)
    cube, receipt = read_manifest(manifest, index)
    assert_pixels(cube, manifest, scene)
    assert len(receipt.fallbacks) == (len(manifest.requests) if names == FOREIGN else 0)

    path = tmp_path / "plan.geomask.jsonl"
    manifest.save(path)
    assert "X-Amz" not in path.read_text()
    saved = Manifest.load(path)
    with pytest.raises(FetchError, match="access denied; sign the items or give credentials"):
        read_manifest(saved)
    again, _ = read_manifest(saved, sign=index.sign)
    assert_pixels(again, saved, scene)


def test_without_keys_the_error_says_what_to_set(
    scene: list[pystac.Item], bucket: Callable[[Path], str], host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in KEYS:
        monkeypatch.delenv(name)
    with pytest.raises(FetchError, match=r"^no credentials for s3://bucket; set AWS_NO_SIGN_REQUEST=YES for a public"):
        planned(moved(scene, bucket))
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    with pytest.raises(FetchError, match="access denied; sign the items or give credentials"):
        planned(moved(scene, bucket))


@pytest.mark.parametrize("name", KEYS)
def test_wrong_keys_are_refused_and_not_quoted(
    name: str,
    scene: list[pystac.Item],
    bucket: Callable[[Path], str],
    host: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    items = moved(scene, bucket)
    manifest, index = planned(items)
    monkeypatch.setenv(name, "wrong-and-hush")
    for attempt in (lambda: planned(items), lambda: read_manifest(manifest), lambda: read_manifest(manifest, index)):
        with pytest.raises(FetchError, match=r"^s3://bucket/a scene, .*: access denied") as caught:
            attempt()
        assert_no_key_is_in(caught.value)


@pytest.mark.parametrize("name", KEYS)
def test_keys_that_went_wrong_are_refused_to_gdal_too(
    name: str, folder: Path, bucket: Callable[[Path], str], host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of their own: GDAL remembers what it has read of an address."""
    scene = write_scene(folder / f"for-{name.lower().replace('_', '-')}")
    manifest, index = planned(moved(scene, bucket), ["strips"])
    monkeypatch.setenv(name, "wrong-and-hush")
    with pytest.raises(GeomaskError, match=r"^s3://for-aws-.*/strips #1\.tif.* GDAL ") as caught:
        read_manifest(manifest, index)
    assert_no_key_is_in(caught.value)


def assert_no_key_is_in(error: BaseException) -> None:
    said = "".join(traceback.format_exception(error))
    assert "hush" not in said
    assert SECRET not in said

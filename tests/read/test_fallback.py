"""Files that the engine cannot cut are read by GDAL, exactly, and the receipt says why."""

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
from cogs import write_cog

from geomask.demo.server import Server
from geomask.errors import FetchError
from geomask.grid import Window
from geomask.plan.compile import compile_manifest
from geomask.plan.manifest import Manifest
from geomask.plan.sources import index_selection
from geomask.read.reader import read_manifest
from geomask.selection import Channel, Selection
from geomask.stac.profile import Band
from geomask.stac.slots import make_slots

SIZE = {"height": 300, "width": 260}
CHIPS = [Window(10, 20, 60, 50), Window(90, 70, 60, 50)]


def write_jpeg2000(path: Path) -> Path:
    with rasterio.open(write_cog(path.with_suffix(".tif"), **SIZE)) as source:
        pixels, profile = source.read(), source.profile
    profile = {key: profile[key] for key in ("height", "width", "count", "dtype", "crs", "transform", "nodata")}
    with rasterio.open(path, "w", driver="JP2OpenJPEG", QUALITY=100, REVERSIBLE="YES", **profile) as dataset:
        dataset.write(pixels)
    return path


def write_sidecar(path: Path) -> Path:
    write_cog(path, **SIZE, driver="GTiff", overviews=False)
    with rasterio.Env(TIFF_USE_OVR=True), rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4])
    assert path.with_name(path.name + ".ovr").exists()
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a folder")
    strips: dict[str, Any] = {"driver": "GTiff", "tiled": False, "blockysize": 16}
    write_cog(folder / "strips.tif", **SIZE, **strips, bands=2)
    write_cog(folder / "holes.tif", **SIZE, **strips, holes=True)
    write_cog(folder / "cut.tif", **SIZE)
    write_jpeg2000(folder / "a.jp2")
    write_sidecar(folder / "sidecar.tif")
    return folder


@pytest.fixture
def served(folder: Path) -> Iterator[Server]:
    with Server(folder) as server:
        yield server


def plan(hrefs: list[str], bands: int = 1, level: int | None = None) -> Manifest:
    item = pystac.Item("one", None, None, datetime(2020, 1, 5, tzinfo=UTC), {})
    names = []
    for number, href in enumerate(hrefs):
        item.add_asset(f"a{number}", pystac.Asset(href))
        names += [Band(f"a{number}b{band}", f"a{number}", 10, index=band) for band in range(1, bands + 1)]
    channels = tuple(Channel(0, band, level) for band in range(len(names)))
    selection = Selection(make_slots([item]), tuple(names), channels)
    index = index_selection(selection, [item])
    return compile_manifest(selection, [item], index, index[hrefs[0]].level_grid(level), CHIPS)


def oracle(path: Path, band: int, window: Window, level: int | None) -> tuple[np.ndarray, np.ndarray]:
    place = rasterio.windows.Window(window.col_off, window.row_off, window.width, window.height)
    with rasterio.open(path, **({} if level is None else {"overview_level": level})) as dataset:
        return dataset.read(band, window=place), dataset.read_masks(band, window=place) != 0


@pytest.mark.parametrize("level", [None, 0])
@pytest.mark.parametrize(
    ("name", "bands", "why"),
    [
        ("strips.tif", 2, "strips"),
        ("holes.tif", 1, "strips"),
        ("a.jp2", 1, "TIFF|JPEG 2000"),
        ("sidecar.tif", 1, r"overviews.*\.ovr|\.ovr.*overviews"),
    ],
)
def test_what_cannot_be_cut_is_read_by_gdal_and_the_receipt_says_why(
    name: str, bands: int, why: str, level: int | None, served: Server, folder: Path
) -> None:
    if name == "sidecar.tif" and level is None:
        assert plan([served.href(name)]).fallbacks == {}  # full resolution lies in the file itself
        return
    manifest = plan([served.href(name)], bands, level)
    assert re.search(why, manifest.fallbacks[served.href(name)])
    assert (manifest.pixel_nbytes, manifest.planned_requests) == (0, 0)
    assert "GDAL reads 1 file" in manifest.summary()
    cube, receipt = read_manifest(manifest)
    assert [fallback.href for fallback in receipt.fallbacks] == [served.href(name)] * len(CHIPS)
    assert receipt.to_dict()["fallbacks"] == manifest.fallbacks
    for chip, window in enumerate(CHIPS):
        for band in range(bands):
            pixels, seen = oracle(folder / name, band + 1, window, level)
            np.testing.assert_array_equal(cube.image[chip, band], np.where(seen, pixels, 0))
            np.testing.assert_array_equal(cube.valid[chip, band], seen)


def test_files_that_are_cut_and_files_that_gdal_reads_stand_in_one_manifest(served: Server, folder: Path) -> None:
    manifest = plan([served.href("cut.tif"), served.href("strips.tif")])
    again = Manifest.parse(manifest.lines())
    assert again == manifest
    cube, receipt = read_manifest(again)
    assert receipt.pixel_nbytes == manifest.pixel_nbytes > 0
    assert list(receipt.to_dict()["fallbacks"]) == [served.href("strips.tif")]
    for chip, window in enumerate(CHIPS):
        for channel, name in enumerate(("cut.tif", "strips.tif")):
            np.testing.assert_array_equal(cube.image[chip, channel], oracle(folder / name, 1, window, None)[0])


def test_a_file_that_gdal_cannot_read_is_an_error_by_name(tmp_path: Path) -> None:
    path = write_cog(tmp_path / "a.tif", **SIZE, driver="GTiff", tiled=False, blockysize=16, overviews=False)
    manifest = plan([str(path)])
    data = bytearray(path.read_bytes())
    before = path.stat()
    data[2000:-2000] = b"\xff" * (len(data) - 4000)
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(FetchError, match=r"a\.tif: GDAL cannot read"):
        read_manifest(manifest)

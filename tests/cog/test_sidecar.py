"""Overviews in a file of their own."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from cogs import expected, write_cog

from geomask.cog.gdal import open_level
from geomask.cog.index import index_headers
from geomask.cog.sidecar import sidecar_href
from geomask.demo.server import Server
from geomask.errors import FetchError, LayoutError

WHY = "its overviews are in a file of their own (.ovr)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    for name, options in {"beside": {}, "strips": {"tiled": False, "blockysize": 16}}.items():
        path = write_cog(folder / f"{name}.tif", overviews=False, driver="GTiff", **options)
        with rasterio.Env(TIFF_USE_OVR=True), rasterio.open(path, "r+") as dataset:
            dataset.build_overviews([3])
            dataset.build_overviews([7])
        assert path.with_suffix(".tif.ovr").exists()
    write_cog(folder / "inside.tif")
    write_cog(folder / "none.tif", overviews=False)
    write_cog(folder / "broken.tif", overviews=False)
    (folder / "broken.tif.ovr").write_text("<html>")
    return folder


@pytest.mark.parametrize(
    ("href", "wanted"),
    [
        ("/data/a b.tif", "/data/a b.tif.ovr"),
        ("https://host/a.tif", "https://host/a.tif.ovr"),
        ("https://host/a.tif?version=2", "https://host/a.tif.ovr?version=2"),
        ("s3://bucket/a.tif", "s3://bucket/a.tif.ovr"),
    ],
)
def test_a_sidecar_lies_beside_its_file(href: str, wanted: str) -> None:
    assert sidecar_href(href) == wanted


@pytest.mark.parametrize(
    ("name", "why"), [("beside", WHY), ("strips", f"it is stored in strips, not tiles, and {WHY}")]
)
def test_overviews_beside_the_file_are_found_where_they_are_asked_for(
    name: str, why: str, folder: Path, server: Server
) -> None:
    href = server.href(f"{name}.tif")
    assert len(index_headers([href])[href].levels) == 1
    server.reset()
    index = index_headers([href], overviews=[href])
    layout = index[href]
    assert [(level.height, level.width) for level in layout.levels] == [(100, 90), (34, 30), (15, 13)]
    assert layout.why == why
    assert all(level.offsets.shape == (0, 0, 0) for level in layout.levels[1:])
    assert layout.version_for(30, 30) == 0
    assert {(trip.href, trip.requests) for trip in index.trips} == {(href, 1), (sidecar_href(href), 1)}
    assert sum(trip.nbytes for trip in index.trips) == server.log().nbytes
    with rasterio.open(folder / f"{name}.tif") as dataset:
        wanted = dataset.read(1)
    with open_level(layout, None) as dataset:
        np.testing.assert_array_equal(dataset.read(1), wanted)
    for version in (0, 1):
        with rasterio.open(folder / f"{name}.tif", overview_level=version) as dataset:
            wanted = dataset.read(1)
        with open_level(layout, version) as dataset:
            np.testing.assert_array_equal(dataset.read(1), wanted)


def test_no_sidecar_is_looked_for_where_the_overviews_are_inside(server: Server) -> None:
    href = server.href("inside.tif")
    index = index_headers([href], overviews=[href])
    assert index[href].why is None
    assert server.log().requests == 1


def test_a_file_without_overviews_anywhere_stays_as_it_is(server: Server) -> None:
    href = server.href("none.tif")
    index = index_headers([href], overviews=[href])
    assert (index[href].why, len(index[href].levels)) == (None, 1)
    assert [(entry.path, entry.status) for entry in server.log().entries] == [("none.tif", 206), ("none.tif.ovr", 404)]


def test_a_sidecar_that_is_not_to_be_had_counts_as_absent_and_one_that_fails_does_not(server: Server) -> None:
    href = server.href("beside.tif")
    server.fail("beside.tif.ovr", "status", status=403, times=None)
    assert index_headers([href], overviews=[href])[href].why is None
    server.heal()
    server.fail("beside.tif.ovr", "status", status=503, times=None)
    with pytest.raises(FetchError, match=r"beside\.tif\.ovr"):
        index_headers([href], overviews=[href])


def test_a_broken_sidecar_is_an_error_of_its_file(server: Server) -> None:
    href = server.href("broken.tif")
    with pytest.raises(LayoutError, match=r"broken\.tif\.ovr is no readable TIFF"):
        index_headers([href], overviews=[href])
    errors: dict[str, Exception] = {}
    index_headers([href], overviews=[href], on_error=errors.__setitem__)
    assert list(errors) == [href]


def test_a_kept_header_without_overviews_gets_them_when_they_are_asked_for(server: Server, tmp_path: Path) -> None:
    href = server.href("beside.tif")
    kept = index_headers([href])
    server.reset()
    index = index_headers([href], kept=kept, overviews=[href])
    assert len(index[href].levels) == 3
    assert {entry.path for entry in server.log().entries} == {"beside.tif.ovr"}
    server.reset()
    assert index_headers([href], kept=index, overviews=[href])[href] is index[href]
    assert server.log().requests == 0


def test_only_the_tags_of_a_sidecar_are_kept(folder: Path) -> None:
    href = str(folder / "beside.tif")
    layout = index_headers([href], overviews=[href])[href]
    assert layout.sidecar is not None
    assert (folder / "beside.tif.ovr").read_bytes().startswith(layout.sidecar)


def test_pixels_of_the_file_itself_are_those_that_were_written(folder: Path) -> None:
    with open_level(index_headers([str(folder / "beside.tif")])[str(folder / "beside.tif")], None) as dataset:
        np.testing.assert_array_equal(dataset.read(1), expected(1, None, range(100), range(90)))

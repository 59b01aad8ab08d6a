"""Files that GDAL reads itself: where it finds them, and what it says about them."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from cogs import expected, write_cog

from geomask.cog.gdal import describe, gdal_path, open_level
from geomask.cog.index import index_headers
from geomask.demo.server import Server
from geomask.errors import LayoutError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    source = write_cog(folder / "a.tif", height=600, width=500, block=64, bands=2, interleave="pixel", overviews=False)
    options = {"BLOCKXSIZE": 128, "BLOCKYSIZE": 128, "RESOLUTIONS": 4, "REVERSIBLE": "YES", "QUALITY": 100}
    for name in ("first", "second", "third", "a name"):  # GDAL remembers what it has read of an address
        rasterio.shutil.copy(source, folder / f"{name}.jp2", driver="JP2OpenJPEG", **options)
    return folder


@pytest.mark.parametrize(
    ("href", "path"),
    [
        ("/data/a b.jp2", "/data/a b.jp2"),
        ("file:///data/a%20b.jp2", "/data/a b.jp2"),
        ("https://host/a%20b.jp2", "/vsicurl/https://host/a%20b.jp2"),
        ("https://host/a b.jp2", "/vsicurl/https://host/a%20b.jp2"),
        (
            "https://host/a b.jp2?sv=1&sig=x%2By=",
            "/vsicurl?url=https%3A%2F%2Fhost%2Fa%2520b.jp2%3Fsv%3D1%26sig%3Dx%252By%3D",
        ),
        ("s3://bucket/a b/c #1%20?.jp2", "/vsis3/bucket/a b/c #1%20?.jp2"),  # a key is what is written
        ("gs://bucket/c.jp2", "/vsigs/bucket/c.jp2"),
        ("az://container/c.jp2", "/vsiaz/container/c.jp2"),
        ("abfs://container@account.dfs.core.windows.net/c.jp2", "/vsiaz/container/c.jp2"),
    ],
)
def test_an_href_has_a_path_in_gdal(href: str, path: str) -> None:
    assert gdal_path(href) == path


def test_an_href_is_signed_before_gdal_sees_it() -> None:
    assert gdal_path("s3://bucket/a.jp2", lambda _: "https://host/a.jp2?sig=x").startswith("/vsicurl?url=https%3A")


def test_an_address_that_gdal_does_not_know_is_refused() -> None:
    with pytest.raises(LayoutError, match="GDAL does not know where ftp://host"):
        gdal_path("ftp://host/a.jp2")


@pytest.mark.parametrize("name", ["first.jp2", "a name.jp2"])
def test_jpeg_2000_has_the_real_sizes_of_its_levels_and_no_tables(name: str, folder: Path, server: Server) -> None:
    href = server.href(name)
    layout = index_headers([href])[href]
    assert layout.why == "it is JPEG 2000, not TIFF"
    assert (layout.size, layout.header, layout.header_end) == ((folder / name).stat().st_size, b"", 0)
    assert layout.etag
    assert (layout.count, layout.dtype) == (2, "uint16")
    assert [(level.height, level.width) for level in layout.levels] == [(600, 500), (300, 250), (150, 125), (75, 63)]
    assert all(level.offsets.shape == level.lengths.shape == (0, 0, 0) for level in layout.levels)
    with rasterio.open(folder / name) as dataset:
        assert layout.grid.transform == tuple(dataset.transform)[:6]
        assert layout.grid.crs == "EPSG:32633"


def test_a_level_is_read_as_rasterio_reads_the_file(folder: Path, server: Server) -> None:
    href = server.href("second.jp2")
    layout = index_headers([href], sign=lambda href: f"{href}?sig=a%2Bb")[href]
    for version in (None, 0, 2):
        options = {} if version is None else {"overview_level": version}
        with rasterio.open(folder / "second.jp2", **options) as dataset:
            wanted = dataset.read()
        with open_level(layout, version, lambda href: f"{href}?sig=a%2Bb") as dataset:
            np.testing.assert_array_equal(dataset.read(), wanted)
    np.testing.assert_array_equal(expected(2, None, range(600), range(500)), rasterio.open(folder / "a.tif").read(2))


def test_a_level_that_is_not_there_is_refused_before_anything_is_opened(folder: Path, server: Server) -> None:
    layout = index_headers([server.href("second.jp2")])[server.href("second.jp2")]
    server.reset()
    with pytest.raises(LayoutError, match="3 overviews, no level 3"), open_level(layout, 3):
        pass
    assert server.log().requests == 0


def test_gdal_looks_for_no_other_file_and_asks_again_where_a_server_is_busy(server: Server) -> None:
    server.fail("third.jp2", "status", status=503)
    layout = describe(server.href("third.jp2"), "a test", size=1)
    assert len(layout.levels) == 4
    assert {entry.path for entry in server.log().entries} == {"third.jp2"}
    assert server.log().requests == 3  # HEAD, HEAD again, and 16 KB


def test_what_gdal_does_not_open_is_named_and_its_signature_is_not(server: Server) -> None:
    with pytest.raises(LayoutError, match=r"absent\.jp2 is nothing that GDAL opens") as caught:
        describe(server.href("absent.jp2"), "a test", lambda href: f"{href}?sig=secret", size=1)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_file_that_leads_elsewhere_is_not_followed(folder: Path) -> None:
    with rasterio.open(folder / "a.tif") as dataset, rasterio.vrt.WarpedVRT(dataset) as virtual:
        rasterio.shutil.copy(virtual, folder / "elsewhere.vrt", driver="VRT")
    assert rasterio.open(folder / "elsewhere.vrt").shape == (600, 500)
    with pytest.raises(LayoutError, match=r"elsewhere\.vrt is nothing that GDAL opens"):
        describe(str(folder / "elsewhere.vrt"), "a test", size=1)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"transform": None}, "has no transform"),
        ({"crs": None}, "names no CRS"),
        ({"transform": rasterio.Affine(10, 2, 0, 2, -10, 0)}, "rotated"),
        ({"dtype": "complex64"}, "complex"),
    ],
)
def test_what_lies_nowhere_is_refused_whoever_reads_it(
    options: dict[str, object], message: str, tmp_path: Path
) -> None:
    profile = {"driver": "GTiff", "height": 64, "width": 64, "count": 1, "dtype": "uint8", "crs": "EPSG:32633"}
    profile |= {"transform": rasterio.Affine(10, 0, 0, 0, -10, 0)}
    with rasterio.open(tmp_path / "odd.tif", "w", **{**profile, **options}):
        pass
    with pytest.raises(LayoutError, match=message) as caught:
        describe(str(tmp_path / "odd.tif"), "a test", size=1)
    assert str(caught.value).count("odd.tif") == 1

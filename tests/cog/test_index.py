import random
import struct
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
from cogs import write_cog

from geomask.cog.gather import FIRST_READ
from geomask.cog.index import HeaderIndex, index_headers
from geomask.cog.layout import MAX_HEADER, parse_layout
from geomask.demo.server import Server
from geomask.errors import FetchError, GeomaskError, ItemError, LayoutError

LARGE = {"height": 1400, "width": 1000, "block": 16, "dtype": "uint8", "compress": "none"}
"""5544 tiles: their tables alone take more than two first reads."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    for name in ("small.tif", "also small.tif"):
        write_cog(folder / name)
    write_cog(folder / "middle.tif", height=300, width=300)
    write_cog(folder / "large.tif", **LARGE)
    write_cog(folder / "trailing.tif", driver="GTiff", height=300, width=300)
    write_cog(folder / "strips.tif", driver="GTiff", tiled=False, blockysize=16)
    return folder


@pytest.mark.parametrize(
    ("name", "requests"), [("small.tif", 1), ("middle.tif", 1), ("large.tif", 3), ("trailing.tif", 4)]
)
def test_a_header_is_read_in_growing_steps_and_no_byte_of_it_twice(
    name: str, requests: int, folder: Path, server: Server
) -> None:
    index = index_headers([server.href(name)])
    layout, data = index[server.href(name)], (folder / name).read_bytes()
    log = server.log()
    assert layout.header == data[: len(layout.header)]
    assert len(layout.header) == min(FIRST_READ << requests - 1, len(data))
    assert layout.size == len(data)
    assert layout.etag
    assert datetime.fromisoformat(str(layout.modified)).timestamp() == int((folder / name).stat().st_mtime)
    assert [entry.start for entry in log.entries] == [0, *(FIRST_READ << k for k in range(requests - 1))]
    assert (log.requests, log.nbytes) == (requests, len(layout.header))
    assert sorted((trip.offset, trip.nbytes) for trip in index.trips) == [(e.start, e.length) for e in log.entries]
    assert {(trip.href, trip.requests, trip.wasted) for trip in index.trips} == {(layout.href, 1, 0)}


def test_all_files_are_indexed_once_in_any_order(server: Server) -> None:
    names = ["small.tif", "also small.tif", "large.tif"]
    hrefs = [server.href(name) for name in names] * 2
    random.Random(0).shuffle(hrefs)
    done: list[None] = []
    index = index_headers(hrefs, lambda: done.append(None))
    assert len(index) == len(done) == 3
    assert list(index) == sorted(set(hrefs)) == list(index_headers(sorted(hrefs)))
    assert sorted(entry.path for entry in server.log().entries[:5]) == sorted([*names, "large.tif", "large.tif"])


def test_retries_and_their_bytes_are_counted_for_the_file_that_needed_them(server: Server) -> None:
    server.fail("large.tif", "truncate", keep=500)
    server.fail("small.tif", "status")
    index = index_headers([server.href("large.tif"), server.href("small.tif")])
    taken = {server.href(name): (0, 0) for name in ("large.tif", "small.tif")}
    for trip in index.trips:
        requests, wasted = taken[trip.href]
        taken[trip.href] = (requests + trip.requests, wasted + trip.wasted)
    assert taken == {server.href("large.tif"): (4, 500), server.href("small.tif"): (2, 0)}
    log = server.log()
    headers = sum(len(layout.header) for layout in index.values())
    assert (log.requests, log.nbytes) == (6, headers + 500)
    assert sum(trip.nbytes for trip in index.trips) == headers


def test_the_overviews_of_a_file_that_is_no_cog_are_found_behind_its_data(folder: Path) -> None:
    href = str(folder / "trailing.tif")
    layout = index_headers([href])[href]
    assert [(level.height, level.width) for level in layout.levels] == [(300, 300), (150, 150), (75, 75)]


def test_a_file_that_is_not_in_the_index_is_an_error_that_names_it(folder: Path) -> None:
    index = index_headers([str(folder / "small.tif")])
    with pytest.raises(ItemError, match=r"middle\.tif is not in the header index"):
        index[str(folder / "middle.tif")]
    assert str(folder / "middle.tif") not in index
    assert index.get(str(folder / "middle.tif")) is None


def test_no_file_is_no_request() -> None:
    index = index_headers([])
    assert len(index) == 0


def test_one_file_that_is_no_raster_is_named(folder: Path, server: Server) -> None:
    (folder / "page.tif").write_text("<html>not found</html>")
    with pytest.raises(LayoutError, match=r"page\.tif is no readable TIFF"):
        index_headers([server.href("small.tif"), server.href("page.tif")])


def test_files_that_fail_do_not_stop_the_others(folder: Path, server: Server) -> None:
    (folder / "page.tif").write_text("<html>not found</html>")
    hrefs = [server.href(name) for name in ("small.tif", "large.tif", "page.tif", "absent.tif")]
    errors: dict[str, GeomaskError] = {}
    done: list[None] = []
    index = index_headers(hrefs, lambda: done.append(None), on_error=errors.__setitem__)
    assert list(index) == sorted(hrefs[:2])
    assert {href: type(error) for href, error in errors.items()} == {hrefs[2]: LayoutError, hrefs[3]: FetchError}
    assert len(done) == 2
    assert len(index[hrefs[1]].header) == 4 * FIRST_READ


def test_a_file_in_strips_is_indexed_and_says_so(folder: Path) -> None:
    layout = index_headers([str(folder / "strips.tif")])[str(folder / "strips.tif")]
    assert layout.why == "it is stored in strips, not tiles"
    assert [(level.height, level.width) for level in layout.levels] == [(100, 90), (50, 45), (25, 23)]
    assert layout.levels[0].lengths.shape == (1, 7, 1)


def test_one_file_that_is_missing_is_named(server: Server) -> None:
    with pytest.raises(FetchError, match=r"absent\.tif: no such file"):
        index_headers([server.href("small.tif"), server.href("absent.tif")])


def test_a_header_beyond_all_bounds_is_not_fetched_but_left_to_gdal(folder: Path, server: Server) -> None:
    path = write_cog(folder / "far.tif", compress="none", height=64, width=64, overviews=False, driver="GTiff")
    data = path.read_bytes()
    (first,) = struct.unpack("<I", data[4:8])
    with path.open("r+b") as file:  # the only page moves to the end of a large file, most of which is a hole
        file.seek(2 * MAX_HEADER)
        file.write(data[first:])
        file.seek(4)
        file.write(struct.pack("<I", 2 * MAX_HEADER))
    index = index_headers([server.href("far.tif")])
    layout = index[server.href("far.tif")]
    assert layout.why == f"its header reaches to byte {2 * MAX_HEADER + 2}, which is over {MAX_HEADER}"
    assert [(level.height, level.width) for level in layout.levels] == [(64, 64)]
    assert [trip.nbytes for trip in index.trips] == [FIRST_READ]
    assert server.log().nbytes < 1_000_000
    path.unlink()


def test_a_hostile_header_is_refused_before_it_is_fetched(folder: Path, server: Server) -> None:
    tables = b"".join(struct.pack("<HHII", code, 4, 10_000_000, 200) for code in (324, 325))
    with (folder / "hostile.tif").open("wb") as file:
        file.write(b"II*\0" + struct.pack("<IH", 8, 2) + tables + bytes(4))
        file.truncate(MAX_HEADER + (20 << 20))  # a hole: it takes no room on the disk
    with pytest.raises(LayoutError, match=r"hostile\.tif is nothing that GDAL opens"):
        index_headers([server.href("hostile.tif")])
    assert server.log().nbytes < 1_000_000
    (folder / "hostile.tif").unlink()


def test_kept_headers_are_taken_over_without_a_request(server: Server) -> None:
    hrefs = [server.href(name) for name in ("small.tif", "middle.tif", "large.tif")]
    kept = index_headers(hrefs[:2])
    server.reset()
    done: list[None] = []
    index = index_headers(hrefs[1:], lambda: done.append(None), kept=kept)
    assert list(index) == sorted(hrefs[1:])
    assert index[hrefs[1]] is kept[hrefs[1]]
    assert {entry.path for entry in server.log().entries} == {"large.tif"}
    assert {trip.href for trip in index.trips} == {hrefs[2]}
    assert len(done) == 1
    server.reset()
    again = index_headers(hrefs, kept=HeaderIndex({**kept.entries(hrefs), **index.entries(hrefs)}))
    assert len(again) == 3
    assert again.trips == ()
    assert server.log().requests == 0


def test_signed_hrefs_are_fetched_as_they_are_and_kept_without_what_signs_them(server: Server) -> None:
    bare = server.href("small.tif")
    index = index_headers([f"{bare}?sig=secret"])
    assert list(index) == [bare]
    assert index[bare].href == bare
    assert index[f"{bare}?sig=another"] is index[bare]
    assert f"{bare}?sig=another" in index
    assert index.sign is not None
    assert index.sign(bare) == f"{bare}?sig=secret"
    assert [trip.href for trip in index.trips] == [bare]


def test_a_given_function_signs_every_request_and_stays_with_the_index(server: Server) -> None:
    asked: list[str] = []

    def sign(href: str) -> str:
        asked.append(href)
        return f"{href}?sig=secret"

    bare = server.href("large.tif")
    index = index_headers([bare], sign=sign)
    assert asked == [bare] * 3
    assert index.sign is sign
    assert index_headers([bare], kept=index).sign is sign


def test_what_an_index_holds_reads_as_rasterio_does(folder: Path) -> None:
    hrefs = [str(folder / name) for name in ("small.tif", "large.tif", "trailing.tif")]
    index = index_headers(hrefs)
    for href in hrefs:
        whole = parse_layout(href, Path(href).read_bytes(), Path(href).stat().st_size)
        with rasterio.open(href) as dataset:
            assert index[href].grid.transform == tuple(dataset.transform)[:6]
        for found, wanted in zip(index[href].levels, whole.levels, strict=True):
            np.testing.assert_array_equal(found.offsets, wanted.offsets)
            np.testing.assert_array_equal(found.lengths, wanted.lengths)

import random
import struct
from pathlib import Path

import numpy as np
import pytest
import rasterio
from cogs import write_cog
from hypothesis import given, settings
from hypothesis import strategies as st

from geomask.cog.index import FIRST_READ, header_requests, index_headers
from geomask.cog.layout import MAX_HEADER, parse_layout
from geomask.demo.server import Server
from geomask.errors import FetchError, ItemError, LayoutError

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
    assert [entry.start for entry in log.entries] == [0, *(FIRST_READ << k for k in range(requests - 1))]
    assert (log.requests, log.nbytes) == (index.requests[layout.href], len(layout.header))
    assert (log.requests, log.nbytes) == (requests, len(layout.header))


@given(st.integers(1, 1 << 26))
@settings(deadline=None)
def test_the_requests_of_a_header_are_those_of_doubling_from_the_first_read(nbytes: int) -> None:
    requests, have = 1, FIRST_READ
    while have < nbytes:
        requests, have = requests + 1, 2 * have
    assert header_requests(nbytes) == requests


def test_all_files_are_indexed_once_in_any_order(server: Server) -> None:
    names = ["small.tif", "also small.tif", "large.tif"]
    hrefs = [server.href(name) for name in names] * 2
    random.Random(0).shuffle(hrefs)
    done: list[None] = []
    index = index_headers(hrefs, lambda: done.append(None))
    assert len(index) == len(done) == 3
    assert list(index.layouts) == list(index_headers(sorted(hrefs)).layouts)
    assert sorted(entry.path for entry in server.log().entries[:5]) == sorted([*names, "large.tif", "large.tif"])


def test_retries_and_their_bytes_are_counted_for_the_file_that_needed_them(server: Server) -> None:
    server.fail("large.tif", "truncate", keep=500)
    server.fail("small.tif", "status")
    index = index_headers([server.href("large.tif"), server.href("small.tif")])
    assert index.requests == {server.href("large.tif"): 4, server.href("small.tif"): 2}
    assert index.wasted == {server.href("large.tif"): 500, server.href("small.tif"): 0}
    log = server.log()
    headers = sum(len(layout.header) for layout in index.layouts.values())
    assert (log.requests, log.nbytes) == (6, headers + 500)


def test_the_overviews_of_a_file_that_is_no_cog_are_found_behind_its_data(folder: Path) -> None:
    href = str(folder / "trailing.tif")
    layout = index_headers([href])[href]
    assert [(level.height, level.width) for level in layout.levels] == [(300, 300), (150, 150), (75, 75)]


def test_a_file_that_is_not_in_the_index_is_an_error_that_names_it(folder: Path) -> None:
    index = index_headers([str(folder / "small.tif")])
    with pytest.raises(ItemError, match=r"middle\.tif is not in the header index"):
        index[str(folder / "middle.tif")]


def test_no_file_is_no_request() -> None:
    index = index_headers([])
    assert len(index) == 0


def test_one_file_that_is_no_cog_is_named(server: Server) -> None:
    with pytest.raises(LayoutError, match=r"strips\.tif is stored in strips"):
        index_headers([server.href("small.tif"), server.href("strips.tif")])


def test_one_file_that_is_missing_is_named(server: Server) -> None:
    with pytest.raises(FetchError, match=r"absent\.tif: no such file"):
        index_headers([server.href("small.tif"), server.href("absent.tif")])


def test_a_header_beyond_all_bounds_is_refused_before_it_is_fetched(folder: Path, server: Server) -> None:
    tables = b"".join(struct.pack("<HHII", code, 4, 10_000_000, 200) for code in (324, 325))
    with (folder / "hostile.tif").open("wb") as file:
        file.write(b"II*\0" + struct.pack("<IH", 8, 2) + tables + bytes(4))
        file.truncate(MAX_HEADER + (20 << 20))  # a hole: it takes no room on the disk
    with pytest.raises(LayoutError, match=r"hostile\.tif: its header reaches to byte 40000200"):
        index_headers([server.href("hostile.tif")])
    assert (server.log().requests, server.log().nbytes) == (1, FIRST_READ)
    (folder / "hostile.tif").unlink()


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

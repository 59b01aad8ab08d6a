"""An index on disk: it grows, it keeps what came, and it never fetches a header twice."""

import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from cogs import write_cog

from geomask.cog import build
from geomask.cog.build import build_index
from geomask.cog.gather import FIRST_READ
from geomask.cog.index import HeaderIndex, index_headers
from geomask.demo.server import Server
from geomask.errors import FetchError, LayoutError, RunError

NAMES = [f"{number}.tif" for number in range(6)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    for number, name in enumerate(NAMES):
        write_cog(folder / name, first=1 + number)
    write_cog(folder / "large.tif", height=1400, width=1000, block=16, dtype="uint8", compress="none")
    (folder / "page.tif").write_text("<html>")
    return folder


def test_an_index_is_built_and_built_on(server: Server, tmp_path: Path) -> None:
    hrefs = [server.href(name) for name in (*NAMES, "large.tif")]
    path = tmp_path / "new" / "headers.parquet"
    done: list[None] = []
    first = build_index(hrefs[:4], path, on_done=lambda: done.append(None))
    assert (first.new, first.kept, dict(first.failed), len(done)) == (4, 0, {}, 4)
    assert list(HeaderIndex.load(path)) == sorted(hrefs[:4])
    assert (first.nbytes, first.requests) == (server.log().nbytes, server.log().requests)
    server.reset()
    second = build_index(hrefs[2:] * 2, path, on_done=lambda: done.append(None))
    assert (second.new, second.kept, len(done)) == (3, 2, 7)
    assert {entry.path for entry in server.log().entries} == {*NAMES[4:], "large.tif"}
    assert (second.nbytes, second.requests) == (server.log().nbytes, 5)
    assert set(HeaderIndex.load(path).rows()) == set(index_headers(hrefs).rows())
    server.reset()
    before = path.stat()
    third = build_index(hrefs, path)
    assert (third.new, third.kept, third.nbytes, third.requests) == (0, 7, 0, 0)
    assert server.log().requests == 0
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def test_files_that_fail_are_told_and_the_others_are_kept(server: Server, tmp_path: Path) -> None:
    hrefs = {name: server.href(name) for name in (*NAMES, "page.tif", "absent.tif")}
    server.fail("1.tif", "status", status=503, times=None)
    built = build_index(hrefs.values(), tmp_path / "a.parquet")
    wanted = {hrefs["1.tif"]: FetchError, hrefs["page.tif"]: LayoutError, hrefs["absent.tif"]: FetchError}
    assert {href: type(error) for href, error in built.failed.items()} == wanted
    assert built.new == len(HeaderIndex.load(tmp_path / "a.parquet")) == 5
    assert built.summary().startswith("8 files: 5 new, 0 kept, 3 failed; ")
    server.heal()
    again = build_index(hrefs.values(), tmp_path / "a.parquet")
    assert (again.new, again.kept, len(again.failed)) == (1, 5, 2)


def test_retries_are_in_the_sum(server: Server, tmp_path: Path) -> None:
    server.fail("0.tif", "truncate", keep=500)
    built = build_index([server.href("0.tif")], tmp_path / "a.parquet")
    assert (built.requests, built.nbytes) == (2, server.log().nbytes)
    assert server.log().nbytes == 500 + min(FIRST_READ, (server.directory / "0.tif").stat().st_size)


def test_what_came_is_written_on_the_way_and_once_more_at_the_end(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []

    def save_rows(rows: Any, path: Any) -> None:
        saved.append(len(list(rows)))

    monkeypatch.setattr(build, "save_rows", save_rows)
    monkeypatch.setattr(build, "FIRST_SAVE", 2)
    build_index(map(server.href, NAMES[:5]), tmp_path / "a.parquet")
    assert saved == [0, 2, 4, 5]


def test_an_interrupt_keeps_what_came(server: Server, tmp_path: Path) -> None:
    came, over = threading.Semaphore(0), threading.Event()

    def slow(href: str) -> str:
        """The last file is not to be had before all others came and Ctrl-C was pressed."""
        if href.endswith("5.tif"):
            for _ in NAMES[:5]:
                came.acquire()
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            over.wait(30)
        return href

    try:
        with pytest.raises(KeyboardInterrupt):
            build_index(map(server.href, NAMES), tmp_path / "a.parquet", slow, came.release)
        assert list(HeaderIndex.load(tmp_path / "a.parquet")) == [server.href(name) for name in NAMES[:5]]
    finally:
        over.set()


def test_where_nothing_came_the_index_is_empty_and_can_be_built_on(server: Server, tmp_path: Path) -> None:
    build_index([server.href("absent.tif")], tmp_path / "a.parquet")
    assert len(HeaderIndex.load(tmp_path / "a.parquet")) == 0
    assert build_index([server.href("0.tif")], tmp_path / "a.parquet").new == 1


def test_signed_hrefs_are_kept_unsigned_and_found_again(server: Server, tmp_path: Path) -> None:
    build_index([server.href("0.tif") + "?sig=secret"], tmp_path / "a.parquet")
    assert b"secret" not in (tmp_path / "a.parquet").read_bytes()
    assert list(HeaderIndex.load(tmp_path / "a.parquet")) == [server.href("0.tif")]
    assert build_index([server.href("0.tif") + "?sig=other"], tmp_path / "a.parquet").kept == 1


def test_a_file_that_is_something_else_is_left_alone(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("mine")
    with pytest.raises(LayoutError, match=r"a\.parquet is no header index"):
        build_index([server.href("0.tif")], tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").read_text() == "mine"
    assert server.log().requests == 0


def test_what_cannot_be_written_fails_before_anything_is_fetched(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot write"):
        build_index([server.href("0.tif")], tmp_path / "file" / "a.parquet")
    with pytest.raises(IsADirectoryError):
        build_index([server.href("0.tif")], tmp_path)
    assert server.log().requests == 0


def test_a_disk_that_is_full_on_the_way_ends_it(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save_rows(rows: Any, path: Any) -> None:
        if list(rows):
            raise RunError("cannot write")

    monkeypatch.setattr(build, "save_rows", save_rows)
    monkeypatch.setattr(build, "FIRST_SAVE", 1)
    with pytest.raises(RunError, match="cannot write"):
        build_index(map(server.href, NAMES), tmp_path / "a.parquet")

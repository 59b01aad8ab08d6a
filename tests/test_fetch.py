import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from geomask import fetch as module
from geomask.demo.server import Server
from geomask.errors import FetchError
from geomask.fetch import ATTEMPTS, CONCURRENCY, Got, Want, fetch, locate

DATA = bytes(range(251)) * 200
NAMES = ["plain.bin", "sp ace/b#c.bin", "100%.bin", "p%20q.bin", "ü+&=;[x]*~.bin", "who?.bin"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    (folder / "sp ace").mkdir()
    for name in NAMES:
        (folder / name).write_bytes(name.encode() + DATA)
    (folder / "empty.bin").write_bytes(b"")
    return folder


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["path", "file", "http"])
def test_bytes_come_from_any_name_by_path_and_by_address(name: str, kind: str, folder: Path, server: Server) -> None:
    path = folder / name
    href = {"path": str(path), "file": path.as_uri(), "http": server.href(name)}[kind]
    (got,) = fetch([Want(href, 3, 1000)])
    assert got.data == path.read_bytes()[3:1003]
    assert (got.size, got.requests, got.wasted) == (path.stat().st_size, 1, 0)
    assert [entry.path for entry in server.log().entries] == ([name] if kind == "http" else [])


def test_a_relative_path_may_go_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder / "sp ace")
    assert fetch([Want("../plain.bin", 0, 5)])[0].data == b"plain"


def test_answers_are_in_the_order_of_the_wants_and_the_server_sends_nothing_else(server: Server) -> None:
    wants = [Want(server.href("plain.bin"), 100 * k, 50) for k in reversed(range(80))]
    done: list[Got] = []
    got = fetch(wants, done.append)
    whole = b"plain.bin" + DATA
    assert [one.data for one in got] == [whole[100 * k : 100 * k + 50] for k in reversed(range(80))]
    assert sorted(one.data for one in done) == sorted(one.data for one in got)
    log = server.log()
    assert (log.requests, log.nbytes) == (80, 80 * 50)


def test_fewer_bytes_come_where_the_file_ends(server: Server) -> None:
    (got,) = fetch([Want(server.href("plain.bin"), len(DATA), 1 << 20)])
    assert got.data == DATA[-9:]


def test_no_want_is_no_request() -> None:
    assert fetch([]) == []


def test_a_missing_file_is_asked_for_once(server: Server) -> None:
    with pytest.raises(FetchError, match=r"absent\.bin: no such file"):
        fetch([Want(server.href("absent.bin"), 0, 10)])
    assert server.log().requests == 1


@pytest.mark.parametrize("name", ["absent.bin", "."])
def test_a_missing_local_file_is_an_error(name: str, folder: Path) -> None:
    with pytest.raises(FetchError, match="no such file"):
        fetch([Want(str(folder / name), 0, 10)])


@pytest.mark.parametrize(("kind", "wasted"), [("status", 0), ("truncate", 700), ("drop", 0)])
def test_what_goes_wrong_in_passing_is_tried_again_and_counted(kind: Any, wasted: int, server: Server) -> None:
    server.fail("plain.bin", kind, times=2, keep=700)
    (got,) = fetch([Want(server.href("plain.bin"), 9, 20_000)])
    assert got.data == DATA[:20_000]
    assert (got.requests, got.wasted) == (3, 2 * wasted)
    log = server.log()
    assert (log.requests, log.nbytes) == (got.requests, len(got.data) + got.wasted)


@pytest.mark.parametrize(("kind", "reason"), [("status", "503"), ("truncate", "body"), ("drop", "sending request")])
def test_what_stays_wrong_is_an_error_of_one_line_after_a_few_tries(kind: Any, reason: str, server: Server) -> None:
    server.fail("plain.bin", kind, times=None, keep=10)
    with pytest.raises(FetchError, match=reason) as caught:
        fetch([Want(server.href("plain.bin"), 5, 20)])
    assert server.log().requests == ATTEMPTS
    assert str(caught.value).startswith(f"{server.href('plain.bin')}: bytes 5-24: ")
    assert "\n" not in str(caught.value)


def test_a_server_that_ignores_ranges_is_not_asked_again(server: Server) -> None:
    server.fail("plain.bin", "ignore-range")
    with pytest.raises(FetchError, match="ignores byte ranges"):
        fetch([Want(server.href("plain.bin"), 0, 10)])
    assert server.log().requests == 1


@pytest.mark.parametrize("local", [True, False])
def test_a_file_that_changed_is_an_error_that_names_both_versions(local: bool, folder: Path, server: Server) -> None:
    path = folder / "changing.bin"
    path.write_bytes(DATA)
    href = str(path) if local else server.href(path)
    (first,) = fetch([Want(href, 0, 10)])
    path.write_bytes(DATA[::-1])
    os.utime(path, ns=(1, 1))
    server.reset()
    with pytest.raises(FetchError, match="ETag") as caught:
        fetch([Want(href, 0, 10, first.size, first.etag)])
    (second,) = fetch([Want(href, 0, 10)])
    assert all(str(etag) in str(caught.value) for etag in (first.etag, second.etag))
    with pytest.raises(FetchError, match=f"size {len(DATA) + 1} -> {len(DATA)}"):
        fetch([Want(href, 0, 10, len(DATA) + 1)])
    assert server.log().requests == (0 if local else 3)


def test_the_same_version_is_accepted(server: Server) -> None:
    (first,) = fetch([Want(server.href("plain.bin"), 0, 10)])
    (again,) = fetch([Want(server.href("plain.bin"), 0, 10, first.size, first.etag)])
    assert again == first


def test_an_empty_file_is_an_error(server: Server, folder: Path) -> None:
    for href in (server.href("empty.bin"), str(folder / "empty.bin")):
        with pytest.raises(FetchError, match=r"empty\.bin: bytes 0-9"):
            fetch([Want(href, 0, 10)])


def test_where_nobody_listens_is_soon_an_error_of_one_line() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = time.monotonic()
    with pytest.raises(FetchError, match=f"127.0.0.1:{port}/a.tif: bytes 0-9: ") as caught:
        fetch([Want(f"http://127.0.0.1:{port}/a.tif", 0, 10)])
    assert time.monotonic() - start < 5
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("href", ["gopher://host/a", "http:///a", "http://[::1/a", "http://host:99999/a", "a\0b"])
def test_what_is_no_address_is_an_error(href: str) -> None:
    with pytest.raises(FetchError):
        fetch([Want(href, 0, 10)])


def test_a_signed_address_is_not_cut_short_in_silence() -> None:
    with pytest.raises(FetchError, match="signed"):
        fetch([Want("https://host/a.tif?signature=x", 0, 10)])


def test_it_works_inside_a_running_event_loop_as_in_a_notebook(server: Server) -> None:
    async def cell() -> list[Got]:
        return fetch([Want(server.href("plain.bin"), 0, 5)])

    assert asyncio.run(cell())[0].data == b"plain"


def test_a_forked_child_gets_an_error_at_once_instead_of_hanging(server: Server) -> None:
    program = textwrap.dedent("""
        import os, sys
        from geomask.errors import FetchError
        from geomask.fetch import Want, fetch
        want = Want(sys.argv[1], 0, 5)
        fetch([want])
        if os.fork() == 0:
            try:
                fetch([want])
            except FetchError as error:
                os.write(1, str(error).encode())
            os._exit(0)
        os.wait()
    """)
    command = [sys.executable, "-W", "ignore", "-c", program, server.href("plain.bin")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert "forkserver" in result.stdout
    assert server.log().requests == 1


@dataclass
class Store:
    """A stand-in for obstore's: it answers what `said` says for a try, and notes what is in flight."""

    said: Any = None
    running: int = 0
    most: int = 0
    paths: list[str] = field(default_factory=list)

    async def get_async(self, path: str, options: dict[str, Any]) -> Any:
        self.paths.append(path)
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0.002)
        self.running -= 1
        start, stop = options["range"]
        answer = {"range": (start, stop), "size": 1000, "body": bytes(stop - start), "wait": 0.0}
        return Answer(**answer | (self.said(len(self.paths), path) if self.said else {}))


class Answer:
    def __init__(self, range: tuple[int, int], size: int, body: bytes, wait: float) -> None:
        self.range, self.body, self.wait, self.meta = range, body, wait, {"size": size, "e_tag": None}

    async def stream(self, min_chunk_size: int) -> AsyncIterator[bytes]:
        await asyncio.sleep(self.wait)
        for start in range(0, len(self.body), 7):
            yield self.body[start : start + 7]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    store = Store()
    monkeypatch.setattr(module, "locate", lambda href: (store, href))
    monkeypatch.setattr(module, "FIRST_WAIT", 0.001)
    return store


def test_no_more_requests_are_in_flight_than_allowed_over_all_files(store: Store) -> None:
    fetch([Want(str(k), 0, 10) for k in range(3 * CONCURRENCY)])
    assert store.most == CONCURRENCY


@pytest.mark.parametrize("wrong", [{"range": (0, 10)}, {"body": bytes(9)}, {"body": bytes(11)}])
def test_an_answer_that_is_not_what_was_asked_for_is_thrown_away(wrong: dict[str, Any], store: Store) -> None:
    store.said = lambda number, _: wrong if number == 1 else {}
    (got,) = fetch([Want("a", 5, 10)])
    assert (len(got.data), got.requests, got.wasted) == (10, 2, len(wrong.get("body", bytes(10))))


def test_a_server_that_falls_silent_is_tried_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALL", 0.05)
    store.said = lambda number, _: {"wait": 5.0 if number == 1 else 0.0}
    assert fetch([Want("a", 5, 10)])[0].requests == 2
    store.said = lambda *_: {"wait": 5.0}
    with pytest.raises(FetchError, match=r"a: bytes 5-14: no byte came for 0\.05 s"):
        fetch([Want("a", 5, 10)])


def test_the_first_failure_ends_the_rest(store: Store) -> None:
    store.said = lambda _, path: {"size": 999} if path == "0" else {"wait": 5.0}
    start = time.monotonic()
    with pytest.raises(FetchError, match="size 1000 -> 999"):
        fetch([Want(str(k), 0, 10, 1000) for k in range(100)])
    assert time.monotonic() - start < 2
    assert len(store.paths) <= CONCURRENCY + 1


def test_waiting_and_retrying_are_ours_not_obstores() -> None:
    store, _ = locate("http://localhost/a")
    assert store.client_options["timeout"] == "1day"  # its own is 30 s for a whole answer
    assert store.retry_config["max_retries"] == 0


def test_tests_cannot_reach_another_machine_through_obstore_either() -> None:
    """192.0.2.1 is set aside for documentation (RFC 5737); the proxy of the tests is not there."""
    with pytest.raises(FetchError):
        fetch([Want("http://192.0.2.1/x.tif", 0, 10)])


def test_a_public_bucket_is_read_by_its_plain_address_without_credentials() -> None:
    store, path = locate("https://sentinel-cogs.s3.us-west-2.amazonaws.com/a/b.tif")
    assert (type(store).__name__, path) == ("HTTPStore", "a/b.tif")


def test_ctrl_c_does_not_wait_for_the_rest(tmp_path: Path) -> None:
    """A megabyte at 0.2 Mbit/s takes 40 s."""
    (tmp_path / "slow.bin").write_bytes(bytes(1_000_000))
    code = "import sys; from geomask.fetch import *; print('go', flush=True); fetch([Want(sys.argv[1], 0, 1_000_000)])"
    with Server(tmp_path, bandwidth=2e5) as server:
        line = [sys.executable, "-c", code, server.href("slow.bin")]
        with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "go\n"
            time.sleep(1.5)
            child.send_signal(signal.SIGINT)
            _, trace = child.communicate(timeout=15)
    assert trace.rstrip().endswith("KeyboardInterrupt")

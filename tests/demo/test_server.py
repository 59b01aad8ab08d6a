import http.client
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geomask.demo import server as module
from geomask.demo.server import Entry, Log, Server
from geomask.errors import RunError
from geomask.quantity import parse_duration, parse_rate

DATA = bytes(range(251)) * 40 + b"the end"
SIZE = len(DATA)

Response = tuple[int, http.client.HTTPMessage, bytes]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    (folder / "a.bin").write_bytes(DATA)
    (folder / "empty").write_bytes(b"")
    (folder / "sub folder").mkdir()
    (folder / "sub folder" / "ü#1%.bin").write_bytes(b"inner")
    (folder.parent / "secret").write_bytes(b"secret")
    (folder / "out").symlink_to(folder.parent / "secret")
    (folder / "in").symlink_to(folder / "a.bin")
    (folder / "circle").symlink_to(folder / "circle")
    os.mkfifo(folder / "pipe")
    return folder


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[Server]:
    with Server(folder) as server:
        yield server


@pytest.fixture
def server(running: Server) -> Server:
    running.reset()
    running.heal()
    return running


def ask(server: Server, path: str = "a.bin", method: str = "GET", **headers: str) -> Response:
    """One request, with underscores for hyphens in the names of headers; the target is sent as it is."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=20)
    try:
        connection.request(method, f"/{path}", headers={name.replace("_", "-"): text for name, text in headers.items()})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def test_a_file_is_served_whole(server: Server) -> None:
    status, headers, body = ask(server)
    assert (status, body) == (200, DATA)
    assert headers["Accept-Ranges"] == "bytes"
    assert headers["ETag"].startswith('"')
    assert server.log() == Log(1, SIZE, (Entry("GET", "a.bin", 0, SIZE, 200),))


@given(start=st.integers(0, SIZE + 20), length=st.integers(1, SIZE + 20))
def test_a_range_is_those_bytes(running: Server, start: int, length: int) -> None:
    status, headers, body = ask(running, Range=f"bytes={start}-{start + length - 1}")
    if start < SIZE:
        assert (status, body) == (206, DATA[start : start + length])
        assert headers["Content-Range"] == f"bytes {start}-{min(start + length, SIZE) - 1}/{SIZE}"
        assert headers["Content-Length"] == str(len(body))
    else:
        assert (status, body, headers["Content-Range"]) == (416, b"", f"bytes */{SIZE}")
    assert running.log().entries[-1] == Entry("GET", "a.bin", start if body else 0, len(body), status)


@given(n=st.integers(0, SIZE + 20))
def test_open_and_suffix_ranges(running: Server, n: int) -> None:
    assert ask(running, Range=f"bytes={n}-")[2] == DATA[n:]
    assert ask(running, Range=f"bytes=-{n}")[2] == (DATA[-n:] if n else b"")
    assert ask(running, Range=f"bytes=-{n}")[0] == (206 if n else 416)


@pytest.mark.parametrize("text", ["bytes=-", "bytes=5-3", "bytes=0-1,4-5", "rows=0-1", "bytes=a-b", "bytes=1", ""])
def test_what_is_no_single_range_is_the_whole_file(server: Server, text: str) -> None:
    assert ask(server, Range=text)[::2] == (200, DATA)


def test_empty_file(server: Server) -> None:
    assert ask(server, "empty")[::2] == (200, b"")
    assert ask(server, "empty", Range="bytes=0-0")[0] == 416
    assert ask(server, "empty", Range="bytes=-5")[0] == 416


def test_head_has_the_headers_of_the_whole_file(server: Server) -> None:
    status, headers, body = ask(server, method="HEAD", Range="bytes=0-9")
    assert (status, headers["Content-Length"], body) == (200, str(SIZE), b"")
    assert server.log() == Log(1, 0, (Entry("HEAD", "a.bin", 0, 0, 200),))


def test_conditions(server: Server) -> None:
    headers = ask(server)[1]
    etag, modified = headers["ETag"], headers["Last-Modified"]
    part = (206, DATA[:10])
    first = {"Range": "bytes=0-9"}
    assert ask(server, If_Match=etag, **first)[::2] == part
    assert ask(server, If_Match=f'"other", {etag}', **first)[::2] == part
    assert ask(server, If_Match="*", **first)[::2] == part
    assert ask(server, If_Match='"other"', **first)[::2] == (412, b"")
    assert ask(server, If_Match=f"W/{etag}", **first)[0] == 412
    assert ask(server, If_None_Match=f"W/{etag}")[::2] == (304, b"")
    assert ask(server, If_None_Match='"other"', **first)[::2] == part
    assert ask(server, If_Range=etag, **first)[::2] == part
    assert ask(server, If_Range=modified, **first)[::2] == part
    assert ask(server, If_Range='"other"', **first)[::2] == (200, DATA)


def test_a_changed_file_has_another_etag(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    with Server(tmp_path) as server:
        before = ask(server, "a")[1]["ETag"]
        path.write_bytes(b"two")
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
        assert ask(server, "a")[1]["ETag"] != before
        assert ask(server, "a", If_Match=before)[0] == 412


@pytest.mark.parametrize(
    "path",
    [
        *("nothing", "", "sub%20folder", "out", "circle", "pipe", "a.bin/", "-", "x" * 5000),
        *("../secret", "%2e%2e/secret", "..%2fsecret", "//../secret", "sub%20folder/../../secret"),
        *("%2fetc%2fpasswd", "a%00b", "%ff", "http://[/"),
    ],
)
def test_nothing_else_is_served(server: Server, path: str) -> None:
    status, _, body = ask(server, path)
    assert (status, body) == (404, b"")


def test_names_are_quoted(server: Server, folder: Path) -> None:
    path = folder / "sub folder" / "ü#1%.bin"
    assert server.href(path) == server.href("sub folder/ü#1%.bin") == server.url + "sub%20folder/%C3%BC%231%25.bin"
    assert ask(server, urlsplit(server.href(path)).path[1:] + "?signature=1")[2] == b"inner"
    assert server.log().entries[0].path == "sub folder/ü#1%.bin"
    assert ask(server, "in")[2] == DATA  # a link that stays inside
    with pytest.raises(ValueError, match="not in the subpath"):
        server.href("/etc/passwd")


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "a.bin"), ("DELETE", "a.bin"), ("GET", "-/x"), ("POST", "-/log")]
)
def test_other_methods_and_reserved_paths_are_refused(server: Server, method: str, path: str) -> None:
    assert ask(server, path, method)[0] == 400
    assert server.log().requests == 0


def test_a_connection_is_kept(server: Server) -> None:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=20)
    sockets = set()
    for _ in range(3):
        connection.request("GET", "/a.bin", headers={"Range": "bytes=0-9"})
        assert connection.getresponse().read() == DATA[:10]
        sockets.add(connection.sock.getsockname())
    connection.close()
    assert len(sockets) == 1


def test_counts_are_there_once_the_body_is(server: Server) -> None:
    with ThreadPoolExecutor(8) as pool:
        bodies = list(pool.map(lambda n: ask(server, Range=f"bytes={n}-{n + 99}")[2], range(80)))
    log = server.log()
    assert (log.requests, log.nbytes) == (80, sum(map(len, bodies)))
    assert sorted(entry.start for entry in log.entries) == list(range(80))
    server.reset()
    assert server.log() == Log(0, 0, ())


def test_a_client_that_leaves_early_costs_what_was_sent(tmp_path: Path) -> None:
    size = 8 << 20
    (tmp_path / "large").write_bytes(bytes(size))
    with Server(tmp_path, bandwidth=20e6) as server, socket.create_connection(("127.0.0.1", port(server))) as client:
        client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(1000)
        client.close()
        before = None
        while (after := server.log().nbytes) != before:
            before = after
            time.sleep(0.2)
        assert 0 < after < size / 2
        assert ask(server, "large", Range="bytes=0-9")[0] == 206


def port(server: Server) -> int:
    return urlsplit(server.url).port or 0


def test_latency_is_added_to_each_request_but_not_to_the_log(folder: Path) -> None:
    with Server(folder, latency=0.3) as server:
        begin = time.monotonic()
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda _: ask(server), range(6)))
        side_by_side = time.monotonic() - begin
        server.log()
        logged = time.monotonic() - begin - side_by_side
    assert 0.3 <= side_by_side < 1.2  # one after the other they take 1.8
    assert logged < 0.3


@pytest.mark.parametrize("connections", [1, 5])
def test_bandwidth_is_shared_by_all_connections(tmp_path: Path, connections: int) -> None:
    (tmp_path / "a").write_bytes(bytes(1_000_000 // connections))
    with Server(tmp_path, bandwidth=8e6) as server, ThreadPoolExecutor(connections) as pool:
        begin = time.monotonic()
        list(pool.map(lambda _: ask(server, "a"), range(connections)))
        seconds = time.monotonic() - begin
    assert 0.95 < seconds < 2.5  # 8 Mbit; a busy machine may be late, nothing may be early


def test_faults(server: Server) -> None:
    server.fail("a.bin", times=2)
    server.fail("a.bin", "truncate", keep=7)
    server.fail("a.bin", "ignore-range")
    server.fail("*", "drop")
    first = {"Range": "bytes=10-29"}
    assert ask(server, **first)[::2] == (503, b"")
    assert ask(server, **first)[0] == 503
    with pytest.raises(http.client.IncompleteRead) as cut:
        ask(server, **first)
    assert cut.value.partial == DATA[10:17]
    assert ask(server, **first)[::2] == (200, DATA)
    with pytest.raises(http.client.RemoteDisconnected):
        ask(server, **first)
    assert ask(server, **first)[::2] == (206, DATA[10:30])
    assert [(entry.status, entry.length) for entry in server.log().entries] == [
        (503, 0),
        (503, 0),
        (206, 7),
        (200, SIZE),
        (0, 0),
        (206, 20),
    ]


def test_a_lasting_fault_is_healed(server: Server, folder: Path) -> None:
    with pytest.raises(ValueError, match="'slow' is no fault; there are status, truncate"):
        server.fail("a.bin", "slow")  # type: ignore[arg-type]
    server.fail(folder / "a.bin", status=429, times=None)
    assert [ask(server)[0] for _ in range(3)] == [429] * 3
    assert ask(server, "empty")[0] == 200
    server.heal()
    assert ask(server)[0] == 200


def test_it_ends_with_its_block(folder: Path) -> None:
    with Server(folder) as server:
        where = port(server)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", where))
    assert server.url == ""
    with pytest.raises(RunError, match="is not running"):
        server.log()


def test_only_this_machine_reaches_it(server: Server) -> None:
    with pytest.raises(OSError, match=r"refused|unreachable|assign"):
        socket.create_connection(("127.0.0.2", port(server)), timeout=2)


def test_it_ends_when_its_parent_is_killed(folder: Path) -> None:
    program = f"""
        import time
        from geomask.demo.server import Server
        with Server({str(folder)!r}) as server:
            print(server.url, flush=True)
            time.sleep(60)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        where = urlsplit(parent.stdout.readline().strip()).port
        socket.create_connection(("127.0.0.1", where)).close()
        parent.kill()
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", where)).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.05)
    pytest.fail("the server is still there five seconds after its parent")


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_by_hand_it_prints_its_address_and_ends_on_a_signal(folder: Path, sent: signal.Signals) -> None:
    command = [sys.executable, "-m", "geomask.demo.server", str(folder), "--latency", "1ms", "--bandwidth", "50Mbit"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline().startswith("http://127.0.0.1:")
            process.send_signal(sent)
            assert process.communicate(timeout=10) == ("", "")
            assert process.returncode == 0
        finally:
            process.kill()  # or the block would wait for ever for what did not end


def test_a_false_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nowhere: it is not a folder"):
        Server(tmp_path / "nowhere").__enter__()
    with pytest.raises(RunError, match=r"did not start: (?s:.)*'0\.000bit' is no bandwidth above 0"):
        Server(tmp_path, bandwidth=0).__enter__()
    with pytest.raises(RunError, match=r"no address within 0\.0 s"):
        Server(tmp_path, timeout=0.0).__enter__()


def test_a_port_in_use_is_one_line(folder: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        module.main([str(folder), "--port", str(port(server))])
    assert f"cannot listen on port {port(server)}: Address already in use" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "seconds"), [("50ms", 0.05), ("0.05s", 0.05), (" 2 s ", 2), ("200us", 2e-4), ("0", 0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "rate"), [("50Mbit", 50e6), ("1.5 gbit/s", 1.5e9), ("800kbit", 8e5), ("9600bit", 9600)]
)
def test_rates(text: str, rate: float) -> None:
    assert parse_rate(text) == pytest.approx(rate)


@pytest.mark.parametrize("text", ["", "50", "ms", "-1ms", "1e3s", "nan s", "5 minutes", "\u0665s"])
def test_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="such as 50ms"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["", "50", "50MB", "0Mbit", "-1Mbit", "50Mb", "infbit"])
def test_no_rate(text: str) -> None:
    with pytest.raises(ValueError, match="such as 50Mbit"):
        parse_rate(text)


def test_the_command_line_says_what_is_wrong(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        module.main([str(folder), "--bandwidth", "50MB"])
    assert "give a number and bit, kbit, Mbit or Gbit" in capsys.readouterr().err


def test_it_imports_nothing_heavy() -> None:
    program = "import sys, geomask.demo.server; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "rasterio", "pystac", "xarray", "torch", "click"} & set(loaded)

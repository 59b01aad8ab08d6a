import asyncio
import os
import re
import subprocess
import sys
import textwrap
import threading
import traceback
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote

import pytest
from buckets import KEYS, forget_clouds, s3_server
from recorder import reset

from geomask.errors import RunError
from geomask.infer import outbox as module
from geomask.infer.outbox import Outbox

NAMES = ["job.json", "tiles/r00000_c00001.tif", "run/a b/c #x.bin", "run/100%.bin", "run/ü+&=~.bin", "empty"]


@pytest.fixture(scope="module")
def buckets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("s3")
    (folder / "bucket").mkdir()
    return folder


@pytest.fixture(scope="module")
def started(buckets: Path) -> Iterator[str]:
    with s3_server(buckets) as host:
        yield host


@pytest.fixture
def host(started: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The environment has the server and the keys, and knows of no other cloud."""
    set_bucket(started, tmp_path, monkeypatch)
    return started


def set_bucket(host: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_clouds(home, monkeypatch)
    monkeypatch.setattr(module, "FIRST_WAIT", 0.001)
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": f"http://{host}"}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(params=["a folder", "a bucket"])
def box(request: pytest.FixtureRequest, tmp_path: Path) -> Outbox:
    if request.param == "a folder":
        return Outbox(tmp_path / "a b" / "map #1")
    request.getfixturevalue("host")
    # nanio takes the + that a space of a listing's prefix comes as for a plus, so there is none in the place
    return Outbox(f"s3://bucket/maps/{tmp_path.name}")


def test_what_is_put_is_there_under_its_name_and_no_other(box: Outbox) -> None:
    assert list(box.names()) == []
    assert box.get("job.json") is None
    for name in NAMES:
        box.put(name, b"" if name == "empty" else name.encode())
    assert {name: box.get(name) for name in box.names()} == {
        name: b"" if name == "empty" else name.encode() for name in NAMES
    }
    box.put("job.json", b"another")
    assert box.get("job.json") == b"another"
    box.remove("job.json")
    box.remove("job.json")
    assert box.get("job.json") is None
    assert sorted(box.names()) == sorted(NAMES[1:])


def test_names_of_a_folder_are_those_in_it_and_below(box: Outbox) -> None:
    for name in ("a/1", "a/b/2", "ab/3", "4"):
        box.put(name, b"")
    assert sorted(box.names("a")) == sorted(box.names("a/")) == ["a/1", "a/b/2"]
    assert list(box.names("a/b")) == ["a/b/2"]
    assert list(box.names("c/")) == []
    assert sorted(box.names()) == ["4", "a/1", "a/b/2", "ab/3"]
    assert next(iter(box.names("ab"))) == "ab/3"


def test_more_names_than_a_bucket_lists_at_once_are_all_there_once(
    box: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE", 3)
    wanted = [f"ledger/r{number:05}.parquet" for number in range(10)]
    for name in wanted:
        box.put(name, b"1")
    assert sorted(box.names("ledger/")) == wanted
    assert sorted(box.names()) == wanted


def test_a_large_file_is_one_file(box: Outbox) -> None:
    data = os.urandom(1 << 20) * 12  # of some parts
    box.put("large", data)
    assert box.get("large") == data
    assert list(box.names()) == ["large"]


def test_a_running_event_loop_is_no_obstacle(box: Outbox) -> None:
    """As in a notebook."""

    async def cell() -> bytes | None:
        box.put("a", b"1")
        return box.get("a")

    assert asyncio.run(cell()) == b"1"


def test_a_bucket_may_be_a_map_as_a_whole(host: str, buckets: Path) -> None:
    (buckets / "whole").mkdir()
    for place in ("s3://whole", "s3://whole/"):
        box = Outbox(place)
        box.put("tiles/a.tif", b"1")
        box.put("b", b"2")
        assert sorted(box.names()) == ["b", "tiles/a.tif"]
        assert list(box.names("tiles")) == ["tiles/a.tif"]
        assert box.get("b") == b"2"


def test_a_place_on_disk_is_the_same_from_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    boxes = [Outbox("a b/map"), Outbox("./a b/x/../map/"), Outbox((tmp_path / "a b/map").as_uri())]
    monkeypatch.chdir("/")
    assert {box.place for box in boxes} == {str(tmp_path / "a b" / "map")}
    assert all(box.is_local for box in boxes)
    boxes[0].put("x", b"1")
    assert [list(box.names()) for box in boxes] == [["x"]] * 3


def test_a_folder_behind_a_link_is_one_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "real" / "elsewhere").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "tiles").symlink_to(tmp_path / "real" / "elsewhere")
    box = Outbox(tmp_path / "link")
    box.put("tiles/a.tif", b"1")
    assert list(box.names("tiles/")) == ["tiles/a.tif"]
    assert (tmp_path / "real" / "elsewhere" / "a.tif").read_bytes() == b"1"


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "map").write_text("x")
    with pytest.raises(RunError, match="is a file; name a folder"):
        Outbox(tmp_path / "map")


@pytest.mark.parametrize("place", ["ftp://host/map", "s3://[x"])
def test_a_place_that_is_none_is_an_error_of_ours(place: str) -> None:
    with pytest.raises(RunError, match=r"ftp://|no address"):
        Outbox(place).put("a", b"")


def test_a_folder_that_cannot_be_written_to_is_an_error_of_ours(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "map")
    box.put("a", b"1")  # a file, where a folder would have to be
    for attempt in (lambda: box.put("a/b", b""), lambda: box.create("a/b", b""), lambda: box.get("a/b")):
        with pytest.raises(RunError, match=rf"^cannot use {tmp_path}/map/a/b: .*Not a directory"):
            attempt()
    assert box.get("a") == b"1"


def test_what_a_killed_write_leaves_is_not_seen_and_tidied(tmp_path: Path) -> None:
    """A process writes a large file again and again, and is killed in between."""
    code = textwrap.dedent("""
        import sys
        from geomask.infer.outbox import Outbox
        box = Outbox(sys.argv[1])
        print("ready", flush=True)
        while True:
            box.put("tiles/a.tif", b"x" * (1 << 25))
    """)
    place = tmp_path / "a map"
    box = Outbox(place)
    box.put("notes#first", b"whose name only looks like it")
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", code, place], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            seen = threading.Event()
            seen.wait(0.05)
            writer.kill()
        assert set(box.names()) <= {"tiles/a.tif", "notes#first"}
        assert len(box.get("tiles/a.tif") or b"x" * (1 << 25)) == 1 << 25
    (place / "tiles").mkdir(exist_ok=True)
    (place / "tiles" / "b.tif#2").write_bytes(b"half")  # as obstore names what it has not finished
    (place / "tiles" / "folder#3").mkdir()
    assert "tiles/b.tif#2" not in set(box.names())
    box.tidy()
    left = {path.name for path in place.rglob("*") if path.is_file()}
    assert left <= {"a.tif", "notes#first"}
    assert "notes#first" in left
    Outbox(tmp_path / "nowhere").tidy()


@pytest.mark.parametrize("name", KEYS)
def test_wrong_keys_are_refused_and_not_quoted(name: str, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "wrong-and-hush")
    box = Outbox("s3://bucket/a map")
    for attempt in (
        lambda: box.put("a", b""),
        lambda: box.get("a"),
        lambda: list(box.names()),
        lambda: box.remove("a"),
    ):
        with pytest.raises(RunError, match=r"^cannot use s3://bucket/a map.*: access denied; give creden") as caught:
            attempt()
        said = "".join(traceback.format_exception(caught.value))
        assert "hush" not in said
        assert KEYS["AWS_SECRET_ACCESS_KEY"] not in said


def test_without_keys_the_error_says_what_to_set(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.delenv(name)
    with pytest.raises(RunError, match="no credentials for s3://bucket; set AWS_NO_SIGN_REQUEST"):
        Outbox("s3://bucket/map").put("a", b"")


def test_a_bucket_that_is_not_there_is_an_error_that_says_so(host: str) -> None:
    with pytest.raises(RunError, match=r"cannot use s3://nowhere/map/a: its server says 404.*NoSuchBucket"):
        Outbox("s3://nowhere/map").put("a", b"")


class Bucket(ThreadingHTTPServer):
    """A bucket that takes whatever is signed, and does as `faults` say, one a request; then all goes well."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.faults: deque[str] = deque()
        self.asked: list[str] = []
        self.targets: list[str] = []
        self.turn = threading.Lock()

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: what goes wrong here was asked for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Bucket

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append(self.command)
        self.server.targets.append(self.path)
        fault = self.server.faults.popleft() if self.server.faults else ""
        if fault == "reset":
            reset(self.connection)
            return
        if fault == "stall":
            threading.Event().wait(1)
            return
        if fault.isdigit():
            self._send(int(fault), b"<Error><Code>SlowDown</Code><Message>AKIA hush</Message></Error>")
            return
        with self.server.turn:
            self._answer(fault, body)

    def _answer(self, fault: str, body: bytes) -> None:
        name, _, query = self.path.partition("?")
        if query == "delete":  # of many at once, as obstore deletes one
            keys = [key.decode() for key in re.findall(rb"<Key>(.*?)</Key>", body)]
            for key in keys:
                self.server.files.pop(f"{name}/{key}", None)
            done = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
            self._send(200, f"<DeleteResult>{done}</DeleteResult>".encode())
        elif query:
            after = parse_qs(query).get("start-after", [""])[0]
            keys = [unquote(key).removeprefix("/bucket/") for key in self.server.files]
            found = "".join(
                f"<Contents><Key>{key}</Key><Size>0</Size><LastModified>2026-01-02T03:04:05Z</LastModified></Contents>"
                for key in keys
                if key > after
            )
            self._send(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>".encode())
        elif self.command == "PUT" and self.headers.get("If-None-Match") == "*" and name in self.server.files:
            self._send(412)
        elif self.command == "PUT":
            self.server.files[name] = body
            if fault == "lost":
                reset(self.connection)
                return
            self._send(200)
        elif name in self.server.files:
            self._send(200, self.server.files[name], keep=5 if fault == "truncate" else None)
        else:
            self._send(404)

    def _send(self, status: int, body: bytes = b"", keep: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"one"')
        self.send_header("Last-Modified", "Fri, 02 Jan 2026 03:04:05 GMT")
        self.end_headers()
        self.wfile.write(body[:keep])
        self.wfile.flush()
        if keep is not None:
            reset(self.connection)

    do_GET = do_PUT = do_POST = _serve

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with Bucket() as bucket:
        set_bucket(f"127.0.0.1:{bucket.server_port}", tmp_path, monkeypatch)
        yield bucket


@pytest.mark.parametrize("place", ["a folder", "a bucket"])
def test_of_many_that_create_a_file_exactly_one_does(place: str, faulty: Bucket, tmp_path: Path) -> None:
    """Not of nanio, which knows no If-None-Match."""
    box, crowd = Outbox("s3://bucket/a b" if place == "a bucket" else tmp_path / "a b"), threading.Barrier(8)

    def create(number: int) -> bool:
        crowd.wait()
        return box.create("job.json", b"%d" % number)

    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(create, range(8)))
    assert sum(won) == 1
    assert box.get("job.json") == b"%d" % won.index(True)
    assert box.create("job.json", b"late") is False


def test_a_bucket_is_asked_for_names_with_a_space_and_from_the_last_one_on(faulty: Bucket) -> None:
    faulty.files = {"/bucket/a%20b/tiles/1": b"", "/bucket/a%20b/tiles/2": b""}
    assert list(Outbox("s3://bucket/a b").names("tiles/")) == ["tiles/1", "tiles/2"]
    queries = [parse_qs(target.partition("?")[2]) for target in faulty.targets]
    assert [query["prefix"] for query in queries] == [["a b/tiles/"]] * 2
    assert [query.get("start-after") for query in queries] == [None, ["a b/tiles/2"]]


@pytest.mark.parametrize("fault", ["503", "500", "429", "reset"])
def test_what_passes_is_tried_again(fault: str, faulty: Bucket) -> None:
    box = Outbox("s3://bucket/map")
    faulty.faults.extend([fault] * (module.ATTEMPTS - 1))
    box.put("a", b"some bytes")
    assert faulty.asked == ["PUT"] * module.ATTEMPTS
    faulty.faults.extend([fault, fault])
    assert box.get("a") == b"some bytes"
    faulty.faults.append(fault)
    box.remove("a")
    faulty.faults.append(fault)
    assert box.create("a", b"again")
    assert faulty.asked[module.ATTEMPTS :] == ["GET"] * 3 + ["POST"] * 2 + ["PUT"] * 2


def test_half_an_answer_is_asked_for_again(faulty: Bucket) -> None:
    box = Outbox("s3://bucket/map")
    box.put("a", b"some bytes" * 1000)
    faulty.faults.append("truncate")
    assert box.get("a") == b"some bytes" * 1000


def test_what_does_not_pass_is_tried_so_often_and_raised_without_what_the_server_said(faulty: Bucket) -> None:
    faulty.faults.extend(["503"] * 100)
    with pytest.raises(
        RunError, match=r"^cannot use s3://bucket/map/a: its server says 503 Serv.* \(SlowDown\)$"
    ) as caught:
        Outbox("s3://bucket/map").put("a", b"")
    assert len(faulty.asked) == module.ATTEMPTS
    assert "hush" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("status", ["400", "403", "405"])
def test_what_will_not_get_better_is_not_tried_again(status: str, faulty: Bucket) -> None:
    faulty.faults.extend([status] * 100)
    with pytest.raises(RunError, match=r"^cannot use s3://bucket/map/a: "):
        Outbox("s3://bucket/map").put("a", b"")
    assert faulty.asked == ["PUT"]


def test_a_bucket_that_does_not_answer_is_given_up(faulty: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALL", 0.1)
    box = Outbox("s3://bucket/map")
    faulty.faults.append("stall")
    box.put("a", b"1")
    faulty.faults.append("stall")
    assert box.get("a") == b"1"
    faulty.faults.extend(["stall"] * module.ATTEMPTS)
    with pytest.raises(RunError, match=r"cannot use s3://bucket/map/a: no answer came for 0\.1 s"):
        box.put("a", b"2")


def test_a_creation_whose_answer_was_lost_is_nobodys(faulty: Bucket) -> None:
    faulty.faults.append("lost")
    assert Outbox("s3://bucket/map").create("a", b"1") is False
    assert Outbox("s3://bucket/map").get("a") == b"1"

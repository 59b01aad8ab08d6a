import asyncio
import base64
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from recorder import DATA, Answer, Recorder, reset

from geomask import fetch as module
from geomask.demo.server import Server
from geomask.errors import FetchError
from geomask.fetch import ATTEMPTS, CONCURRENCY, Got, Trip, Want, fetch
from geomask.store import locate

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
    changed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    assert got.modified is not None
    assert abs(datetime.fromisoformat(got.modified) - changed) < timedelta(seconds=1)
    trip = Trip(href, 3, 1000, 1, 0, got.trip.seconds)
    assert (got.size, got.trip) == (path.stat().st_size, trip)
    assert [entry.path for entry in server.log().entries] == ([name] if kind == "http" else [])


def test_a_relative_path_may_go_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder / "sp ace")
    assert fetch([Want("../plain.bin", 0, 5)])[0].data == b"plain"


def test_answers_are_in_the_order_of_the_wants_and_the_server_sends_nothing_else(server: Server) -> None:
    wants = [Want(server.href("plain.bin"), 100 * k, 50) for k in reversed(range(80))]
    done: list[tuple[Want, Got]] = []
    got = fetch(wants, lambda want, one: done.append((want, one)))
    whole = b"plain.bin" + DATA
    assert [one.data for one in got] == [whole[100 * k : 100 * k + 50] for k in reversed(range(80))]
    assert [one for want in wants for asked, one in done if asked == want] == got
    assert len(done) == len(wants)
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
    assert (got.trip.requests, got.trip.wasted) == (3, 2 * wasted)
    log = server.log()
    assert (log.requests, log.nbytes) == (got.trip.requests, got.trip.nbytes + got.trip.wasted)


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
    assert (again.data, again.modified) == (first.data, first.modified)


def test_an_empty_file_is_an_error_at_once_and_so_is_what_lies_behind_the_end(server: Server, folder: Path) -> None:
    for number, href in enumerate([str(folder / "empty.bin"), server.href("empty.bin")]):
        with pytest.raises(FetchError, match=r"empty\.bin is empty"):
            fetch([Want(href, 0, 10)])
        assert server.log().requests == number
    with pytest.raises(FetchError, match=r"plain\.bin ends before byte 1000000"):
        fetch([Want(server.href("plain.bin"), 1_000_000, 10)])
    assert server.log().requests == 2


def test_where_nobody_listens_is_soon_an_error_of_one_line() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = time.monotonic()
    said = rf"^http://127\.0\.0\.1:{port}/a\.tif: bytes 0-9: error sending request \(tcp connect error\)$"
    with pytest.raises(FetchError, match=said) as caught:
        fetch([Want(f"http://127.0.0.1:{port}/a.tif", 0, 10)])
    assert time.monotonic() - start < 5
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("href", ["gopher://host/a", "http:///a", "http://[::1/a", "http://host:99999/a", "a\0b"])
def test_what_is_no_address_is_an_error(href: str) -> None:
    with pytest.raises(FetchError):
        fetch([Want(href, 0, 10)])


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


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    monkeypatch.setattr(module, "FIRST_WAIT", 0.01)
    with Recorder() as recorder:
        yield recorder


def text_of(error: BaseException) -> str:
    """All that a traceback, a log or a prompt shows of an error."""
    return "".join(traceback.format_exception(error)) + repr(error) + repr(error.__context__) + repr(error.__cause__)


def changed(status: int = 206, end: Any = None, keep: int | None = None, **headers: str | None) -> Any:
    """A change to a right answer: headers by name with _ for -, None for one that is left out."""

    def change(right: Answer) -> Answer:
        if status >= 400:
            return Answer(status, {"Content-Length": "4"}, b"oops")
        new = {name.replace("_", "-"): value for name, value in headers.items()}
        merged = {name: value for name, value in (right.headers | new).items() if value is not None}
        return Answer(status, merged, right.body[:keep], end or right.end)

    return change


@pytest.mark.parametrize(
    ("change", "wasted"),
    [
        (changed(429), 0),
        (changed(503), 0),
        (changed(500), 0),
        (changed(408), 0),
        (changed(keep=700, end=reset), 700),
        (changed(keep=700, Content_Length="700"), 700),
        (changed(Content_Range="bytes 1-1000/50200"), 0),
        (changed(Content_Range="bytes 0-99/50200", Content_Length="100", keep=100), 0),
        (changed(Content_Range="bytes 0-999/*"), 0),
        (changed(Content_Range=None), 0),
    ],
    ids=["429", "503", "500", "408", "reset", "short", "shifted", "less", "no size", "no range"],
)
def test_a_passing_fault_of_a_real_connection_is_tried_again(change: Any, wasted: int, host: Recorder) -> None:
    host.answers += [change, change]
    (got,) = fetch([Want(f"{host.url}/a.tif", 0, 1000)])
    assert got.data == DATA[:1000]
    assert (len(host.asked), got.trip.requests, got.trip.wasted) == (3, 3, 2 * wasted)


def test_a_server_that_stops_in_the_middle_is_tried_again(host: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALL", 0.2)
    over = threading.Event()
    host.answers.append(changed(keep=700, end=lambda _: over.wait(30)))
    (got,) = fetch([Want(f"{host.url}/a.tif", 0, 1000)])
    over.set()
    assert (got.data, got.trip.requests, got.trip.wasted) == (DATA[:1000], 2, 700)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (changed(403), "access denied"),
        (changed(401), "access denied"),
        (changed(404), "no such file"),
        (changed(405), "its server says 405 Method Not Allowed"),
        (changed(410), "its server says 410 Gone"),
        (changed(412), "its server says 412 Precondition Failed"),
        (changed(416), "is empty"),
        (changed(200), "ignores byte ranges"),
        (changed(Content_Range="bytes 0-9/999"), r"size 50200 -> 999, .* compile the manifest anew"),
        (changed(ETag='"two"'), 'ETag "one" -> "two"'),
    ],
)
def test_what_no_try_can_mend_is_an_error_after_one(change: Any, said: str, host: Recorder) -> None:
    host.answers.append(change)
    with pytest.raises(FetchError, match=said) as caught:
        fetch([Want(f"{host.url}/a.tif", 0, 10, len(DATA), '"one"')])
    assert len(host.asked) == 1
    assert str(caught.value).startswith(f"{host.url}/a.tif")


def test_a_weak_etag_is_the_same_version(host: Recorder) -> None:
    host.answers.append(changed(ETag='W/"one"'))
    assert fetch([Want(f"{host.url}/a.tif", 0, 10, etag='"one"')])[0].etag == 'W/"one"'
    assert fetch([Want(f"{host.url}/a.tif", 0, 10, etag='W/"one"')])[0].etag == '"one"'


def test_the_time_of_the_last_change_is_told_where_the_server_tells_it(host: Recorder) -> None:
    want = Want(f"{host.url}/a.tif", 0, 10)
    assert fetch([want])[0].modified == "2026-01-02T03:04:05+00:00"
    host.answers.append(changed(Last_Modified=None, ETag=None))
    assert (fetch([want])[0].modified, len(host.asked)) == (None, 2)


QUERY = "v=1&sv=2024&sig=a%2BSECRET%2Fb%3D&x=a%20b"


def test_a_query_goes_with_every_request_as_it_is(host: Recorder) -> None:
    fetch([Want(f"{host.url}/d/a b.tif?{QUERY}", k, 10) for k in range(3)])
    assert {asked.target for asked in host.asked} == {f"/d/a%20b.tif?{QUERY}"}


def test_each_try_is_signed_anew_and_what_is_told_is_unsigned(host: Recorder) -> None:
    host.answers += [changed(503), changed(503)]
    numbers = count(1)
    done: list[Want] = []
    want = Want(f"{host.url}/a.tif?v=1", 0, 10)
    (got,) = fetch([want], lambda asked, _: done.append(asked), lambda href: f"{href}&sig={next(numbers)}")
    assert [asked.target for asked in host.asked] == [f"/a.tif?v=1&sig={number}" for number in (1, 2, 3)]
    assert (got.trip.href, done) == (want.href, [want])


def test_access_denied_is_worth_one_more_try_with_a_fresh_signature(host: Recorder) -> None:
    numbers = count(1)
    host.answers.append(changed(403))
    (got,) = fetch([Want(f"{host.url}/a.tif", 0, 10)], sign=lambda href: f"{href}?sig={next(numbers)}")
    assert (got.trip.requests, len(host.asked)) == (2, 2)
    host.answers += [changed(403)] * 3
    with pytest.raises(FetchError, match="access denied"):
        fetch([Want(f"{host.url}/a.tif", 0, 10)], sign=lambda href: f"{href}?sig={next(numbers)}")
    assert len(host.asked) == 4


def test_a_token_that_has_expired_is_a_denial_though_s3_calls_it_a_bad_request(host: Recorder) -> None:
    numbers = count(1)
    expired = b"<Error><Code>ExpiredToken</Code></Error>"
    host.answers.append(lambda _: Answer(400, {"Content-Length": str(len(expired))}, expired))
    (got,) = fetch([Want(f"{host.url}/a.tif", 0, 10)], sign=lambda href: f"{href}?sig={next(numbers)}")
    assert got.trip.requests == 2


def test_a_signature_that_was_denied_is_not_sent_again(host: Recorder) -> None:
    host.answers += [changed(403)] * 3
    with pytest.raises(FetchError, match="access denied"):
        fetch([Want(f"{host.url}/a.tif", 0, 10)], sign=lambda href: f"{href}?sig=same")
    assert len(host.asked) == 1


def test_a_user_and_a_password_in_an_address_are_sent_as_http_has_it_and_not_told(host: Recorder) -> None:
    (got,) = fetch([Want(f"http://me:hu%40sh@{host.host}/a.tif", 0, 10)])
    (asked,) = host.asked
    assert asked.headers["authorization"] == "Basic " + base64.b64encode(b"me:hu@sh").decode()
    assert got.trip.href == f"{host.url}/a.tif"


QUOTED = b"<Error><Code>Oops</Code><Message>sig=a+SECRET/b= in the query</Message></Error>"


def quoting(status: int) -> Any:
    """An answer that repeats what is signed in its body, as S3 and Azure do."""
    return lambda right: Answer(status, {"Content-Length": str(len(QUOTED)), "Location": "/?sig=SECRET"}, QUOTED)


@pytest.mark.parametrize(
    "change",
    [
        *(quoting(status) for status in (400, 401, 403, 404, 405, 409, 412, 416, 429, 500, 503)),
        changed(200),
        changed(keep=3, end=reset),
        changed(Content_Range="bytes 5-14/99"),
        changed(Content_Range=None),
        changed(ETag='"two"'),
        changed(keep=0, end=lambda connection: time.sleep(0.5)),
    ],
)
@pytest.mark.parametrize("user", ["", "me:SECRET@"])
def test_no_error_shows_what_is_signed(
    user: str, change: Any, host: Recorder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "STALL", 0.2)
    monkeypatch.setattr(module, "FIRST_WAIT", 0.001)
    caplog.set_level(0)
    host.answers += [change] * 9
    signed = f"http://{user}{host.host}/a.tif?{QUERY}"
    for want, sign in [(f"{host.url}/a.tif?v=1&x=a%20b", lambda _: signed), (signed, None)]:
        with pytest.raises(FetchError) as caught:
            fetch([Want(want, 0, 10, etag='"one"')], sign=sign)
        assert "SECRET" not in text_of(caught.value) + caplog.text
        assert str(caught.value).startswith(f"{host.url}/a.tif?v=1&x=a%20b")
        assert "\n" not in str(caught.value)
    assert any("SECRET" in asked.target for asked in host.asked)


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:9/a.tif?sig=SECRET",
        "http://me:SECRET@127.0.0.1:99999/a.tif",
        "http://me:SECRET@[::1/a.tif?sig=SECRET",
        "http://me:SECRET@/a.tif?sig=SECRET",
        "gopher://me:SECRET@h/a.tif?sig=SECRET",
        "http://127.0.0.1:9/a\0.tif?sig=SECRET",
        "s3://me:SECRET@no bucket/a.tif?sig=SECRET",
    ],
)
def test_no_error_of_an_address_shows_what_is_signed(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT", 0.001)
    for want, sign in [("https://h/a.tif", lambda _: address), (address, None)]:
        with pytest.raises(FetchError) as caught:
            fetch([Want(want, 0, 10)], sign=sign)
        assert "SECRET" not in str(caught.value) + repr(caught.value)
        assert "SECRET" not in "".join(traceback.format_exception(caught.value))


def test_a_function_that_cannot_sign_is_an_error_that_names_the_file(host: Recorder) -> None:
    def sign(href: str) -> str:
        raise KeyError("no account at https://h/token?sig=SECRET today")

    with pytest.raises(FetchError, match=r"/a\.tif cannot be signed: .*no account at its address today") as caught:
        fetch([Want(f"{host.url}/a.tif", 0, 10)], sign=sign)
    assert isinstance(caught.value.__cause__, KeyError)
    assert host.asked == []


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
        return Reply(**answer | (self.said(len(self.paths), path) if self.said else {}))


class Reply:
    def __init__(self, range: tuple[int, int], size: int, body: bytes, wait: float) -> None:
        self.range, self.body, self.wait, self.size = range, body, wait, size

    @property
    def meta(self) -> dict[str, Any]:
        return {"size": self.size, "e_tag": None, "last_modified": datetime.fromtimestamp(0, UTC)}

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


def test_the_seconds_of_a_trip_are_its_own_not_those_of_waiting_for_a_place(store: Store) -> None:
    store.said = lambda *_: {"wait": 0.02}
    start = time.perf_counter()
    got = fetch([Want(str(k), 0, 10) for k in range(10 * CONCURRENCY)])
    passed = time.perf_counter() - start
    assert all(0.02 <= one.trip.seconds < passed / 2 for one in got)


@pytest.mark.parametrize("wrong", [{"range": (0, 10)}, {"body": bytes(9)}, {"body": bytes(11)}])
def test_an_answer_that_is_not_what_was_asked_for_is_thrown_away(wrong: dict[str, Any], store: Store) -> None:
    store.said = lambda number, _: wrong if number == 1 else {}
    (got,) = fetch([Want("a", 5, 10)])
    assert (got.trip.nbytes, got.trip.requests, got.trip.wasted) == (10, 2, len(wrong.get("body", bytes(10))))


def test_a_server_that_falls_silent_is_tried_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALL", 0.05)
    store.said = lambda number, _: {"wait": 5.0 if number == 1 else 0.0}
    trip = fetch([Want("a", 5, 10)])[0].trip
    assert trip.requests == 2
    assert trip.seconds >= 0.05
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

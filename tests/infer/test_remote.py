"""Features of a service, over HTTP: one that answers as it should, and those that do not."""

import json
import struct
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import items as stac
import links
import maps
import numpy as np
import pyarrow.parquet as pq
import pystac
import pytest

from geomask.bottleneck.container import Container
from geomask.bottleneck.run import open_run
from geomask.errors import FetchError, RunError
from geomask.grid import Window
from geomask.infer import remote
from geomask.infer import run as infer_run
from geomask.infer.desk import Desk
from geomask.infer.draft import Wish
from geomask.infer.features import link_of
from geomask.infer.geotiff import NODATA
from geomask.infer.grounds import open_origin
from geomask.infer.origin import Origin
from geomask.infer.remote import ServedLatents, Service
from geomask.infer.run import estimate, infer
from geomask.infer.service import Service as RealService
from geomask.plan.manifest import Manifest
from geomask.stac.frozen import item_collection
from geomask.train.run import Run

SIZE = (70, 51)

type Sent = tuple[int, dict[str, str], bytes]
"""Status, headers, body."""


class Fake(ThreadingHTTPServer):
    """A service in this process. The next answers are `wrong`, in turn, each made of the right one."""

    daemon_threads = True

    def __init__(self, run: Run, items: list[pystac.Item], origin: dict[str, Any]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.run, self.items, self.origin = run, items, origin
        self.asked: list[tuple[str, bytes]] = []
        self.wrong: list[Callable[[Sent], Sent]] = []
        self.url = f"http://127.0.0.1:{self.server_port}/below"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: who asked has gone, as was wanted."""

    def features(self, body: bytes) -> bytes:
        """A container for each chip of a manifest, in which each symbol says where it is."""
        tables, stride, found = link_of(self.run).tables, self.origin["stride"], b""
        for chip in Manifest.parse(body.decode().splitlines()).chips:
            made = Container(*symbols(self.run, chip), self.origin["model"], stride).encode(tables)
            found += struct.pack("<I", len(made)) + made
        return found


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Fake

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((self.path, body))
        name = self.path.removeprefix("/below/").partition("?")[0]
        known = {"features.json": self.server.origin, "items.json": item_collection(self.server.items)}
        said = self.server.features(body) if name == "features" else json.dumps(known[name]).encode()
        answer: Sent = (200, {"Content-Length": str(len(said))}, said)
        if self.server.wrong:
            answer = self.server.wrong.pop(0)(answer)
        status, headers, said = answer
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(said)
        self.close_connection = True

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def symbols(run: Run, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """Symbols of the cells of a window, each by its place on the grid, and which of them were seen."""
    link = link_of(run)
    stride, tables = link.stride, link.tables
    rows = np.arange(window.row_off // stride, -(-window.row_stop // stride))[:, None]
    cols = np.arange(window.col_off // stride, -(-window.col_stop // stride))[None]
    number = (rows * 7 + cols * 3)[None] + np.arange(tables.latents)[:, None, None]
    return (tables.lows[:, None, None] + number % tables.widths[:, None, None]).astype(np.int32), (rows + cols) % 5 > 0


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(remote, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(infer_run, "choose_engine", lambda *_: ("eager", None))
    with links.small(monkeypatch):
        yield


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[pystac.Item]:
    folder = tmp_path_factory.mktemp("served features")
    return stac.write_items(folder, dates=4, bands=("B02", "B03"), height=SIZE[0], width=SIZE[1], holes=True)


@pytest.fixture(scope="module")
def folder(items: list[pystac.Item], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return links.write_run(tmp_path_factory.mktemp("runs") / "run", items, halvings=1)


@pytest.fixture(scope="module")
def desk(folder: Path, items: list[pystac.Item]) -> Desk:
    return Desk(open_run(folder), items)


@pytest.fixture
def fake(folder: Path, items: list[pystac.Item], desk: Desk) -> Iterator[Fake]:
    with Fake(open_run(folder), items, desk.describe()) as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def latents(fake: Fake) -> ServedLatents:
    return ServedLatents(Origin.from_dict(fake.origin, fake.url), link_of(fake.run).tables)


@pytest.mark.parametrize(
    "window", [Window(0, 0, *SIZE), Window(4, 6, 20, 10), Window(3, 5, 12, 46), Window(69, 50, 1, 1)]
)
def test_a_window_is_asked_for_in_whole_cells(fake: Fake, window: Window) -> None:
    reading = latents(fake).read([], window)
    ((path, body),) = fake.asked
    asked = Manifest.parse(body.decode().splitlines())
    assert path == "/below/features"
    assert (asked.selection, len(asked.requests)) == (fake.origin["selection"], 0)
    (chip,) = asked.chips
    assert chip.row_off == window.row_off // 2 * 2
    assert chip.row_stop in (-(-window.row_stop // 2) * 2, SIZE[0])
    assert chip.col_stop in (-(-window.col_stop // 2) * 2, SIZE[1])
    want, seen = (over.repeat(2, -2).repeat(2, -1) for over in symbols(fake.run, window))
    at = (slice(window.row_off % 2, None), slice(window.col_off % 2, None))
    size = (window.height, window.width)
    np.testing.assert_array_equal(reading.seen, seen[at][: size[0], : size[1]])
    np.testing.assert_array_equal(reading.image, (want * seen)[(slice(None), *at)][:, : size[0], : size[1]])
    receipt = reading.receipts["latents"]
    assert (receipt.requests, receipt.nbytes) == (1, len(fake.features(body)))
    assert receipt.runs[0].href == f"{fake.url}/features"
    assert reading.manifests == {}


def status(code: int, body: bytes = b"", **headers: str) -> Callable[[Sent], Sent]:
    return lambda _: (code, {"Content-Length": str(len(body)), **headers}, body)


def cut(answer: Sent) -> Sent:
    return answer[0], answer[1], answer[2][:-5]


def longer(answer: Sent) -> Sent:
    return 200, {}, answer[2] + bytes(1 << 20)


def broken(answer: Sent) -> Sent:
    body = answer[2]
    return answer[0], answer[1], body[:40] + bytes([body[40] ^ 1]) + body[41:]


def test_what_may_pass_is_asked_for_again_and_counted(fake: Fake) -> None:
    fake.wrong = [status(503), cut]
    receipt = latents(fake).read([], Window(0, 0, 8, 8)).receipts["latents"]
    (trip,) = receipt.runs
    assert (trip.requests, receipt.retries) == (3, 2)
    assert trip.wasted == trip.nbytes - 5
    assert [path for path, _ in fake.asked] == ["/below/features"] * 3


@pytest.mark.parametrize(
    ("wrong", "tries", "error", "said"),
    [
        (status(502, b'{"error": "no\\n files"}'), 4, FetchError, "/features: its server says 502: no files"),
        (status(500, b'{"error": 7}'), 4, FetchError, "its server says 500"),
        (cut, 4, FetchError, r"\d+ bytes came of \d+"),
        (status(400, b"no JSON"), 1, FetchError, "its server says 400"),
        (status(401), 1, FetchError, "its server says 401; sign its address"),
        (status(413, b'{"error": "too much"}'), 1, FetchError, "says 413: too much; choose smaller tiles"),
        (status(302, Location="http://127.0.0.1:9/elsewhere"), 1, FetchError, "its server says 302"),
        (status(200, b""), 1, FetchError, "0 bytes, which are not the one container"),
        (status(200, struct.pack("<I", 3) + b"abcd"), 1, FetchError, "8 bytes, which are not the one container"),
        (status(200, struct.pack("<I", 4) + b"abcd"), 1, RunError, "/features: these 4 bytes are no features"),
        (
            lambda answer: (200, {"Content-Length": str(1 << 40)}, answer[2]),
            1,
            FetchError,
            "an answer of 1099511627776",
        ),
        (longer, 1, FetchError, "an answer of over"),
        (broken, 1, RunError, "/features: features of .* are broken"),
    ],
)
def test_a_wrong_answer_is_no_features(
    fake: Fake, wrong: Callable[[Sent], Sent], tries: int, error: type[Exception], said: str
) -> None:
    fake.wrong = [wrong] * tries
    with pytest.raises(error, match=said):
        latents(fake).read([], Window(0, 0, 8, 8))
    assert len(fake.asked) == tries


def test_features_of_another_window_are_refused(fake: Fake) -> None:
    body = fake.features(b"\n".join(line.encode() for line in latents(fake)._manifest(Window(0, 0, 4, 8)).lines()))
    fake.wrong = [status(200, body)]
    with pytest.raises(RunError, match=r"features of \(2, 4\) rows and columns; \(4, 4\) were asked for"):
        latents(fake).read([], Window(0, 0, 8, 8))


def test_a_service_that_is_silent_or_gone_ends_in_one_line(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    url = fake.url
    monkeypatch.setattr(remote, "PATIENCE", 0.2)
    slow, features = Event(), Fake.features

    def late(self: Fake, body: bytes) -> bytes:
        slow.wait(5)
        return features(self, body)

    monkeypatch.setattr(Fake, "features", late)
    with pytest.raises(FetchError, match=r"no answer came for 0\.2 s"):
        latents(fake).read([], Window(0, 0, 8, 8))
    slow.set()
    fake.server_close()
    with pytest.raises(FetchError, match=r"/features\.json: Connection refused"):
        Service(url).get("features.json")


def test_addresses_are_signed_as_they_are_asked_for_and_never_shown(fake: Fake) -> None:
    def sign(href: str) -> str:
        return f"{href}?sig=hush"

    fake.wrong = [status(403)]
    with pytest.raises(FetchError, match="its server says 403") as caught:
        Service(fake.url, sign).get("features.json")
    assert fake.asked[0][0] == "/below/features.json?sig=hush"
    assert "hush" not in str(caught.value)
    with pytest.raises(FetchError, match="signed as an address of another host"):
        Service(fake.url, lambda _: "http://127.0.0.2/").get("features.json")
    for place in (f"{fake.url}?sig=hush", fake.url.replace("//", "//user:hush@")):
        with pytest.raises(RunError, match="was given with what gives access; leave it out") as shown:
            open_origin(place)
        assert "hush" not in str(shown.value)
    for place in ("http://", "http://a:b/", "https://host/a#b"):
        with pytest.raises(FetchError, match="is no address of a service"):
            Service(place)


def test_what_a_service_says_of_itself_is_checked(fake: Fake, folder: Path, tmp_path: Path) -> None:
    wish = Wish(features=fake.url)
    for wrong, said in [
        (status(200, b"no"), r"/below/features\.json is no JSON"),
        (status(200, b'{"geomask": "map"}'), "holds no geomask features"),
        (status(200, json.dumps(fake.origin | {"model": "ab" * 32}).encode()), "features of another model"),
    ]:
        fake.wrong = [wrong]
        with pytest.raises(RunError, match=said):
            infer(folder, None, tmp_path / "map", wish)
    fake.wrong = [lambda answer: answer, status(200, b'{"type": "Catalog", "links": []}')]
    with pytest.raises(RunError, match=r"items\.json is no collection of items"):
        infer(folder, None, tmp_path / "map", wish)
    with pytest.raises(RunError, match="what they will take is not known before"):
        estimate(folder, None, tmp_path / "map", wish)
    assert not (tmp_path / "map").exists()


def test_a_map_of_a_service_is_that_of_the_pixels(
    desk: Desk, folder: Path, items: list[pystac.Item], tmp_path: Path
) -> None:
    infer(folder, items, tmp_path / "one")
    want = maps.mosaic(tmp_path / "one")
    assert len(np.unique(want)) > 1
    with RealService(desk) as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            for tile, given in ((1024, None), (32, items)):
                place = tmp_path / f"map {tile}"
                made = infer(folder, given, place, Wish(features=server.url, tile=tile))
                np.testing.assert_array_equal(maps.mosaic(place), want)
                assert (made.failed, made.requests) == (0, made.tiles)
            rows = pq.read_table(place / "ledger").to_pylist()
            reads = [row for row in rows if row["kind"] == "read"]
            assert {(row["href"], row["stage"]) for row in reads} == {(f"{server.url}features", "latents")}
            assert made.nbytes == sum(row["nbytes"] for row in reads)
            again = infer(folder, None, place, Wish(features=server.url))
            assert again == made
        finally:
            server.shutdown()
            thread.join()
    assert (want == NODATA).sum() < want.size

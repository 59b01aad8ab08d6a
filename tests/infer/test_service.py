"""Features over HTTP: what comes is one pass over the whole scene, and nothing else comes, whatever is asked."""

import http.client
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import items as stac
import links
import maps
import numpy as np
import pystac
import pytest

from geomask.bottleneck.container import Container
from geomask.bottleneck.run import open_run
from geomask.bottleneck.transfer import encoder_digest
from geomask.errors import GridError, ItemError, ManifestError, RunError
from geomask.grid import Grid, Window
from geomask.infer import desk as desk_module
from geomask.infer import handler
from geomask.infer import service as service_module
from geomask.infer.desk import Desk
from geomask.infer.extent import Extent
from geomask.infer.ground import Ground
from geomask.infer.service import Service
from geomask.plan.manifest import Manifest
from geomask.plan.request import Requests
from geomask.stac.search import load_items
from geomask.train.run import Run

SIZE = (201, 171)
EAST = 503_000
"""Where another item lies: between it and the others nothing is."""


def some_values(band: int, level: int | None, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Of which a corner and some rows show nothing."""
    values = 1 + (band * 9_973 + rows * 3_331 + columns * 4_337 + rows * columns % 211 * 299) % 65_000
    return np.where((rows < 40) & (columns < 50) | (rows // 8 % 5 == 4), 0, values)


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[pystac.Item]:
    folder = tmp_path_factory.mktemp("some features")
    options: dict[str, Any] = {"bands": ("B02", "B03"), "values": some_values}
    found = stac.write_items(folder / "west", dates=4, height=SIZE[0], width=SIZE[1], **options)
    (other,) = stac.write_items(folder / "east", dates=1, height=64, width=64, origin=(EAST, 5_000_000), **options)
    other.id = "east"
    return [*found, other]


@pytest.fixture(scope="module", params=[0, 1, 2], ids=["stride 1", "stride 2", "stride 4"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, items: list[pystac.Item]) -> Path:
    return links.write_run(tmp_path_factory.mktemp("a run"), items[:4], halvings=request.param)


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return open_run(folder)


@pytest.fixture(scope="module")
def desk(run: Run, items: list[pystac.Item]) -> Desk:
    return Desk(run, items)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, items: list[pystac.Item]) -> Desk:
    """Of stride 2: for what has nothing to do with it."""
    return Desk(open_run(links.write_run(tmp_path_factory.mktemp("plain"), items[:4], halvings=1)), items)


@contextmanager
def serving(desk: Desk, **options: Any) -> Iterator[Service]:
    with Service(desk, **options) as service:
        thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield service
        finally:
            service.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def running(plain: Desk) -> Iterator[Service]:
    with serving(plain, patience=5.0) as service:
        yield service


@pytest.fixture
def service(running: Service) -> Iterator[Service]:
    """One that answers as before when the test is over."""
    yield running
    assert ask(running, "GET", "/features.json")[0] == 200
    assert ask(running, "POST", "/features", body(plan(running.desk, [Window(0, 0, 8, 8)])))[0] == 200


def ask(
    service: Service, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", service.server_port, timeout=30)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def raw(service: Service, data: bytes, *, end: bool = False, timeout: float = 30) -> bytes:
    """All that comes back for some bytes, until the connection is closed; `end`: nothing more is sent."""
    with socket.create_connection(("127.0.0.1", service.server_port), timeout=timeout) as client:
        client.sendall(data)
        if end:
            client.shutdown(socket.SHUT_WR)
        got = b""
        while chunk := client.recv(1 << 16):
            got += chunk
    return got


def plan(desk: Desk, windows: Sequence[Window]) -> Manifest:
    """As the far end makes it."""
    return Ground(desk.selection, desk.grid).plan(desk.items, windows)[0]


def body(manifest: Manifest) -> bytes:
    return "".join(f"{line}\n" for line in manifest.lines()).encode()


def parts(data: bytes) -> list[bytes]:
    found = []
    while data:
        (length,) = struct.unpack_from("<I", data)
        found.append(data[4 : 4 + length])
        data = data[4 + length :]
    return found


def said(data: bytes) -> str:
    document = json.loads(data)
    assert list(document) == ["error"]
    reason: str = document["error"]
    assert "\n" not in reason
    return reason


# --- what comes -------------------------------------------------------------------------------------------------------


def test_windows_are_parts_of_one_pass_over_the_whole_scene(
    desk: Desk, folder: Path, run: Run, items: list[pystac.Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some cross each other and the ends of pieces and cuts, some end with the files, one with nothing around it."""
    monkeypatch.setattr(desk_module, "PIECE", 64)
    monkeypatch.setattr(desk_module, "CUT", 32)
    desk, (symbols, seen) = Desk(run, items), links.one_pass(folder, items)
    stride = desk.stride
    assert 0.1 < seen.mean() < 0.9
    assert len(np.unique(symbols[:, seen], axis=1).T) > 8
    windows = [Window(0, 0, 200, 168), Window(60, 4, 80, 100), Window(100, 64, 4, 8), Window(0, 0, 40, 48)]
    with serving(desk) as service:
        status, headers, data = ask(service, "POST", "/features", body(plan(desk, windows)))
    assert (status, headers["Content-Type"]) == (200, "application/octet-stream")
    assert headers["Content-Length"] == str(len(data))
    tables, model = run.model.network.tables, encoder_digest(run.model)
    for window, part in zip(windows, parts(data), strict=True):
        rows, cols = window.height // stride, window.width // stride
        found = Container.decode(part, tables, model, (rows, cols))
        row, col = window.row_off // stride, window.col_off // stride
        there = seen[row : row + rows, col : col + cols]
        np.testing.assert_array_equal(found.seen, there)
        wanted = symbols[:, row : row + rows, col : col + cols]
        links.assert_alike(found.latents[:, there], wanted[:, there])
        assert found.stride == stride


def test_the_last_rows_and_columns_of_a_grid(folder: Path, run: Run, items: list[pystac.Item]) -> None:
    desk, (symbols, seen) = Desk(run, items[:4]), links.one_pass(folder, items)
    assert (desk.grid.height, desk.grid.width) == SIZE
    (part,) = desk.answer(plan(desk, [Window(120, 160, 81, 11)]))
    found = Container.decode(part, run.model.network.tables, encoder_digest(run.model))
    there, stride = seen[120 // desk.stride :, 160 // desk.stride :], desk.stride
    np.testing.assert_array_equal(found.seen, there)
    links.assert_alike(found.latents[:, there], symbols[:, 120 // stride :, 160 // stride :][:, there])


def test_where_nothing_is_nothing_is_seen(desk: Desk, run: Run) -> None:
    (gap, corner) = desk.answer(plan(desk, [Window(0, 220, 40, 40), Window(0, 0, 16, 16)]))
    for part in (gap, corner):
        found = Container.decode(part, run.model.network.tables, encoder_digest(run.model))
        assert not found.seen.any()
        assert len(part) < 80


def test_a_manifest_without_requests_is_enough(desk: Desk) -> None:
    manifest = plan(desk, [Window(48, 48, 40, 40)])
    assert len(manifest.requests)
    assert desk.answer(replace(manifest, requests=Requests.of(()))) == desk.answer(manifest)


def test_channels_of_any_order_and_bands_that_are_read_elsewhere(tmp_path: Path, items: list[pystac.Item]) -> None:
    """The encoder sees channels 3 and 0, in that order; 1 and 2 are the far end's."""
    folder = links.write_run(tmp_path, items[:4], near=(3, 0), far=(1, 2))
    run = open_run(folder)
    desk, (symbols, seen) = Desk(run, items[:4]), links.one_pass(folder, items)
    assert desk.selection.names == [run.selection.names[0], run.selection.names[3]]
    (part,) = desk.answer(plan(desk, [desk.grid.window]))
    found = Container.decode(part, run.model.network.tables, encoder_digest(run.model))
    links.assert_alike(found.latents[:, seen], symbols[:, seen])


def test_it_says_what_it_makes(service: Service, plain: Desk) -> None:
    status, headers, data = ask(service, "GET", "/features.json?x=1")
    document = json.loads(data)
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert document == plain.describe()
    assert Grid(**document["grid"]) == plain.grid
    assert [document[name] for name in ("geomask", "version", "stride", "latents", "halo")] == ["features", 1, 2, 3, 4]
    assert document["selection"] == plain.selection.digest


def test_items_are_those_it_was_started_with(
    service: Service, plain: Desk, items: list[pystac.Item], tmp_path: Path
) -> None:
    (tmp_path / "items.json").write_bytes(ask(service, "GET", "/items.json")[2])
    found = load_items(tmp_path / "items.json")
    assert [item.id for item in found] == [item.id for item in items]
    assert [item.assets["B02"].href for item in found] == [item.assets["B02"].href for item in items]
    windows = [Window(48, 48, 40, 40)]
    assert body(Ground(plain.selection, plain.grid).plan(found, windows)[0]) == body(plan(plain, windows))


def test_items_come_without_what_gives_access(items: list[pystac.Item]) -> None:
    item = items[0].clone()
    item.assets["B02"].href = "https://user:pw@files.example/B02.tif?sig=secret1&v=2"
    item.assets["B02"].extra_fields["alternate"] = {"s3": {"href": "https://b.example/x.tif?X-Amz-Signature=secret2"}}
    item.add_link(pystac.Link("self", "https://user:pw@stac.example/one?token=secret3"))
    item.add_link(pystac.Link("derived_from", "/home/me/secret4.json"))
    text = json.dumps(desk_module.bare_items([item]))
    assert "secret" not in text
    assert "pw" not in text
    assert '"https://files.example/B02.tif?v=2"' in text
    assert '"https://stac.example/one"' in text


def test_what_was_made_is_held_for_who_asks_again(plain: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    windows = [Window(60, 60, 20, 20), Window(80, 80, 20, 20)]
    first = plain.make(windows)
    monkeypatch.setattr(plain, "_make", None)  # nothing is computed
    assert plain.make(windows) == first
    monkeypatch.undo()
    monkeypatch.setattr(desk_module, "HELD", len(first[1]))
    assert plain.make([windows[1]]) == first[1:]
    plain.make([Window(0, 0, 2, 2)])
    assert sum(map(len, plain._made.values())) <= len(first[1])


def test_a_part_of_the_catalog_on_another_grid(run: Run, items: list[pystac.Item]) -> None:
    extent = Extent(bbox=tuple(items[4].bbox), crs="EPSG:32633", res=20)  # type: ignore[arg-type]
    desk = Desk(run, items, extent)
    assert desk.grid.res_x == 20
    assert abs(desk.grid.left - EAST) <= 40
    assert desk.grid.width < 40
    assert len(desk.answer(plan(desk, [desk.grid.window]))) == 1


# --- what does not start ----------------------------------------------------------------------------------------------


def test_a_run_that_sends_no_features(tmp_path: Path, items: list[pystac.Item]) -> None:
    with pytest.raises(RunError, match="this run sends no features"):
        Desk(open_run(maps.write_run(tmp_path, items[:4])), items)


def test_a_run_that_does_not_know_its_scales(tmp_path: Path, items: list[pystac.Item]) -> None:
    with pytest.raises(RunError, match="in which scales"):
        Desk(open_run(links.write_run(tmp_path, items[:4], scaling=None)), items)


def test_items_that_fill_nothing(run: Run, items: list[pystac.Item]) -> None:
    bare = [item.clone() for item in items]
    for item in bare:
        del item.assets["B03"]
    with pytest.raises(ItemError, match="no item has the asset B03"):
        Desk(run, bare)
    with pytest.raises(GridError, match="do not meet"):
        Desk(run, items, Extent(bbox=(100, 10, 101, 11), crs="EPSG:32633", res=10))


def test_a_port_that_is_taken(service: Service, plain: Desk) -> None:
    with pytest.raises(RunError, match=f"cannot listen on port {service.server_port} of 127.0.0.1: Address already"):
        Service(plain, port=service.server_port)
    with pytest.raises(RunError, match=r"cannot listen on port 0 of 192\.0\.2\.1"):
        Service(plain, "192.0.2.1")


# --- manifests that are refused ---------------------------------------------------------------------------------------

WINDOW = Window(48, 48, 40, 40)


def chips(*windows: Window) -> Callable[[Manifest], Manifest]:
    return lambda manifest: replace(manifest, chips=windows, requests=Requests.of(()))


def moved(**change: Any) -> Callable[[Manifest], Manifest]:
    return lambda manifest: replace(manifest, grid=replace(manifest.grid, **change))


def foreign(**change: Any) -> Callable[[Manifest], Manifest]:
    def change_one(manifest: Manifest) -> Manifest:
        first, *others = manifest.requests.sources
        return replace(manifest, requests=replace(manifest.requests, sources=(replace(first, **change), *others)))

    return change_one


REFUSED = [
    (lambda m: replace(m, selection="0" * 64), 400, 'a manifest of selection "0000'),
    (moved(left=np.nextafter(500_000, 1)), 400, "on another grid"),
    (moved(height=202), 400, "on another grid"),
    (moved(crs="EPSG:32632"), 400, "on another grid"),
    (moved(res_x=20), 400, "on another grid"),
    (chips(), 400, "0 windows; ask for 1 to 1024"),
    (chips(*[Window(0, 0, 2, 2)] * 1025), 413, "1025 windows"),
    (chips(WINDOW, Window(-2, 0, 4, 4)), 400, "reaches over the grid of 201 x 364"),
    (chips(Window(0, 362, 4, 4)), 400, "reaches over the grid"),
    (chips(Window(1 << 29, 1 << 29, 2, 2)), 400, "reaches over the grid"),
    (chips(Window(1, 0, 3, 4)), 400, "does not begin at multiples of the stride, 2"),
    (chips(Window(0, 3, 4, 3)), 400, "does not begin"),
    (chips(Window(0, 0, 3, 4)), 400, "ends neither at multiples of the stride, 2, nor with the grid"),
    (chips(Window(0, 0, 4, 5)), 400, "ends neither"),
    (chips(*[Window(0, 0, 201, 364)] * 230), 413, "ask for 16777216 at once, or fewer"),
    (foreign(href="file:///etc/passwd"), 403, 'at "file:///etc/passwd" is not of this catalog'),
    (foreign(href="/etc/passwd"), 403, 'at "/etc/passwd" is not of this catalog'),
    (foreign(href="http://169.254.169.254/latest"), 403, "is not of this catalog"),
    (foreign(href="/vsicurl/http://x"), 403, "is not of this catalog"),
    (foreign(item="tiny_20200204"), 403, 'item "tiny_20200204", asset "B02" at'),  # with another's href
    (foreign(item="a\n\x1b[31mb" + "c" * 200), 403, 'item "a\\n\\u001b[31mb'),
    (foreign(asset="B03"), 403, 'asset "B03"'),
    (foreign(collection="other"), 403, "is not of this catalog"),
]


@pytest.mark.parametrize(("change", "status", "reason"), REFUSED, ids=range(len(REFUSED)))
def test_a_manifest_of_something_else(
    service: Service, plain: Desk, change: Callable[[Manifest], Manifest], status: int, reason: str
) -> None:
    manifest = change(plan(plain, [WINDOW]))
    got, _, data = ask(service, "POST", "/features", body(manifest))
    assert got == status
    assert reason in said(data)
    with pytest.raises(ManifestError):
        plain.answer(manifest)


def test_a_window_of_too_many_latents(plain: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = plan(plain, [WINDOW])
    monkeypatch.setattr(desk_module, "VALUES", 3 * 20 * 20)
    plain.check(manifest)
    monkeypatch.setattr(desk_module, "VALUES", 3 * 20 * 20 - 1)
    with pytest.raises(desk_module.TooMuchError, match="20 x 20 x 3 latents"):
        plain.check(manifest)


def edited(desk: Desk, **change: Any) -> bytes:
    """A manifest whose header says something else; values are JSON."""
    head, *rest = body(plan(desk, [WINDOW])).decode().splitlines()
    said = json.loads(head)
    text = json.dumps({**said, **dict.fromkeys(change, "\0")})
    for value in change.values():
        text = text.replace('"\\u0000"', value, 1)
    return "\n".join([text, *rest]).encode()


@pytest.mark.parametrize(
    "change",
    [
        {"chips": f"[[0,0,{'9' * 5000},2]]"},
        {"chips": f"[[0,0,{1 << 62},2]]"},
        {"chips": "[[0,0,1e400,2]]"},
        {"chips": "[[0,0,2]]"},
        {"chips": "[[0,0,0,0]]"},
        {"chips": "[" * 100_000},
        {"chips": "[NaN]"},
        {"grid": '{"crs": "/etc/passwd"}'},
        {"version": "99"},
        {"version": "3.0"},
        {"geomask": "null"},
        {"surplus": "1"},
        {"selection": "[]"},
        {"search": "7"},
        {"scaling": "[[0,0]]"},
    ],
    ids=lambda change: f"{next(iter(change))} {str(next(iter(change.values())))[:20]}",
)
def test_a_broken_manifest(service: Service, plain: Desk, change: dict[str, str]) -> None:
    status, _, data = ask(service, "POST", "/features", edited(plain, **change))
    assert status == 400
    assert len(said(data)) <= 500


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "an empty file is no manifest"),
        (b"these are words", "no JSON"),
        (b"[]", "no geomask manifest"),
        (b"null", "no geomask manifest"),
        (b"\xff\xfe\x00", "no text in UTF-8"),
        (b"\0" * 1000, "no JSON"),
        (b'{"a":' * 50_000, "nested too deeply"),
        (b"9" * 100_000, "no JSON"),
        (b"[" + b"[]," * 500_000 + b"[]]", "no geomask manifest"),
    ],
    ids=range(9),
)
def test_a_body_that_is_no_manifest(service: Service, data: bytes, reason: str) -> None:
    status, _, answer = ask(service, "POST", "/features", data)
    assert status == 400
    assert reason in said(answer)


def test_a_manifest_that_breaks_off(service: Service, plain: Desk) -> None:
    status, _, answer = ask(service, "POST", "/features", body(plan(plain, [WINDOW]))[:-40])
    assert status == 400
    assert re.match(r"line \d: no JSON", said(answer))


# --- requests that are refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/nothing", "/features.json/", "/features/", "/FEATURES", "/run/run.json", "/run.json", "/etc/passwd"),
        *(
            "/../../etc/passwd",
            "/%2e%2e/%2e%2e/etc/passwd",
            "/features.json/../items.json",
            "/features%00",
            "//etc/passwd",
        ),
        *("http://127.0.0.1/features.json", "/" + "x" * 5000, "*"),
    ],
)
def test_nothing_else_is_there(service: Service, path: str) -> None:
    for method in ("GET", "POST"):
        status, _, data = ask(service, method, path, b"" if method == "POST" else None)
        assert (status, said(data)) == (404, "there are GET /features.json, GET /items.json, POST /features")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        *(("POST", "/features.json", 405), ("POST", "/items.json", 405), ("GET", "/features", 405)),
        *(("PUT", "/features", 501), ("DELETE", "/items.json", 501), ("OPTIONS", "*", 501), ("BREW", "/features", 501)),
    ],
)
def test_other_methods(service: Service, method: str, path: str, status: int) -> None:
    got, headers, data = ask(service, method, path, b"body" if method != "GET" else None)
    assert (got, headers["Connection"]) == (status, "close")
    assert method in said(data)
    assert headers["Allow"] == (("GET" if "." in path else "POST") if status == 405 else None)


def status_of(data: bytes) -> int:
    return int(data.split(b" ", 2)[1])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ("", 411),
        ("Content-Length: -1", 400),
        ("Content-Length: +5", 400),
        ("Content-Length: 1_0", 400),
        ("Content-Length: 5, 5", 400),
        ("Content-Length: five", 400),
        ("Content-Length:", 400),
        (f"Content-Length: {'9' * 30}", 400),
        ("Content-Length: 5\r\nContent-Length: 6", 400),
        ("Content-Length: 16000001", 413),
        ("Content-Length: 999999999999", 413),
        ("Transfer-Encoding: chunked", 501),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", 501),
    ],
)
def test_a_length_that_is_none(service: Service, headers: str, status: int) -> None:
    line = f"POST /features HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n".replace("\r\n\r\n\r\n", "\r\n\r\n")
    answer = raw(service, line.encode() + b"hello")
    assert status_of(answer) == status
    assert said(answer.partition(b"\r\n\r\n")[2])


def test_a_body_of_a_get(service: Service) -> None:
    for header in ("Content-Length: 5", "Transfer-Encoding: chunked"):
        answer = raw(service, f"GET /features.json HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\nhello".encode())
        assert status_of(answer) == 400


def test_a_body_that_is_too_long_is_not_read(service: Service) -> None:
    begin = time.monotonic()
    assert ask(service, "POST", "/features", bytes(handler.LARGEST + 1))[0] == 413
    assert time.monotonic() - begin < 10


def test_a_length_that_lies(service: Service, plain: Desk) -> None:
    data = body(plan(plain, [WINDOW]))
    head = "POST /features HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n"
    longer = raw(service, head.format(len(data) + 1).encode() + data, end=True)
    assert status_of(longer) == 400
    assert f"ended after {len(data)} of {len(data) + 1} bytes" in longer.decode()
    shorter = raw(service, head.format(len(data) - 10).encode() + data)
    assert status_of(shorter) == 400  # and what follows is not taken for another request
    assert shorter.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\r\n\r\n\r\n", None),
        (b"nonsense\r\n\r\n", 400),
        (b"GET /features.json\r\n\r\n", 200),
        (b"GET /features.json HTTP/9.9\r\n\r\n", 505),
        (b"GET /features.json HTTP/1.1 x\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", 400),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\na: " + b"x" * 70_000 + b"\r\n\r\n", 431),
        (b"\x1b[31m\x07 / HTTP/1.1\r\n\r\n", 501),
    ],
    ids=range(10),
)
def test_what_is_no_http(service: Service, data: bytes, status: int | None, capsys: pytest.CaptureFixture[str]) -> None:
    answer = raw(service, data, end=True)
    assert (status_of(answer) if answer else None) == status
    if status not in (None, 200):
        assert said(answer.partition(b"\r\n\r\n")[2])
    logged = capsys.readouterr().err
    assert "Traceback" not in logged
    assert "\x1b" not in logged
    assert all(len(line) <= 200 for line in logged.splitlines())


def test_silence(plain: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing, half a first line, half a header, half a body: each connection is closed, and a place is free."""
    with serving(plain, patience=0.3) as service:
        begin = time.monotonic()
        for data in (b"", b"GET /fea", b"GET /features.json HTTP/1.1\r\nHost: x\r\n"):
            assert raw(service, data) == b""
        half = raw(service, b"POST /features HTTP/1.1\r\nContent-Length: 900\r\n\r\n{")
        assert status_of(half) == 408
        assert "the body came too slowly: 1 of 900 bytes" in half.decode()
        assert time.monotonic() - begin < 6
        assert ask(service, "GET", "/features.json")[0] == 200
    assert "Traceback" not in capsys.readouterr().err


def test_drops_of_a_body_that_never_ends(plain: Desk) -> None:
    with (
        serving(plain, patience=0.4) as service,
        socket.create_connection(("127.0.0.1", service.server_port)) as client,
    ):
        begin = time.monotonic()
        client.sendall(b"POST /features HTTP/1.1\r\nContent-Length: 900\r\n\r\n")
        client.settimeout(0.05)
        got = b""
        while not got and time.monotonic() - begin < 10:
            client.sendall(b"{")  # each of them in time, had it been asked for each alone
            try:
                got = client.recv(1000)
            except TimeoutError:
                continue
        assert status_of(got) == 408
        assert time.monotonic() - begin < 3


def test_who_leaves_is_not_missed(service: Service, plain: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    data = body(plan(plain, [WINDOW]))
    for sent in (b"", b"POST /feat", b"POST /features HTTP/1.1\r\nContent-Length: 99\r\n\r\n"):
        client = socket.create_connection(("127.0.0.1", service.server_port))
        client.sendall(sent)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # as if the cable were cut
        client.close()
    client = socket.create_connection(("127.0.0.1", service.server_port))
    client.sendall(f"POST /features HTTP/1.1\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
    client.close()
    assert ask(service, "POST", "/features", data)[0] == 200
    assert "Traceback" not in capsys.readouterr().err


def test_more_connections_than_places(plain: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "CONNECTIONS", 2)
    with serving(plain, patience=0.5) as service:
        held = [socket.create_connection(("127.0.0.1", service.server_port)) for _ in range(2)]
        time.sleep(0.1)
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            ask(service, "GET", "/features.json")
        for client in held:
            client.close()
        time.sleep(0.1)
        assert ask(service, "GET", "/features.json")[0] == 200


# --- what goes wrong here ---------------------------------------------------------------------------------------------


def test_a_file_that_is_gone_is_said_here_and_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = stac.write_items(tmp_path / "files", dates=1, bands=("B02", "B03"), height=300)
    desk = Desk(open_run(links.write_run(tmp_path / "run", items, near=(0, 1))), items)
    data = body(plan(desk, [desk.grid.window]))
    Path(items[0].assets["B03"].href).unlink()
    with serving(desk) as service:
        status, _, answer = ask(service, "POST", "/features", data)
        assert (status, said(answer)) == (502, "the files could not be read; the service's own log says why")
        assert "B03.tif" in capsys.readouterr().err
        assert ask(service, "GET", "/features.json")[0] == 200


def test_what_nobody_expects(
    service: Service, plain: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError(f"a secret in {__file__}")

    monkeypatch.setattr(plain, "make", fail)
    status, headers, answer = ask(service, "POST", "/features", body(plan(plain, [WINDOW])))
    assert (status, headers["Connection"]) == (500, "close")
    assert said(answer) == "something went wrong here; the service's own log says what"
    logged, until = "", time.monotonic() + 5
    while "ZeroDivisionError: a secret in" not in logged:
        assert time.monotonic() < until
        logged += capsys.readouterr().err
    monkeypatch.undo()


def test_no_answer_names_this_machine(service: Service, plain: Desk, items: list[pystac.Item]) -> None:
    """But the items, whose files may lie here."""
    place = str(Path(items[0].assets["B02"].href).parents[2])
    for change, _, _ in REFUSED:
        manifest = change(plan(plain, [WINDOW]))
        theirs = {source.href for source in manifest.requests.sources}
        answer = ask(service, "POST", "/features", body(manifest))[2].decode()
        assert place not in answer or any(href in answer for href in theirs)
        assert "geomask/infer" not in answer


# --- many at once, and a slow link ------------------------------------------------------------------------------------


def test_a_connection_is_kept_and_requests_are_logged(
    service: Service, plain: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", service.server_port, timeout=30)
    data, sockets = body(plan(plain, [WINDOW])), set()
    for _ in range(3):
        connection.request("POST", "/features", data)
        answer = connection.getresponse()
        size = len(answer.read())
        sockets.add(connection.sock.getsockname())
    connection.close()
    assert len(sockets) == 1
    time.sleep(0.05)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert all(re.fullmatch(rf"POST /features 200 {size} bytes \d+ ms", line) for line in lines)


def test_many_ask_at_once(desk: Desk, items: list[pystac.Item], run: Run) -> None:
    windows = [Window(row, col, 40, 40) for row in range(0, 160, 40) for col in range(0, 120, 40)]
    wanted, answers = desk.make(windows), dict[int, list[bytes]]()
    fresh = Desk(run, items)
    with serving(fresh) as service:

        def one(number: int) -> None:
            order = windows[number:] + windows[:number]
            got = parts(ask(service, "POST", "/features", body(plan(fresh, order)))[2])
            answers[number] = got[len(windows) - number :] + got[: len(windows) - number]

        threads = [threading.Thread(target=one, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [answers[number] for number in range(6)] == [wanted] * 6


def test_latency_and_bandwidth(plain: Desk) -> None:
    data = body(plan(plain, [Window(0, 0, 200, 160)]))
    size = len(data) + len(parts(ask_once(plain, data))[0]) + 4
    with serving(plain, latency=0.2, bandwidth=8 * size / 0.6) as service:
        begin = time.monotonic()
        status, _, answer = ask(service, "POST", "/features", data)
        spent = time.monotonic() - begin
    assert (status, len(answer)) == (200, size - len(data))
    assert 0.7 < spent < 5  # 0.2 s, and 0.6 s for both bodies but for what the wire lets through at first


def ask_once(desk: Desk, data: bytes) -> bytes:
    with serving(desk) as service:
        return ask(service, "POST", "/features", data)[2]


def test_grids_are_plain_numbers_there_and_back(plain: Desk) -> None:
    assert Grid(**json.loads(json.dumps(asdict(plain.grid)))) == plain.grid

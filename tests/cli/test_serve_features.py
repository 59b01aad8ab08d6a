"""`geomask serve-features` as a process: it prints where it listens, answers, and ends when it is told to."""

import http.client
import json
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import items as stac
import links
import maps
import pystac
import pytest

from geomask.bottleneck.container import Container
from geomask.bottleneck.run import open_run
from geomask.grid import Grid
from geomask.infer.ground import Ground
from geomask.stac.search import save_items

SCRIPT = Path(sys.executable).with_name("geomask")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Items, a run of theirs with a link, and one without."""
    folder = tmp_path_factory.mktemp("to be served") / "a b"
    found = stac.write_items(folder / "files", dates=4, bands=("B02", "B03"))
    save_items(found, folder / "items.json")
    links.write_run(folder / "run", found, halvings=1)
    maps.write_run(folder / "plain", found)
    return folder


@contextmanager
def serving(folder: Path, *options: str, stdin: bytes | None = None) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The address and the process; it is killed at the end, if it is still there."""
    items = str(folder / "items.json") if stdin is None else "-"
    command = [str(SCRIPT), "serve-features", items, "--run", str(folder / "run"), *options]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(stdin or b"")
            process.stdin.close()
            process.stdin = None
            yield process.stdout.readline().decode().strip(), process
        finally:
            process.kill()


def ask(url: str, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def manifest_of(folder: Path, url: str) -> bytes:
    """A manifest as a far end makes it: of the run, and of what the service says."""
    said = json.loads(ask(url, "GET", "/features.json")[1])
    features = json.loads(ask(url, "GET", "/items.json")[1])["features"]
    items = [pystac.Item.from_dict(feature) for feature in features]
    selection, grid = open_run(folder / "run").selection.on(items), Grid(**said["grid"])
    assert selection.digest == said["selection"]
    manifest, _ = Ground(selection, grid).plan(items, [grid.window])
    return "".join(f"{line}\n" for line in manifest.lines()).encode()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_it_answers_until_it_is_told_to_end(folder: Path, sent: signal.Signals) -> None:
    with serving(folder, "--latency", "1ms", "--bandwidth", "50Mbit") as (url, process):
        assert url.startswith("http://127.0.0.1:")
        status, data = ask(url, "POST", "/features", manifest_of(folder, url))
        assert status == 200
        (length,) = struct.unpack_from("<I", data)
        assert length == len(data) - 4
        run = open_run(folder / "run")
        found = Container.decode(
            data[4:], run.model.network.tables, json.loads(ask(url, "GET", "/features.json")[1])["model"]
        )
        symbols, seen = links.one_pass(
            folder / "run", stac.write_items(folder / "files", dates=4, bands=("B02", "B03"))
        )
        assert (found.seen == seen).all()
        links.assert_alike(found.latents[:, seen], symbols[:, seen])
        assert ask(url, "GET", "/etc/passwd")[0] == 404
        process.send_signal(sent)
        stdout, stderr = process.communicate(timeout=20)
        assert (process.returncode, stdout) == (0, b"")
    lines = stderr.decode().splitlines()
    assert [line.rsplit(maxsplit=4)[0] for line in lines] == [
        *("GET /features.json 200", "GET /items.json 200", "POST /features 200"),
        *("GET /features.json 200", "GET /etc/passwd 404"),
    ]


def test_who_is_being_answered_does_not_keep_it(folder: Path) -> None:
    """A slow answer is under way when it ends."""
    with serving(folder, "--bandwidth", "20kbit") as (url, process):
        waiting = threading.Thread(target=_ask_in_vain, args=(url,))
        waiting.start()
        waiting.join(0.5)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=20)
        assert process.returncode == 0
        waiting.join()
    assert b"Traceback" not in stderr
    assert b"Fatal" not in stderr


def _ask_in_vain(url: str) -> None:
    try:
        ask(url, "GET", "/items.json")
    except (OSError, http.client.HTTPException):
        return


def test_items_may_come_through_a_pipe_and_the_grid_be_named(folder: Path) -> None:
    items = (folder / "items.json").read_bytes()
    options = ["--crs", "EPSG:32633", "--res", "20", "--bbox", "15.002", "45.149", "15.004", "45.152", "--port", "0"]
    with serving(folder, *options, stdin=items) as (url, _):
        grid = json.loads(ask(url, "GET", "/features.json")[1])["grid"]
        assert (grid["res_x"], grid["crs"]) == (20, "EPSG:32633")
        assert grid["width"] < 45
        assert grid["height"] < 50


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["items.json", "--run", "nowhere"], 1, "nowhere is no finished run"),
        (["items.json", "--run", "plain"], 1, "this run sends no features; train one with --transfer bottleneck"),
        (["nowhere.json", "--run", "run"], 1, "nowhere.json"),
        (["items.json"], 2, "--run"),
        (["items.json", "--run", "run", "--crs", "EPSG:32633"], 2, "--crs and --res say only together"),
        (["items.json", "--run", "run", "--port", "65536"], 2, "--port"),
        (["items.json", "--run", "run", "--bandwidth", "fast"], 2, "'fast' is no bandwidth"),
    ],
    ids=range(7),
)
def test_what_is_wrong_is_one_line(folder: Path, options: Sequence[str], code: int, said: str) -> None:
    done = subprocess.run(
        [SCRIPT, "serve-features", *options], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr

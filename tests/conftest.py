"""What all tests share: no way out of this machine, a small publication, and the demo, run once."""

from __future__ import annotations

import ipaddress
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

if TYPE_CHECKING:
    from geomask.demo.server import Server

# Where cores are shared an example may take any time; a test that hangs shows all the same.
hypothesis.settings.register_profile("shared", deadline=None)
hypothesis.settings.load_profile("shared")

SCRIPT = Path(sys.executable).with_name("geomask")


class NetworkError(Exception):
    """A test has asked for another machine. No OSError: code that expects those must not swallow it."""


@pytest.fixture(scope="session", autouse=True)
def _guarded() -> Iterator[list[str]]:
    """Refuse every connection and look-up beyond this machine; gives those that were refused.

    Python's sockets are patched in this process. obstore and GDAL connect from Rust and C, and child processes on their
    own: what goes beyond this machine is sent to a proxy that is not there.
    """
    refused: list[str] = []

    def check(host: Any) -> None:
        if not _is_this_machine(host):
            refused.append(str(host))
            raise NetworkError(f"{host} is not this machine; serve what the test needs on 127.0.0.1")

    def guard(connect: Any) -> Any:
        def guarded(self: socket.socket, address: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6):  # Unix sockets have a path
                check(address[0])
            return connect(self, address)

        return guarded

    look_up = socket.getaddrinfo

    def guarded_look_up(host: Any, *args: Any, **options: Any) -> Any:
        check(host)
        return look_up(host, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, guard(getattr(socket.socket, name)))
        patch.setattr(socket, "getaddrinfo", guarded_look_up)
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            for spelling in (name, name.upper()):
                patch.setenv(spelling, "http://127.0.0.1:9")  # the discard port, where nothing listens
        for spelling in ("no_proxy", "NO_PROXY"):
            patch.setenv(spelling, "127.0.0.1,localhost,::1")
        yield refused


def _is_this_machine(host: Any) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def refused(_guarded: list[str]) -> Iterator[list[str]]:
    """Other machines that the test has asked for. It fails if there is one, whoever swallowed the error."""
    yield _guarded
    asked = ", ".join(_guarded)
    _guarded.clear()
    if asked:
        pytest.fail(f"asked for another machine: {asked}")


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``catalog.json`` of a small publication: 9 of the demo's dates, labels beside it, a space in the path."""
    from geomask.demo.publish import publish  # GDAL takes half a second, which not every test needs

    return publish(tmp_path_factory.mktemp("a small publication") / "the catalog", dates=slice(0, 140, 16))


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the real ``geomask demo`` leaves: some two minutes on two cores, so only where it is the point."""
    folder = tmp_path_factory.mktemp("the real demo") / "geomask demo"
    line = [SCRIPT, "demo", "--fast", "--out", folder, "--latency", "0ms", "--bandwidth", "10Gbit"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    (folder.parent / "stdout.txt").write_text(done.stdout)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def demo_output(demo_folder: Path) -> str:
    """What the real ``geomask demo`` prints."""
    return (demo_folder.parent / "stdout.txt").read_text()


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[Server]:
    """A server over the module's own fixture `folder`, as whatever test left it; ask for `server`."""
    from geomask.demo.server import Server

    with Server(folder) as server:
        yield server


@pytest.fixture
def server(running: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server over the module's fixture `folder`, with nothing counted, no fault set, and quick retries."""
    from geomask import fetch

    monkeypatch.setattr(fetch, "FIRST_WAIT", 0.01)
    running.reset()
    running.heal()
    return running

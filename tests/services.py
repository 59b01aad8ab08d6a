"""Servers of other projects, each started for the tests of a module and stopped after them.

What is not installed skips the tests that need it, by its name; ``.ci/run`` installs it. A server listens on 127.0.0.1
alone, at a port that was free a moment ago, and is stopped by its own process id.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pytest

PATIENCE = 60.0
"""Seconds that a server has to start, and to stop."""

_FOLDERS = (str(Path(sys.executable).parent), os.defpath, "/usr/sbin", "/usr/local/sbin")  # nginx is in no user's PATH


def program(name: str, package: str) -> str:
    """The path of a program; skips the test, with the package that has it, where there is none."""
    found = shutil.which(name, path=os.pathsep.join((*_FOLDERS, os.environ.get("PATH", ""))))
    if found is None:
        pytest.skip(f"no {name} on this machine; install {package}")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(
    line: Sequence[str | Path], port: int, *, stop: signal.Signals = signal.SIGTERM, **options: Any
) -> Iterator[None]:
    """A server while the block runs, from when it takes connections. `options` go to Popen, `stop` ends it."""
    with TemporaryFile() as said:
        server = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=said, stderr=said, **options)
        try:
            if not _takes_connections(port, server):
                said.seek(0)
                pytest.fail(f"{line[0]} did not start: {said.read().decode(errors='replace')[-3000:]}")
            yield
        finally:
            server.send_signal(stop)
            try:
                server.wait(PATIENCE)
            finally:
                server.kill()


def _takes_connections(port: int, server: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while server.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.02)
    return False

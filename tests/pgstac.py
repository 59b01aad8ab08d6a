"""stac-fastapi-pgstac on a PostgreSQL with PostGIS of its own."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from services import free_port, program, serving

USER = "geomask"
# A cluster that lives for a minute does not have to survive the machine's end.
_HASTE = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


@contextmanager
def pgstac(collections: Iterable[dict[str, Any]], items: Iterable[dict[str, Any]]) -> Iterator[str]:
    """The address of an API that holds these."""
    try:
        version("stac-fastapi-pgstac")
    except PackageNotFoundError:
        pytest.skip("no stac-fastapi-pgstac on this machine; install it with geomask's extra `test`")
    # Not pytest's folder: PostgreSQL, which refuses to run as root, could not enter one of root's.
    with TemporaryDirectory(prefix="geomask-pgstac-", dir="/tmp") as name, _postgres(Path(name)) as environment:
        _run([program("pypgstac", "pypgstac"), "migrate"], Path(name), environment)
        for table, rows in (("collections", collections), ("items", items)):
            path = Path(name, f"{table}.ndjson")
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
            _run([program("pypgstac", "pypgstac"), "load", table, str(path)], Path(name), environment)
        port = free_port()
        line = [sys.executable, "-m", "uvicorn", "--factory", "stac_fastapi.pgstac.app:create_app"]
        line += ["--host", "127.0.0.1", "--port", str(port), "--no-access-log"]
        # Items are put together by the API, as large catalogs do it; PostgreSQL takes several times as long.
        with serving(line, port, cwd=name, env=environment | {"USE_API_HYDRATE": "TRUE"}):
            yield f"http://127.0.0.1:{port}"


@contextmanager
def _postgres(folder: Path) -> Iterator[dict[str, str]]:
    """A server with nothing in it; gives the environment in which clients find it, with a password of its own."""
    programs, port, password = _programs(), free_port(), secrets.token_hex()
    (folder / "password").write_text(password)
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        user = {"user": "postgres", "group": "postgres", "extra_groups": ()}
        for path in (folder, folder / "password"):
            shutil.chown(path, "postgres", "postgres")
    options = [f"--pwfile={folder / 'password'}", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]
    _run([str(programs / "initdb"), "-D", str(folder / "data"), "-U", USER, *options], folder, None, **user)
    settings = (f"port={port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", *_HASTE)
    line = [str(programs / "postgres"), "-D", str(folder / "data"), *(part for one in settings for part in ("-c", one))]
    # Interrupted, it ends without waiting for those that are connected.
    with serving(line, port, stop=signal.SIGINT, cwd=folder, **user):
        found = {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": USER, "PGPASSWORD": password}
        yield os.environ | found | {"PGDATABASE": "postgres"}


def _programs() -> Path:
    """Where Debian has the programs of a PostgreSQL with PostGIS; skips the test where there is none."""
    for extension in Path("/usr/share/postgresql").glob("*/extension/postgis.control"):
        programs = Path("/usr/lib/postgresql", extension.parts[-3], "bin")
        if (programs / "initdb").exists():
            return programs
    pytest.skip("no PostgreSQL with PostGIS on this machine; install postgresql-15-postgis-3")


def _run(line: list[str], folder: Path, environment: dict[str, str] | None, **user: Any) -> None:
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False, **user)
    if done.returncode:
        pytest.fail(f"{line[0]} failed: {done.stdout[-1500:]}{done.stderr[-1500:]}")

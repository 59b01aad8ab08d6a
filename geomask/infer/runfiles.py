"""The run's files beside a map: what made it stays with it, and workers load it from there."""

from __future__ import annotations

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ..bottleneck.run import open_run
from ..errors import RunError

if TYPE_CHECKING:
    from ..train.run import Run
    from .job import Job
    from .outbox import Outbox

FOLDER = "run/"
#: Of a run folder, what says what the network does.
FILES = (
    *("selection.json", "selection.nc", "model.safetensors", "transfer.json"),
    *("policy/policy.json", "policy/policy.safetensors"),
)
RECORD = "run.json"


def run_files(folder: str | Path) -> dict[str, bytes]:
    """The files of a run that are there, by name, its record last. Raises RunError where one cannot be read."""
    found = {}
    for name in (*FILES, RECORD):
        path = Path(folder) / name
        try:
            if path.is_file():
                found[name] = path.read_bytes()
        except OSError as error:
            raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    return found


def digest_of(files: dict[str, bytes]) -> str:
    """SHA-256 of a run's files, hexadecimal."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name} {len(files[name])}\n".encode())
        digest.update(files[name])
    return digest.hexdigest()


def put_run(box: Outbox, files: dict[str, bytes]) -> None:
    """Write the files beside a map. Raises RunError where it cannot be written to."""
    for name, data in files.items():
        box.put(f"{FOLDER}{name}", data)


def fetch_run(box: Outbox, job: Job) -> Run:
    """The run that a map is made with. Raises RunError where it is not there, or another one."""
    files = {name: data for name in (*FILES, RECORD) if (data := box.get(f"{FOLDER}{name}")) is not None}
    if digest_of(files) != job.run:
        raise RunError(f"{box.place}/run is not the run that the map was begun with; name another folder")
    with TemporaryDirectory(prefix="geomask-run-") as folder:
        for name, data in files.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return open_run(folder, job.network)

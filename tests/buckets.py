"""An S3 on this machine that checks signatures, and an environment that knows no other cloud."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from services import free_port, program, serving

KEYS = {"AWS_ACCESS_KEY_ID": "geomask-id", "AWS_SECRET_ACCESS_KEY": "geomask-secret"}
"""The only ones that the server knows."""
NOWHERE = "127.0.0.1:9"  # the discard port, where nothing listens


@contextmanager
def s3_server(folder: Path) -> Iterator[str]:
    """Host and port of a server whose buckets are the folders in `folder`; takes requests signed with `KEYS` alone."""
    port = free_port()
    line = [program("nanio", "nanio"), "serve", "--host", "127.0.0.1", "--port", str(port), "--data-dir", str(folder)]
    keys = {"NANIO_ACCESS_KEY": KEYS["AWS_ACCESS_KEY_ID"], "NANIO_SECRET_KEY": KEYS["AWS_SECRET_ACCESS_KEY"]}
    with serving([*line, "--log-level", "error"], port, env=os.environ | keys):
        yield f"127.0.0.1:{port}"


def forget_clouds(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine's clouds: neither what its user has set, nor its own metadata services."""
    for name in os.environ:
        if name.startswith(("AWS_", "GOOGLE_", "GS_", "GCE_", "AZURE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://{NOWHERE}")
    monkeypatch.setenv("GCE_METADATA_HOST", NOWHERE)
    monkeypatch.setenv("AZURE_MSI_ENDPOINT", f"http://{NOWHERE}/metadata/identity/oauth2/token")

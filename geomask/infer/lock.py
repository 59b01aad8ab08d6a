"""One process at a time writes a map; a killed one holds nothing."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import RunError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .outbox import Outbox


@contextmanager
def alone(box: Outbox) -> Iterator[None]:
    """Hold a map's folder, on this machine's disk. Raises RunError where another process does.

    A bucket cannot be held; two processes that write one map to it do all the work twice, and the same map.
    """
    try:
        from fcntl import LOCK_EX, LOCK_NB, flock
    except ImportError:  # Windows
        yield
        return
    if not box.is_local:
        yield
        return
    folder = Path(box.place)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise RunError(f"cannot write to {folder}: {error.strerror or error}") from error
    try:
        try:
            flock(handle, LOCK_EX | LOCK_NB)
        except BlockingIOError as error:
            raise RunError(f"another process is making {folder}; wait for it, or name another folder") from error
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(handle)

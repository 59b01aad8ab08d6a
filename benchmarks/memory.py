"""The memory of a process and of all that it has started."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

#: Seconds between two looks: each costs a process with a gigabyte about a millisecond.
PAUSE = 0.2


class Peak:
    """The most memory that a tree of processes held while the block ran, as a context manager.

    Pages that several processes share are counted once (Linux's PSS). Where there is no /proc, `nbytes` stays None.
    """

    nbytes: int | None = None
    """The highest of all looks."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            if held := sum(map(_held, _tree(self._pid))):
                self.nbytes = max(self.nbytes or 0, held)
            if self._done.wait(PAUSE):
                return


def _tree(pid: int) -> list[int]:
    """The process and all below it."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            with suppress(OSError):  # it has ended
                found += map(int, children.read_text().split())
    return found


def _held(pid: int) -> int:
    """Bytes of one process; 0 where it has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return 1024 * int(line.split()[1])
    return 0

"""A process from its start to its end: seconds, memory, and what it said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import suppress
from tempfile import TemporaryFile
from time import perf_counter
from typing import IO, TYPE_CHECKING, Any

from memory import Peak

if TYPE_CHECKING:
    from collections.abc import Sequence


class ContenderError(Exception):
    """A contender that failed or hung; the message is the row's note."""


def timed(command: Sequence[str], patience: float) -> tuple[dict[str, float], dict[str, Any]]:
    """Seconds from the start of a process to its end and its peak memory; and the JSON that it said last.

    Raises ContenderError where it fails, or takes longer than `patience` seconds.
    """
    with TemporaryFile("w+") as said, TemporaryFile("w+") as errors:
        start = perf_counter()
        # a group of its own: others have workers, which end with it
        process = subprocess.Popen(command, stdout=said, stderr=errors, stdin=subprocess.DEVNULL, process_group=0)
        with process, Peak(process.pid) as peak:
            try:
                code = process.wait(patience)
            except subprocess.TimeoutExpired:
                raise ContenderError(f"no map within {patience:.0f} s") from None
            finally:
                seconds = perf_counter() - start
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        if code:
            raise ContenderError(f"ended with code {code}: {_last_words(errors)}")
        said.seek(0)
        memory = {} if peak.nbytes is None else {"memory": float(peak.nbytes)}
        return {"seconds": seconds, **memory}, last_json(said.read())


def _last_words(errors: IO[str]) -> str:
    errors.seek(0)
    lines = errors.read().strip().splitlines()
    return (lines[-1] if lines else "no word")[:300]


def last_json(said: str) -> dict[str, Any]:
    """The object on the last line of what a process said; an empty one where there is none."""
    lines = said.strip().splitlines()
    try:
        found = json.loads(lines[-1]) if lines else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}

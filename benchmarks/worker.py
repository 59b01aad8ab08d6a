"""The process that a reader runs in: ``python -P worker.py MODULE PACKAGE``, in the reader's own environment.

It answers each line of JSON on stdin by lines of JSON on stdout. A job is answered twice: ``ready`` when all that is
not timed is done, and, after a line from the parent, the seconds and what the job tells of the result: a digest of the
pixels, say.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from contextlib import closing
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any


def main() -> None:
    """Serve jobs until stdin ends."""
    # Readers print what they like; the parent's pipe is for answers alone.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    # Behind everything that is installed: a file of ours must not stand in for a module of that name.
    sys.path.append(str(Path(__file__).parent))
    try:
        reader_class = import_module(f"contenders.{sys.argv[1]}").Reader
        _answer(answers, version=version(sys.argv[2]), keeps_headers=reader_class.keeps_headers)
    except Exception as error:  # noqa: BLE001  # whatever goes wrong is the row's note
        _answer(answers, error=_reason(error))
        return
    for line in sys.stdin:
        _serve(reader_class, json.loads(line), answers)


def _serve(reader_class: Any, request: dict[str, Any], answers: IO[str]) -> None:
    job = reader_class.job_class(**request["job"])
    try:
        with closing(reader_class(job)) as reader:
            if request["kept"]:
                reader.keep()
            _answer(answers, ready=True)
            sys.stdin.readline()
            start = time.perf_counter()
            result = reader.read()
            seconds = time.perf_counter() - start
        _answer(answers, seconds=seconds, **job.told(result))
    except Exception as error:  # noqa: BLE001  # whatever goes wrong is the row's note
        traceback.print_exc()
        _answer(answers, error=_reason(error))


def _answer(stream: IO[str], **values: Any) -> None:
    stream.write(json.dumps(values) + "\n")


def _reason(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"[:300]


if __name__ == "__main__":
    main()

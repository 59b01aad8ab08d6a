"""Environments of their own for contenders whose requirements clash with ours: made on first use, then kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path


class SetupError(Exception):
    """An environment that could not be made; the message is the beginning of what uv said."""


def environment(folder: Path, name: str, requirements: tuple[str, ...]) -> Path:
    """The Python of an environment that holds `requirements`; ours where there are none.

    It is kept in `folder`/`name`, and made anew when the requirements or our Python change. Raises SetupError.
    """
    if not requirements:
        return Path(sys.executable)
    place = folder / name
    python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp, wanted = place / "requirements.txt", "\n".join((f"# Python {sys.version}", *requirements))
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    _uv("venv", "--quiet", "--python", sys.executable, str(place))
    _uv("pip", "install", "--quiet", "--python", str(python), *requirements)
    stamp.write_text(wanted)  # last: what was interrupted is made anew
    return python


def _uv(*arguments: str) -> None:
    variables = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    done = subprocess.run(
        [sys.executable, "-m", "uv", *arguments], env=variables, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SetupError(" ".join(done.stderr.split())[:300] or f"uv {arguments[0]} failed")

"""A file is there whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import RunError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path`, moved over it when the block ends well and removed when it does not.

    Parent folders are made. The suffix is kept, since writers choose a format by it. A link stays one: what it leads to
    is replaced. A device or a pipe (``/dev/stdout``) gets the bytes at the end. Raises RunError where the folder cannot
    be written to, or `path` is a folder itself.
    """
    target = Path(path)
    stream = _is_stream(target)
    if os.path.islink(target) and not stream:
        target = Path(os.path.realpath(target))
    if os.path.isdir(target):
        raise RunError(f"cannot write {target}: it is a folder; name a file")
    draft = _draft(target, Path(tempfile.gettempdir()) if stream else target.parent)
    try:
        yield draft
        if stream:
            with draft.open("rb") as source, target.open("ab") as sink:  # a: /dev/stdout may be a file, under >>
                shutil.copyfileobj(source, sink)
        else:
            umask = os.umask(0)
            os.umask(umask)
            draft.chmod(0o666 & ~umask)  # mkstemp makes files for their owner alone
            draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file, whole or not at all. Raises RunError as `atomic_path` does."""
    with atomic_path(path) as draft:
        draft.write_text(text, encoding="utf-8")


def _is_stream(target: Path) -> bool:
    """Whether what is written there goes elsewhere: nothing may take the place of a device, a pipe or a descriptor."""
    name, folder = os.path.abspath(target), os.path.abspath(target.parent)
    descriptor = name in ("/dev/stdout", "/dev/stderr") or folder in ("/dev/fd", "/proc/self/fd")
    return os.path.exists(target) and not os.path.isdir(target) and (descriptor or not os.path.isfile(target))


def _draft(target: Path, folder: Path) -> Path:
    """A new, empty file in `folder`, named after the target."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix=f".{target.stem}-", suffix=target.suffix)
    except OSError as error:
        raise RunError(f"cannot write {target}: {error.strerror or error}") from error
    os.close(handle)
    return Path(name)

"""The folder that a map is written to, on this machine's disk or in a bucket."""

from __future__ import annotations

import asyncio
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from ..errors import FetchError, RunError
from ..fault import DeniedError, PassingError, describe, explain
from ..signing import unsigned
from ..store import locate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator

#: Tries of one request to a bucket, the first included; waits double from `FIRST_WAIT` seconds.
ATTEMPTS = 5
FIRST_WAIT = 0.5
#: Seconds in which a bucket has to answer, and bytes that have to come or go in each further one.
STALL, SLOWEST = 60.0, 50_000
#: Names that a bucket lists at once.
PAGE = 1000
#: What a write leaves on disk that was killed in the middle: the name and a number.
_STAGED = re.compile(r"#\d+$")
#: A name in a folder whose path is asked for.
_ANY = "-"


class Outbox:
    """Files by name, each there whole or not at all: a disk gets another name first, a bucket all at once.

    Any number of processes may write to it at a time, also of several machines. Every method raises RunError where the
    place cannot be read or written, a bucket's after `ATTEMPTS` tries of what may pass.
    """

    def __init__(self, place: str | os.PathLike[str]) -> None:
        """`place` is a folder's path, or ``s3://bucket/folder`` and the like. Raises RunError where it is a file."""
        self.place = os.fspath(place)
        try:
            parts = urlsplit(self.place)
        except ValueError as error:
            raise RunError(f"{self.place!r} is no address of a folder: {error}") from error
        if parts.scheme == "file":
            self.place = unquote(parts.path)
        self._is_local = len(parts.scheme) < 2 or parts.scheme == "file"  # one letter is a Windows drive
        if self._is_local:
            self.place = os.path.abspath(self.place)  # workers may have another working directory
        self.place = self.place.rstrip("/") or "/"
        if self._is_local and Path(self.place).is_file():
            raise RunError(f"{self.place} is a file; name a folder for the map")

    @property
    def is_local(self) -> bool:
        """Whether it is a folder on this machine."""
        return self._is_local

    def put(self, name: str, data: bytes) -> None:
        """Write a file, over one of that name."""

        async def write(store: Any, path: str) -> None:
            await store.put_async(path, data)

        self._try(name, write, len(data))

    def create(self, name: str, data: bytes) -> bool:
        """Write a file, unless there is one of that name; whether it was written.

        Where a bucket's answer is lost and the next try finds the file, nobody knows whose it is, and that is no. A
        server that knows no If-None-Match, as Amazon's does, writes whatever is there.
        """
        from obstore.exceptions import AlreadyExistsError

        async def write(store: Any, path: str) -> bool:
            try:
                await store.put_async(path, data, mode="create")
            except AlreadyExistsError:
                return False
            return True

        return self._try(name, write, len(data))

    def get(self, name: str) -> bytes | None:
        """What a file holds; None where there is none."""
        from obstore.exceptions import NotFoundError

        async def read(store: Any, path: str) -> bytes | None:
            body = bytearray()
            try:
                stream = (await asyncio.wait_for(store.get_async(path), STALL)).stream()
            except (NotFoundError, FileNotFoundError):
                return None
            while chunk := await asyncio.wait_for(anext(stream, None), STALL):
                body += chunk
            return bytes(body)

        return self._try(name, read, None)

    def names(self, folder: str = "") -> Iterator[str]:
        """Names of all files in a folder of it and those below, in no order; ``tiles/`` and ``tiles`` are one."""
        last, page = None, self._page(folder, None)
        while page:
            yield from (name for name, _ in page)
            last = page[-1][1]
            page = [] if self.is_local else self._page(folder, last)

    def remove(self, name: str) -> None:
        """Remove a file; nothing happens where there is none."""
        from obstore.exceptions import NotFoundError

        async def delete(store: Any, path: str) -> None:
            with suppress(NotFoundError, FileNotFoundError):
                await store.delete_async(path)

        self._try(name, delete)

    def tidy(self) -> None:
        """Remove what killed writes have left. Only while no other process writes."""
        if self.is_local:
            for path in Path(self.place).rglob("*#*"):
                if _STAGED.search(path.name) and path.is_file():
                    path.unlink(missing_ok=True)

    def _page(self, folder: str, after: str | None) -> list[tuple[str, str]]:
        """(name, path in the store) of some files of a folder, those behind `after`; of a disk of all."""
        head = f"{folder.strip('/')}/" if folder.strip("/") else ""

        async def read(store: Any, path: str) -> list[tuple[str, str]]:
            root, found = path.removesuffix(_ANY), list[tuple[str, str]]()
            stream = store.list(prefix=root or None, offset=after, chunk_size=PAGE)
            while page := await anext(stream, None):
                found += [(head + entry["path"][len(root) :], entry["path"]) for entry in page]
                if not self.is_local:
                    break
            return found

        return self._try(head + _ANY, read)

    def _try[T](self, name: str, work: Callable[[Any, str], Awaitable[T]], nbytes: int | None = 0) -> T:
        """What `work` makes of a store and the path of `name` in it, which moves `nbytes`; None: it keeps the time."""
        from obstore.exceptions import BaseError

        async def ask() -> T:
            store, path = locate(f"{self.place}/{name}")
            limit = None if self.is_local or nbytes is None else STALL + nbytes / SLOWEST
            return await asyncio.wait_for(work(store, path), limit)

        where = unsigned(f"{self.place}/{name}").removesuffix(f"/{_ANY}")
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return _wait(ask)
            except (BaseError, OSError, ValueError) as error:
                reason, passes = _explain(where, error)
            if self.is_local or not passes or attempt == ATTEMPTS:
                break
            time.sleep(FIRST_WAIT * 2 ** (attempt - 1))
        # out here, or obstore's error, which quotes addresses and answers, would be shown as its context
        raise RunError(f"cannot use {where}: {reason}")


def _wait[T](ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """In a thread and a loop of its own: the caller (a notebook, say) may be running an event loop already."""
    with ThreadPoolExecutor(1, thread_name_prefix="geomask-outbox") as thread:
        return thread.submit(lambda: asyncio.run(ask())).result()


def _explain(where: str, error: Exception) -> tuple[str, bool]:
    """Why it failed, without what gives access, and whether another try may do better."""
    if isinstance(error, FetchError):
        return str(error), False
    if isinstance(error, TimeoutError):
        return f"no answer came for {STALL:g} s", True
    found, reason = explain(where, 0, error), describe(error)
    if str(found).startswith("no credentials"):
        return str(found), False
    if isinstance(found, DeniedError) or re.match(
        "its server says 40[13]", reason
    ):  # obstore's of a list is of no kind
        return "access denied; give credentials that may write there", False
    return reason, isinstance(found, PassingError)

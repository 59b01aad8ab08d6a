"""Byte ranges of any file, all at once: HTTP, S3, GCS, Azure and local paths.

One semaphore bounds what is in flight over all files, since obstore opens as many connections as it is asked to. What
comes back is checked (length, size, ETag) before anybody sees it: servers ignore ``If-Match``, proxies cut bodies.
Retries are counted here, and obstore's own are off, or a receipt could not be true.
"""

from __future__ import annotations

import asyncio
import os
import posixpath
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from .errors import FetchError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from obstore import GetOptions, GetResult, ObjectMeta

#: Requests in flight over all files.
CONCURRENCY = 24
#: Tries of one request, the first included; waits double from `FIRST_WAIT` seconds.
ATTEMPTS = 4
FIRST_WAIT = 0.1
#: Seconds without a byte after which a try has failed.
STALL = 30.0

_PID = os.getpid()


@dataclass(frozen=True, slots=True)
class Want:
    """A byte range to fetch."""

    href: str
    offset: int
    length: int
    """Bytes; fewer come where the file ends sooner and `size` is not known."""
    size: int | None = None
    """Bytes of the whole file, where it is known: another size is an error."""
    etag: str | None = None
    """The version of the file, where it is known: another one is an error."""


@dataclass(frozen=True, slots=True)
class Got:
    """What came for a `Want`."""

    data: bytes
    size: int
    """Bytes of the whole file."""
    etag: str | None
    requests: int
    """Requests that it took, retries included."""
    wasted: int
    """Bytes of bodies that came and were thrown away because they were cut short or wrong."""


def fetch(wants: Sequence[Want], on_done: Callable[[Got], object] | None = None) -> list[Got]:
    """The bytes of every want, in the order of `wants`; `on_done` is called as each arrives.

    Raises FetchError for what is not there, differs from what the want says, or still fails after `ATTEMPTS` tries.
    """
    if os.getpid() != _PID:
        # A forked child of a process that has used obstore hangs on its first read: its worker threads are gone.
        raise FetchError(
            "cannot fetch in a forked process; start workers with multiprocessing_context='forkserver' or 'spawn'"
        )
    if not wants:
        return []
    # A thread and a loop of their own: the caller (a notebook, say) may be running an event loop already.
    loop = asyncio.new_event_loop()
    task = loop.create_task(_fetch_all(wants, on_done))
    with ThreadPoolExecutor(1, thread_name_prefix="geomask-fetch") as thread:
        try:
            return thread.submit(_run, loop, task).result()
        except KeyboardInterrupt:
            loop.call_soon_threadsafe(task.cancel)  # or leaving the block would wait for the last byte
            raise


def _run(loop: asyncio.AbstractEventLoop, task: asyncio.Task[list[Got]]) -> list[Got]:
    try:
        return loop.run_until_complete(task)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _fetch_all(wants: Sequence[Want], on_done: Callable[[Got], object] | None) -> list[Got]:
    places = asyncio.Semaphore(CONCURRENCY)

    async def one(want: Want) -> Got:
        async with places:
            got = await _fetch_one(want)
        if on_done:
            on_done(got)
        return got

    tasks = [asyncio.create_task(one(want)) for want in wants]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:  # the first failure ends the rest
            task.cancel()


async def _fetch_one(want: Want) -> Got:
    wasted = 0
    fault: FetchError | None = None
    for attempt in range(1, ATTEMPTS + 1):
        body: list[bytes] = []
        try:
            meta = await _try(want, body)
            return Got(b"".join(body), meta["size"], meta["e_tag"], attempt, wasted)
        except _PassingError as error:
            fault = error
        wasted += sum(map(len, body))
        if attempt < ATTEMPTS:
            await asyncio.sleep(FIRST_WAIT * 2 ** (attempt - 1))
    raise FetchError(f"{want.href}: bytes {want.offset}-{want.offset + want.length - 1}: {fault}") from fault


class _PassingError(FetchError):
    """Another try may do better."""


async def _try(want: Want, body: list[bytes]) -> ObjectMeta:
    """One request; what comes of its body is added to `body`, as it counts even where the rest does not come."""
    from obstore.exceptions import (
        BaseError,
        NotFoundError,
        NotSupportedError,
        PermissionDeniedError,
        UnauthenticatedError,
    )
    from obstore.store import LocalStore

    store, path = locate(want.href)
    options: GetOptions = {"range": (want.offset, want.offset + want.length)}
    # From a server in chunks as they come, or those before a break are lost. A disk's are small and would be slow.
    chunk_size = want.length if isinstance(store, LocalStore) else 1
    try:
        result: GetResult = await asyncio.wait_for(store.get_async(path, options=options), STALL)
        stream = result.stream(min_chunk_size=chunk_size)
        while chunk := await asyncio.wait_for(anext(stream, None), STALL):
            body.append(chunk)
    except (NotFoundError, FileNotFoundError) as error:
        raise FetchError(f"{want.href}: no such file") from error
    except (PermissionDeniedError, UnauthenticatedError, PermissionError) as error:
        raise FetchError(f"{want.href}: access denied; sign the items or give credentials") from error
    except NotSupportedError as error:
        raise FetchError(
            f"{want.href}: its server ignores byte ranges; copy the file to one that knows them"
        ) from error
    except ValueError as error:
        raise FetchError(f"{want.href}: {_first_line(error)}") from error
    except TimeoutError as error:
        raise _PassingError(f"no byte came for {STALL:g} s") from error
    except (BaseError, OSError) as error:
        raise _PassingError(_first_line(error)) from error
    _check(want, result, sum(map(len, body)))
    return result.meta


def _check(want: Want, result: GetResult, nbytes: int) -> None:
    """Raise FetchError where the file is another one than was planned, or where not all came that was asked for."""
    size, etag = result.meta["size"], result.meta["e_tag"]
    if want.size not in (None, size) or (want.etag and etag and want.etag != etag):
        raise FetchError(
            f"{want.href} changed since it was planned "
            f"(size {want.size} -> {size}, ETag {want.etag} -> {etag}); compile the manifest anew"
        )
    start, stop = want.offset, min(want.offset + want.length, size)
    if tuple(result.range) != (start, stop) or nbytes != stop - start:
        first, last = result.range
        raise _PassingError(f"{nbytes} bytes came, of range {first}-{last}, where {start}-{stop} was asked for")


def _first_line(error: Exception | None) -> str:
    return str(error).strip().splitlines()[0] if error and str(error).strip() else type(error).__name__


def locate(href: str) -> tuple[Any, str]:
    """The obstore store of an href and the path in it. Raises FetchError for what obstore does not know."""
    try:
        return _locate(href)
    except ValueError as error:  # a port that is no number, a NUL in a path
        raise FetchError(f"{href!r} is no address of a file: {error}") from error


def _locate(href: str) -> tuple[Any, str]:
    parts = urlsplit(href)
    if len(parts.scheme) < 2:  # a path; one letter is a Windows drive
        return _store("file", ""), _resolved(href)
    if parts.scheme == "file":
        return _store("file", ""), _resolved(unquote(parts.path))
    if parts.query:
        raise FetchError(f"{href}: signed addresses (with a query) are not supported yet")
    return _store(parts.scheme, parts.netloc), unquote(posixpath.normpath(parts.path)).lstrip("/")


def _resolved(path: str) -> str:
    """As obstore wants it: from the root, without ``..``."""
    return Path(path).resolve().as_posix().lstrip("/")


@lru_cache(maxsize=64)
def _store(scheme: str, netloc: str) -> Any:
    from obstore.exceptions import BaseError
    from obstore.store import HTTPStore, LocalStore, from_url

    if scheme == "file":
        return LocalStore("/")
    # Plain http is for servers on this machine and inside a cluster. Retries and the end of waiting are ours: obstore
    # allows a whole answer 30 s, in which a slow line does not carry a large one.
    options: dict[str, Any] = {
        "client_options": {"allow_http": True, "timeout": "1day"},
        "retry_config": {"max_retries": 0},
    }
    try:
        if scheme in ("http", "https"):
            # from_url takes the plain address of a bucket for its API, and asks for credentials.
            return HTTPStore.from_url(f"{scheme}://{netloc}", **options)
        return from_url(f"{scheme}://{netloc}", **options)
    except (BaseError, ValueError) as error:
        raise FetchError(f"{scheme}://{netloc}: {_first_line(error)}") from error

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

#: Requests in flight over all files.
CONCURRENCY = 24
#: Tries of one request, the first included; waits double from `FIRST_WAIT` seconds.
ATTEMPTS = 4
FIRST_WAIT = 0.1

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
    """Bytes of bodies that came and were thrown away because they were wrong."""


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
    # A thread of its own: the caller (a notebook, say) may be running an event loop already.
    with ThreadPoolExecutor(1, thread_name_prefix="geomask-fetch") as thread:
        return thread.submit(asyncio.run, _fetch_all(wants, on_done)).result()


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
    from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError

    store, path = locate(want.href)
    wasted = 0
    fault: Exception | None = None
    for attempt in range(1, ATTEMPTS + 1):
        try:
            result = await store.get_async(path, options={"range": (want.offset, want.offset + want.length)})
            data = bytes(await result.bytes_async())
        except (NotFoundError, FileNotFoundError) as error:
            raise FetchError(f"{want.href}: no such file") from error
        except (PermissionDeniedError, UnauthenticatedError, PermissionError) as error:
            raise FetchError(f"{want.href}: access denied; sign the items or give credentials") from error
        except (BaseError, OSError) as error:
            fault = error
        else:
            fault = _fault(want, result.range, result.meta, len(data))
            if fault is None:
                return Got(data, result.meta["size"], result.meta["e_tag"], attempt, wasted)
            wasted += len(data)
            if isinstance(fault, _Changed):
                break
        if attempt < ATTEMPTS:
            await asyncio.sleep(FIRST_WAIT * 2 ** (attempt - 1))
    raise FetchError(
        f"{want.href}: bytes {want.offset}-{want.offset + want.length - 1}: {_first_line(fault)}"
    ) from fault


class _Changed(FetchError):
    """Trying again would bring the same wrong file."""


def _fault(want: Want, came: tuple[int, int], meta: Any, nbytes: int) -> FetchError | None:
    size, etag = meta["size"], meta["e_tag"]
    if want.size not in (None, size) or (want.etag and etag and want.etag != etag):
        return _Changed(
            f"the file changed since it was planned (size {want.size} -> {size}, ETag {want.etag} -> {etag}); plan anew"
        )
    start, stop = want.offset, min(want.offset + want.length, size)
    if tuple(came) != (start, stop) or nbytes != stop - start:
        return FetchError(f"{nbytes} bytes came, of range {came[0]}-{came[1]}, where {start}-{stop} was asked for")
    return None


def _first_line(error: Exception | None) -> str:
    return str(error).strip().splitlines()[0] if error and str(error).strip() else type(error).__name__


def locate(href: str) -> tuple[Any, str]:
    """The obstore store of an href and the path in it. Raises FetchError for schemes that obstore does not know."""
    parts = urlsplit(href)
    if len(parts.scheme) < 2:  # a path; one letter is a Windows drive
        return _store("file", ""), Path(href).absolute().as_posix().lstrip("/")
    if parts.scheme == "file":
        return _store("file", ""), unquote(parts.path).lstrip("/")
    if parts.query:
        raise FetchError(f"{href}: signed addresses (with a query) are not supported yet")
    return _store(parts.scheme, parts.netloc), unquote(posixpath.normpath(parts.path)).lstrip("/")


@lru_cache(maxsize=64)
def _store(scheme: str, netloc: str) -> Any:
    from obstore.exceptions import BaseError
    from obstore.store import LocalStore, from_url

    if scheme == "file":
        return LocalStore("/")
    # Plain http is for servers on this machine and inside a cluster; retries are ours, see the module's docstring.
    options: dict[str, Any] = {"client_options": {"allow_http": True}, "retry_config": {"max_retries": 0}}
    try:
        return from_url(f"{scheme}://{netloc}", **options)
    except (BaseError, ValueError) as error:
        raise FetchError(f"{scheme}://{netloc}: {_first_line(error)}") from error

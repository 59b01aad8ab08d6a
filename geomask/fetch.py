"""Byte ranges of any file, all at once: HTTP, S3, GCS, Azure and local paths.

What is in flight over all files is bounded here, since obstore opens as many connections as it is asked to. What comes
back is checked (length, size, ETag) before anybody sees it: servers ignore ``If-Match``, proxies cut bodies. Retries
are counted here, and obstore's own are off, or a receipt could not be true.
"""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from .errors import FetchError
from .fault import DeniedError, PassingError, describe, explain
from .signing import unsigned
from .store import locate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from obstore import GetOptions, GetResult, ObjectMeta

    from .signing import Sign

#: Requests in flight over all files.
CONCURRENCY = 24
#: Tries of one request, the first included; waits double from `FIRST_WAIT` seconds.
ATTEMPTS = 4
FIRST_WAIT = 0.1
#: Seconds without a byte after which a try has failed.
STALL = 30.0

_PID = os.getpid()
_NO_DATE = datetime.fromtimestamp(0, UTC)  # obstore's, where a server gives none


@dataclass(frozen=True, slots=True)
class Want:
    """A byte range to fetch."""

    href: str
    """Unsigned."""
    offset: int
    length: int
    """Bytes; fewer come where the file ends sooner and `size` is not known."""
    size: int | None = None
    """Bytes of the whole file, where it is known: another size is an error."""
    etag: str | None = None
    """The version of the file, where it is known: another one is an error."""


@dataclass(frozen=True, slots=True)
class Trip:
    """What it took to fetch one want."""

    href: str
    """Unsigned."""
    offset: int
    nbytes: int
    """Bytes that came and were kept."""
    requests: int
    """Requests that it took, retries included."""
    wasted: int
    """Bytes of bodies that came and were thrown away because they were cut short or wrong."""
    seconds: float
    """From the first request sent to the last byte; waiting for a place among those in flight is not in it."""


@dataclass(frozen=True, slots=True)
class Got:
    """What came for a `Want`."""

    data: bytes
    size: int
    """Bytes of the whole file."""
    etag: str | None
    modified: str | None
    """When the file was last changed, in ISO 8601 and UTC; None where its server does not say."""
    trip: Trip


def fetch(
    wants: Sequence[Want], on_done: Callable[[Want, Got], object] | None = None, sign: Sign | None = None
) -> list[Got]:
    """The bytes of every want, in the order of `wants`; `on_done` is called as each arrives.

    `sign` is called right before each request, since signatures expire, and one call at a time. Where access is denied
    and it gives another signature, that is tried, once.

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
    task = loop.create_task(_fetch_all(wants, on_done, sign))
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


async def _fetch_all(
    wants: Sequence[Want], on_done: Callable[[Want, Got], object] | None, sign: Sign | None
) -> list[Got]:
    came: dict[int, Got] = {}
    todo = iter(enumerate(wants))  # shared: a million wants are no million tasks

    async def work() -> None:
        for number, want in todo:
            came[number] = got = await _fetch_one(want, sign)
            if on_done:
                on_done(want, got)

    workers = [asyncio.create_task(work()) for _ in range(min(CONCURRENCY, len(wants)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:  # the first failure ends the rest
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return [came[number] for number in range(len(wants))]


async def _fetch_one(want: Want, sign: Sign | None) -> Got:
    attempt, start, wasted = 0, 0.0, 0
    denied: dict[str, DeniedError] = {}
    while True:
        address = _signed(want.href, sign)
        if address in denied:
            raise denied[address]
        attempt, start = attempt + 1, start or time.perf_counter()
        body: list[bytes] = []
        try:
            meta = await _try(want, address, body)
            return _got(want, meta, b"".join(body), attempt, wasted, time.perf_counter() - start)
        except DeniedError as error:
            if denied:
                raise
            denied[address] = error
        except PassingError as error:
            if attempt >= ATTEMPTS:
                last = want.offset + want.length - 1
                raise FetchError(f"{unsigned(want.href)}: bytes {want.offset}-{last}: {error}") from error
            await asyncio.sleep(FIRST_WAIT * 2 ** (attempt - 1))
        wasted += sum(map(len, body))


def _signed(href: str, sign: Sign | None) -> str:
    if sign is None:
        return href
    try:
        return sign(href)
    except Exception as error:  # somebody else's function
        raise FetchError(f"{unsigned(href)} cannot be signed: {describe(error)}") from error


def _got(want: Want, meta: ObjectMeta, data: bytes, requests: int, wasted: int, seconds: float) -> Got:
    date = meta["last_modified"]
    modified = None if date == _NO_DATE else date.astimezone(UTC).isoformat()
    trip = Trip(unsigned(want.href), want.offset, len(data), requests, wasted, seconds)
    return Got(data, meta["size"], meta["e_tag"], modified, trip)


async def _try(want: Want, address: str, body: list[bytes]) -> ObjectMeta:
    """One request; what comes of its body is added to `body`, as it counts even where the rest does not come."""
    from obstore.exceptions import BaseError
    from obstore.store import LocalStore

    store, path = locate(address)
    options: GetOptions = {"range": (want.offset, _stop(want, want.size))}
    # From a server in chunks as they come, or those before a break are lost. A disk's are small and would be slow.
    chunk_size = want.length if isinstance(store, LocalStore) else 1
    fault: FetchError
    try:
        result: GetResult = await asyncio.wait_for(store.get_async(path, options=options), STALL)
        stream = result.stream(min_chunk_size=chunk_size)
        while chunk := await asyncio.wait_for(anext(stream, None), STALL):
            body.append(chunk)
    except TimeoutError:
        fault = PassingError(f"no byte came for {STALL:g} s")
    except (BaseError, OSError, ValueError) as error:
        fault = explain(want.href, want.offset, error)
    else:
        _check(want, result, sum(map(len, body)))
        return result.meta
    raise fault  # out here, or obstore's error, which quotes the signed address, would be shown as its context


def _check(want: Want, result: GetResult, nbytes: int) -> None:
    """Raise FetchError where the file is another one than was planned, or where not all came that was asked for."""
    size, etag = result.meta["size"], result.meta["e_tag"]
    if want.size not in (None, size) or not same_version(want.etag, etag):
        raise FetchError(
            f"{unsigned(want.href)} changed since it was planned "
            f"(size {want.size} -> {size}, ETag {want.etag} -> {etag}); compile the manifest anew"
        )
    start, stop = want.offset, _stop(want, size)
    if tuple(result.range) != (start, stop) or nbytes != stop - start:
        first, last = result.range
        raise PassingError(f"{nbytes} bytes came, of range {first}-{last}, where {start}-{stop} was asked for")


def _stop(want: Want, size: int | None) -> int:
    """Where the bytes of a want end, exclusive."""
    stop = want.offset + want.length
    return stop if size is None else max(want.offset + 1, min(stop, size))  # an empty range is none at all


def same_version(one: str | None, other: str | None) -> bool:
    """Whether two ETags may be of one version of a file: a proxy weakens them (``W/``), and some servers give none."""
    return not one or not other or one.removeprefix("W/") == other.removeprefix("W/")

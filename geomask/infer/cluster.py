"""Making tiles on many workers with dask.distributed: only errands and their outcome pass through the scheduler."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import islice
from logging import CRITICAL
from tempfile import TemporaryDirectory
from threading import Lock
from typing import TYPE_CHECKING, Any

from ..errors import RunError
from .agenda import Errand
from .crew import make_tiles
from .job import Job
from .outbox import Outbox
from .runfiles import fetch_run
from .site import Made, Site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from distributed import Client

    from ..signing import Sign

#: Requests of a task at least: the scheduler spends some 2 ms on each task.
REQUESTS = 100
#: Tasks under way for each thread of a worker: while one is made the next waits there.
AHEAD = 2
#: Seconds in which a scheduler has to answer.
PATIENCE = 10
#: Threads of a worker of this machine: while one's tile is computed the other's is read.
THREADS = 2


@contextmanager
def open_cluster(scheduler: str | None, workers: int) -> Iterator[Client]:
    """A client of a scheduler by its address, or of so many processes on this machine.

    Raises RunError where the extra `dask` is not installed, or there is no scheduler.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise RunError(f"dask.distributed is not there ({error}); install geomask[dask]") from error
    if scheduler is not None:
        try:
            client = Client(scheduler, timeout=PATIENCE)
        except (OSError, TimeoutError, ValueError) as error:
            raise RunError(f"no scheduler answers at {scheduler}: {error or 'time is up'}") from error
        with client:
            yield client
        return
    with (
        TemporaryDirectory(prefix="geomask-dask-") as scratch,
        LocalCluster(
            n_workers=workers,
            threads_per_worker=THREADS,
            dashboard_address="127.0.0.1:0",  # None would open its usual port, and warn where that is taken
            local_directory=scratch,
            memory_limit=0,  # what tiles take is bounded; dask would kill a worker whose model is large
            silence_logs=CRITICAL,  # what fails is raised here
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def make_tiles_on(
    client: Client,
    job: Job,
    box: Outbox,
    errands: Iterable[Errand],
    per_task: int,
    sign: Sign | None,
    on_made: Callable[[Made], object],
) -> None:
    """Make all tiles on a cluster, `per_task` of them a task; what a lost worker had begun is made by another.

    The place of the map has to be one that all workers see. Raises RunError where a tile cannot be written, a worker
    cannot read the job, or a task killed three workers.
    """
    from distributed import as_completed
    from distributed.scheduler import KilledWorker

    batches = _batches(errands, per_task, job)
    ahead = AHEAD * max(1, sum(client.nthreads().values()))

    def send(batch: list[tuple[int, list[dict[str, Any]]]]) -> Any:
        return client.submit(make_batch, box.place, job.digest, batch, sign, pure=False)

    under_way = as_completed([send(batch) for batch in islice(batches, ahead)])
    try:
        for future in under_way:
            for made in future.result():
                on_made(Made(*made))
            future.release()
            for batch in islice(batches, 1):
                under_way.add(send(batch))
    except KilledWorker as error:
        raise RunError(f"workers die of it: {error}; try fewer, or smaller tiles") from error


def make_batch(
    place: str, digest: str, batch: list[tuple[int, list[dict[str, Any]]]], sign: Sign | None
) -> list[tuple[int, int]]:
    """What a worker does: make some tiles of the map at `place`; `batch` has their numbers and items as GeoJSON."""
    from pystac import Item

    errands = (Errand(tile, tuple(Item.from_dict(item) for item in items)) for tile, items in batch)
    made = list[Made]()
    try:
        make_tiles(_site(place, digest, sign), errands, made.append)
    except BaseException:
        _sites.clear()  # what is stopped stays so
        raise
    return [(one.tile, one.failures) for one in made]


def _batches(errands: Iterable[Errand], size: int, job: Job) -> Iterator[list[tuple[int, list[dict[str, Any]]]]]:
    assets = {band.asset for band in job.selection.bands}
    plain = ((errand.tile, [_plain(item, assets) for item in errand.items]) for errand in errands)
    while batch := list(islice(plain, size)):
        yield batch


def _plain(item: Any, assets: set[str]) -> dict[str, Any]:
    """An item as GeoJSON, with the assets that may be read."""
    document: dict[str, Any] = item.to_dict(include_self_link=True, transform_hrefs=False)
    document["assets"] = {name: asset for name, asset in document["assets"].items() if name in assets}
    document["links"] = [link for link in document["links"] if link["rel"] == "self"]
    return document


#: The job that this worker is on, by place and digest.
_sites: dict[tuple[str, str], Site] = {}
_lock = Lock()


def _site(place: str, digest: str, sign: Sign | None) -> Site:
    """The job at a place, on this worker."""
    with _lock:
        if (place, digest) not in _sites:
            box = Outbox(place)
            job = Job.load(box)
            if job.digest != digest:
                raise RunError(f"{place} is another map on a worker; name a place that all of them see")
            _sites.clear()
            _sites[place, digest] = Site(job, fetch_run(box, job), box, sign)
        return _sites[place, digest]

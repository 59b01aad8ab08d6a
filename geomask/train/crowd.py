"""Many trainings of one task, side by side in processes of one thread each."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import torch

from .baselines import Method
from .networks import is_own
from .run import Run, load_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from .step import Settings
    from .task import Task


class Job(NamedTuple):
    """One training: a method on one split with one seed."""

    method: Method
    fold: int
    seed: int

    @property
    def name(self) -> str:
        """Of its run folder."""
        return f"{self.method}-f{self.fold}-s{self.seed}"


def train_all(
    task: Task,
    jobs: Sequence[Job],
    budget: str,
    settings: Settings,
    folder: Path,
    on_done: Callable[[], object] | None = None,
) -> dict[Job, Run]:
    """Train every job into a run folder of its own under `folder`; runs come in the order of `jobs`.

    Each training has one thread, whatever the machine, so that results do not depend on the number of cores. Raises
    what `Task.train` raises, after the trainings under way have ended.
    """
    # spawn: a forked child of a process that has fetched hangs on its first read.
    context = multiprocessing.get_context("spawn")
    workers = min(len(jobs), os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(task,)) as pool:
        futures = [pool.submit(_train, job, budget, settings, folder / job.name) for job in jobs]
        try:
            for future in as_completed(futures):
                future.result()
                if on_done:
                    on_done()
        finally:
            pool.shutdown(cancel_futures=True)
    own = settings.network if is_own(settings.network) else None
    return {job: load_run(folder / job.name, own) for job in jobs}


def train_alone(
    task: Task,
    job: Job,
    budget: str,
    settings: Settings,
    folder: Path,
    on_step: Callable[[], object] | None = None,
    bandwidth: float | None = None,
    grain: str = "channel",
) -> Run:
    """Train one job in this process, with one thread as `train_all` does, so that both give the same network.

    `bandwidth` and `grain` as in `Task.train`.
    """
    with one_thread():
        return task.train(job.method, job.fold, job.seed, budget, settings, folder, on_step, bandwidth, grain)


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch, whatever the machine: so results do not depend on the number of cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


_task: Task | None = None


def _begin(task: Task) -> None:
    """Set up a worker: Ctrl-C is the parent's to handle, and a worker whose parent was killed ends too."""
    global _task  # a worker's task comes once, not with every job
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    _task = task


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _train(job: Job, budget: str, settings: Settings, folder: Path) -> None:
    if _task is None:
        raise RuntimeError("a worker trains only after it was set up")
    _task.train(job.method, job.fold, job.seed, budget, settings, folder)

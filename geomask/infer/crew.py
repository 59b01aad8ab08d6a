"""Making tiles one after the other: while the network works on one, the next is read."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .agenda import Errand
    from .site import Made, Site


def make_tiles(site: Site, errands: Iterable[Errand], on_made: Callable[[Made], object]) -> None:
    """Make all tiles in this process; `on_made` is called with each that is done.

    This thread reads and another one computes, so two tiles are in memory at most, and Ctrl-C ends a fetch at once.
    Raises RunError where a tile cannot be written.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="geomask-network") as thread:
        before: Future[Made] | None = None
        try:
            for errand in errands:
                haul = site.read(errand)
                if before is not None:
                    on_made(before.result())
                before = thread.submit(site.finish, haul)
                del haul  # or it would stay while the next but one is read
            if before is not None:
                on_made(before.result())
        except BaseException:
            site.stop()  # or leaving the block would wait for the whole tile
            raise

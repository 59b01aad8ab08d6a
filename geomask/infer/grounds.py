"""What is read for a tile, whoever makes it: pixels, blocks of them, features, or features and pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..errors import RunError
from ..signing import unsigned
from .blocks import BlockGround, Pattern
from .features import link_of
from .ground import Ground, Reading
from .latents import StoredLatents
from .origin import load_origin
from .outbox import Outbox
from .remote import ServedLatents, Service, is_service

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pystac import Item

    from ..cog.index import HeaderIndex
    from ..grid import Window
    from ..plan.coverage import Coverage
    from ..plan.manifest import Manifest
    from ..signing import Sign
    from ..train.run import Run
    from .job import Job
    from .ledger import Stage
    from .origin import Origin


class AnyGround(Protocol):
    """Where the planes of the network's input come from. Threads may share it."""

    @property
    def planes(self) -> int:
        """How many."""

    def read(self, items: Iterable[Item], window: Window) -> Reading:
        """All planes of one window of the grid. Raises what planning and fetching raise."""

    def manifests(self, items: Iterable[Item] | Coverage, windows: Sequence[Window]) -> dict[Stage, Manifest]:
        """What is fetched for some windows, as far as that is known beforehand."""


class JoinedGround:
    """Pixels, then latents."""

    def __init__(self, pixels: AnyGround, latents: AnyGround, order: Sequence[int]) -> None:
        """`order`: which plane of the pixels is the first, the second, ..."""
        self._parts, self._order = (pixels, latents), list(order)

    @property
    def planes(self) -> int:
        """Of both."""
        return sum(part.planes for part in self._parts)

    def read(self, items: Iterable[Item], window: Window) -> Reading:
        """As the protocol says."""
        items = list(items)
        pixels, latents = (part.read(items, window) for part in self._parts)
        return Reading(
            np.concatenate([pixels.image[self._order], latents.image]),
            np.concatenate([pixels.valid[self._order], latents.valid]),
            pixels.seen | latents.seen,
            pixels.manifests | latents.manifests,
            pixels.receipts | latents.receipts,
        )

    def manifests(self, items: Iterable[Item] | Coverage, windows: Sequence[Window]) -> dict[Stage, Manifest]:
        """As the protocol says."""
        pixels, latents = (part.manifests(items, windows) for part in self._parts)
        return pixels | latents


def open_ground(
    job: Job, run: Run, sign: Sign | None = None, index: HeaderIndex | None = None, origin: Origin | None = None
) -> AnyGround:
    """What a job reads. Headers in `index` are not fetched again; `origin` is that of its features, where it is known.

    Raises what `open_origin` raises.
    """
    grid = job.tiling.grid
    if job.features is None:
        ground, pattern = Ground(job.selection, grid, job.scaling, sign, index), Pattern.of(run, job.selection)
        return ground if pattern is None else BlockGround(ground, pattern)
    link, origin = link_of(run), origin or open_origin(job.features, sign)[0]
    origin.check(run, job.selection)
    latents: AnyGround = (StoredLatents if origin.side else ServedLatents)(origin, link.tables, sign)
    far = link.far.tolist()
    if not far:
        return latents
    read = sorted(far)
    scaling = None if job.scaling is None else [job.scaling[channel] for channel in read]
    pixels = Ground(job.selection.keep(read), grid, scaling, sign, index)
    return JoinedGround(pixels, latents, [read.index(channel) for channel in far])


def open_origin(place: str, sign: Sign | None = None) -> tuple[Origin, list[Item]]:
    """What features a folder, a bucket or a service has, and the items that they were made from.

    Raises RunError where there are none, or they are broken, and FetchError where a service does not answer.
    """
    if not is_service(place):
        box = Outbox(place)
        return load_origin(box.get, box.place)
    if unsigned(place) != place:
        raise RunError(f"{unsigned(place)} was given with what gives access; leave it out and name a function (--sign)")
    service = Service(place, sign)
    return load_origin(service.get, service.url)

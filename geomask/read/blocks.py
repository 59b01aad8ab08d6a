"""Values and validity come of one read: where one of the two is asked for, the other is kept until it is."""

from __future__ import annotations

import math
from collections import OrderedDict
from concurrent.futures import Future
from threading import Lock
from typing import TYPE_CHECKING, Literal
from weakref import WeakValueDictionary

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..grid import Window

type Half = Literal["image", "valid"]

#: Slots and bands by position, and the window, which counts from the chip's first row and column.
type Key = tuple[tuple[int, ...], tuple[int, ...], Window]

#: Bytes of halves that wait to be asked for; validity waits as bits. Beyond it the oldest go, and are read again.
KEPT_NBYTES = 1 << 28


class Blocks:
    """What was read of one chip and not yet asked for. Threads share it; each block is fetched once for both halves."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._coming: dict[tuple[Key, Half], Future[np.ndarray]] = {}
        self._kept: OrderedDict[tuple[Key, Half], tuple[np.ndarray, tuple[int, ...]]] = OrderedDict()
        """Each half with its shape: validity has been packed."""
        self._nbytes = 0

    def take(self, key: Key, half: Half, read: Callable[[], tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        """One half of a block, which is forgotten then: kept, coming on another thread, or of what `read` gives.

        `read` returns values and validity; what it raises is raised to all who wait for it, and not remembered.
        """
        other: tuple[Key, Half] = (key, "valid" if half == "image" else "image")
        with self._lock:
            kept = self._forget((key, half))
            coming = None if kept else self._coming.pop((key, half), None)
            if kept is None and coming is None:
                mine = self._coming[other] = Future()
        if kept is not None:
            return _unpack(*kept)
        if coming is not None:
            return coming.result()
        try:
            image, valid = read()
        except BaseException as error:
            self._settle(other, mine, None)
            mine.set_exception(error)
            raise
        ours, theirs = (image, valid) if half == "image" else (valid, image)
        self._settle(other, mine, theirs)
        mine.set_result(theirs)
        return ours

    def _settle(self, place: tuple[Key, Half], mine: Future[np.ndarray], half: np.ndarray | None) -> None:
        """Announce `mine` no longer, and keep what came where nobody waits for it."""
        packed = np.packbits(half) if half is not None and half.dtype == bool else half
        with self._lock:
            if self._coming.get(place) is not mine:
                return
            del self._coming[place]
            if half is None or packed is None:
                return
            self._forget(place)
            self._kept[place] = packed, half.shape
            self._nbytes += packed.nbytes
            while self._nbytes > KEPT_NBYTES:
                self._forget(next(iter(self._kept)))

    def _forget(self, place: tuple[Key, Half]) -> tuple[np.ndarray, tuple[int, ...]] | None:
        kept = self._kept.pop(place, None)
        if kept is not None:
            self._nbytes -= kept[0].nbytes
        return kept


def _unpack(packed: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if packed.shape == shape:
        return packed
    return np.unpackbits(packed, count=math.prod(shape)).view(bool).reshape(shape)


_SHARED: WeakValueDictionary[str, Blocks] = WeakValueDictionary()
_SHARED_LOCK = Lock()


def shared_blocks(name: str) -> Blocks:
    """The blocks of that name in this process, which live as long as somebody has them."""
    with _SHARED_LOCK:
        return _SHARED.setdefault(name, Blocks())

"""Two halves of one read, for threads that ask for them in any order."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from geomask.grid import Window
from geomask.read import blocks
from geomask.read.blocks import Blocks, Half, Key, shared_blocks

SHAPE = (1, 2, 3, 5)  # its 30 pixels fill no whole bytes
IMAGE = np.arange(30, dtype=np.float32).reshape(SHAPE)
VALID = IMAGE % 7 != 0


def key(slot: int) -> Key:
    return (slot,), (0, 1), Window(0, 0, 3, 5)


class Counted:
    """A read that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> tuple[np.ndarray, np.ndarray]:
        self.calls += 1
        return IMAGE.copy(), VALID.copy()


@pytest.mark.parametrize(("first", "second"), [("image", "valid"), ("valid", "image")])
def test_both_halves_come_of_one_read_and_are_forgotten(first: Half, second: Half) -> None:
    kept, read = Blocks(), Counted()
    halves = {first: kept.take(key(0), first, read), second: kept.take(key(0), second, read)}
    np.testing.assert_array_equal(halves["image"], IMAGE)
    np.testing.assert_array_equal(halves["valid"], VALID)
    assert halves["valid"].dtype == bool
    assert read.calls == 1
    kept.take(key(0), second, read)
    assert read.calls == 2


def test_blocks_are_told_apart() -> None:
    kept, read = Blocks(), Counted()
    kept.take(key(0), "image", read)
    kept.take(key(1), "valid", read)
    assert read.calls == 2


def test_a_half_that_is_asked_for_again_is_read_again_and_the_other_kept_once() -> None:
    kept, read = Blocks(), Counted()
    for calls in (1, 2, 3):
        kept.take(key(0), "image", read)
        assert read.calls == calls
    kept.take(key(0), "valid", read)
    assert read.calls == 3
    kept.take(key(0), "valid", read)
    assert read.calls == 4


@pytest.mark.parametrize("half", ["image", "valid"])
def test_only_so_much_is_kept_and_the_oldest_goes_first(half: Half, monkeypatch: pytest.MonkeyPatch) -> None:
    other: Half = "valid" if half == "image" else "image"
    nbytes = 4 if half == "image" else IMAGE.nbytes  # 30 bits of validity, or the values
    monkeypatch.setattr(blocks, "KEPT_NBYTES", 2 * nbytes)
    kept, read = Blocks(), Counted()
    for slot in range(4):
        kept.take(key(slot), half, read)
    assert read.calls == 4
    for slot in (3, 2):
        kept.take(key(slot), other, read)
    assert read.calls == 4
    kept.take(key(1), other, read)
    assert read.calls == 5


def test_a_thread_waits_for_what_is_coming_on_another() -> None:
    kept, started, go = Blocks(), threading.Event(), threading.Event()
    read = Counted()

    def slow() -> tuple[np.ndarray, np.ndarray]:
        started.set()
        assert go.wait(30)
        return read()

    with ThreadPoolExecutor(2) as threads:
        image = threads.submit(kept.take, key(0), "image", slow)
        assert started.wait(30)
        valid = threads.submit(kept.take, key(0), "valid", read)
        assert not image.done()
        assert not valid.done()
        go.set()
        np.testing.assert_array_equal(image.result(), IMAGE)
        np.testing.assert_array_equal(valid.result(), VALID)
    assert read.calls == 1


def test_an_error_reaches_all_who_wait_and_is_not_remembered() -> None:
    kept, started, go = Blocks(), threading.Event(), threading.Event()
    read = Counted()

    def fail() -> tuple[np.ndarray, np.ndarray]:
        started.set()
        assert go.wait(30)
        raise OSError("no bytes today")

    with ThreadPoolExecutor(2) as threads:
        image = threads.submit(kept.take, key(0), "image", fail)
        assert started.wait(30)
        valid = threads.submit(kept.take, key(0), "valid", read)
        while kept._coming:  # until the other thread waits
            threading.Event().wait(0.001)
        go.set()
        for waiting in (image, valid):
            with pytest.raises(OSError, match="no bytes today"):
                waiting.result()
    assert read.calls == 0
    kept.take(key(0), "valid", read)
    kept.take(key(0), "image", read)
    assert read.calls == 1


def test_an_error_that_nobody_waits_for_leaves_nothing() -> None:
    kept, read = Blocks(), Counted()

    def fail() -> tuple[np.ndarray, np.ndarray]:
        raise OSError("no bytes today")

    with pytest.raises(OSError, match="no bytes today"):
        kept.take(key(0), "image", fail)
    np.testing.assert_array_equal(kept.take(key(0), "valid", read), VALID)
    assert read.calls == 1


def test_blocks_of_one_name_are_one_as_long_as_somebody_has_them() -> None:
    kept = shared_blocks("a name")
    assert shared_blocks("a name") is kept
    assert shared_blocks("another") is not kept
    read = Counted()
    kept.take(key(0), "image", read)
    del kept
    shared_blocks("a name").take(key(0), "valid", read)
    assert read.calls == 2

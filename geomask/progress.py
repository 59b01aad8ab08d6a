"""Progress bars: on stderr, and only for what takes longer than a second."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator


class Advance(Protocol):
    """Moves a bar on."""

    def __call__(self, done: int | None = None, total: int | None = None) -> None:
        """By one; or to `done` of `total`."""


@contextmanager
def progress(title: str, unit: str, total: int | None = None) -> Iterator[Advance]:
    """A bar that shows from the first second on and is wiped when the block ends."""
    from tqdm import tqdm

    with tqdm(desc=title, unit=f" {unit}", total=total, delay=1, leave=False) as bar:

        def advance(done: int | None = None, total: int | None = None) -> None:
            if total is not None:
                bar.total = total
            bar.update(1 if done is None else done - bar.n)

        yield advance

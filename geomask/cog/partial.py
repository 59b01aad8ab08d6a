"""The first bytes of a file, standing for the whole."""

from __future__ import annotations

import io
from typing import Any

from ..errors import LayoutError


class TruncatedHeaderError(LayoutError):
    """The header reaches further than the bytes at hand: fetch up to `stop` and try again."""

    def __init__(self, stop: int) -> None:
        super().__init__(f"the header reaches to byte {stop}")
        self.stop = stop


class PartialFile(io.RawIOBase):
    """The start of a file that claims its whole length, so that a read past the end says how much is missing.

    tifffile turns what a read raises into errors of its own, or passes over the tag: hence `missing`.
    """

    missing: int | None = None
    """One past the last byte of the first read that could not be answered."""
    reach: int = 0
    """One past the last byte that a read was answered with: up to here the head alone answers the same reads."""

    def __init__(self, head: bytes, size: int) -> None:
        self._head, self._size, self._position = head, size, 0

    def readable(self) -> bool:
        """As files say."""
        return True

    def seekable(self) -> bool:
        """As files say."""
        return True

    def tell(self) -> int:
        """As files say."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As files do."""
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def read(self, count: int = -1) -> bytes:
        """As files do. Raises TruncatedHeaderError for bytes that the file has, and that are not at hand."""
        stop = self._size if count < 0 else min(self._position + count, self._size)
        if stop > len(self._head):
            self.missing = self.missing or stop
            raise TruncatedHeaderError(stop)
        data = self._head[self._position : stop]
        self.reach = max(stop, self.reach)
        self._position = max(stop, self._position)
        return data

    def readinto(self, buffer: Any) -> int:
        """As files do."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def piece(self, offset: int, length: int) -> bytes:
        """Exactly these bytes. Raises ValueError where the file ends before them."""
        self.seek(offset)
        data = self.read(length)
        if len(data) < length:
            raise ValueError(f"its header points to byte {offset + length} of {self._size}")
        return data

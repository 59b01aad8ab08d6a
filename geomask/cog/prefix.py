"""The first rows of a GeoTIFF tile: how many bytes hold them, and how they become a whole, shorter tile.

DEFLATE, LZW and uncompressed tiles decode from their first byte on, so a window that ends inside a tile needs no more
than a prefix of it. How long that prefix is nobody knows before it is decoded: it is guessed by proportion, with a
margin. The stream's checksum lies at its end and is not reached: damage on the way is found only where it breaks the
code itself. ZSTD decodes in blocks of 128 KB, and JPEG, WebP and LERC tell nothing of where a row ends: no prefixes.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

from ..errors import LayoutError

if TYPE_CHECKING:
    from .level import Level

NONE, LZW, DEFLATE, OLD_DEFLATE = 1, 5, 8, 32946  # TIFF tag 259
PREFIXED = (NONE, LZW, DEFLATE, OLD_DEFLATE)

#: What is fetched over the proportional share s, in bytes of the tile: MARGIN + BULGE * sqrt(s (1 - s)). The rows of a
#: tile differ in how well they compress, so the bytes of its first rows stray from their share most in the middle, as a
#: random walk does whose two ends are fixed; the first rows also carry DEFLATE's code tables. docs/reading.md has the
#: figures: of 15,000 prefixes of real and made-up Sentinel-2 tiles 3 to 6 in 100 were too short, and 4 % came in vain.
MARGIN, BULGE = 0.008, 0.04

#: A prefix that turns out too short costs a round trip more. To spare fewer bytes than this it is not tried: small
#: tiles are of maps and masks, whose rows differ most.
WORTH_NBYTES = 4096

ROWS = 16
"""The rows of a tile are a multiple of it (TIFF 6.0, section 15)."""


def prefix_nbytes(level: Level, nbytes: np.ndarray, rows: np.ndarray, filled: np.ndarray) -> np.ndarray:
    """Bytes of the prefixes, int64, that hold the first `rows` of tiles of `nbytes`.

    `filled` rows of a tile lie in the image; those below are padding, which compresses to next to nothing.
    """
    if level.compression not in PREFIXED:
        return nbytes
    if level.compression == NONE:
        return np.minimum(rows * level.row_nbytes, nbytes)  # type: ignore[no-any-return]
    if level.compression == LZW:  # which only libtiff decodes, and it decodes whole tiles
        rows = shorter_tile(rows)
    share = np.minimum(rows / filled, 1)
    guess = np.ceil(nbytes * (share + MARGIN + BULGE * np.sqrt(share * (1 - share)))).astype(np.int64)
    return np.where(guess + WORTH_NBYTES <= nbytes, guess, nbytes)


def shorter_tile[T: (int, np.ndarray)](rows: T) -> T:
    """Rows of the shortest tile that holds so many."""
    return -(-rows // ROWS) * ROWS


def first_rows(level: Level, prefix: bytes, rows: int) -> bytes:
    """A tile of `shorter_tile(rows)` rows, in the same compression, from a prefix of a longer one.

    It holds the first `rows`; others may be blank. Raises LayoutError where the prefix does not hold them all. LZW
    prefixes are passed on: libtiff counts what it decodes of them.
    """
    if level.compression == LZW:
        return prefix
    nbytes = rows * level.row_nbytes
    if level.compression == NONE:
        raw = prefix[:nbytes]
    else:
        # Not left to libtiff: libdeflate may fill the end of its buffer with what follows from bytes that are not
        # there, or not fill it at all, and call that success. zlib counts what it decodes.
        try:
            raw = zlib.decompressobj().decompress(prefix, nbytes)
        except zlib.error as error:
            raise LayoutError(f"a prefix of {len(prefix)} bytes does not decode: {error}") from error
    if len(raw) < nbytes:
        raise LayoutError(f"a prefix of {len(prefix)} bytes holds {len(raw)} of {nbytes} bytes")
    raw = raw.ljust(shorter_tile(rows) * level.row_nbytes, b"\0")
    return raw if level.compression == NONE else zlib.compress(raw, 0)

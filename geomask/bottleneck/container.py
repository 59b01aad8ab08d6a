"""Features of one image as bytes that say what they are, and that anybody may have changed on the way.

Little-endian, version 1:

| bytes | what |
|---|---|
| 4 | "GMFC" |
| 1 | version, 1 |
| 1 | flags: bit 0, a mask follows; the others are 0 |
| 8 | the first of the model's digest |
| 8 | the first of the tables' digest |
| 2 | latents |
| 1 | stride: pixels of the grid to a side of a latent |
| 2, 2 | rows, columns of latents |
| 4, n | only with a mask: n, and packed bits (first is highest, rows end to end, then 0) of what was seen, by zlib |
| any | coded latents (see `codec`), those seen |
| 4 | CRC-32 of all before |

33 bytes beside mask and latents.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from ..errors import RunError, SelectionError
from .codec import MAX_VALUES, decode, encode

if TYPE_CHECKING:
    from .tables import Tables

MAGIC, VERSION = b"GMFC", 1
HEAD, COUNT = struct.Struct("<4sBB8s8sHBHH"), struct.Struct("<I")
#: Bytes of a container beside its mask and its latents.
OVERHEAD = HEAD.size + COUNT.size
#: Bytes of a digest that are kept.
DIGEST_NBYTES = 8
#: Most latents, rows and columns; most pixels to a side.
MAX_SIDE, MAX_STRIDE = (1 << 16) - 1, (1 << 8) - 1


@dataclass(frozen=True, slots=True)
class Header:
    """What a container says of itself."""

    model: str
    """First 16 hex digits of the encoder's digest."""
    tables: str
    """First 16 hex digits of the tables' digest."""
    shape: tuple[int, int, int]
    """(latents, rows, columns), each 1 or more, `MAX_VALUES` values at most."""
    stride: int
    """Pixels of the grid to a side of a latent."""
    has_mask: bool
    """Whether anything was not seen."""


@dataclass(frozen=True, slots=True, eq=False)
class Container:
    """Features of one image. Raises SelectionError where they do not go together."""

    latents: np.ndarray
    """int32 (latents, rows, columns); where nothing was seen, what they are is lost."""
    seen: np.ndarray
    """Where anything was observed, bool (rows, columns)."""
    model: str
    """sha256 of the encoder, hex digits; a decoded container has that of its receiver."""
    stride: int
    """Pixels of the grid to a side of a latent, 1 to 255."""

    def __post_init__(self) -> None:
        shape = self.latents.shape
        if self.latents.dtype != np.int32 or len(shape) != 3 or not all(1 <= side <= MAX_SIDE for side in shape):
            raise SelectionError(
                f"latents are {self.latents.dtype} {shape}; give int32 (latents, rows, columns), sides up to {MAX_SIDE}"
            )
        if self.seen.dtype != bool or self.seen.shape != shape[1:]:
            raise SelectionError(
                f"seen is {self.seen.dtype} {self.seen.shape}; for these latents give bool {shape[1:]}"
            )
        if not 1 <= self.stride <= MAX_STRIDE:
            raise SelectionError(f"a stride of {self.stride} pixels; it is 1 to {MAX_STRIDE}")
        _short(self.model)

    def encode(self, tables: Tables) -> bytes:
        """All of it as bytes; latents that were not seen take none.

        Raises SelectionError where latents that were seen do not fit the tables (see `Tables.clip`).
        """
        has_mask = not self.seen.all()
        digests = _short(self.model), _short(tables.digest)
        latents, rows, columns = self.latents.shape
        head = HEAD.pack(MAGIC, VERSION, has_mask, *digests, latents, self.stride, rows, columns)
        mask = _pack(self.seen) if has_mask else b""
        whole = head + mask + encode(self.latents, tables, self.seen if has_mask else None)
        return whole + COUNT.pack(zlib.crc32(whole))

    @staticmethod
    def peek(data: bytes) -> Header:
        """What its header says. Raises RunError where it is broken, or no container of this version."""
        _check_kind(data)
        _, _, flags, model, tables, latents, stride, rows, columns = HEAD.unpack_from(data)
        if zlib.crc32(memoryview(data)[: -COUNT.size]) != COUNT.unpack_from(data, len(data) - COUNT.size)[0]:
            raise RunError(f"features of {len(data)} bytes are broken: their CRC-32 differs, fetch them again")
        if flags > 1:
            raise RunError(f"features with flags {flags:#04x}; version {VERSION} has 0x00 and 0x01: update geomask")
        shape = (latents, rows, columns)
        if not (latents and rows and columns and stride) or latents * rows * columns > MAX_VALUES:
            raise RunError(
                f"features of shape {shape} and stride {stride}; each is 1 or more, values are {MAX_VALUES} at most"
            )
        return Header(model.hex(), tables.hex(), shape, stride, bool(flags))

    @classmethod
    def decode(cls, data: bytes, tables: Tables, model: str, shape: tuple[int, int] | None = None) -> Self:
        """What `encode` made bytes of, by the same tables. `shape`: (rows, columns) where the receiver knows them.

        Raises RunError where the data are broken, of another version, model, tables or shape, before any memory is
        taken for them; SelectionError where `model` is no digest.
        """
        header = cls.peek(data)
        _check_sender(header, tables, model, shape)
        payload, seen = memoryview(data)[HEAD.size : -COUNT.size], None
        if header.has_mask:
            seen, payload = _unpack(payload, header.shape[1:])
        latents = decode(bytes(payload), header.shape, tables, seen)
        return cls(latents, np.ones(header.shape[1:], bool) if seen is None else seen, model, header.stride)


def _short(digest: str) -> bytes:
    """The first bytes of a digest. Raises SelectionError where it is none."""
    try:
        short = bytes.fromhex(digest)[:DIGEST_NBYTES]
    except ValueError as error:
        raise SelectionError(f"digest {digest[:80]!r} is no hex; give the sha256 of the encoder") from error
    if len(short) < DIGEST_NBYTES:
        raise SelectionError(f"digest {digest!r} has under {2 * DIGEST_NBYTES} hex digits; give the encoder's sha256")
    return short


def _check_kind(data: bytes) -> None:
    if data[: len(MAGIC)] != MAGIC:
        raise RunError(f"these {len(data)} bytes are no features: they begin with {bytes(data[:4])!r}, not {MAGIC!r}")
    if len(data) < HEAD.size + COUNT.size:
        raise RunError(f"features cut off after {len(data)} bytes; they have {HEAD.size + COUNT.size} and more")
    if data[len(MAGIC)] != VERSION:
        raise RunError(f"features of version {data[len(MAGIC)]}; this geomask reads {VERSION}: update it")


def _check_sender(header: Header, tables: Tables, model: str, shape: tuple[int, int] | None) -> None:
    """That the features are those that the receiver can make something of."""
    if header.model != _short(model).hex():
        raise RunError(f"features of model {header.model}, not {_short(model).hex()}; load the decoder of that model")
    if header.tables != _short(tables.digest).hex():
        raise RunError(f"features by tables {header.tables}, not {_short(tables.digest).hex()}; take the model's own")
    if header.shape[0] != tables.latents:
        raise RunError(f"features of {header.shape[0]} latents by tables of {tables.latents}; the sender is broken")
    if shape is not None and header.shape[1:] != tuple(shape):
        raise RunError(f"features of {header.shape[1:]} rows and columns; {tuple(shape)} were asked for: ask again")


def _pack(seen: np.ndarray) -> bytes:
    packed = zlib.compress(np.packbits(seen).tobytes(), 9)
    return COUNT.pack(len(packed)) + packed


def _unpack(payload: memoryview, shape: tuple[int, ...]) -> tuple[np.ndarray, memoryview]:
    """The mask, bool (rows, columns), and what follows it. Never more memory than a mask of that shape takes."""
    if len(payload) < COUNT.size or COUNT.unpack_from(payload)[0] > len(payload) - COUNT.size:
        raise RunError(f"features end within their mask, {len(payload)} bytes after the header; fetch them again")
    end = COUNT.size + COUNT.unpack_from(payload)[0]
    positions = shape[0] * shape[1]
    raw = _inflate(payload[COUNT.size : end], (positions + 7) // 8)
    bits = np.unpackbits(np.frombuffer(raw, np.uint8))
    if bits[positions:].any():
        raise RunError(f"the mask of features has bits after its {positions}; the sender is broken")
    return bits[:positions].astype(bool).reshape(shape), payload[end:]


def _inflate(packed: memoryview, nbytes: int) -> bytes:
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(packed, nbytes + 1)  # one more, or zlib may stop before its checksum
    except zlib.error as error:
        raise RunError(f"the mask of features is broken, fetch them again: {error}") from error
    if len(raw) != nbytes or not inflater.eof or inflater.unused_data:
        raise RunError(f"the mask of features has not the {nbytes} bytes of its shape; the sender is broken")
    return raw

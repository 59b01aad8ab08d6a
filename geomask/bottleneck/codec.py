"""Latents as bytes and back: a range coder over the histograms of `Tables`.

Symbols are coded front by front (see `context`), all latents together, on a front sorted by latent and class, so that
symbols of one histogram are one call of the coder: no Python for each symbol. Where surroundings do not count, runs of
rows take the place of fronts. What was not seen is not coded.

The coder is constriction's, over 32-bit words with probabilities of 24 bits. It makes those of a histogram's
p = count / TOTAL by floor(sum of p before * (2^24 - symbols)) + symbol, in float64. TOTAL is 2^20, so each p, each sum
and each product (44 bits) is exact: there is nothing to round, so every machine has the same integers. It uses one
thread.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import constriction
import numpy as np

from ..errors import RunError, SelectionError
from .context import fronts, runs
from .histograms import TOTAL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .tables import Tables

#: Most values of latents in one piece of data.
MAX_VALUES = 1 << 27
#: A word of the coder, little-endian.
WORD = np.dtype("<u4")


def encode(latents: np.ndarray, tables: Tables, seen: np.ndarray | None = None) -> bytes:
    """Bytes of latents, int32 (latents, rows, columns); only those where `seen`, bool (rows, columns).

    Raises SelectionError where they do not fit the tables, or are more than `MAX_VALUES`.
    """
    if latents.size > MAX_VALUES:
        raise SelectionError(f"{latents.size} values of latents; the limit is {MAX_VALUES}, encode them in parts")
    planes, (_, rows, columns) = tables.index(latents, seen), latents.shape
    encoder, models, classes = constriction.stream.queue.RangeEncoder(), _models(tables), tables.classes
    for y, x in _steps(rows, columns, tables, seen):
        order, found, numbers = _group(classes.find(planes, y, x, columns))
        symbols, start = planes[y * columns + x].ravel()[order], 0
        for histogram, number in zip(found, numbers, strict=True):
            encoder.encode(symbols[start : start + number], models[histogram])
            start += number
    return bytes(encoder.get_compressed().astype(WORD).tobytes())


def decode(data: bytes, shape: tuple[int, int, int], tables: Tables, seen: np.ndarray | None = None) -> np.ndarray:
    """Latents, int32 of `shape`: (latents, rows, columns). Where not `seen` the symbol nearest to 0.

    Raises RunError where the data cannot be such: broken data may come out as other symbols, so check them first.
    """
    _check_shape(shape, tables, seen)
    if len(data) % WORD.itemsize:
        raise RunError(f"coded latents of {len(data)} bytes; they are words of {WORD.itemsize}: fetch them whole")
    words = np.frombuffer(data, WORD).astype(np.uint32)
    with _refusing():
        planes = _decode(constriction.stream.queue.RangeDecoder(words), shape, tables, seen)
    if (planes.max(0) >= tables.widths).any():  # of a single symbol the coder's model has two
        raise RunError("coded latents hold a symbol that no table has; they are broken, fetch them again")
    return np.ascontiguousarray((planes + tables.lows).T).reshape(shape)


def _decode(decoder: Any, shape: tuple[int, int, int], tables: Tables, seen: np.ndarray | None) -> np.ndarray:
    """Symbols counted from `lows`, int32 (rows * columns, latents)."""
    latents, rows, columns = shape
    planes = np.repeat((tables.blanks - tables.lows)[None], rows * columns, axis=0)
    models, classes = _models(tables), tables.classes
    for y, x in _steps(rows, columns, tables, seen):
        order, found, numbers = _group(classes.find(planes, y, x, columns))
        symbols = np.empty(len(order), np.int32)
        symbols[order] = np.concatenate(list(map(decoder.decode, [models[at] for at in found], numbers)))
        planes[y * columns + x] = symbols.reshape(-1, latents)
    if not decoder.maybe_exhausted():
        raise RunError("coded latents go on after the last one; they are broken or of other tables, fetch them again")
    return planes


def _steps(rows: int, columns: int, tables: Tables, seen: np.ndarray | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """y and x of what is coded at once."""
    for y, x in runs(rows, columns) if tables.contexts == 1 else fronts(rows, columns):
        if seen is None:
            yield y, x
        elif (kept := seen[y, x]).any():
            yield y[kept], x[kept]


def _group(found: np.ndarray) -> tuple[np.ndarray, list[int], list[int]]:
    """The order of symbols by their histograms, those that occur, and how often."""
    histograms = found.ravel()
    numbers = np.bincount(histograms)
    occurring = np.flatnonzero(numbers)
    return np.argsort(histograms, kind="stable"), occurring.tolist(), numbers[occurring].tolist()


def _models(tables: Tables) -> list[Any]:
    """constriction's model of each histogram, latent by latent."""
    make, models = constriction.stream.model.Categorical, []
    for counts, width in zip(tables.counts / TOTAL, np.maximum(tables.widths, 2), strict=True):
        padded = np.pad(counts, ((0, 0), (0, max(0, width - counts.shape[1]))))  # it takes no single symbol
        models += [make(np.ascontiguousarray(row[:width]), perfect=False, lazy=False) for row in padded]
    return models


def _check_shape(shape: tuple[int, int, int], tables: Tables, seen: np.ndarray | None) -> None:
    if len(shape) != 3 or min(shape) < 1 or math.prod(shape) > MAX_VALUES:
        raise RunError(f"coded latents of shape {shape}; sides are 1 or more, and values {MAX_VALUES} at most")
    if shape[0] != tables.latents:
        raise RunError(f"{shape[0]} coded latents and tables of {tables.latents}; take the tables of their encoder")
    if seen is not None and (seen.dtype != bool or seen.shape != shape[1:]):
        raise SelectionError(f"seen is {seen.dtype} {seen.shape}; for these latents give bool {shape[1:]}")


@contextmanager
def _refusing() -> Iterator[None]:
    """Says in geomask's words that the coder met data that no encoder wrote."""
    try:
        yield
    except BaseException as error:  # a panic of Rust is no Exception, and its class cannot be imported
        if not isinstance(error, AssertionError) and type(error).__name__ != "PanicException":
            raise
        raise RunError("coded latents are broken, or of other tables; fetch them again") from error

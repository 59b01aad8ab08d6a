"""JSON values as Arrow columns: one for each name, nested as the values are.

What has no one type (a name that holds text here and numbers there) gets no column: :mod:`geomask.stac.geoparquet`
keeps such items as text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from .fields import parse_instant

if TYPE_CHECKING:
    from .fields import Json

type Values = Sequence[Any]
"""JSON values, one a row; None where a row has none."""

#: Properties that are timestamps, as the stac-geoparquet specification has them.
TIMES = frozenset(("datetime", "start_datetime", "end_datetime", "created", "updated", "expires", "published"))

#: Names of one object at most: those that differ from item to item are no columns.
MOST_NAMES = 1_000

#: Key of a timestamp column's metadata: digits of a second's fraction; without it six where they are not all zero.
DIGITS = b"digits"

_FRACTION = re.compile(r"\.(\d{1,6})Z$")


def encode_rows(rows: Sequence[Json]) -> dict[str, tuple[pa.Array, dict[bytes, bytes] | None]]:
    """A column for each name in the rows, with the metadata of its field. Those that have no one type are left out."""
    columns = {}
    for name in _names(rows):
        values = [row.get(name) for row in rows]
        column, digits = _encode_times(values) if name in TIMES else (encode(values), None)
        if column is not None:
            columns[name] = (column, None if digits is None else {DIGITS: str(digits).encode()})
    return columns


def encode(values: Values) -> pa.Array | None:
    """One column; None where the values have no one type that Parquet can hold."""
    kinds = {type(value) for value in values} - {type(None)}
    if not kinds:
        return None
    if kinds == {dict}:
        return _encode_objects(values)
    if kinds == {list}:
        return _encode_lists(values)
    if kinds <= {int, float} or (len(kinds) == 1 and kinds <= {bool, str}):
        try:
            return pa.array(values, pa.float64() if float in kinds else None)
        except (pa.ArrowException, OverflowError, UnicodeError):  # an integer of over 64 bits, half a surrogate pair
            return None
    return None


def _encode_objects(values: Values) -> pa.Array | None:
    objects = [value or {} for value in values]
    names = _names(objects)
    if len(names) > MOST_NAMES:
        return None
    children = {name: encode([value.get(name) for value in objects]) for name in names}
    kept = {name: child for name, child in children.items() if child is not None}
    if not kept:
        return None
    missing = pa.array([value is None for value in values])
    return pa.StructArray.from_arrays(list(kept.values()), names=list(kept), mask=missing)


def _encode_lists(values: Values) -> pa.Array | None:
    flat = [part for value in values for part in value or ()]
    parts = encode(flat)
    if parts is None:
        if flat:
            return None
        parts = pa.array([], pa.string())
    offsets = [0]
    for value in values:
        offsets.append(offsets[-1] + len(value or ()))
    missing = pa.array([value is None for value in values])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), parts, mask=missing)


def _encode_times(values: Values) -> tuple[pa.Array | None, int | None]:
    """A column of instants and how many digits their seconds have; of text where one of them is no timestamp."""
    instants = [parse_instant(value) for value in values]
    if any(instant is None and value is not None for instant, value in zip(instants, values, strict=True)):
        return encode(values), None
    found = Counter(len(match[1]) if (match := _FRACTION.search(text)) else 0 for text in values if text is not None)
    digits = None if found.keys() <= {0, 6} else max(found, key=found.__getitem__)
    return pa.array(instants, pa.timestamp("us", "UTC")), digits


def _names(rows: Sequence[Json]) -> list[str]:
    """The names that any of the objects has, in the order in which they first come, as far as they are UTF-8."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [name for name in names if name.encode("utf-8", "ignore").decode() == name]

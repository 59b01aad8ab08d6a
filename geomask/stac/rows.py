"""Arrow columns as JSON values: what :mod:`geomask.stac.columns` has made, and what other programs have.

Whole columns at a time: pyarrow's own ``to_pylist`` takes ten times as long on what is nested.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from .columns import DIGITS

if TYPE_CHECKING:
    from .fields import Json


def decode_rows(batch: pa.RecordBatch) -> list[Json]:
    """An object for each row; a null is a name that is not there."""
    columns = []
    for place, field in enumerate(batch.schema):
        digits = (field.metadata or {}).get(DIGITS)
        columns.append(_decode(batch.column(place), None if digits is None else int(digits)))
    return _objects(batch.schema.names, columns, batch.num_rows)


def _decode(array: pa.Array, digits: int | None = None) -> list[Any]:
    """The values of one column; None where there is none."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return _decode(array.storage, digits)
    if pa.types.is_dictionary(kind):
        return _decode(array.dictionary_decode(), digits)
    if pa.types.is_struct(kind):
        names, parts = [part.name for part in kind], [_decode(part) for part in array.flatten()]
        return _with_nulls(_objects(names, parts, len(array)), array)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _lists(array)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return _texts(array)
    if pa.types.is_timestamp(kind):
        return _times(array, digits)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return _geometries(array)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        filled = array.fill_null(False if pa.types.is_boolean(kind) else 0)
        return _with_nulls(filled.to_numpy(zero_copy_only=False).tolist(), array)
    return [json.loads(json.dumps(value, default=str)) for value in array.to_pylist()]


def _objects(names: list[str], columns: list[list[Any]], count: int) -> list[Json]:
    """Objects of the names that are not null. What all have in common is copied, which is quicker."""
    same: Json = {}
    full: list[tuple[str, list[Any]]] = []
    gaps: list[tuple[str, list[Any]]] = []
    for name, column in zip(names, columns, strict=True):
        nulls = column.count(None)
        if nulls == 0 and isinstance(column[0], str | float) and column.count(column[0]) == count:
            same[name] = column[0]
        elif nulls < count:
            (gaps if nulls else full).append((name, column))
    objects = [same.copy() for _ in range(count)]
    for name, column in full:
        for target, value in zip(objects, column, strict=True):
            target[name] = value
    for name, column in gaps:
        for target, value in zip(objects, column, strict=True):
            if value is not None:
                target[name] = value
    return objects


def _lists(array: pa.Array) -> list[Any]:
    parts = _decode(array.flatten())
    ends = np.cumsum(np.r_[0, pc.list_value_length(array).fill_null(0).to_numpy()]).tolist()
    return _with_nulls([parts[start:stop] for start, stop in pairwise(ends)], array)


def _texts(array: pa.Array) -> list[Any]:
    """Equal texts become one object: most of what items say, they all say."""
    words = array.cast(pa.large_string()).dictionary_encode()
    known = words.dictionary.to_numpy(zero_copy_only=False).tolist()
    places = words.indices.fill_null(0).to_numpy().tolist() if known else ()
    return _with_nulls([known[place] for place in places], array)


def _times(array: pa.Array, digits: int | None) -> list[Any]:
    """Timestamps as RFC 3339 has them, in UTC: as many digits of a second, or six where they are not all 0."""
    instants = array.cast(pa.timestamp("us"), safe=False).fill_null(0).to_numpy()
    texts = np.datetime_as_string(instants, unit="us").tolist()
    if digits is None:
        return _with_nulls([f"{text.removesuffix('.000000')}Z" for text in texts], array)
    length = len("2020-01-31T00:00:00") + digits + (digits > 0)
    return _with_nulls([f"{text[:length]}Z" for text in texts], array)


def _geometries(array: pa.Array) -> list[Any]:
    """GeoJSON geometries of well-known binary, the only binary that the specification knows."""
    shapes = shapely.from_wkb(array.to_numpy(zero_copy_only=False))
    return [None if text is None else json.loads(text) for text in shapely.to_geojson(shapes)]


def _with_nulls(values: list[Any], array: pa.Array) -> list[Any]:
    """None in the places where the column has none."""
    if not array.null_count:
        return values
    if not values:  # of no text at all
        return [None] * len(array)
    for place in np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False)).tolist():
        values[place] = None
    return values

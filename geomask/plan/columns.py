"""The columns of a manifest in Parquet, and requests in them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from ..signing import unsigned
from .limits import request_nbytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from .request import Requests, Source

#: Columns of text.
TEXTS = ("item", "collection", "asset", "href", "slot", "etag", "dtype", "why")

#: Columns that differ from request to request of one source.
OWN = ("chip", "window", "ranges", "nbytes")

#: What `window` and each of `ranges` consist of.
WINDOW = ("row_off", "col_off", "height", "width")
RANGE = ("offset", "length", "whole")


@cache
def manifest_schema() -> pa.Schema:
    """The columns: those of JSON Lines. Windows and ranges are structs, texts dictionaries."""
    import pyarrow as pa

    def column(name: str, kind: pa.DataType, nullable: bool = False) -> pa.Field:
        return pa.field(name, kind, nullable)

    def listed(kind: pa.DataType) -> pa.DataType:
        return pa.list_(column("element", kind))

    text, whole, real = pa.dictionary(pa.int32(), pa.string()), pa.int64(), pa.float64()
    return pa.schema(
        [
            column("item", text),
            column("collection", text, nullable=True),
            column("asset", text),
            column("href", text),
            column("slot", text),
            column("bands", listed(pa.string())),
            column("channels", listed(whole)),
            column("indexes", listed(whole)),
            column("level", whole, nullable=True),
            column("chip", whole),
            column("window", pa.struct([column(name, whole) for name in WINDOW])),
            column("ranges", listed(pa.struct([column(name, whole) for name in RANGE]))),
            column("nbytes", whole),
            column("header_nbytes", whole),
            column("size", whole),
            column("etag", text, nullable=True),
            column("dtype", text),
            column("nodata", real, nullable=True),
            column("scales", listed(real)),
            column("offsets", listed(real)),
            column("why", text, nullable=True),
        ]
    )


def request_table(requests: Requests) -> pa.Table:
    """A row a request."""
    import pyarrow as pa

    schema = manifest_schema()
    source, tiles = pa.array(requests.source), requests.tiles
    columns = {name: column.take(source) for name, column in _source_columns(requests.sources).items()}
    window, ranges = schema.field("window").type, schema.field("ranges").type
    pieces = _struct([tiles.offsets, tiles.lengths, tiles.wholes], ranges.value_type)
    columns |= {
        "chip": pa.array(requests.chip),
        "window": _struct(list(requests.windows.T), window),
        "ranges": pa.ListArray.from_arrays(pa.array(tiles.starts, pa.int32()), pieces, type=ranges),
        "nbytes": pa.array(request_nbytes(tiles)),
    }
    return pa.table([columns[name] for name in schema.names], schema=schema)


def _struct(columns: list[np.ndarray], kind: pa.DataType) -> pa.StructArray:
    import pyarrow as pa

    return pa.StructArray.from_arrays([pa.array(np.ascontiguousarray(column)) for column in columns], fields=list(kind))


def _source_columns(sources: Sequence[Source]) -> dict[str, pa.Array]:
    """The columns that all requests of a source have in common, a row a source."""
    import pyarrow as pa

    def column(field: pa.Field) -> pa.Array:
        values = [getattr(source, field.name) for source in sources]
        if field.name == "href":
            values = list(map(unsigned, values))
        if pa.types.is_dictionary(field.type):
            return pa.array(values, pa.string()).dictionary_encode()
        return pa.array(values, field.type)

    return {field.name: column(field) for field in manifest_schema() if field.name not in OWN}

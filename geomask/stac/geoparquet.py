"""Items as stac-geoparquet: one row an item, its properties as columns, its footprint as GeoParquet has it.

A Parquet column cannot tell a null from a name that is not there, holds one type, and has its own idea of a timestamp.
So whatever does not come back as it was is kept as text too, in a column of its own: what is read is what was saved.
Other programs see that column as one more property. Source: the stac-geoparquet specification 1.0, GeoParquet 1.1.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from ..errors import SearchError
from .columns import encode_rows
from .rows import decode_rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .fields import Json

MAGIC = b"PAR1"
"""The first bytes of a Parquet file."""

EXACT = "geomask:item"
"""The column with the items, as JSON, that the other columns would change."""

_SEARCH = b"geomask:search"
_MEMBERS = ("type", "stac_version", "stac_extensions", "id", "collection", "geometry", "bbox", "links", "assets")
_SIDES = {4: ("xmin", "ymin", "xmax", "ymax"), 6: ("xmin", "ymin", "zmin", "xmax", "ymax", "zmax")}
_ROWS = 10_000


def write_geoparquet(features: Sequence[Json], path: Path, search: Json | None = None) -> None:
    """Write items to a file, with what was searched for. `search` comes back as it is."""
    columns = {"id": (pa.nulls(len(features), pa.string()), None)} | encode_rows([_as_row(one) for one in features])
    shapes = shapely.from_geojson([_geometry(feature) for feature in features], on_invalid="ignore")
    fields = [pa.field("geometry", pa.binary()), *(pa.field(n, c.type, metadata=m) for n, (c, m) in columns.items())]
    arrays = [pa.array(shapely.to_wkb(shapes), pa.binary()), *(column for column, _ in columns.values())]
    table = pa.Table.from_arrays(
        arrays, schema=pa.schema(fields, metadata=_metadata(shapes, search, covered="bbox" in columns))
    )
    exact = [
        None if read == feature else json.dumps(feature) for read, feature in zip(_decode(table), features, strict=True)
    ]
    if any(exact):
        table = table.append_column(EXACT, pa.array(exact, pa.large_string()))
    pq.write_table(table, path, compression="zstd", row_group_size=_ROWS)


def read_geoparquet(content: bytes, where: str) -> tuple[list[Json], Json | None]:
    """The items of a file, and what was searched for if it says so.

    Raises SearchError, with `where`, for what is no Parquet, or holds no items.
    """
    try:
        table = pq.read_table(pa.BufferReader(content))
        search = json.loads((table.schema.metadata or {}).get(_SEARCH, b"null"))
        if missing := {"id", "geometry"} - set(table.schema.names):
            raise SearchError(f"{where} is no stac-geoparquet: no column {' or '.join(sorted(missing))}")
        return _decode(table), search if isinstance(search, dict) else None
    except (pa.ArrowException, ValueError, KeyError, TypeError, shapely.errors.GEOSException) as error:
        if isinstance(error, SearchError):
            raise
        raise SearchError(f"{where} is no stac-geoparquet: {' '.join(str(error).split())[:200]}") from error


def _as_row(feature: Json) -> Json:
    """What becomes columns: the members that the specification knows, and the properties beside them."""
    row = {name: feature[name] for name in _MEMBERS if name in feature and name not in ("geometry", "bbox")}
    box = feature.get("bbox")
    if isinstance(box, list) and len(box) in _SIDES:
        row["bbox"] = dict(zip(_SIDES[len(box)], box, strict=True))
    properties = feature.get("properties") or {}
    return row | {name: value for name, value in properties.items() if name not in (*_MEMBERS, EXACT)}


def _geometry(feature: Json) -> str | None:
    geometry = feature.get("geometry")
    return json.dumps(geometry) if geometry else None


def _decode(table: pa.Table) -> list[Json]:
    return [_as_item(row) for batch in table.to_batches(_ROWS) for row in decode_rows(batch)]


def _as_item(row: Json) -> Json:
    if EXACT in row:
        return dict(json.loads(row[EXACT]))
    item: Json = {"type": "Feature", "stac_version": "1.0.0", "geometry": None, "links": [], "assets": {}}
    item |= {name: row.pop(name) for name in _MEMBERS if name in row}
    if isinstance(item.get("bbox"), dict):
        box = item["bbox"]
        item["bbox"] = [box[side] for side in _SIDES[6 if "zmin" in box else 4]]
    return item | {"properties": {"datetime": None, **row}}


def _metadata(shapes: Any, search: Json | None, *, covered: bool) -> dict[bytes, bytes]:
    kinds = {f"{shape.geom_type}{' Z' * shape.has_z}" for shape in shapes if shape is not None}
    column: Json = {"encoding": "WKB", "geometry_types": sorted(kinds)}  # without a CRS it is longitude, latitude
    if covered:
        column["covering"] = {"bbox": {side: ["bbox", side] for side in _SIDES[4]}}
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
    documents = {b"geo": geo, b"stac-geoparquet": {"version": "1.0.0"}, _SEARCH: search}
    return {key: json.dumps(document).encode() for key, document in documents.items() if document is not None}

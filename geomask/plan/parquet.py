"""A manifest as Parquet: a row a request, the header in the file's metadata. For plans of millions."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ..errors import ManifestError
from ..signing import unsigned
from .columns import OWN, RANGE, TEXTS, WINDOW, manifest_schema, request_table
from .header import parse_header
from .jsonl import dump_header
from .kinds import decode
from .limits import Sources, check_manifest, check_requests
from .request import Requests, Source
from .tiles import Tiles

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa
    import pyarrow.parquet as pq

    from .manifest import Manifest

#: Rows of a group. Groups are pruned by item, and held in memory one at a time.
GROUP = 1 << 16

#: Where the file's metadata has the header.
KEY = b"geomask"


def write_parquet(manifest: Manifest, path: Path | IO[bytes]) -> None:
    """Write all requests to a file or a stream. Raises ManifestError for what `read_parquet` would not read."""
    import pyarrow.parquet as pq

    check_manifest(manifest)
    header, schema = dump_header(manifest), manifest_schema()
    lists = ("bands", "channels", "indexes", "scales", "offsets")
    repeated = [*TEXTS, "level", "header_nbytes", "size", "nodata", *(f"{name}.list.element" for name in lists)]
    structs = [*(f"window.{name}" for name in WINDOW), *(f"ranges.list.element.{name}" for name in RANGE)]
    with pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        use_dictionary=repeated,
        column_encoding=dict.fromkeys(["chip", "nbytes", *structs], "DELTA_BINARY_PACKED"),
        write_page_checksum=True,
    ) as writer:
        writer.add_key_value_metadata({KEY: header})
        for start in range(0, len(manifest.requests), GROUP):
            rows = np.arange(start, min(start + GROUP, len(manifest.requests)))
            writer.write_table(request_table(manifest.requests.take(rows)), row_group_size=GROUP)


def read_parquet(path: Path, item: str | None = None) -> dict[str, Any]:
    """The fields of a manifest, or of the requests of one item of it. Raises ManifestError where it is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as stream, pq.ParquetFile(stream, page_checksum_verification=True) as file:
            header = parse_header(decode(_header_text(file)))
            return {**header, "requests": _read_requests(file, header, item)}
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = str(error).partition("\n")[0]
        raise ManifestError(f"this is no Parquet, or it is damaged: {reason}") from error


def _header_text(file: pq.ParquetFile) -> str:
    text = (file.metadata.metadata or {}).get(KEY)
    if text is None:
        raise ManifestError("this is no geomask manifest")
    try:
        return str(text, "utf-8")
    except UnicodeDecodeError as error:
        raise ManifestError(f"the header is no Unicode: {error.reason}") from error


def _read_requests(file: pq.ParquetFile, header: dict[str, Any], item: str | None) -> Requests:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not file.schema_arrow.equals(manifest_schema()):
        raise ManifestError(f"the columns are not {', '.join(manifest_schema().names)} of a manifest")
    sources, numbers, tiles = Sources(header["channels"]), [np.zeros((0, 8), np.int64)], []
    for first, batch in _batches(file, item):
        rows = np.arange(first, first + len(batch))
        if item is not None:
            kept = np.array(pc.equal(batch.column("item").cast(pa.string()), item))
            rows, batch = rows[kept], batch.filter(pa.array(kept))
        own = [rows, _place_sources(batch, rows, sources), _numbers(batch, "chip"), _numbers(batch, "nbytes")]
        window = batch.column("window")
        numbers.append(np.stack([*own, *(window.field(name).to_numpy() for name in WINDOW)], 1))
        tiles.append(_tiles(batch.column("ranges")))
    rows, source, chip, nbytes, *window = np.concatenate(numbers).T.copy()
    requests = Requests(tuple(sources), source, chip, np.stack(window, 1), Tiles.join(tiles))
    check_requests(requests, nbytes, header["chips"], lambda at: f"row {rows[at]}")
    return requests


def _batches(file: pq.ParquetFile, item: str | None) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Neighbouring rows, and which is the first: of all groups, or of those that the item can be in."""
    first = 0
    for number in range(file.num_row_groups):
        group = file.metadata.row_group(number)
        if item is None or _may_hold(group, item):
            at = first
            for batch in file.read_row_group(number).to_batches():
                yield at, batch
                at += len(batch)
        first += group.num_rows


def _may_hold(group: pq.RowGroupMetaData, item: str) -> bool:
    column = group.column(0)
    if column.path_in_schema != "item" or column.physical_type != "BYTE_ARRAY":
        raise ManifestError("the metadata of its first column is damaged")  # pyarrow would end the process
    facts = column.statistics
    return facts is None or not facts.has_min_max or bool(facts.min <= item <= facts.max)


def _numbers(batch: pa.RecordBatch, name: str) -> np.ndarray:
    return np.asarray(batch.column(name))


def _tiles(ranges: pa.ListArray) -> Tiles:
    starts, pieces = np.asarray(ranges.offsets, np.int64), ranges.flatten()
    return Tiles(starts - starts[0], *(np.asarray(pieces.field(name)) for name in RANGE))


def _place_sources(batch: pa.RecordBatch, rows: np.ndarray, sources: Sources) -> np.ndarray:
    """The position of each row's source, int64 (rows,): one is made where a row differs from the row before."""
    import pyarrow as pa

    common = batch.select([name for name in batch.schema.names if name not in OWN])
    new = np.zeros(len(batch), bool)
    new[:1] = True
    for column in common.columns:
        new[1:] |= _differs(column)
    first = np.flatnonzero(new)
    places = []
    for row, values in zip(rows[first], common.take(pa.array(first)).to_pylist(), strict=True):
        try:
            places.append(sources.place(_source(values)))
        except ManifestError as error:
            raise ManifestError(f"row {row}: {error}") from error
    return np.repeat(np.array(places, np.int64), np.diff(first, append=len(batch)))


def _source(values: dict[str, Any]) -> Source:
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return Source(**{**values, "href": unsigned(values["href"])})


def _differs(column: pa.Array) -> np.ndarray:
    """Where a value is another than the one before: bool (rows - 1,)."""
    import pyarrow as pa

    if pa.types.is_list(column.type):
        return _lists_differ(np.asarray(column.offsets, np.int64), column.flatten())
    if pa.types.is_dictionary(column.type):
        column = column.indices
    there, bits = np.asarray(column.is_valid()), np.asarray(column.fill_null(0)).view(f"i{column.type.bit_width // 8}")
    differs: np.ndarray = (there[1:] != there[:-1]) | (bits[1:] != bits[:-1])
    return differs


def _lists_differ(starts: np.ndarray, values: pa.Array) -> np.ndarray:
    import pyarrow as pa

    starts, counts = starts - starts[0], np.diff(starts)
    if pa.types.is_string(values.type):
        values = values.dictionary_encode().indices
    bits = np.asarray(values).view(f"i{values.type.bit_width // 8}")
    differs: np.ndarray = counts[1:] != counts[:-1]
    # each value beside that of the same place in the next row, where that has as many
    owner = np.repeat(np.arange(len(counts)), counts)
    beside = np.flatnonzero(~np.append(differs, True)[owner])
    differs[owner[beside[bits[beside] != bits[beside + counts[owner[beside]]]]]] = True
    return differs

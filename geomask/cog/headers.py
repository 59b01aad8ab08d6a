"""Headers as they are kept: rows of a Parquet file, one a file."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from itertools import batched
from typing import TYPE_CHECKING, Any, Self

from ..atomic import atomic_path
from ..errors import LayoutError
from ..signing import unsigned
from .layout import MAX_HEADER, Layout, parse_layout
from .sidecar import with_sidecar

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

VERSION = 1

#: Rows written and read at a time, some 15 MB of them.
_BATCH = 10_000


@dataclass(frozen=True, slots=True)
class HeaderRow:
    """What is kept of one file."""

    href: str
    """Unsigned."""
    size: int
    """Bytes of the whole file."""
    etag: str | None
    last_modified: str | None
    """ISO 8601."""
    header: bytes
    """The first bytes of the file, as many as its tags need; none where GDAL alone knows the file."""
    why: str | None
    """Why GDAL has to read the file; None where tiles can be cut out of it."""
    sidecar: bytes | None
    """Header of the ``.ovr`` file with its overviews, where one was looked for and found."""

    def __post_init__(self) -> None:
        """Refuse what does not fit together: rows come from files."""
        if not self.href or self.size < len(self.header) or len(self.header) > MAX_HEADER:
            raise LayoutError(
                f"a header of {len(self.header)} bytes does not fit {self.href[:200]!r} of {self.size} bytes"
            )
        if not self.header and self.why is None:
            raise LayoutError(f"neither a header of {self.href[:200]!r} nor why it has none")

    @classmethod
    def of(cls, layout: Layout) -> Self:
        """What to keep of a layout."""
        header = layout.header[: layout.header_end]
        return cls(unsigned(layout.href), layout.size, layout.etag, layout.modified, header, layout.why, layout.sidecar)

    def layout(self) -> Layout:
        """The layout that it was made of, its header trimmed. Raises LayoutError where it does not parse."""
        layout = parse_layout(self.href, self.header, self.size, self.etag, self.last_modified)
        return with_sidecar(layout, self.sidecar) if self.sidecar is not None else layout


def save_rows(rows: Iterable[HeaderRow], path: str | os.PathLike[str]) -> None:
    """Write a Parquet file, whole or not at all. Raises RunError where its folder cannot be written to."""
    from importlib.metadata import version

    import pyarrow as pa
    import pyarrow.parquet as pq

    metadata = {"geomask": "headers", "version": str(VERSION), "created_with": f"geomask {version('geomask')}"}
    schema = _schema().with_metadata(metadata)
    options = {"compression": "zstd", "use_dictionary": False, "write_page_checksum": True}
    with atomic_path(path) as draft, pq.ParquetWriter(draft, schema, **options) as file:
        for batch in batched(rows, _BATCH):
            columns = zip(*map(astuple, batch), strict=True)
            file.write_batch(pa.record_batch(list(map(list, columns)), schema=schema))


def load_rows(path: str | os.PathLike[str]) -> dict[str, HeaderRow]:
    """The rows of such a file by href, checked.

    Raises LayoutError for what is broken, foreign or of another version, and OSError where there is no such file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows: dict[str, HeaderRow] = {}
    with open(path, "rb") as source:
        try:
            file = pq.ParquetFile(source, page_checksum_verification=True)
            _check_schema(file.schema_arrow)
            for batch in file.iter_batches(_BATCH):
                batch.validate(full=True)
                for row in _rows(batch):
                    if row.href in rows:
                        raise LayoutError(f"{row.href!r} is there twice")
                    rows[row.href] = row
        except (pa.ArrowException, OSError, ValueError) as error:  # pyarrow raises OSError too for what is corrupt
            raise LayoutError(f"{path} is no header index: {error}; remove it and index the items anew") from error
    return rows


def _schema() -> Any:
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("href", pa.string(), nullable=False),
            pa.field("size", pa.int64(), nullable=False),
            pa.field("etag", pa.string()),
            pa.field("last_modified", pa.string()),
            pa.field("header", pa.binary(), nullable=False),
            pa.field("why", pa.string()),
            pa.field("sidecar", pa.binary()),
        ]
    )


def _check_schema(schema: Any) -> None:
    metadata = schema.metadata or {}
    if metadata.get(b"geomask") != b"headers":
        raise LayoutError("it was written by something else")
    if metadata.get(b"version") != str(VERSION).encode():
        said = metadata.get(b"version", b"none")[:20].decode(errors="replace")
        raise LayoutError(f"it is of version {said}, this geomask reads {VERSION}")
    if not schema.equals(_schema()):
        raise LayoutError(f"its columns are not {', '.join(_schema().names)}, or of other types")


def _rows(batch: Any) -> Iterator[HeaderRow]:
    for column, field in zip(batch.columns, batch.schema, strict=True):
        if column.null_count and not field.nullable:
            raise LayoutError(f"a {field.name} is missing")
    for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
        yield HeaderRow(*values)

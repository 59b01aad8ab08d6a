"""The form of a chip store: a Zarr group (version 3 of the specification) whose chunks are plain arrays.

::

    STORE/zarr.json              the group; its attributes say what the chips are and what they were made from
    STORE/image/zarr.json        (chips, channels, rows, columns)
    STORE/image/c/0/0/0/0        the first part: some chips, as they lie in memory, little-endian
    STORE/valid/, STORE/mask/    in the same parts: bool, and int32 (chips, rows, columns)
    STORE/window/                int64 (chips, 4), in one piece
    STORE/selection.json, items.json, headers.parquet, receipt.json

An uncompressed chunk can be mapped into memory; the last part is as long as the others, as Zarr wants it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

#: What Zarr calls the axes of each array.
DIMENSIONS = {
    "image": ("chip", "channel", "y", "x"),
    "valid": ("chip", "channel", "y", "x"),
    "mask": ("chip", "y", "x"),
    "window": ("chip", "edge"),
}


@dataclass(frozen=True, slots=True)
class StoreArray:
    """An array of a store."""

    name: str
    shape: tuple[int, ...]
    """Chips first."""
    part: int
    """Chips in one chunk file."""
    dtype: np.dtype[Any]

    @property
    def part_shape(self) -> tuple[int, ...]:
        """Of a chunk file."""
        return (self.part, *self.shape[1:])

    @property
    def part_nbytes(self) -> int:
        """Of a chunk file."""
        return int(np.prod(self.part_shape, dtype=object)) * self.dtype.itemsize

    def path(self, folder: Path, part: int) -> Path:
        """Of a chunk file."""
        return folder.joinpath(self.name, "c", str(part), *["0"] * (len(self.shape) - 1))

    def is_there(self, folder: Path, part: int) -> bool:
        """Whether a chunk file is there, as long as it has to be."""
        path = self.path(folder, part)
        return path.is_file() and path.stat().st_size == self.part_nbytes

    def to_bytes(self, values: np.ndarray) -> bytes:
        """A chunk file of so many chips or fewer; the others are 0."""
        chunk = np.zeros(self.part_shape, self.dtype)
        chunk[: len(values)] = values
        return chunk.tobytes()

    def map(self, folder: Path, part: int) -> np.ndarray:
        """A chunk file mapped into memory, read-only. Raises OSError and ValueError where it is not whole."""
        return np.memmap(self.path(folder, part), self.dtype, "r", shape=self.part_shape)

    def document(self) -> dict[str, Any]:
        """The array's ``zarr.json`` (Zarr 3.1, "Array metadata")."""
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": list(self.shape),
            "data_type": self.dtype.name,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(self.part_shape)}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": False if self.dtype.kind == "b" else 0,
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
            "dimension_names": list(DIMENSIONS[self.name]),
            "attributes": {},
        }


def store_arrays(
    chips: int, channels: int, size: tuple[int, int], part: int, dtype: str, labelled: bool
) -> dict[str, StoreArray]:
    """The arrays of a store by name; `size` is that of a chip, (rows, columns)."""
    image = np.dtype(dtype).newbyteorder("<")
    arrays = [
        StoreArray("image", (chips, channels, *size), part, image),
        StoreArray("valid", (chips, channels, *size), part, np.dtype(bool)),
        StoreArray("window", (chips, 4), chips, np.dtype("<i8")),
    ]
    if labelled:
        arrays.append(StoreArray("mask", (chips, *size), part, np.dtype("<i4")))
    return {array.name: array for array in arrays}


def group_document(attributes: dict[str, Any], arrays: dict[str, StoreArray]) -> dict[str, Any]:
    """The group's ``zarr.json``, with a copy of those of its arrays: then zarr-python need not look at other files."""
    copies = {name: array.document() for name, array in sorted(arrays.items())}
    return {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": attributes,
        "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": copies},
    }

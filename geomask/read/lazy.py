"""A chip as an xarray Dataset that is read when it is touched, and only what is touched; an engine for xarray.

xarray loads this module whenever it looks for an engine, so what reads is imported where it is used. dask comes in, if
at all, through xarray's ``chunks=``.
"""

from __future__ import annotations

import os
import time
import uuid
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core import indexing

from ..grid import Window
from .blocks import Blocks, shared_blocks
from .frame import Frame

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import xarray as xr

    from ..cog.index import HeaderIndex
    from ..plan.manifest import Manifest
    from ..signing import Sign
    from .blocks import Half, Key
    from .receipt import Receipt

#: How the names of manifests end that xarray knows without being told the engine.
SUFFIXES = (".geomask.jsonl", ".geomask.parquet")


def read_chip(
    manifest: Manifest,
    chip: int = 0,
    index: HeaderIndex | None = None,
    *,
    chunks: Mapping[str, Any] | Literal["auto"] | None = None,
    masked: bool = True,
    scaled: bool = False,
    prefixes: bool = True,
    sign: Sign | None = None,
    receipts: list[Receipt] | None = None,
) -> xr.Dataset:
    """One chip as `Cube.to_xarray` gives it: ``image`` and ``valid`` (slot, band, y, x).

    `chunks` None reads all of it now, in one round trip. Otherwise the headers that `index` lacks are fetched now, and
    pixels when dask computes them: ``{}`` makes a task of each slot, with all its bands and the whole chip, so that a
    task is one round trip; ``{"y": 512}`` or ``"auto"`` divides it as xarray does. `masked` and `scaled` are those of
    `Cube.to_xarray`. `prefixes` False reads whole GeoTIFF tiles, whose checksums are reached. `sign` signs hrefs; None:
    as those of the index were. `receipts` gets the receipt of each read that is made in this process.

    Raises ManifestError for a chip that is not there, and as `read_manifest` does, now or when dask computes.
    """
    import xarray as xr

    from .reader import read_manifest

    frame, part = Frame.of(manifest, chip, masked=masked, scaled=scaled), manifest.part([chip])
    if chunks is not None:
        reader = ChipReader.open(frame, part, index, prefixes=prefixes, sign=sign, receipts=receipts)
        return xr.open_dataset(reader, engine=GeomaskEngine, chunks=chunks)  # type: ignore[arg-type]  # ours
    cube, receipt = read_manifest(part if prefixes else part.without_prefixes(), index, sign=sign)
    if receipts is not None:
        receipts.append(receipt)
    return frame.dataset(*frame.fill(cube.image[0], cube.valid[0]))


class GeomaskEngine(BackendEntrypoint):
    """``xr.open_dataset("plan.geomask.jsonl", engine="geomask")``: a chip of a manifest, read when it is touched."""

    description = "Plans of geomask, of which only what is touched is read"

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        chip: int = 0,
        index: HeaderIndex | None = None,
        masked: bool = True,
        scaled: bool = False,
        prefixes: bool = True,
        sign: Sign | None = None,
        receipts: list[Receipt] | None = None,
    ) -> xr.Dataset:
        """A chip of a `Manifest`, or of a file of one, with the options of `read_chip`. Raises as that does."""
        from ..plan.manifest import Manifest

        if isinstance(filename_or_obj, ChipReader):
            reader = filename_or_obj
        else:
            known = isinstance(filename_or_obj, Manifest)
            manifest = filename_or_obj if known else Manifest.load(filename_or_obj)
            frame, part = Frame.of(manifest, chip, masked=masked, scaled=scaled), manifest.part([chip])
            reader = ChipReader.open(frame, part, index, prefixes=prefixes, sign=sign, receipts=receipts)
        dropped = [drop_variables] if isinstance(drop_variables, str) else drop_variables or []
        return reader.dataset().drop_vars(dropped, errors="ignore")

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Whether it is the name of a manifest."""
        return isinstance(filename_or_obj, str | os.PathLike) and os.fspath(filename_or_obj).endswith(SUFFIXES)


@dataclass(eq=False)
class ChipReader:
    """One chip, with everything that reading a part of it takes. It pickles: no handle, no lock travels with it."""

    frame: Frame
    manifest: Manifest
    """Of this chip alone."""
    index: HeaderIndex
    """Every header that the chip needs, and how hrefs are signed."""
    prefixes: bool
    receipts: list[Receipt] | None
    """Gets a receipt for each read; stays behind when the reader is pickled."""
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Copies in one process share by it what they have read."""

    def __post_init__(self) -> None:
        self.blocks: Blocks = shared_blocks(self.name)

    @classmethod
    def open(
        cls,
        frame: Frame,
        manifest: Manifest,
        index: HeaderIndex | None,
        *,
        prefixes: bool,
        sign: Sign | None,
        receipts: list[Receipt] | None,
    ) -> Self:
        """Fetch the headers that `index` lacks. Raises FetchError as `fetch_layouts` does."""
        from ..cog.index import HeaderIndex
        from .headers import fetch_layouts
        from .receipt import Receipt

        start, sign = time.perf_counter(), sign or (index.sign if index is not None else None)
        layouts, trips = fetch_layouts(manifest, index, sign)
        if trips and receipts is not None:
            nbytes, seconds = sum(trip.nbytes for trip in trips), time.perf_counter() - start
            receipts.append(Receipt(nbytes, len(trips), trips, runs=(), refetches=(), fallbacks=(), seconds=seconds))
        return cls(frame, manifest, HeaderIndex(layouts, sign=sign), prefixes, receipts)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "blocks": None, "receipts": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, blocks=shared_blocks(state["name"]))

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        """What the pixels depend on, so that dask gives one name to the same read of the same files."""
        return (self.manifest, self.frame, self.prefixes)

    def dataset(self) -> xr.Dataset:
        """The Dataset of which nothing has been read. A chunk is a slot: its assets are fetched in one round trip."""
        image, valid = (indexing.LazilyIndexedArray(ChipArray(self, half)) for half in ("image", "valid"))
        # Of the slots alone: else xarray would warn of chunks that divide another dimension, as if each read all of it.
        return self.frame.dataset(image, valid, {"preferred_chunks": {"slot": 1}})

    def take(self, key: Key, half: Half) -> np.ndarray:
        """Values or validity (slots, bands, rows, columns) of a block. Raises as `read_manifest` does."""
        return self.blocks.take(key, half, lambda: self._read(*key))

    def _read(self, slots: tuple[int, ...], bands: tuple[int, ...], window: Window) -> tuple[np.ndarray, np.ndarray]:
        from ..plan.compile import cut_chip
        from .reader import read_manifest

        frame = self.frame.take(slots, bands)
        if not frame.channels:
            nothing = np.zeros((0, window.height, window.width))
            return frame.fill(nothing, nothing)
        cut = _only(cut_chip(self.manifest, self.index, 0, window, frame.channels), frame.channels)
        cube, receipt = read_manifest(cut if self.prefixes else cut.without_prefixes(), self.index)
        if self.receipts is not None:
            self.receipts.append(receipt)
        return frame.fill(cube.image[0], cube.valid[0])


class ChipArray(BackendArray):
    """Values or validity of a chip, (slots, bands, rows, columns), as xarray wants to index them."""

    def __init__(self, reader: ChipReader, half: Half) -> None:
        self.reader, self.half = reader, half
        self.shape = reader.frame.shape
        self.dtype = reader.frame.dtype if half == "image" else np.dtype(bool)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._get)

    def _get(self, key: tuple[Any, ...]) -> np.ndarray:
        """What an int, a slice or sorted positions for each dimension name; of rows and columns the window is read."""
        wanted = [np.arange(size)[at] for size, at in zip(self.shape, key, strict=True)]
        if not all(at.size for at in wanted):
            return np.zeros([len(at) for at in wanted if at.ndim], self.dtype)
        slots, bands = (np.unique(at) for at in wanted[:2])
        rows, cols = (np.arange(at.min(), at.max() + 1) for at in wanted[2:])
        window = Window(int(rows[0]), int(cols[0]), len(rows), len(cols))
        pixels = self.reader.take((tuple(slots.tolist()), tuple(bands.tolist()), window), self.half)
        for axis, (there, at) in reversed(list(enumerate(zip((slots, bands, rows, cols), wanted, strict=True)))):
            if not at.ndim:
                pixels = pixels.squeeze(axis)
            elif not np.array_equal(there, at):
                pixels = pixels.take(np.searchsorted(there, at), axis)
        return pixels


def _only(manifest: Manifest, channels: tuple[int, ...]) -> Manifest:
    """A manifest of these channels alone, so that no memory is taken for the others."""
    places = {channel: place for place, channel in enumerate(channels)}
    requests = manifest.requests
    sources = tuple(
        replace(source, channels=tuple(places[channel] for channel in source.channels)) for source in requests.sources
    )
    names = tuple(manifest.channels[channel] for channel in channels)
    scaling = tuple(manifest.scaling[channel] for channel in channels)
    return replace(manifest, channels=names, scaling=scaling, requests=replace(requests, sources=sources))

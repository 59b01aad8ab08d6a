"""Parsers of headers side by side: processor time and memory of the same bytes.

    python benchmarks/headers.py [--quick] [--only tifffile,async-tiff] [--json FILE]

What the figures decided stands in docs/headers.md. async-tiff is no dependency: install it to see it measured.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.io import MemoryFile
from table import Column, Figures, Row, table

from geomask.cog import meaning
from geomask.cog.headers import HeaderRow, save_rows
from geomask.cog.index import HeaderIndex
from geomask.cog.layout import parse_layout
from geomask.cog.partial import PartialFile

#: Name of a case: rows and columns, and sides of a GeoTIFF tile.
CASES = {"4 overviews": (2048, 256), "300 KB header": (16_640, 96)}
ROUNDS = 7
PAGE = os.sysconf("SC_PAGE_SIZE")

type Parse = Callable[[bytes, int], Any]

COLUMNS = (
    Column("seconds", "us a header", lambda row: f"{1e6 * (row.value or 0):.0f}"),
    Column("memory", "KB a header, kept", lambda row: f"{(row.value or 0) / 1e3:.1f}"),
)


def make_header(side: int, block: int) -> tuple[bytes, int]:
    """The first bytes of a COG up to its pixels, of which there are none (sparse), and the size of the file."""
    profile = {"driver": "GTiff", "height": side, "width": side, "count": 1, "dtype": "uint16", "nodata": 0}
    profile |= {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 5e6), "SPARSE_OK": True}
    profile |= {"tiled": True, "blockxsize": block, "blockysize": block, "compress": "deflate", "predictor": 2}
    with rasterio.Env(GDAL_TIFF_OVR_BLOCKSIZE=max(block, 64)), tempfile.NamedTemporaryFile(suffix=".tif") as file:
        with rasterio.open(file.name, "w", **profile) as dataset:
            dataset.build_overviews([2, 4, 8, 16])
        data = Path(file.name).read_bytes()
    layout = parse_layout("a.tif", data, len(data))
    return data[: layout.header_end], len(data)


def by_geomask(header: bytes, size: int) -> Any:
    """As an index does it where another file of the same scene came before."""
    return parse_layout("a.tif", header, size)


def by_geomask_new(header: bytes, size: int) -> Any:
    """As an index does it with the first file of a scene: GDAL is asked too."""
    meaning._known.clear()
    return parse_layout("a.tif", header, size)


def by_tifffile(header: bytes, size: int) -> Any:
    """Tags and tables."""
    import tifffile

    with tifffile.TiffFile(PartialFile(header, size)) as file:  # type: ignore[arg-type]
        pages = [page.aspage() for page in file.pages]
        return pages, [np.asarray(table) for page in pages for table in (page.dataoffsets, page.databytecounts)]


def by_gdal(header: bytes, size: int) -> Any:
    """What the header means on the ground; neither tags nor tables."""
    with MemoryFile(header) as file, file.open(driver="GTiff") as dataset:
        return dataset.crs, dataset.transform, dataset.nodata, dataset.overviews(1)


def by_async_tiff(header: bytes, size: int) -> Any:
    """Tags and tables. It reads through an asynchronous object, whatever the bytes come from."""
    from async_tiff import TIFF

    async def opened() -> Any:
        return await TIFF.open("a.tif", store=_Bytes(header), prefetch=len(header))

    file = LOOP.run_until_complete(opened())
    return file, [np.asarray(t) for ifd in file.ifds for t in (ifd.tile_offsets, ifd.tile_byte_counts)]


class _Bytes:
    """Bytes, as async-tiff asks for them."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def get_range_async(self, path: str, *, start: int, end: int) -> bytes:
        return self._data[start:end]

    async def get_ranges_async(self, path: str, *, starts: Sequence[int], ends: Sequence[int]) -> list[bytes]:
        return [self._data[start:end] for start, end in zip(starts, ends, strict=True)]


LOOP = asyncio.new_event_loop()
CONTENDERS: dict[str, Parse] = {
    "geomask": by_geomask,
    "geomask-new-scene": by_geomask_new,
    "tifffile": by_tifffile,
    "async-tiff": by_async_tiff,
    "GDAL": by_gdal,
}


def measure(name: str, case: str, header: bytes, size: int, count: int) -> list[Row]:
    """Seconds of processor time of one call, the best of rounds of `count`, since noise only ever adds; and memory."""
    parse = CONTENDERS[name]
    parse(header, size)
    seconds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        for _ in range(count):
            parse(header, size)
        seconds.append((time.process_time() - start) / count)
    with get_context("spawn").Pool(1) as pool:  # memory that was freed before would be taken again, and not be seen
        memory = pool.apply(resident, (name, header, size, 10 * count))
    return [
        Row(name, case, "seconds", min(seconds), "s", ROUNDS, min(seconds), max(seconds)),
        Row(name, case, "memory", memory, "B", 10 * count),
    ]


def resident(name: str, header: bytes, size: int, count: int) -> float:
    """Bytes by which the process grows for each of `count` results that are kept."""
    parse = CONTENDERS[name]
    parse(header, size)
    before = _resident()
    kept = [parse(header, size) for _ in range(count)]
    return (_resident() - before) / len(kept)


def measure_file(header: bytes, size: int, count: int) -> list[Row]:
    """An index of `count` such headers, saved and loaded once, each header's share of it."""
    rows = [
        HeaderRow(f"https://host/{number:07}.tif", size, f"{number:032x}", None, header, None, None)
        for number in range(count)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "headers.parquet"
        start = time.process_time()
        save_rows(rows, path)
        saved = (time.process_time() - start) / count
        rows.clear()
        before, start = _resident(), time.process_time()
        index = HeaderIndex.load(path)
        loaded = (time.process_time() - start) / count
        memory = (_resident() - before) / len(index)
    names = [f"{what} {count:,} of them" for what in ("saving", "loading")]
    return [
        Row("geomask", names[0], "seconds", saved, "s", 1),
        Row("geomask", names[1], "seconds", loaded, "s", 1),
        Row("geomask", names[1], "memory", memory, "B", count),
    ]


def _resident() -> int:
    """Bytes, less what was freed and could be given back (glibc, Linux)."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def _case(case: str, wanted: Sequence[str], quick: bool) -> Iterator[Row]:
    """All contenders on one header; one that does not install is a row that says so."""
    header, size = make_header(*CASES[case])
    count = max(1, (4 if quick else 40) * 50_000 // (len(header) + 2000))
    name = f"{case} ({len(header):,} bytes)"
    for contender in wanted:
        try:
            yield from measure(contender, name, header, size, count)
        except ImportError as error:
            for metric, unit in (("seconds", "s"), ("memory", "B")):
                yield Row(contender, name, metric, None, unit, note=f"is not installed: {error}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, and write what was asked for."""
    parser = argparse.ArgumentParser(
        prog="python benchmarks/headers.py", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="fewer headers of the same cases")
    parser.add_argument("--only", default=",".join(CONTENDERS), metavar="NAMES", help="such as tifffile,async-tiff")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, tidy")
    given = parser.parse_args(arguments)
    wanted = [name for name in CONTENDERS if name in given.only.split(",")]
    if not wanted:
        parser.error(f"no contender in {given.only}; there are {', '.join(CONTENDERS)}")
    rows = [row for case in CASES for row in _case(case, wanted, given.quick)]
    if "geomask" in wanted:
        rows += measure_file(*make_header(*CASES["4 overviews"]), 10_000 if given.quick else 100_000)
    versions = {package: version(package) for package in ("geomask", "tifffile", "rasterio")}
    with suppress(PackageNotFoundError):
        versions["async-tiff"] = version("async-tiff")
    figures = Figures.now(versions, rows)
    print(f"{figures.source()}\n\n{table(figures, COLUMNS)}")
    if given.json:
        figures.save(given.json)


if __name__ == "__main__":
    main()

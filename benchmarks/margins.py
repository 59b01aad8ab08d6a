"""How long prefixes of GeoTIFF tiles have to be, and what margins over their share do.

    python benchmarks/margins.py [--quick] [--json FILE]

Tiles are drawn from the files of benchmarks/read.py and, where it lies beside the checkout, from a real Sentinel-2
item. Each is inflated step by step; for up to 32 numbers of rows the bytes that hold them are compared with the guess
of each margin. Where a guess is too short a sixteenth of the tile more is fetched, then the rest, as readers do.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from scene import Scene
from table import Column, Figures, Row, table

from geomask.cog.prefix import BULGE, MARGIN

ROOT = Path(__file__).resolve().parents[1]
REAL = ROOT.parent / "shared" / "data" / "cog_S2A_29RKH"

Guess = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From the share of rows and the bytes of the tile to the share of its bytes that is fetched."""

MARGINS: dict[str, Guess] = {
    "8 % of the share, 256 bytes": lambda share, nbytes: share * 1.08 + 256 / nbytes,
    "3 % of the tile": lambda share, _: share + 0.03,
    "geomask's": lambda share, _: share + MARGIN + BULGE * np.sqrt(share * (1 - share)),
}
COLUMNS = (
    Column("short", "too short, of 100", lambda row: f"{100 * (row.value or 0):.1f}"),
    Column("waste", "bytes over what was needed, %", lambda row: f"{100 * (row.value or 0):.1f}"),
)


def prefixes(paths: Sequence[Path], tiles: int) -> np.ndarray:
    """Share of the rows, share of the bytes that holds them, and bytes of the tile, float64 (prefixes, 3)."""
    import tifffile

    draw = np.random.default_rng(0)
    found: list[tuple[float, float, int]] = []
    for path in paths:
        with tifffile.TiffFile(path) as tiff:
            for page in (page.aspage() for page in tiff.pages):
                if not page.is_tiled or page.compression not in (8, 32946):
                    continue
                columns = -(-page.imagewidth // page.tilewidth)
                row_nbytes = page.tilewidth * page.samplesperpixel * page.dtype.itemsize
                for tile in draw.permutation(np.flatnonzero(np.array(page.databytecounts) > 20_000))[:tiles].tolist():
                    filled = min(page.tilelength, page.imagelength - tile // columns * page.tilelength)
                    tiff.filehandle.seek(page.dataoffsets[tile])
                    data = tiff.filehandle.read(page.databytecounts[tile])
                    found += [(*part, len(data)) for part in _needed(data, filled, row_nbytes)]
    return np.array(found)


def _needed(data: bytes, filled: int, row_nbytes: int) -> Iterator[tuple[float, float]]:
    """(share of rows, share of bytes) of prefixes of one tile, to an eight-hundredth of it."""
    stream, step = zlib.decompressobj(), max(128, len(data) // 800)
    stops = np.minimum(np.arange(step, len(data) + step, step), len(data))
    yielded = np.cumsum([len(stream.decompress(data[stop - step : stop])) for stop in stops[:-1]] + [1 << 40])
    for rows in range(4, filled, max(4, filled // 32)):
        yield rows / filled, stops[np.searchsorted(yielded, rows * row_nbytes)] / len(data)


def measure(case: str, found: np.ndarray) -> Iterator[Row]:
    """The rows of all margins over one set of prefixes."""
    share, needed, nbytes = found.T
    for name, guess in MARGINS.items():
        first = np.minimum(1, guess(share, nbytes))
        longer = np.minimum(1, first + 1 / 16)
        fetched = np.select([first >= needed, longer >= needed], [first, longer], 1.0)
        waste = (fetched * nbytes).sum() / (needed * nbytes).sum() - 1
        yield Row(name, case, "short", float((first < needed).mean()), "fraction", len(found))
        yield Row(name, case, "waste", float(waste), "fraction", len(found))


def main() -> None:
    """Measure, print the table, and write what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures, tidy")
    parser.add_argument("--quick", action="store_true", help="fewer files and tiles")
    given = parser.parse_args()
    scene = Scene()
    folder = ROOT / "build" / "benchmarks" / "read" / scene.folder_name
    list(scene.publish(folder))
    made_up = sorted(folder.rglob("*.tif"))[:: 12 if given.quick else 4]
    rows = list(measure("made up", prefixes(made_up, 3 if given.quick else 10)))
    if REAL.exists():
        rows += measure("real", prefixes(sorted(REAL.glob("*.tif")), 3 if given.quick else 12))
    figures = Figures.now({name: version(name) for name in ("geomask", "numpy", "tifffile")}, rows)
    print("\n".join(f"{case}: {next(row.n for row in rows if row.case == case):,} prefixes" for case in figures.cases))
    print(table(figures, COLUMNS))
    if given.json:
        figures.save(given.json)


if __name__ == "__main__":
    main()

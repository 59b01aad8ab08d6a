"""How long plans of many requests take, and how much memory: ``python benchmarks/plan.py``.

Chips of 256 x 256 pixels drawn over one Sentinel-2 scene: 12 bands x 3 dates of 10980 x 10980 pixels in GeoTIFF tiles
of 512, so 36 requests a chip. Headers are made up, since only their tables count. Each size runs in a process of its
own, on one core. Compiling includes the sums over all byte ranges; peak is that of the process up to there.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from table import Column, Figures, Row, table

if TYPE_CHECKING:
    from geomask.cog.layout import Layout

SIDE, TILE, WINDOW, BANDS, DATES = 10_980, 512, 256, 12, 3
SIZES = (10_000, 100_000, 1_000_000)

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks" / "plan.md"


def made_up_layout(href: str, seed: int) -> Layout:
    """What the header of such a COG says: overviews first, then full resolution, leaders of 4 bytes between tiles."""
    from geomask.cog.layout import Layout
    from geomask.cog.level import Level
    from geomask.grid import Grid

    draw, position, levels = np.random.default_rng(seed), 16_384, []
    for factor in (16, 8, 4, 2, 1):
        side = -(-SIDE // factor)
        count = -(-side // TILE)
        lengths = draw.integers(180_000, 330_000, (1, count, count))
        offsets = position + np.concatenate([[0], np.cumsum(lengths.ravel() + 8)[:-1]]).reshape(lengths.shape)
        position = int(offsets.ravel()[-1] + lengths.ravel()[-1] + 8)
        levels.append(Level(side, side, TILE, TILE, offsets, lengths, compression=8, row_nbytes=2 * TILE))
    return Layout(
        href=href,
        size=position,
        etag=f'"{seed}"',
        modified=None,
        header=bytes(2800),
        header_end=2800,
        levels=(levels[-1], *levels[-2::-1]),
        grid=Grid("EPSG:32633", 300_000, 5_300_040, 10, 10, SIDE, SIDE),
        count=1,
        dtype="uint16",
        nodata=0,
        alpha=None,
        scales=(1.0,),
        offsets=(0.0,),
        byteorder="<",
    )


def measure(requests: int, folder: Path) -> dict[str, float]:
    """Seconds and peak memory of this process, for one size."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    import pystac

    from geomask import HeaderIndex, Manifest, Selection, Window, compile_manifest, make_slots
    from geomask.stac.profile import Band

    bands = [Band(f"B{band:02d}", f"B{band:02d}", 10) for band in range(1, BANDS + 1)]
    items = []
    for date in range(DATES):
        item = pystac.Item(f"scene{date}", None, None, datetime(2024, 5, 5, tzinfo=UTC) + timedelta(31 * date), {})
        for band in bands:
            item.add_asset(band.asset, pystac.Asset(f"https://archive.example/{item.id}/{band.asset}.tif"))
        items.append(item)
    hrefs = [asset.href for item in items for asset in item.assets.values()]
    index = HeaderIndex({href: made_up_layout(href, seed) for seed, href in enumerate(hrefs)})
    places = np.random.default_rng(0).integers(0, SIDE - WINDOW, (-(-requests // len(hrefs)), 2)).tolist()
    chips = [Window(row, col, WINDOW, WINDOW) for row, col in places]
    selection, grid = Selection.dense(make_slots(items), bands), index[hrefs[0]].grid

    def timed(what: Any) -> tuple[Any, float]:
        start = time.perf_counter()
        return what(), time.perf_counter() - start

    manifest, compiling = timed(lambda: compile_manifest(selection, items, index, grid, chips))
    _, adding = timed(lambda: (manifest.planned_nbytes, manifest.planned_requests))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    path = folder / f"{requests}.geomask.parquet"
    _, writing = timed(lambda: manifest.save(path))
    _, filtering = timed(lambda: Manifest.load(path, item="scene1"))
    return {
        "requests": len(manifest.requests),
        "compile": compiling + adding,
        "memory": peak,
        "write": writing,
        "filter": filtering,
        "file": path.stat().st_size,
    }


COLUMNS = (
    Column("requests", "requests", lambda row: f"{row.value:,.0f}"),
    Column("compile", "compile, s", lambda row: f"{row.value:.2f}"),
    Column("memory", "peak, MB", lambda row: f"{(row.value or 0) / 1e6:.0f}"),
    Column("write", "write Parquet, s", lambda row: f"{row.value:.2f}"),
    Column("filter", "load one item, s", lambda row: f"{row.value:.2f}"),
    Column("file", "file, MB", lambda row: f"{(row.value or 0) / 1e6:.1f}"),
)
UNITS = {"requests": "request", "memory": "byte", "file": "byte"}


def main() -> None:
    """Measure all sizes, print the table, and write what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures, tidy")
    parser.add_argument("--quick", action="store_true", help="the same up to 100,000 requests")
    parser.add_argument("--write", action="store_true", help="refresh docs/benchmarks/plan.md")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    folder = ROOT / "build" / "benchmarks" / "plan"
    folder.mkdir(parents=True, exist_ok=True)
    if given.measure:
        print(json.dumps(measure(given.measure, folder)))
        return
    rows = []
    for size in SIZES[: 2 if given.quick else 3]:
        command = [sys.executable, __file__, "--measure", str(size)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        for metric, value in json.loads(done.stdout).items():
            rows.append(Row("geomask", f"10^{len(str(size)) - 1}", metric, value, UNITS.get(metric, "second"), 1))
    figures = Figures.now({name: version(name) for name in ("geomask", "numpy", "pyarrow")}, rows)
    print(table(figures, COLUMNS))
    if given.json:
        figures.save(given.json)
    if given.write:
        PAGE.write_text(page(figures), encoding="utf-8")


def page(figures: Figures) -> str:
    """The figures as a page of the documents."""
    about = (__doc__ or "").partition("\n")[2].strip()
    shown = table(figures, COLUMNS, markdown=True)
    return f"# Plans of many requests\n\n`python benchmarks/plan.py`. {about}\n\n{figures.source()}\n\n{shown}\n"


if __name__ == "__main__":
    main()

"""``geomask read``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from geomask.progress import progress


@click.command()
@click.argument("manifest", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="GeoTIFF to write, a band a channel.",
)
def read(manifest: Path, out: Path) -> None:
    """Read what MANIFEST says, and nothing else (- for stdin).

    The pixels are written as floats, NaN where nothing was observed; the receipt is printed as JSON.
    """
    from geomask.errors import ManifestError
    from geomask.plan.manifest import Manifest
    from geomask.read.reader import read_manifest

    plan = Manifest.parse(sys.stdin) if str(manifest) == "-" else Manifest.load(manifest)
    if len(plan.chips) != 1:
        raise ManifestError(f"{manifest} is for {len(plan.chips)} chips; a GeoTIFF holds one: plan them one by one")
    with progress("read", "file", len(plan.headers)) as advance:
        cube, receipt = read_manifest(plan, on_done=advance)
    cube.save_geotiff(out)
    click.echo(json.dumps({**asdict(receipt), "nbytes": receipt.nbytes}))

"""``geomask read``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from geomask.progress import progress

from .options import index_option, no_prefix_option, sign_option

if TYPE_CHECKING:
    from geomask.signing import Sign


@click.command()
@click.argument("manifest", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="GeoTIFF to write, a band a channel.",
)
@index_option
@no_prefix_option
@sign_option
def read(manifest: Path, out: Path, index: Path | None, prefix: bool, sign: Sign | None) -> None:
    """Read what MANIFEST says, and nothing else (- for stdin).

    The pixels are written as floats, NaN where nothing was observed; the receipt is printed as JSON.
    """
    from geomask.cog.index import HeaderIndex
    from geomask.errors import ManifestError
    from geomask.plan.manifest import Manifest
    from geomask.read.reader import read_manifest

    plan = Manifest.parse(sys.stdin) if str(manifest) == "-" else Manifest.load(manifest)
    if len(plan.chips) != 1:
        raise ManifestError(f"{manifest} is for {len(plan.chips)} chips; a GeoTIFF holds one: plan them one by one")
    plan = plan if prefix else plan.without_prefixes()
    kept = HeaderIndex.load(index) if index else None
    with progress("read", "file", len(plan.files)) as advance:
        cube, receipt = read_manifest(plan, kept, advance, sign=sign)
    cube.save_geotiff(out)
    click.echo(json.dumps(receipt.to_dict()))

"""``geomask manifest``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from geomask.progress import progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SHOWN = 10
"""Faults that are named."""

path_argument = click.argument("path", metavar="MANIFEST", type=click.Path(allow_dash=True))


@click.group()
def manifest() -> None:
    """Check a manifest, or list what it makes a reader fetch."""


@manifest.command()
@path_argument
def validate(path: str) -> None:
    """Check each line of MANIFEST against the JSON Schema, then that references and bytes add up.

    MANIFEST is JSON Lines, or Parquet by its name, whose columns are checked alike; - is JSON Lines from stdin. The
    first ten faults go to stderr.
    """
    from geomask.errors import ManifestError
    from geomask.plan.jsonl import parse_lines
    from geomask.plan.manifest import Manifest
    from geomask.plan.manifest_file import load_manifest
    from geomask.plan.schema import sound_lines

    faults: list[str] = []
    with progress("validate", "line") as advance:

        def sound(lines: Iterable[str]) -> Iterator[str]:
            for line in sound_lines(lines, faults, SHOWN):
                advance()
                yield line

        try:
            fields = parse_lines(sound(sys.stdin)) if path == "-" else load_manifest(path, through=sound)
        except ManifestError:  # of the lines before the first fault
            if not faults:
                raise
    for fault in faults:
        click.echo(fault, err=True)
    if faults:
        raise ManifestError(f"{path} is no valid manifest; see the lines above")
    click.echo(f"{path} is a valid manifest: {Manifest(**fields).summary()}")


@manifest.command()
@path_argument
@click.option("--json", "as_json", is_flag=True, help="An object a line, not a table.")
def explain(path: str, as_json: bool) -> None:
    """List the bytes that a reader without headers fetches for MANIFEST, in its order (- for stdin).

    Nothing is fetched. Totals go to stderr.
    """
    from geomask.plan.manifest import Manifest

    plan = Manifest.parse(sys.stdin) if path == "-" else Manifest.load(path)
    if not as_json:
        click.echo(f"{'offset':>15}  {'length':>13}  {'what':6}  href")
    for href, piece, what in plan.explain():
        if as_json:
            click.echo(json.dumps({"href": href, "offset": piece.offset, "length": piece.length, "what": what}))
        else:
            click.echo(f"{piece.offset:>15,}  {piece.length:>13,}  {what:6}  {href}")
    click.echo(plan.summary(), err=True)

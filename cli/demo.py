"""``geomask demo``."""

from __future__ import annotations

from pathlib import Path

import click

from .options import Quantity


@click.command()
@click.option(
    "--out",
    default="geomask-demo",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to fill.",
)
@click.option("--fast", is_flag=True, help="Two seeds, not three, each three fifths as long.")
@click.option(
    "--latency", default="50ms", show_default=True, type=Quantity("TIME", "duration"), help="Of each request."
)
@click.option("--bandwidth", default="50Mbit", show_default=True, type=Quantity("RATE", "rate"), help="Of the server.")
def demo(out: Path, fast: bool, latency: float, bandwidth: float) -> None:
    """Run the whole job on real Sentinel-2: publish, search, learn, plan, read, infer, report.

    Nothing is downloaded: a server of its own on 127.0.0.1 counts every byte.
    """
    from geomask.demo.run import FAST, FULL, run_demo

    run_demo(out, FAST if fast else FULL, latency, bandwidth, click.echo)

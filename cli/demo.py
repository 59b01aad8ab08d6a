"""``geomask demo``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable


class Parsed(click.ParamType[float]):
    """A value with a unit."""

    def __init__(self, name: str, kind: str) -> None:
        self.name, self.kind = name, kind

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """To seconds or bit/s; a usage error where it is neither."""
        from geomask.demo.server import parse_duration, parse_rate

        parse: Callable[[str], float] = parse_duration if self.kind == "duration" else parse_rate
        try:
            return parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command()
@click.option(
    "--out",
    default="geomask-demo",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to fill.",
)
@click.option("--fast", is_flag=True, help="Train three fifths as long.")
@click.option("--latency", default="50ms", show_default=True, type=Parsed("TIME", "duration"), help="Of each request.")
@click.option("--bandwidth", default="50Mbit", show_default=True, type=Parsed("RATE", "rate"), help="Of the server.")
def demo(out: Path, fast: bool, latency: float, bandwidth: float) -> None:
    """Run the whole job on real Sentinel-2: publish, search, learn, plan, read, infer, report.

    Nothing is downloaded: a server of its own on 127.0.0.1 counts every byte.
    """
    from geomask.demo.run import FAST, FULL, run_demo

    run_demo(out, FAST if fast else FULL, latency, bandwidth, click.echo)

"""``geomask status``."""

from __future__ import annotations

import json

import click


@click.command()
@click.argument("map_", metavar="MAP")
@click.option("--price-per-gb", type=click.FloatRange(0), help="Money for 10^9 bytes that were read.")
@click.option("--price-per-1000", type=click.FloatRange(0), help="Money for 1,000 requests.")
def status(map_: str, price_per_gb: float | None, price_per_1000: float | None) -> None:
    """Print how far a map of `geomask infer`, or features of `geomask encode`, are and what they took, as JSON.

    MAP is their folder, on a disk or in a bucket. It may be asked while they are being made.
    """
    from geomask.infer.outbox import Outbox
    from geomask.infer.status import Status

    found = Status.load(Outbox(map_))
    said = found.to_dict()
    if price_per_gb is not None or price_per_1000 is not None:
        said["cost"] = found.cost(price_per_gb or 0.0, price_per_1000 or 0.0)
    click.echo(json.dumps(said))

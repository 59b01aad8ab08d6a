"""``geomask export``."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command(short_help="Write a run's network as ONNX files.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the files; it is made.",
)
@click.option("--network", metavar="MODULE:FUNCTION", help="The network of RUN, where it is your own code.")
def export(run: Path, out: Path, network: str | None) -> None:
    """Write the network of RUN as ONNX, for machines without torch.

    Of a run that sends features: encoder.onnx, decoder.onnx and the coder's tables.safetensors; of any other:
    network.onnx. Each is held against torch before it is left. Prints what was written, as JSON. Needs the extra onnx.
    """
    from geomask.train.record import load_record

    load_record(run)  # whether it is a run is said before torch takes its seconds
    from geomask.bottleneck.run import open_run
    from geomask.export.onnx import export_onnx

    written = export_onnx(open_run(run, network), out)
    said = {part: {"path": str(path), "nbytes": path.stat().st_size} for part, path in written.items()}
    click.echo(json.dumps(said))

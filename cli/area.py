"""The part of a grid that a command is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from geomask.grid import Grid

type Box = tuple[float, float, float, float]
"""left, bottom, right, top."""


def part_of(grid: Grid, bbox: Box) -> Grid:
    """What lies in a box: not more, since memory is taken for every pixel."""
    from geomask.errors import GridError

    try:
        return grid.part(bbox)
    except GridError as error:
        raise click.BadParameter(str(error), param_hint="--bbox") from error

"""``geomask catalogs``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geomask.stac.band import Band, Scaling
    from geomask.stac.clouds import CloudMask
    from geomask.stac.profile import Profile


@click.command()
@click.argument("profile", required=False)
def catalogs(profile: str | None) -> None:
    """List the profiles of catalogs, or show one.

    PROFILE is a name of the list, or the path of a YAML file of your own: docs/catalogs.md says how to write one.
    """
    from geomask.stac.profile import load_profile, profile_names

    if profile is not None:
        _show(load_profile(profile))
        return
    rows = [["name", "bands", "collections", "endpoint", "title"]]
    for name in profile_names():
        found = load_profile(name)
        rows.append(
            [name, str(len(found.bands)), ",".join(found.collections), found.endpoint or "-", found.title or "-"]
        )
    _table(rows)


def _show(profile: Profile) -> None:
    """The facts of a profile, then a table of its bands."""
    cost, signing = profile.cost, profile.signing
    files = [
        cost.format,
        f"tiles of {cost.tile}" if cost.tile else "",
        f"by {cost.interleave}" if cost.interleave else "",
    ]
    facts = [
        ("name", profile.name),
        ("title", profile.title),
        ("endpoint", profile.endpoint),
        ("collections", ", ".join(profile.collections)),
        ("clear", profile.cloud_mask and _clear(profile.cloud_mask)),
        ("files", ", ".join(filter(None, files))),
        ("bytes", ", ".join(filter(None, ["requester pays" if cost.requester_pays else "", cost.egress]))),
        ("sign", signing.function and f"--sign {signing.function}"),
        ("login", signing.login),
        ("set", " ".join(f"{key}={value}" for key, value in signing.environment)),
        *(("where", rule) for rule in _rules(profile.bands)),
    ]
    _table([[key, str(value)] for key, value in facts if value])
    click.echo()
    head = ["band", "common_name", "um", "gsd", "asset", "index", "dtype", "nodata", "scale", "offset"]
    _table([head, *map(_row, profile.bands)])


def _clear(mask: CloudMask) -> str:
    values = ", ".join(map(str, mask.clear_classes or mask.cloudy_bits))
    return f"{mask.asset}, {'classes' if mask.clear_classes else 'none of bits'} {values}"


def _rules(bands: Sequence[Band]) -> list[str]:
    """What holds for some items, and of which bands where not of all."""
    held: dict[Scaling, list[str]] = {}
    for band in bands:
        for rule in band.scalings:
            held.setdefault(rule, []).append(band.name)
    return [
        f"{rule.property} {'is' if rule.at_least is None else 'from'} "
        f"{rule.equals if rule.at_least is None else rule.at_least}: scale {rule.scale:g}, offset {rule.offset:g}"
        + ("" if len(names) == len(bands) else f" ({', '.join(names)})")
        for rule, names in held.items()
    ]


def _row(band: Band) -> list[str]:
    facts = (band.common_name, band.wavelength, band.gsd, band.asset, band.index, band.dtype, band.nodata)
    shown = ["-" if value is None else f"{value:g}" if isinstance(value, float) else str(value) for value in facts]
    return [band.name, *shown, f"{band.scale:g}", f"{band.offset:g}"]


def _table(rows: list[list[str]]) -> None:
    """Rows with their columns aligned. What a stranger's file says of a terminal is not said to the terminal."""
    rows = [["".join(c if c.isprintable() else "?" for c in cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

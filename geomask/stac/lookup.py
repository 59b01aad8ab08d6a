"""One band of several, by its name, its common name or its wavelength."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..errors import ItemError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .band import Band

#: How far a band's centre may be from the wavelength asked for, as a share of it: 842 nm finds Landsat's 860 nm, and
#: no band that is another colour.
TOLERANCE = 0.03

_WAVELENGTH = re.compile(r"(\d{1,6}(?:\.\d{1,6})?|\.\d{1,6})\s*(nm|um|µm|μm)?")
_SAME = 1e-9  # micrometres: sums of such numbers differ by less


def find_band(bands: Sequence[Band], wanted: str, profile: str) -> Band:
    """The band of that name; else of that common name; else the nearest to that wavelength.

    A wavelength is ``0.842``, ``0.842um`` or ``842nm``; no unit is micrometres. Where several bands share a common
    name and a wavelength, as one band does that is there in several resolutions, it is the finest, then the first.

    Raises ItemError where there is none, or where several bands differ: `profile` names them in the message.
    """
    for band in bands:
        if band.name == wanted:
            return band
    if shared := [band for band in bands if band.common_name == wanted]:
        return _finest(shared, f"common name {wanted} of profile {profile}")
    match = _WAVELENGTH.fullmatch(wanted.strip())
    if match is None:
        known = ", ".join(band.name for band in bands)
        raise ItemError(f"profile {profile} has no band {wanted}; it has {known}")
    return _nearest(bands, float(match[1]) / (1000 if match[2] == "nm" else 1), profile)


def _nearest(bands: Sequence[Band], centre: float, profile: str) -> Band:
    apart = {band: abs(band.wavelength - centre) for band in bands if band.wavelength is not None}
    if not apart:
        raise ItemError(f"profile {profile} states no wavelengths; ask for a band by its name")
    least = min(apart.values())
    nearest = [band for band, distance in apart.items() if distance <= least + _SAME]
    if least > TOLERANCE * centre:
        raise ItemError(
            f"profile {profile} has no band at {centre:g} um; the nearest is {_described(nearest[0])}, "
            f"and it may be off by {TOLERANCE:.0%}"
        )
    return _finest(nearest, f"{centre:g} um in profile {profile}")


def _finest(bands: Sequence[Band], asked: str) -> Band:
    """The finest of bands that are one, the first among equals."""
    centres = {band.wavelength for band in bands}
    if len(bands) > 1 and (len(centres) > 1 or None in centres):
        raise ItemError(f"{asked} is more than one band: {', '.join(map(_described, bands))}; name one of them")
    return min(bands, key=lambda band: band.gsd)


def _described(band: Band) -> str:
    return band.name if band.wavelength is None else f"{band.name} at {band.wavelength:g} um"

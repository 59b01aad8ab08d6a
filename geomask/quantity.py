"""Quantities with units, as people write them."""

from __future__ import annotations

import re


def parse_duration(text: str) -> float:
    """Seconds from ``50ms``, ``0.05s``, ``200us`` or ``0``. Raises ValueError, with an example, on anything else."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?)\s*(us|ms|s)", "0s" if text.strip() == "0" else text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no duration: give a number and us, ms or s, such as 50ms")
    return float(match[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[match[2]]


def parse_rate(text: str) -> float:
    """Bits per second from ``50Mbit``, ``800kbit/s`` or ``1Gbit``. Raises ValueError, with an example, otherwise."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?)\s*([kmg]?)bit(?:/s)?", text.strip().lower())
    rate = float(match[1]) * {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}[match[2]] if match else 0.0
    if rate <= 0:
        raise ValueError(f"{text!r} is no bandwidth above 0: give a number and bit, kbit, Mbit or Gbit, such as 50Mbit")
    return rate


def parse_bytes(text: str) -> float:
    """Bytes from ``250000``, ``500kB``, ``2MB`` or ``1.5GiB``. Raises ValueError, with an example, on anything else."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?)\s*([kKMG]?)(i?)B", text.strip())
    if match:
        base = 1024.0 if match[3] else 1000.0
        scale: float = base ** " KMG".index(match[2].upper() or " ")
        return float(match[1]) * scale
    try:
        return float(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is no number of bytes: give a number and B, kB, MB, GB or MiB, such as 2MB"
        ) from None

"""The coder's tables as a file of their own: three int32 tensors, which any language reads, and no code.

::

    lows      (latents,)                          smallest symbol of each latent
    counts    (latents, 1 + contexts, symbols)    frequencies, each histogram adds up to 2^20
    cuts      (latents, contexts - 1)             where classes of surroundings begin

`Tables` says what they mean.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..bottleneck.tables import Tables
from ..errors import RunError

NAMES = ("lows", "counts", "cuts")


def tables_bytes(tables: Tables) -> bytes:
    """Of a safetensors file; `load_tables` reads it."""
    from safetensors.numpy import save

    parts = {name: np.ascontiguousarray(getattr(tables, name)) for name in NAMES}
    data: bytes = save(parts, {"geomask": "tables", "digest": tables.digest})
    return data


def load_tables(path: str | Path) -> Tables:
    """Tables of a file. Raises RunError where there are none in it."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        parts = load(Path(path).read_bytes())
        return Tables(*(parts[name] for name in NAMES))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} holds no tables: {' '.join(str(error).split())}") from error

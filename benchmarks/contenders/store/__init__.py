"""Who keeps chips on disk, one file each."""

from __future__ import annotations

from contenders import Contender

CONTENDERS = (
    Contender("geomask", "store.geomask", "geomask"),
    Contender("memmap", "store.memmap", "numpy"),
    Contender("zarr", "store.zarr", "zarr"),
)

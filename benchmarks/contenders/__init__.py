"""The readers that are measured, one file each, and what they need to run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Contender:
    """A reader, as the benchmark starts it."""

    name: str
    """As tables and ``--only`` call it."""
    module: str
    """The file in this folder with its class ``Reader``."""
    package: str
    """The distribution whose version is written down."""
    requirements: tuple[str, ...] = ()
    """What its own environment holds; empty: it runs in ours."""
    home: str = ""
    """Its environment's name, where that is not `module`."""


#: rustac brings DuckDB, and DuckDB's extensions must be of its version.
LAZYCOGS = (
    "lazycogs==0.7.0",
    "rustac==0.9.17",
    *(f"duckdb-extension-{name}==1.5.5" for name in ("icu", "parquet", "spatial")),
)

CONTENDERS = (
    Contender("geomask", "geomask", "geomask"),
    Contender("geomask --no-prefix", "geomask_no_prefix", "geomask"),
    Contender("rasterio", "rasterio", "rasterio"),
    Contender("odc-stac", "odc_stac", "odc-stac", ("odc-stac==0.5.3",)),
    Contender("stackstac", "stackstac", "stackstac", ("stackstac==0.5.1",)),
    Contender("rio-tiler", "rio_tiler", "rio-tiler", ("rio-tiler==9.4.12",)),
    Contender("async-geotiff", "async_geotiff", "async-geotiff", ("async-geotiff==0.5.1",)),
    Contender("lazycogs", "lazycogs", "lazycogs", LAZYCOGS),
    Contender("rasteret", "rasteret", "rasteret", ("rasteret==0.4.1",)),  # needs rasterio < 1.5
    Contender("georange-io", "georange_io", "georange-io", ("georange-io==0.2.2",)),
)

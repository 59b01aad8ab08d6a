"""Who makes chips: data sets to learn from, one file each."""

from __future__ import annotations

from contenders import Contender

#: 0.3.12 is the last release with a torchgeo data set.
RASTERET = ("rasteret[torchgeo]==0.3.12", "torchgeo==0.10.1")
ODC_STAC = ("odc-stac==0.5.3", "xbatcher==0.4.0")

CONTENDERS = (
    Contender("geomask", "chips.geomask", "geomask"),
    Contender("torchgeo", "chips.torchgeo", "torchgeo"),
    Contender("odc-stac + xbatcher", "chips.odc_stac", "xbatcher", ODC_STAC, "odc_stac_xbatcher"),
    Contender("rasteret", "chips.rasteret", "rasteret", RASTERET, "rasteret_torchgeo"),  # needs rasterio < 1.5
)

#: Where files come over a link.
SERVED = (
    *CONTENDERS,
    Contender("odc-stac + xbatcher + 1 GB", "chips.odc_stac_cached", "xbatcher", ODC_STAC, "odc_stac_xbatcher"),
)

"""Who makes a data set of many items, one file each."""

from __future__ import annotations

from contenders import Contender
from contenders.chips import ODC_STAC, RASTERET

CONTENDERS = (
    Contender("geomask", "start.geomask", "geomask"),
    Contender("geomask from a file", "start.geomask_file", "geomask"),
    Contender("torchgeo", "start.torchgeo", "torchgeo"),
    Contender("odc-stac + xbatcher", "start.odc_stac", "xbatcher", ODC_STAC, "odc_stac_xbatcher"),
    Contender("rasteret", "start.rasteret", "rasteret", RASTERET, "rasteret_torchgeo"),
)

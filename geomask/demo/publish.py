"""Real Sentinel-2 as COGs and a STAC catalog: what the demo reads, and the benchmarks.

The pixels are those of the package ``nrt`` (extra ``demo``): 140 dates of one square kilometre of Romanian forest,
2015-08 to 2021-01, on one grid in EPSG:3035; 100 x 100 pixels at 10 m and 50 x 50 at 20 m. Beside them lies a label,
tree cover density in percent. One date becomes one item, one band of it one file::

    catalog.json
    labels.tif                             an asset of the collection
    publication.json                       the marker: what was asked for, and every file with its size
    romania-s2/collection.json
    romania-s2/S2_20150801/S2_20150801.json, B02.tif, B03.tif, ...
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pystac
import rasterio
from rasterio.transform import Affine
from rasterio.warp import transform as reproject

from geomask.atomic import write_text
from geomask.errors import GridError, RunError

from .scene import BANDS, CubeBand, Scene, load_scene

COLLECTION = "romania-s2"
"""Id of the collection, and the folder of its items."""

MARKER = "publication.json"
"""Name of the file that says what a folder holds; ``complete`` is false until everything else is written."""

CLOUDY = (0, 3, 8, 9, 10)
"""Classes of SCL that count as cloud cover: nodata, cloud shadow, cloud of medium and of high probability, cirrus."""

CRS = "EPSG:3035"
"""CRS of every file: ETRS89 / LAEA Europe, metres."""

_FORMAT = 1  # raised with every change to what is written, so that an older publication is written anew
_DATES = 140
_SIDE = 1000  # of the square, in m
_OVERVIEWS = {10: 2, 20: 1}  # by pixel size: down to 40 m; its 25 pixels do not halve, a further level would be askew
_EXTENSIONS = [
    f"https://stac-extensions.github.io/{name}/v2.0.0/schema.json" for name in ("projection", "raster", "eo")
]


def publish(
    out: Path,
    *,
    block: int = 32,
    dates: slice | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the demo's imagery into ``out`` as COGs with a STAC catalog; return the path of ``catalog.json``.

    Every file is a COG in EPSG:3035: DEFLATE, predictor 2, nodata 0, tiles of ``block`` pixels, internal overviews
    down to 40 m (10 m: 50 and 25 pixels; 20 m: 25), averaged for reflectances, nearest for SCL. GDAL tiles no
    overview under 64 pixels, so there a smaller ``block`` becomes 64. Reflectances are uint16, times 0.0001; SCL and
    the label are uint8. Times are those of the data: midnight UTC. ``eo:cloud_cover`` is the share of SCL's pixels
    in :data:`CLOUDY`, in percent.

    A publication that was asked for in the same way and is whole (every file has its size) is left as it is; any
    other one is written anew.
    ``dates`` chooses by position among the 140. ``progress`` is called with (items written, items in all).

    Raises :class:`~geomask.errors.RunError` when the extra ``demo`` is not installed, when ``dates`` chooses nothing
    or when something else is in the way, :class:`~geomask.errors.GridError` when ``block`` is no tile size.
    """
    chosen = range(_DATES)[dates or slice(None)]
    if not chosen:
        raise RunError(f"dates={dates} leaves none of the {_DATES} dates; give another slice, or None for all")
    if chosen.step < 0:
        chosen = chosen[::-1]  # the order of a catalog is that of time
    if block not in (16, 32, 64, 128):
        raise GridError(f"block is {block}; the scene has 100 x 100 pixels: ask for tiles of 16, 32, 64 or 128")
    asked = {"format": _FORMAT, "block": block, "dates": [chosen.start, chosen.stop, chosen.step]}
    if _read_marker(out) != {"complete": True, "asked": asked, "files": _sizes(out)}:
        scene = load_scene(chosen)
        _clear(out)
        _write_marker(out, {"complete": False, "asked": asked, "files": {}})
        with rasterio.Env(**_gdal(block)):
            _write(out, scene, block, progress or (lambda _done, _total: None))
        _write_marker(out, {"complete": True, "asked": asked, "files": _sizes(out)})
    return out / "catalog.json"


def _read_marker(out: Path) -> Any:
    try:
        return json.loads((out / MARKER).read_text())
    except (OSError, ValueError):  # none yet, or damaged: as good as none
        return None


def _write_marker(out: Path, marker: dict[str, Any]) -> None:
    write_text(out / MARKER, json.dumps(marker, indent=1))


def _sizes(out: Path) -> dict[str, int]:
    """Size in bytes of every published file, by its path relative to ``out``."""
    paths = [out / "catalog.json", out / "labels.tif", *sorted((out / COLLECTION).rglob("*.*"))]
    return {path.relative_to(out).as_posix(): path.stat().st_size for path in paths if path.is_file()}


def _clear(out: Path) -> None:
    """Make room in ``out``: remove an earlier publication, and refuse to touch what is none."""
    if out.exists() and not out.is_dir():
        raise RunError(f"{out} is not a folder; give the path of one, or of none yet")
    out.mkdir(parents=True, exist_ok=True)
    found = [name for name in ("catalog.json", "labels.tif", COLLECTION) if (out / name).exists()]
    if found and not (out / MARKER).exists():
        raise RunError(f"{out} already holds {', '.join(found)}, not from this demo; give another folder")
    if COLLECTION in found:
        shutil.rmtree(out / COLLECTION)


def _gdal(block: int) -> dict[str, Any]:
    return {
        "GDAL_TIFF_OVR_BLOCKSIZE": max(block, 64),  # GDAL's own choice is 128 for a block of 32
        "GDAL_VALIDATE_CREATION_OPTIONS": False,  # it warns of any BLOCKSIZE under 128, and then honours it
    }


def _write(out: Path, scene: Scene, block: int, progress: Callable[[int, int], None]) -> None:
    """Write the files, date by date, then the catalog over them."""
    _write_cog(out / "labels.tif", scene.label, scene.transform(20), block=block, nodata=255, resampling="nearest")
    items = []
    for n in range(len(scene.times)):
        items.append(_item(scene, n))
        for band in BANDS:
            path = out / COLLECTION / items[n].id / f"{band.name}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            resampling = "average" if band.common_name else "nearest"
            transform = scene.transform(band.gsd)
            _write_cog(path, scene.pixels[band.name][n], transform, block=block, nodata=0, resampling=resampling)
        progress(n + 1, len(scene.times))
    catalog = pystac.Catalog("geomask-demo", "The imagery of geomask's demo", title="geomask demo")
    catalog.add_child(_collection(items, _label_asset(scene)))
    catalog.normalize_and_save(str(out), pystac.CatalogType.SELF_CONTAINED)


def _write_cog(
    path: Path, pixels: npt.NDArray[Any], transform: Affine, *, block: int, nodata: int, resampling: str
) -> None:
    """Write (rows, columns) as one COG."""
    height, width = pixels.shape
    options = {
        "driver": "COG",
        "compress": "DEFLATE",
        "predictor": 2,
        "blocksize": block,
        "overviews": "IGNORE_EXISTING",
        "overview_count": _OVERVIEWS[int(transform.a)],  # else GDAL makes none for an image of one tile
        "overview_resampling": resampling,
    }
    place = {"crs": CRS, "transform": transform, "height": height, "width": width}
    with rasterio.open(path, "w", count=1, dtype=pixels.dtype, nodata=nodata, **place, **options) as file:
        file.write(pixels, 1)


def _item(scene: Scene, n: int) -> pystac.Item:
    """Date ``n`` with its assets; their files lie beside the item."""
    right, bottom = scene.left + _SIDE, scene.top - _SIDE
    xs = [scene.left, right, right, scene.left, scene.left]
    ys = [bottom, bottom, scene.top, scene.top, bottom]
    corners = np.round(np.transpose(reproject(CRS, "EPSG:4326", xs, ys)), 7)  # 7 places: a centimetre
    return pystac.Item(
        id=f"S2_{scene.times[n]:%Y%m%d}",
        geometry={"type": "Polygon", "coordinates": [corners.tolist()]},
        bbox=[*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist()],
        datetime=scene.times[n],
        properties={
            "constellation": "sentinel-2",
            "instruments": ["msi"],
            "gsd": 10,
            "proj:code": CRS,
            "proj:bbox": [scene.left, bottom, right, scene.top],
            "eo:cloud_cover": round(100 * float(np.isin(scene.pixels["SCL"][n], CLOUDY).mean()), 2),
        },
        stac_extensions=_EXTENSIONS,
        assets={band.name: _asset(band, scene) for band in BANDS},
    )


def _asset(band: CubeBand, scene: Scene) -> pystac.Asset:
    described: dict[str, Any] = {"name": band.name}
    fields: dict[str, Any] = {"data_type": band.dtype, "nodata": 0}
    if band.common_name:
        described |= {"eo:common_name": band.common_name, "eo:center_wavelength": band.wavelength}
        fields |= {"raster:scale": 0.0001, "raster:offset": 0}
    return pystac.Asset(
        href=f"./{band.name}.tif",
        media_type=pystac.MediaType.COG,
        roles=["data" if band.common_name else "data-mask"],
        extra_fields=_place(scene, band.gsd) | fields | {"bands": [described]},
    )


def _place(scene: Scene, gsd: int) -> dict[str, Any]:
    side = _SIDE // gsd
    transform = list(scene.transform(gsd))[:6]
    return {"gsd": gsd, "proj:code": CRS, "proj:shape": [side, side], "proj:transform": transform}


def _collection(items: list[pystac.Item], label: pystac.Asset) -> pystac.Collection:
    """The collection over ``items``, all of the same place."""
    box, first, last = items[0].bbox or [], items[0].datetime, items[-1].datetime
    collection = pystac.Collection(
        id=COLLECTION,
        title="Sentinel-2, a square kilometre of forest in Romania",
        description=(
            "Sentinel-2 surface reflectance and scene classification from the test data of the Python package nrt "
            "0.1.0 (European Union, Joint Research Centre; EUPL-1.2). Contains modified Copernicus Sentinel data "
            "2015-2021. The label is the Copernicus High Resolution Layer, tree cover density 2018, in percent."
        ),
        extent=pystac.Extent(pystac.SpatialExtent([box]), pystac.TemporalExtent([[first, last]])),
        license="EUPL-1.2",
        stac_extensions=_EXTENSIONS[:1],
        assets={"labels": label},
    )
    collection.add_items(items)
    return collection


def _label_asset(scene: Scene) -> pystac.Asset:
    return pystac.Asset(
        href="../labels.tif",
        title="Tree cover density 2018, percent",
        media_type=pystac.MediaType.COG,
        roles=["labels"],
        extra_fields=_place(scene, 20) | {"data_type": "uint8", "nodata": 255, "unit": "%"},
    )

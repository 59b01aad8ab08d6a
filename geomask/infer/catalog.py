"""A map, or features, as a STAC collection: an item for each tile, which says what it was made from."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from .geotiff import NODATA, class_colours

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pystac import Item

    from ..grid import Grid

type Json = dict[str, Any]

EXTENSIONS = (
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
)
#: Of maps alone.
MAP_EXTENSIONS = (
    "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
    "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
)
STAC_VERSION = "1.1.0"
#: Assets that say what was read, and their titles.
MANIFESTS = {
    "manifest": "what was read for it",
    "preview": "what was read first, to decide what to read",
    "latents": "which features it was made from",
}
COG = "image/tiff; application=geotiff; profile=cloud-optimized"
CONTAINER = "application/vnd.geomask.features"


def make_item(
    name: str,
    grid: Grid,
    sources: Sequence[Item],
    files: dict[str, bytes],
    class_names: Sequence[str] | None,
    selection: str,
    collection: str,
    features: Json | None = None,
) -> Json:
    """The item of a tile whose pixels are `grid`.

    `files` are the tile's, by the names of `file_names`: its GeoTIFF or its container, and what manifests there are.
    `class_names` None: values. `selection` is the digest of what was read; `features` are what there is to say of a
    container.
    """
    from rasterio.warp import transform_bounds, transform_geom

    from ..signing import unsigned
    from ..stac.acquisition import item_time

    left, bottom, right, top = grid.bounds
    ring = [[left, bottom], [right, bottom], [right, top], [left, top], [left, bottom]]
    times = sorted(_text(item_time(item)) for item in sources)
    derived = [unsigned(href) for item in sources if (href := item.get_self_href())]
    links = [{"rel": "derived_from", "href": href, "type": "application/json"} for href in dict.fromkeys(derived)]
    code = grid.crs if ":" in grid.crs and len(grid.crs) < 30 else None
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": [*EXTENSIONS, *(MAP_EXTENSIONS if "map" in files else ())],
        "id": f"{collection}-{name}",
        "collection": collection,
        "geometry": transform_geom(grid.crs, "EPSG:4326", {"type": "Polygon", "coordinates": [ring]}),
        "bbox": list(transform_bounds(grid.crs, "EPSG:4326", *grid.bounds)),
        "properties": {
            "datetime": None if len(times) > 1 else times[0],
            "start_datetime": times[0],
            "end_datetime": times[-1],
            **({"proj:code": code} if code else {"proj:code": None, "proj:wkt2": grid.crs}),
            "proj:shape": [grid.height, grid.width],
            "proj:transform": list(grid.transform),
            "processing:software": {"geomask": version("geomask")},
            "geomask:selection": selection,
            "geomask:items": sorted(item.id for item in sources),
            **(features or {}),
        },
        "links": [
            {"rel": "root", "href": "../collection.json", "type": "application/json"},
            {"rel": "parent", "href": "../collection.json", "type": "application/json"},
            {"rel": "collection", "href": "../collection.json", "type": "application/json"},
            {"rel": "related", "href": "../run/run.json", "type": "application/json", "title": "the run that made it"},
            *links,
        ],
        "assets": {
            **{
                key: {
                    "href": f"./{file_names(name)[key]}",
                    "type": COG if key == "map" else CONTAINER,
                    "roles": ["data"],
                    **_describe_file(files[key]),
                    **(_describe_values(grid, class_names) if key == "map" else {}),
                }
                for key in ("map", "features")
                if key in files
            },
            **{
                key: {
                    "href": f"./{file_names(name)[key]}",
                    "type": "application/vnd.apache.parquet",
                    "roles": ["metadata"],
                    "title": title,
                    **_describe_file(files[key]),
                }
                for key, title in MANIFESTS.items()
                if key in files
            },
        },
    }


def file_names(tile: str) -> dict[str, str]:
    """What a tile's files are called: its GeoTIFF or its container, its item, and the manifests."""
    return {
        "map": f"{tile}.tif",
        "features": f"{tile}.gmf",
        "item": f"{tile}.json",
        "manifest": f"{tile}.geomask.parquet",
        "preview": f"{tile}.preview.geomask.parquet",
        "latents": f"{tile}.latents.geomask.parquet",
    }


def make_collection(name: str, items: Iterable[Json], title: str) -> Json:
    """The collection of some items; its extents are theirs."""
    west, south, east, north = 180.0, 90.0, -180.0, -90.0
    starts, ends, links = list[str](), list[str](), list[Json]()
    for item in items:
        box, properties = item["bbox"], item["properties"]
        west, south = min(west, box[0]), min(south, box[1])
        east, north = max(east, box[2]), max(north, box[3])
        starts.append(properties["start_datetime"])
        ends.append(properties["end_datetime"])
        first = next(iter(item["assets"].values()))["href"]
        tile = first.removeprefix("./").rpartition(".")[0]
        links.append({"rel": "item", "href": f"./tiles/{tile}.json", "type": "application/geo+json"})
    interval = [min(starts), max(ends)] if starts else [None, None]
    return {
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "id": name,
        "description": title,
        "license": "other",
        "extent": {
            "spatial": {"bbox": [[west, south, east, north] if starts else [-180, -90, 180, 90]]},
            "temporal": {"interval": [interval]},
        },
        "links": [{"rel": "root", "href": "./collection.json", "type": "application/json"}, *links],
    }


def _describe_file(data: bytes) -> Json:
    """Size, and SHA-256 as a multihash."""
    return {"file:size": len(data), "file:checksum": f"1220{hashlib.sha256(data).hexdigest()}"}


def _describe_values(grid: Grid, class_names: Sequence[str] | None) -> Json:
    band: Json = {"raster:sampling": "area", "raster:spatial_resolution": grid.res_y}
    if class_names is None:
        return {"data_type": "float32", "nodata": "nan", **band}
    colours = class_colours(len(class_names))
    classes = [
        {"value": value, "name": slug, "title": name, "color_hint": "{:02X}{:02X}{:02X}".format(*colour)}
        for value, (slug, name, colour) in enumerate(zip(_slugs(class_names), class_names, colours, strict=True))
    ]
    classes.append({"value": NODATA, "name": "nodata", "title": "nothing was seen", "nodata": True})
    return {"data_type": "uint8", "nodata": NODATA, **band, "classification:classes": classes}


def _slugs(names: Sequence[str]) -> list[str]:
    """As the classification extension has names: letters, digits, - and _; each another one."""
    found, taken = list[str](), {"nodata"}
    for value, name in enumerate(names):
        slug = "".join(sign if sign.isascii() and (sign.isalnum() or sign in "-_") else "_" for sign in name) or "class"
        while slug in taken:
            slug = f"{slug}_{value}"
        taken.add(slug)
        found.append(slug)
    return found


def _text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")

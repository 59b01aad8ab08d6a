"""Ten thousand STAC items of two made-up collections: what a search can be asked about, spread over the Earth.

Everything follows from a seed. Times and cloud covers repeat, so that sorting has ties; some items of the second
collection span days, some lack a property, a few cross the date line, one in a hundred has an id that a URL has to
quote.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

type Json = dict[str, Any]

COLLECTIONS = ("made-up-l2a", "made_up.radar")
PLATFORMS = ("gaia-1", "gaia-2", "o'hara", 'the "third"', "düne")
START = datetime(2015, 7, 1, tzinfo=UTC)


def collections() -> list[Json]:
    return [
        {
            "type": "Collection",
            "stac_version": "1.0.0",
            "id": name,
            "description": "made up",
            "license": "other",
            "extent": {
                "spatial": {"bbox": [[-180, -90, 180, 90]]},
                "temporal": {"interval": [["2015-07-01T00:00:00Z", None]]},
            },
            "links": [],
        }
        for name in COLLECTIONS
    ]


def crowd(count: int = 10_000) -> list[Json]:
    """Items in no order."""
    draw = random.Random("crowd")
    return [_item(number, draw) for number in draw.sample(range(count), count)]


def _item(number: int, draw: random.Random) -> Json:
    west, south = round(draw.uniform(-180, 179), 3), round(draw.uniform(-85, 84), 3)
    if number % 4 == 0:  # a place that is seen again and again
        west, south = 12 + number % 7 / 10, 45 + number % 5 / 10
    width, height = round(draw.uniform(0.05, 1.5), 3), round(draw.uniform(0.05, 1), 3)
    geometry, bbox = _footprint(west, south, west + width, south + height)
    odd = " ü'+&=%" if number % 100 == 7 else ""
    collection = COLLECTIONS[number % 3 == 0]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": f"{collection}_{number:05d}{odd}",
        "collection": collection,
        "geometry": geometry,
        "bbox": bbox,
        "properties": _times(number, draw) | _properties(number, draw),
        "links": [],
        "assets": {
            name: {"href": f"https://example.com/{number}/{name}.tif", "roles": ["data"]} for name in ("B04", "B08")
        },
    }


def _footprint(west: float, south: float, east: float, north: float) -> tuple[Json, list[float]]:
    """A box as GeoJSON wants it: one that crosses the date line in two parts, its bbox from east to west."""
    if east <= 180:
        return {"type": "Polygon", "coordinates": [_ring(west, south, east, north)]}, [west, south, east, north]
    parts = [[_ring(west, south, 180, north)], [_ring(-180, south, east - 360, north)]]
    return {"type": "MultiPolygon", "coordinates": parts}, [west, south, east - 360, north]


def _ring(west: float, south: float, east: float, north: float) -> list[list[float]]:
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


def _times(number: int, draw: random.Random) -> Json:
    time = START + timedelta(days=draw.randrange(3650), hours=10, minutes=draw.randrange(0, 60, 20))
    if number % 30 == 3:
        end = time + timedelta(days=draw.randrange(1, 30))
        return {"datetime": None, "start_datetime": _text(time), "end_datetime": _text(end)}
    return {"datetime": _text(time + timedelta(microseconds=number % 2 * 123_000))}


def _text(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")


def _properties(number: int, draw: random.Random) -> Json:
    properties = {
        "platform": draw.choice(PLATFORMS),
        "gsd": draw.choice([10, 20, 60]),
        "instruments": draw.sample(["msi", "sar", "olci"], draw.randrange(1, 4)),
        "proj:code": f"EPSG:{32601 + number % 60}",
        "made:good": number % 2 == 0,
        "view:off_nadir": draw.randrange(-100, 100) / 10,
    }
    if number % 20:
        properties["eo:cloud_cover"] = draw.randrange(0, 1001) / 10
    return properties

from datetime import UTC, datetime

import pystac
import pytest

from geomask.cog.assets import raster_hrefs


def item(**assets: tuple[str, str | None]) -> pystac.Item:
    made = pystac.Item("a", None, None, datetime(2020, 1, 1, tzinfo=UTC), {}, href="https://host/items/a.json")
    for key, (href, media_type) in assets.items():
        made.add_asset(key, pystac.Asset(href, media_type=media_type))
    return made


@pytest.mark.parametrize(
    ("href", "media_type", "raster"),
    [
        ("https://host/a", "image/tiff; application=geotiff; profile=cloud-optimized", True),
        ("https://host/a", "image/vnd.stac.geotiff; cloud-optimized=true", True),
        ("https://host/a", "IMAGE/TIFF", True),
        ("https://host/a", "image/jp2", True),
        ("https://host/a.tif", "image/png", False),
        ("https://host/a.tif", "application/json", False),
        ("https://host/a.tif", None, True),
        ("https://host/a.TIFF", None, True),
        ("https://host/a.jp2?sig=x", None, True),
        ("https://host/a.xml", None, False),
        ("https://host/a", None, False),
    ],
)
def test_an_asset_is_a_raster_by_its_type_and_without_one_by_its_suffix(
    href: str, media_type: str | None, raster: bool
) -> None:
    assert raster_hrefs([item(a=(href, media_type))]) == ([href] if raster else [])


def test_every_href_is_absolute_and_there_once() -> None:
    items = [item(b=("./b.tif", None), a=("/data/a.tif", None), c=("https://host/items/b.tif", None))] * 2
    assert raster_hrefs(items) == ["/data/a.tif", "https://host/items/b.tif"]

from datetime import UTC, datetime

import pystac
import pytest

from geomask.errors import ItemError
from geomask.stac.band import Band, Scaling
from geomask.stac.source import band_href, scaling_of

RED = Band("B04", "red", 10)


def item(href: str, own: str = "s3://bucket/items/one.json") -> pystac.Item:
    made = pystac.Item("one", None, None, datetime(2020, 1, 5, tzinfo=UTC), {}, assets={"red": pystac.Asset(href)})
    made.set_self_href(own)
    return made


@pytest.mark.parametrize(
    "href", ["/data/my cogs/B04.tif", "https://example.com/B04.tif", "s3://other/B04.tif", "file:///data/B04.tif"]
)
def test_an_absolute_address_is_taken_as_it_is(href: str) -> None:
    assert band_href(item(href), RED) == href


def test_a_relative_one_starts_from_the_item() -> None:
    assert band_href(item("./B04.tif"), RED) == "s3://bucket/items/B04.tif"


@pytest.mark.parametrize(
    ("href", "bare"),
    [
        ("https://h/B04.tif?versionId=3&sv=1&sig=x", "https://h/B04.tif?versionId=3"),
        ("https://me:hush@h/B04.tif", "https://h/B04.tif"),
        ("./B04.tif?X-Amz-Signature=x", "s3://bucket/items/B04.tif"),
        ("/data/who?sig=x.tif", "/data/who?sig=x.tif"),
    ],
)
def test_it_is_unsigned(href: str, bare: str) -> None:
    assert band_href(item(href), RED) == bare


def test_an_item_without_the_asset_has_none() -> None:
    assert band_href(item("/B04.tif"), Band("B02", "blue", 10)) is None


# --- scale and offset -------------------------------------------------------------------------------------------------

RULES = (Scaling("corrected", 1, 2, equals=True), Scaling("version", 3, 4, at_least="04.00"))


@pytest.mark.parametrize(
    ("band", "properties", "stated", "scaling"),
    [
        (Band("a", "red", 1, scale=5, offset=6, scalings=RULES), {"corrected": True, "version": "05"}, True, (1, 2)),
        (Band("a", "red", 1, scale=5, offset=6, scalings=RULES), {"corrected": False, "version": "05"}, True, (3, 4)),
        (Band("a", "red", 1, scale=5, offset=6, scalings=RULES), {"version": "03"}, True, (5, 6)),
        (Band("a", "red", 1, scale=5, offset=6), {"version": "05"}, True, (5, 6)),
        (Band("a", "red", 1, scale=5), {}, True, (5, 0)),
        (Band("a", "red", 1, offset=6), {}, True, (1, 6)),
        (Band("a", "red", 1, scalings=RULES), {"version": "05"}, True, (3, 4)),
        (Band("a", "red", 1, scalings=RULES), {}, True, (7, 8)),
        (Band("a", "red", 1), {}, True, (7, 8)),
        (Band("a", "red", 1, index=2), {}, True, None),
        (Band("a", "red", 1), {}, False, None),
        (Band("a", "blue", 1), {}, True, None),
    ],
)
def test_a_rule_comes_before_the_band_before_the_item_before_the_file(
    band: Band, properties: dict[str, object], stated: bool, scaling: tuple[float, float] | None
) -> None:
    found = item("red.tif")
    found.properties |= properties
    if stated:
        found.assets["red"].extra_fields["raster:bands"] = [{"scale": 7, "offset": 8}]
    assert scaling_of(found, band) == scaling


def test_one_that_is_no_number_is_refused() -> None:
    found = item("red.tif")
    found.assets["red"].extra_fields["raster:bands"] = [{"scale": "much"}]
    with pytest.raises(ItemError, match=r"item one: scale of a band in red\.tif: 'much' is no number"):
        scaling_of(found, RED)

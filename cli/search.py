"""``geomask search``: ask a STAC catalog, write the items that fit."""

from __future__ import annotations

import json
import logging
import warnings
from typing import TYPE_CHECKING, Any, Literal

import click

from .options import ListCommand, ListOption, read_bbox, read_geometry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pystac_client import Client

_WARNINGS = {
    "all": "PystacClientWarning",
    "no-conforms-to": "NoConformsTo",
    "does-not-conform-to": "DoesNotConformTo",
    "missing-link": "MissingLink",
    "fallback-to-pystac": "FallbackToPystac",
}
_LEVELS = ("DEBUG", "INFO", "WARN", "WARNING", "ERROR", "CRITICAL")


def _read_filter(ctx: click.Context, param: click.Parameter, value: str | None) -> str | dict[str, Any] | None:
    if value is None or not value.lstrip().startswith("{"):
        return value
    try:
        return dict(json.loads(value))
    except ValueError as error:
        raise click.BadParameter(f"no JSON: {error}.") from error


def _read_headers(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.split("=", 1) for text in value]
    if not all(len(pair) == 2 and pair[0] for pair in pairs):
        raise click.BadParameter("give them as KEY=VALUE.")
    return dict(pairs)


def _list(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> list[str] | None:
    return list(value) or None


@click.command(cls=ListCommand, short_help="Ask a STAC catalog for items.")
@click.argument("href", metavar="URL|PATH|-")
@click.option("-c", "--collections", cls=ListOption, callback=_list, metavar="ID...", help="Collections to search.")
@click.option("--ids", cls=ListOption, callback=_list, metavar="ID...", help="Items by name.")
@click.option("--bbox", cls=ListOption, numbers=True, callback=read_bbox, metavar="W S E N", help="Area in degrees.")
@click.option("--intersects", callback=read_geometry, metavar="GEOJSON", help="Geometry, a file or itself.")
@click.option("--datetime", metavar="TIME", help="Instant or interval: 2020-07, 2020-07-01/2020-08-31, 2020/..")
@click.option("--query", cls=ListOption, callback=_list, metavar="CONDITION...", help="As in 'eo:cloud_cover<10'.")
@click.option("--filter", callback=_read_filter, metavar="CQL2", help="CQL2, as text or as JSON.")
@click.option("--filter-lang", metavar="LANG", help="cql2-text or cql2-json, where --filter does not show it.")
@click.option("--sortby", cls=ListOption, signed=True, callback=_list, metavar="[-]NAME...", help="Order; - descends.")
@click.option("--fields", cls=ListOption, signed=True, callback=_list, metavar="[-]NAME...", help="Fields; - excludes.")
@click.option("--limit", type=click.IntRange(1, 10_000), help="Items on a page.")
@click.option("--max-items", type=click.IntRange(1), help="Items at most.")
@click.option("--method", type=click.Choice(["GET", "POST"], case_sensitive=False), help="POST unless told.")
@click.option("--matched", is_flag=True, help="Print only how many items fit.")
@click.option("--save", type=click.Path(), metavar="FILE", help="Write the items there instead of printing them.")
@click.option("--headers", cls=ListOption, callback=_read_headers, metavar="KEY=VALUE...", help="For every request.")
@click.option("--add-conforms-to", cls=ListOption, metavar="NAME...", help="What the API can do and does not say.")
@click.option("--remove-conforms-to", cls=ListOption, metavar="NAME...", help="What the API says and cannot do.")
@click.option("--clear-conforms-to", is_flag=True, help="Forget what the API says that it can do.")
@click.option("--ignore", cls=ListOption, bare="all", type=click.Choice(list(_WARNINGS)), help="Hide these warnings.")
@click.option("--error", cls=ListOption, bare="all", type=click.Choice(list(_WARNINGS)), help="Fail on these warnings.")
@click.option("--logging", type=click.Choice(_LEVELS, case_sensitive=False), help="Log to standard error.")
def search(href: str, **options: Any) -> None:
    """Ask a STAC catalog for items and print them as one item collection.

    The catalog is an API's URL, a static catalog's URL or path, a file of items, or - for standard input. The options
    are those of stac-client. A list goes on to the next option, so the URL stands first, or after --. What a server
    cannot do, or does wrongly, is done here, with a warning. --save writes stac-geoparquet to *.parquet, a line an item
    to *.ndjson, GeoJSON to any other name; it notes the search, which *.ndjson has no place for.

    \b
    geomask search catalog.json --bbox 26.9 -8.1 27.2 -7.9 --query 'eo:cloud_cover<10'
    """
    from geomask.errors import SearchError
    from geomask.stac import search as stac

    if options["logging"]:
        logging.basicConfig(level=options["logging"])
    asked = {name: options[name] for name in stac.SearchParameters.__annotations__ if options[name] is not None}
    try:
        stac.check_parameters(**asked)
    except SearchError as error:
        raise click.UsageError(str(error), click.get_current_context()) from error
    with warnings.catch_warnings():
        _filter_warnings(options["ignore"], options["error"])
        client = stac.open_catalog(href, options["headers"])
        _change_conformance(client, options)
        if options["matched"]:
            click.echo(stac.count_matched(client, **asked))
            return
        features = stac.search_features(client, **asked)
        described = stac.describe_search(client, **asked)
    if options["save"]:
        stac.save_items(features, options["save"], described)
        click.echo(f"{len(features)} items in {options['save']}", err=True)
    else:
        click.echo(json.dumps(stac.item_collection(features, described)))


def _filter_warnings(ignored: Iterable[str], fatal: Iterable[str]) -> None:
    from pystac_client import warnings as categories

    action: Literal["ignore", "error"]
    for action, names in (("ignore", ignored), ("error", fatal)):
        for name in names:
            warnings.simplefilter(action, getattr(categories, _WARNINGS[name]))


def _change_conformance(client: Client, options: dict[str, Any]) -> None:
    if options["clear_conforms_to"]:
        client.clear_conforms_to()
    try:
        for name in options["remove_conforms_to"]:
            client.remove_conforms_to(name)
        for name in options["add_conforms_to"]:
            client.add_conforms_to(name)
    except ValueError as error:
        raise click.UsageError(str(error), click.get_current_context()) from error

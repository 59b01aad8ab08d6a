"""What commands share: options that take a list of values, as argparse has them, and the argument ITEMS."""

from __future__ import annotations

import json
import math
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pystac import Item

    from geomask.selection import Selection
    from geomask.signing import Sign
    from geomask.stac.frozen import Found
    from geomask.stac.slot_rule import SlotRule


class ListOption(click.Option):
    """An option that takes every value up to the next option: ``--ids a b c``, like ``nargs="*"`` of argparse.

    Works in a :class:`ListCommand`. It may be given again, and ``--ids=a`` takes that one value alone.
    """

    def __init__(
        self, *args: Any, numbers: bool = False, signed: bool = False, bare: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **{**kwargs, "multiple": True})
        self.numbers = numbers
        """Only numbers belong to the list, so that a path may follow them."""
        self.signed = signed
        """Values may begin with a minus that is none of a number, as in ``--sortby -datetime``."""
        self.bare = bare
        """The value where none is given; None if one has to be."""

    def takes(self, token: str) -> bool:
        """Whether what stands next on the command line belongs to the list."""
        if self.numbers or _is_numeric(token):
            return _is_numeric(token)
        if token.startswith("-") and self.signed:
            return len(token) > 2 and token[1] != "-"  # -c and --ids stay options
        return not token.startswith("-")


class Quantity(click.ParamType[float]):
    """A value with a unit."""

    def __init__(self, name: str, kind: str) -> None:
        self.name, self.kind = name, kind

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """To seconds or bit/s; a usage error where it is neither."""
        from geomask.quantity import parse_duration, parse_rate

        parse: Callable[[str], float] = parse_duration if self.kind == "duration" else parse_rate
        try:
            return parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class ListCommand(click.Command):
    """A command whose :class:`ListOption` are lists: before click parses, each value gets its option's name."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line, ``--ids a b`` as if it were ``--ids a --ids b``."""
        options = {name: option for option in self.params if isinstance(option, click.Option) for name in option.opts}
        todo, spread = deque(args), list[str]()
        while todo:
            name = todo.popleft()
            option = options.get(name)
            if name == "--":
                spread += [name, *todo]
                break
            if isinstance(option, ListOption):
                spread += _take_list(ctx, name, option, todo)
            elif option is not None and not option.is_flag:
                spread += [name, *(todo.popleft() for _ in range(min(option.nargs, len(todo))))]
            else:
                spread.append(name)
        return super().parse_args(ctx, spread)


def _take_list(ctx: click.Context, name: str, option: ListOption, todo: deque[str]) -> list[str]:
    values = []
    while todo and option.takes(todo[0]):
        values.append(todo.popleft())
    if not values:
        if option.bare is None:
            raise click.BadOptionUsage(name, f"Option {name!r} needs at least one value.", ctx)
        values = [option.bare]
    return [part for value in values for part in (name, value)]


def _is_numeric(token: str) -> bool:
    """Whether it is a number, or several with commas between them."""
    try:
        return bool([float(number) for number in token.split(",")])
    except ValueError:
        return False


def _load_signer(ctx: click.Context, param: click.Parameter, value: str | None) -> Sign | None:
    from geomask.errors import FetchError
    from geomask.signing import load_signer

    try:
        return load_signer(value) if value is not None else None
    except FetchError as error:
        raise click.BadParameter(str(error), ctx, param) from error


sign_option = click.option(
    "--sign",
    metavar="MODULE:FUNCTION",
    callback=_load_signer,
    help="Function that signs an href, such as planetary_computer:sign_url.",
)
"""How to sign hrefs, in place of what signs those of the items; the command gets the function, or None."""

index_option = click.option(
    "--index",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Headers of `geomask index`, which are not fetched again.",
)
"""A header index that was kept."""

no_prefix_option = click.option(
    "--no-prefix",
    "prefix",
    is_flag=True,
    flag_value=False,
    default=True,
    help="Fetch whole GeoTIFF tiles, not the first rows alone: their checksums are reached.",
)
"""Arrives as ``prefix``, True without the flag."""


def _parse_slots(ctx: click.Context, param: click.Parameter, value: str) -> SlotRule:
    from geomask.errors import ItemError
    from geomask.stac.slot_rule import parse_slots

    try:
        return parse_slots(value)
    except ItemError as error:
        raise click.BadParameter(str(error), ctx, param) from error


slots_option = click.option(
    "--slots",
    default="month",
    show_default=True,
    metavar="RULE",
    callback=_parse_slots,
    help="month, season, clearest:K, dates:DATE,...~DAYS or days:FIRST-LAST,... of the year.",
)
"""The time axis; the command gets a `SlotRule` without its mosaic, which is an option of its own."""

mosaic_option = click.option(
    "--mosaic",
    default="least-cloudy",
    show_default=True,
    type=click.Choice(["least-cloudy", "first", "nearest"]),
    help="Which item of a slot comes first; nearest: to the slot's centre.",
)
"""What a pixel shows that several items of a slot hold."""


def read_bbox(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> list[float] | None:
    """Of a `ListOption` of numbers."""
    numbers = [float(number) for part in value for number in part.split(",")]
    if numbers and len(numbers) not in (4, 6):
        raise click.BadParameter(f"give west south east north (4 numbers, or 6 with heights), not {len(numbers)}.")
    return numbers or None


def read_geometry(ctx: click.Context, param: click.Parameter, value: str | None) -> dict[str, Any] | None:
    """A GeoJSON geometry, bare or in a Feature, from a file or from the command line itself."""
    if value is None:
        return None
    try:
        document = json.loads(value if value.lstrip().startswith("{") else Path(value).read_text(encoding="utf-8"))
    except OSError as error:
        raise click.BadParameter(f"{value!r} is neither GeoJSON nor a readable file.") from error
    except ValueError as error:
        raise click.BadParameter(f"no JSON: {error}.") from error
    features = document.get("features") if isinstance(document, dict) else None
    if features is not None and len(features) != 1:
        raise click.BadParameter(f"a FeatureCollection with {len(features)} features; give one geometry.")
    feature = features[0] if features else document
    geometry = feature.get("geometry", feature) if isinstance(feature, dict) else None
    if not isinstance(geometry, dict):
        raise click.BadParameter("no geometry in it.")
    return geometry


def names_of(text: str) -> list[str]:
    """Of ``a,b``."""
    return [name.strip() for name in text.split(",") if name.strip()]


def numbers_of(text: str, option: str) -> list[float]:
    """Of ``1,2.5``; a usage error of `option` where they are no numbers, or do not ascend."""
    try:
        values = [float(part) for part in text.split(",") if part]
    except ValueError:
        raise click.BadParameter(f"numbers with commas between them, not {text!r}", param_hint=option) from None
    if values != sorted(set(values)) or not all(map(math.isfinite, values)):
        raise click.BadParameter(f"values must be finite and ascend, unlike {text!r}", param_hint=option)
    return values


items_argument = click.argument("items", metavar="ITEMS", type=click.Path(allow_dash=True))
"""An item collection: a file, or ``-`` for stdin."""


def load_items(argument: str) -> list[Item]:
    """The items of the argument. Raises SearchError where it holds none: no command can make anything of that."""
    return load_found(argument).items


def load_found(argument: str) -> Found:
    """The items of the argument, as :func:`load_items`, and what was searched for."""
    from geomask.errors import SearchError
    from geomask.stac import search

    found = search.load_found(argument)
    if not found.items:
        raise SearchError(f"{argument} holds no items; search for some first")
    return found


def fit_slots(selection: Selection, items: Iterable[Item]) -> Selection:
    """The selection on slots that fit the items; where that are others, stderr says so."""
    fitted = selection.on(items)
    if fitted is not selection:
        first, last = fitted.slots[0], fitted.slots[-1]
        years = first.centre.year - selection.slots[0].centre.year
        note = f"slots moved by {years:+} years, to those from {first.name} to {last.name}"
        if fitted.rule.by == "clearest":
            note = f"the clearest days of these items: {', '.join(f'{slot.centre:%Y-%m-%d}' for slot in fitted.slots)}"
        click.echo(f"Note: {note}.", err=True)
    return fitted

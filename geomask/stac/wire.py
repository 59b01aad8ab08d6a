"""A search in words that servers take alike: what it asks for stays the same.

Each rule is there because a server in use answers the other form wrongly, and an answer that lacks items looks like
any other.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import shapely

from .matching import parse_bbox

if TYPE_CHECKING:
    from .fields import Json

_COMPARISONS = ("eq", "neq", "lt", "lte", "gt", "gte")


def as_sent(asked: Json) -> Json:
    """The parameters of a search, in the form that POST gives them, as they go to a server."""
    sent = dict(asked)
    if sent.get("query"):
        sent["query"] = {name: _with_numbers(operands) for name, operands in sent["query"].items()}
    if sent.get("bbox"):
        bbox = list(sent["bbox"])
        if len(bbox) == 6:  # items are not told apart by height, and some servers fail on it
            del bbox[2::3]
        sent["bbox"] = bbox
        if bbox[0] > bbox[2] and not sent.get("intersects"):  # over the date line; some take it the other way round
            del sent["bbox"]
            sent["intersects"] = json.loads(shapely.to_geojson(parse_bbox(bbox)))
    return sent


def _with_numbers(operands: Any) -> Any:
    """Comparisons of a property with numbers that are no text: ``eo:cloud_cover<5`` comes from pystac-client as "5".

    Some servers compare it as text then, where 10 comes before 5, and 5 is not 5.0.
    """
    if not isinstance(operands, dict):
        return operands
    return {symbol: _number(operand) if symbol in _COMPARISONS else operand for symbol, operand in operands.items()}


def _number(operand: Any) -> Any:
    """The number that a text is in JSON, where 025 and 05.09 are none, or the operand as it is."""
    if not isinstance(operand, str):
        return operand
    try:
        number = json.loads(operand)
    except ValueError:
        return operand
    is_number = isinstance(number, int | float) and not isinstance(number, bool)
    return number if is_number and math.isfinite(number) else operand

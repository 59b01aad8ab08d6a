"""A catalog's terms: what its bytes cost, and what gives access to them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from ..errors import ItemError
from .values import maybe, record, text, truth, whole

if TYPE_CHECKING:
    from collections.abc import Callable

_FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class CostHints:
    """What is known of a collection's files before one is opened. The header of each file has the truth."""

    format: str = "geotiff"
    """``geotiff``, of which byte ranges are planned, or ``jp2``, which GDAL reads itself."""
    tile: int | None = None
    """Side of a GeoTIFF tile at full resolution, pixels."""
    interleave: str | None = None
    """``band``, or ``pixel``: then all bands of the file come with one."""
    header_nbytes: int | None = None
    """Bytes of a header, about, at the finest resolution."""
    requester_pays: bool = False
    """Whether who reads pays for the bytes."""
    egress: str = ""
    """Where the files lie, and what leaving that place costs or is limited to."""

    def __post_init__(self) -> None:
        """Refuse words and numbers that mean nothing."""
        if self.format not in ("geotiff", "jp2") or self.interleave not in (None, "band", "pixel"):
            raise ItemError(
                f"cost: format is geotiff or jp2, interleave band or pixel; not {self.format}, {self.interleave}"
            )
        if any(number is not None and number < 1 for number in (self.tile, self.header_nbytes)):
            raise ItemError(f"cost: tile and header_nbytes are positive, not {self.tile}, {self.header_nbytes}")

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """Of a mapping with these fields. Raises ItemError where one is unknown or of the wrong kind."""
        return cls(**record("cost", values, _COST))


@dataclass(frozen=True, slots=True)
class Signing:
    """What gives access. It is told to users and never done for them: a profile may come from a stranger."""

    function: str | None = None
    """``MODULE:FUNCTION`` that signs an href, for `--sign`."""
    login: str = ""
    """The account that it takes, and where that comes from."""
    environment: tuple[tuple[str, str], ...] = ()
    """Variables to set and their values, none of them a secret."""

    def __post_init__(self) -> None:
        """Refuse what is no function's name and what is no variable's."""
        if self.function is not None and not _FUNCTION.fullmatch(self.function):
            raise ItemError(f"signing: a function is MODULE:FUNCTION, not {self.function!r}")

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """Of a mapping with these fields. Raises ItemError where one is unknown or of the wrong kind."""
        return cls(**record("signing", values, _SIGNING))


def _variables(values: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(values, dict) or not all(isinstance(key, str) and _VARIABLE.fullmatch(key) for key in values):
        raise ValueError("it is a mapping of variables, in capitals, to text")
    return tuple((key, text(value)) for key, value in values.items())


_COST: dict[str, Callable[[Any], Any]] = {
    "format": text,
    "tile": maybe(whole),
    "interleave": maybe(text),
    "header_nbytes": maybe(whole),
    "requester_pays": truth,
    "egress": text,
}
_SIGNING: dict[str, Callable[[Any], Any]] = {"function": maybe(text), "login": text, "environment": _variables}

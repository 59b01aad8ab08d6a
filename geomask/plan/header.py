"""What all requests of a manifest have in common: its first line, or the metadata of its Parquet file."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from ..errors import GeomaskError, ManifestError
from ..grid import Grid, Window
from ..signing import unsigned
from .kinds import brief, each, finite, maybe, members, text, whole
from .limits import check_scaling
from .tiles import window_array

if TYPE_CHECKING:
    from .manifest import Manifest

VERSION = 3


def header_document(manifest: Manifest) -> dict[str, Any]:
    """As JSON has it."""
    return {
        "geomask": "manifest",
        "version": VERSION,
        "created_with": f"geomask {version('geomask')}",
        "selection": manifest.selection,
        "profile": manifest.profile,
        "search": _bare_search(manifest.search),
        "grid": asdict(manifest.grid),
        "gap": manifest.gap,
        "dense_nbytes": manifest.dense_nbytes,
        "chips": window_array(manifest.chips).tolist(),
        "channels": [list(names) for names in manifest.channels],
        "scaling": [[float(number) for number in pair] for pair in manifest.scaling],
    }


def parse_header(document: Any) -> dict[str, Any]:
    """The fields of a manifest without its requests. Raises ManifestError for what `header_document` did not make."""
    if not isinstance(document, dict) or document.get("geomask") != "manifest":
        raise ManifestError("this is no geomask manifest")
    if document.get("version") != VERSION or type(document["version"]) is not int:
        raise ManifestError(
            f"a manifest of version {brief(document.get('version'))}; "
            f"this geomask reads version {VERSION}: compile it anew"
        )
    members(document, _MEMBERS)
    text("created_with", document["created_with"])
    try:
        channels = each(_channel, "channels", document["channels"])
        return {
            "selection": text("selection", document["selection"]),
            "profile": maybe(text, "profile", document["profile"]),
            "search": _search(document["search"]),
            "grid": _grid(document["grid"]),
            "gap": _amount("gap", document["gap"]),
            "dense_nbytes": maybe(_amount, "dense_nbytes", document["dense_nbytes"]),
            "chips": each(_window, "chips", document["chips"]),
            "channels": channels,
            "scaling": check_scaling(each(_pair, "scaling", document["scaling"]), len(channels)),
        }
    except ManifestError:
        raise
    except GeomaskError as error:  # of a grid or a window
        raise ManifestError(str(error)) from error


_MEMBERS = (
    *("geomask", "version", "created_with", "selection", "profile", "search"),
    *("grid", "gap", "dense_nbytes", "chips", "channels", "scaling"),
)


def _grid(document: Any) -> Grid:
    values = members(document, Grid.__dataclass_fields__)
    text("grid.crs", values["crs"])
    for name in ("left", "top", "res_y", "res_x"):
        finite(f"grid.{name}", values[name])
    for name in ("height", "width"):
        whole(f"grid.{name}", values[name])
    return Grid(**values)


def _window(name: str, value: Any) -> Window:
    numbers = each(whole, name, value)
    if len(numbers) != 4:
        raise ManifestError(f"{name} has {len(numbers)} numbers; a window has row_off, col_off, height, width")
    return Window(*numbers)


def _channel(name: str, value: Any) -> tuple[str, str]:
    names = each(text, name, value)
    if len(names) != 2:
        raise ManifestError(f"{name} has {len(names)} names; a channel has a slot and a band")
    return names[0], names[1]


def _pair(name: str, value: Any) -> tuple[float, float]:
    numbers = each(finite, name, value)
    if len(numbers) != 2:
        raise ManifestError(f"{name} has {len(numbers)} numbers; it is a scale and an offset")
    return float(numbers[0]), float(numbers[1])


def _amount(name: str, value: Any) -> int:
    if whole(name, value) < 0:
        raise ManifestError(f"{name} is {value}, below 0")
    return int(value)


def _search(document: Any) -> dict[str, Any] | None:
    if document is not None and not isinstance(document, dict):
        raise ManifestError(f"search is {brief(document)}, no object")
    return _bare_search(document)


def _bare_search(search: dict[str, Any] | None) -> dict[str, Any] | None:
    """A search whose addresses have lost what signs them. Raises ManifestError where it is nested too deeply."""
    try:
        return _unsigned(search)  # type: ignore[no-any-return]
    except RecursionError:
        raise ManifestError("search is nested too deeply") from None


def _unsigned(document: Any) -> Any:
    match document:
        case str():
            return unsigned(document)
        case list() | tuple():
            return [_unsigned(value) for value in document]
        case dict():
            return {name: _unsigned(value) for name, value in document.items()}
    return document

"""The JSON Schema of a manifest's lines, and what it finds wrong in them."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from ..errors import ManifestError
from .kinds import decode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Characters of a fault: jsonschema quotes the whole value, and a line may be long.
SHOWN = 200


def line_schema() -> dict[str, Any]:
    """The schema of one line, be it the header or a request: JSON Schema, draft 2020-12."""
    text = files("geomask.plan").joinpath("manifest.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def sound_lines(lines: Iterable[str], faults: list[str], most: int) -> Iterator[str]:
    """The lines before the first that the schema refuses.

    The lines after it are read too: what is wrong goes to `faults`, as ``line 3: window[2]: 0 is less than the minimum
    of 1``, until there are `most`.
    """
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(line_schema())
    for at, line in enumerate(lines, 1):
        if line.strip() or at == 1:
            faults.extend(f"line {at}: {fault}" for fault in _faults(validator, line))
        if len(faults) >= most:
            del faults[most:]
            return
        if not faults:
            yield line


def _faults(validator: Any, line: str) -> Iterator[str]:
    try:
        document = decode(line)
        for error in validator.iter_errors(document):
            path = error.json_path.removeprefix("$").removeprefix(".")
            said = error.message if len(error.message) <= SHOWN else f"{error.message[: SHOWN - 3]}..."
            yield f"{path}: {said}" if path else said
    except ManifestError as error:
        yield str(error)
    except RecursionError:
        yield "nested too deeply"

"""What one run came to: its score, and what its inference read; out of ``run.json`` and ``receipt.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import RunError
from ..train.record import VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The order of every table and figure; a method that is not among them comes after.
METHODS = (
    *("dense", "learned", "random", "uniform", "forest", "decorrelated", "information", "mrmr"),
    *("concrete", "priced", "hard-concrete", "stochastic", "oehmcke2022"),
)

#: No score, byte or second comes near; what lies beyond is damage, and would overflow in a square.
_LIMIT = 1e18


@dataclass(frozen=True, slots=True)
class Reading:
    """What the inference of a run read."""

    nbytes: int
    """Of response bodies."""
    header_nbytes: int
    """Those of headers, and of the pixels that came with them."""
    requests: int
    seconds: float
    served: bool
    """Whether the server counted bytes and requests, not the reader."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run came to."""

    folder: Path
    contender: str
    """The run's method, such as dense, learned, random or uniform."""
    fold: int
    folds: int
    seed: int
    budget: str
    score: float
    """Of the test cells, 0..1."""
    majority: float
    """Of the same cells, by always saying the most frequent class."""
    reading: Reading | None
    """None where nothing was inferred with it."""
    class_names: tuple[str, ...]
    versions: dict[str, str]
    """Of packages."""


def find_runs(folder: str | Path) -> list[Path]:
    """The finished runs of a demo's folder, of a folder of runs, or the folder itself, by name.

    Raises RunError where there is none.
    """
    folder = Path(folder)
    if (folder / "run.json").is_file():
        return [folder]
    for pattern in ("runs/*/run.json", "*/run.json"):
        if found := sorted(folder.glob(pattern)):
            return [path.parent for path in found]
    raise RunError(f"{folder} holds no finished run, neither run.json nor runs/*/run.json; train one or name another")


def load_outcomes(folder: str | Path) -> tuple[Outcome, ...]:
    """What each run of :func:`find_runs` came to, by contender, fold and seed.

    Raises RunError where a file is broken, or where runs cannot stand in one table: one is there twice, or their splits
    or budgets differ.
    """
    outcomes = sorted(map(_load_outcome, find_runs(folder)), key=lambda one: (_rank(one), one.fold, one.seed))
    places: dict[tuple[str, int, int], Outcome] = {}
    for one in outcomes:
        other = places.setdefault((one.contender, one.fold, one.seed), one)
        if other is not one:
            raise RunError(f"{other.folder} and {one.folder} are of one method, split and seed; report them apart")
    _check_same(folder, "number of splits", {str(one.folds) for one in outcomes})
    # All channels are read whatever the budget.
    _check_same(folder, "budget", {one.budget for one in outcomes if one.contender != "dense"})
    return tuple(outcomes)


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises RunError where it cannot be read or is none."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise RunError(f"{path} is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise RunError(f"{path} holds no JSON object")
    return document


def read_number(document: Mapping[str, Any], name: str, path: Path) -> Any:
    """An int or float of a document out of `path`. Raises RunError where it is missing or no finite number."""
    value = document.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_LIMIT < value < _LIMIT:
        raise RunError(f"{path}: {name} is {value!r}, not a number; make the file anew")
    return value


def _load_outcome(folder: Path) -> Outcome:
    path = folder / "run.json"
    record = read_object(path)
    if record.get("geomask") != "run" or record.get("version") != VERSION:
        raise RunError(f"{path} is no record of a run of version {VERSION}; train it anew")
    method = record.get("method")
    if not (isinstance(method, str) and method.isidentifier() and method != "majority"):
        raise RunError(f"{path}: method is {method!r}, not a name such as dense or learned; train it anew")
    scores = _object(record, "scores")
    return Outcome(
        folder,
        method,
        fold=read_number(record, "fold", path),
        folds=read_number(record, "folds", path),
        seed=read_number(record, "seed", path),
        budget=str(record.get("budget", "")),
        score=read_number(scores, "test", path),
        majority=read_number(scores, "majority", path),
        reading=_load_reading(folder / "receipt.json"),
        class_names=tuple(map(str, names)) if isinstance(names := record.get("class_names"), list) else (),
        versions={str(name): str(number) for name, number in _object(record, "versions").items()},
    )


def _load_reading(path: Path) -> Reading | None:
    if not path.is_file():
        return None
    receipt = read_object(path)
    seconds = read_number(receipt, "seconds", path)
    if server := _object(receipt, "server"):
        nbytes, header, requests = (read_number(server, name, path) for name in ("bytes", "header_bytes", "requests"))
        return Reading(nbytes, header, requests, seconds, served=True)
    header, pixels, wasted, requests = (
        read_number(receipt, name, path) for name in ("header_nbytes", "pixel_nbytes", "refetched_nbytes", "requests")
    )
    return Reading(header + pixels + wasted, header, requests, seconds, served=False)


def _object(document: dict[str, Any], name: str) -> dict[str, Any]:
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def _rank(outcome: Outcome) -> tuple[int, str]:
    known = outcome.contender in METHODS
    return METHODS.index(outcome.contender) if known else len(METHODS), outcome.contender


def _check_same(folder: str | Path, what: str, values: set[str]) -> None:
    if len(values) > 1:
        raise RunError(f"the runs of {folder} differ in their {what}: {', '.join(sorted(values))}; report them apart")

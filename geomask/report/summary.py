"""The figures of a report: one tidy table over a folder of runs, ``summary.json``.

Seeds within one split share its training and test cells, so their scores are not independent: an interval over 3 splits
x 3 seeds counts 9 values where fewer were free to differ, and is optimistic.
"""

from __future__ import annotations

import json
import math
import os
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from ..atomic import write_text
from ..errors import RunError
from .outcome import load_outcomes, read_number, read_object

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .outcome import Outcome

#: Every metric and its unit, in the table's order.
UNITS = {"score": "fraction", "gain_over_dense": "fraction", "bytes": "B", "requests": "count", "seconds": "s"}


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: a mean over `n` values and its 95 % t interval; of a single value both ends are the value."""

    contender: str
    """A method, or ``majority``: always saying the most frequent class, which reads nothing."""
    case: str
    metric: str
    """score, gain_over_dense, bytes, requests or seconds."""
    value: float
    unit: str
    n: int
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of a report, and where they come from."""

    date: str
    """Of the summary, ISO 8601, UTC."""
    machine: dict[str, str | int]
    """The one that summed up, which in the demo is the one that measured: platform, processors, python."""
    versions: dict[str, str]
    """Of the packages that the runs were trained with; where they differ, all of them with commas between."""
    rows: tuple[Row, ...]

    def row(self, contender: str, metric: str) -> Row | None:
        """A figure, or None where it was not measured."""
        return next((row for row in self.rows if (row.contender, row.metric) == (contender, metric)), None)

    @property
    def contenders(self) -> list[str]:
        """In the table's order."""
        return list(dict.fromkeys(row.contender for row in self.rows))


def summarise(folder: str | Path, case: str = "demo") -> Summary:
    """The figures of all runs in a folder; raises RunError as :func:`~geomask.report.outcome.load_outcomes` does.

    ``gain_over_dense`` is paired: the mean over (fold, seed) of a contender's score minus that of all channels. The
    score of the majority class depends on the split alone, so it has one value a split. Bytes and requests are the
    server's count where there is one, else the reader's; a run that nothing was inferred with has none.
    """
    outcomes = load_outcomes(folder)
    machine: dict[str, str | int] = {
        "platform": f"{platform.system()} {platform.machine()}",
        "processors": os.cpu_count() or 1,
        "python": platform.python_version(),
    }
    return Summary(datetime.now(UTC).date().isoformat(), machine, _versions(outcomes), tuple(_rows(outcomes, case)))


def write_summary(summary: Summary, folder: str | Path) -> Path:
    """Write ``summary.json`` into `folder`, whole or not at all; returns its path. Raises RunError."""
    path = Path(folder) / "summary.json"
    write_text(path, json.dumps(asdict(summary), indent=1, allow_nan=False) + "\n")
    return path


def read_summary(folder: str | Path) -> Summary:
    """What `write_summary` wrote. Raises RunError where it is missing or broken."""
    path = Path(folder) / "summary.json"
    document = read_object(path)
    try:
        rows = tuple(Row(**row) for row in document["rows"])
        date, machine, versions = str(document["date"]), dict(document["machine"]), dict(document["versions"])
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path} is no summary: {type(error).__name__} {error}; write it with geomask report") from error
    for row in document["rows"]:
        for name in ("value", "n", "low", "high"):
            read_number(row, name, path)
    return Summary(date, machine, versions, rows)


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean of at least one value and its 95 % t interval: (mean, low, high), all the same for a single value."""
    from scipy.special import stdtrit  # what scipy.stats.t asks too, whose import takes a second longer

    mean, count = fmean(values), len(values)
    if count == 1:
        return mean, mean, mean
    half = float(stdtrit(count - 1, 0.975)) * stdev(values) / math.sqrt(count)
    return mean, mean - half, mean + half


def table(summary: Summary) -> str:
    """The figures as aligned text: scores in %, gains in points, each with half its interval."""
    cells = table_cells(summary)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in cells]
    return "\n".join("  ".join(line).rstrip() for line in lines)


def table_cells(summary: Summary) -> list[list[str]]:
    """The table's head and its rows, a text a cell; empty where nothing was measured."""
    head = ["contender", "n", "score, %", "gain over dense, points", "bytes", "of dense", "requests", "seconds"]
    return [head, *(_cells(summary, contender) for contender in summary.contenders)]


def bytes_text(nbytes: float) -> str:
    """A number of bytes for people, to three digits: ``1.52 MB``."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if nbytes >= 0.9995 * factor:
            whole = len(f"{nbytes / factor:.0f}")
            return f"{nbytes / factor:.{max(0, 3 - whole)}f} {unit}"
    return f"{nbytes:.0f} B"


def _cells(summary: Summary, contender: str) -> list[str]:
    score, gain, nbytes, requests, seconds = (summary.row(contender, metric) for metric in UNITS)
    dense = summary.row("dense", "bytes")
    return [
        contender,
        str(score.n) if score else "",
        _points(score, ""),
        _points(gain, "+"),
        bytes_text(nbytes.value) if nbytes else "",
        f"{100 * nbytes.value / dense.value:.1f} %" if nbytes and dense and dense.value else "",
        f"{requests.value:.0f}" if requests else "",
        f"{seconds.value:.2f}" if seconds else "",
    ]


def _points(row: Row | None, sign: str) -> str:
    if row is None:
        return ""
    half = f" ± {50 * (row.high - row.low):.1f}" if row.n > 1 else ""
    return f"{100 * row.value:{sign}.1f}{half}"


def _rows(outcomes: Sequence[Outcome], case: str) -> Iterator[Row]:
    dense = {(one.fold, one.seed): one.score for one in outcomes if one.contender == "dense"}
    for contender in dict.fromkeys(one.contender for one in outcomes):
        runs = [one for one in outcomes if one.contender == contender]
        read = [one.reading for one in runs if one.reading]
        paired = [(one.score, dense.get((one.fold, one.seed))) for one in runs if contender != "dense"]
        yield from _rows_of(
            contender,
            case,
            score=[one.score for one in runs],
            gain_over_dense=[score - other for score, other in paired if other is not None],
            bytes=[reading.nbytes for reading in read],
            requests=[reading.requests for reading in read],
            seconds=[reading.seconds for reading in read],
        )
    yield from _rows_of("majority", case, **_majority(outcomes, dense))


def _majority(outcomes: Sequence[Outcome], dense: dict[tuple[int, int], float]) -> dict[str, list[float]]:
    folds = sorted({one.fold for one in outcomes})
    scores = {fold: fmean(one.majority for one in outcomes if one.fold == fold) for fold in folds}
    gains = [scores[fold] - score for (fold, _), score in dense.items()]
    return {"score": list(scores.values()), "gain_over_dense": gains}


def _rows_of(contender: str, case: str, **metrics: Sequence[float]) -> Iterator[Row]:
    for metric, values in metrics.items():
        if values:
            mean, low, high = mean_interval(values)
            yield Row(contender, case, metric, mean, UNITS[metric], len(values), low, high)


def _versions(outcomes: Sequence[Outcome]) -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for outcome in outcomes:
        for package, number in outcome.versions.items():
            found.setdefault(package, set()).add(number)
    return {package: ", ".join(sorted(numbers)) for package, numbers in sorted(found.items())}

"""The form that all benchmarks share: tidy figures as JSON, and one table of them for people."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from geomask.atomic import write_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, or the reason why there is none."""

    contender: str
    case: str
    metric: str
    value: float | None
    """In `unit`; None where it could not be measured."""
    unit: str
    n: int = 0
    """Repetitions behind it."""
    low: float | None = None
    """Of the repetitions; the benchmark says which bounds these are."""
    high: float | None = None
    """See `low`."""
    note: str | None = None
    """Why there is no value."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it: a note only where there is one."""
        values = asdict(self)
        return values if self.note is not None else {key: values[key] for key in values if key != "note"}


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run of a benchmark measured."""

    date: str
    """ISO 8601, UTC."""
    machine: dict[str, str | int]
    """platform, processors, python."""
    versions: dict[str, str]
    """Of everything that was measured."""
    rows: tuple[Row, ...]

    @classmethod
    def now(cls, versions: dict[str, str], rows: Sequence[Row]) -> Self:
        """Of today, on this machine."""
        machine: dict[str, str | int] = {
            "platform": f"{platform.system()} {platform.machine()}",
            "processors": os.cpu_count() or 1,
            "python": platform.python_version(),
        }
        return cls(datetime.now(UTC).date().isoformat(), machine, versions, tuple(rows))

    def save(self, path: Path) -> None:
        """Write tidy JSON."""
        document = {**asdict(self), "rows": [row.to_dict() for row in self.rows]}
        path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        document = json.loads(path.read_text(encoding="utf-8"))
        rows = tuple(Row(**row) for row in document["rows"])
        return cls(document["date"], document["machine"], document["versions"], rows)

    @property
    def cases(self) -> list[str]:
        """In the order of the rows."""
        return list(dict.fromkeys(row.case for row in self.rows))

    def source(self) -> str:
        """Date, machine and versions, in a sentence."""
        machine = self.machine
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return (
            f"{self.date}, {machine['platform']}, {machine['processors']} processors, "
            f"Python {machine['python']}; {versions}."
        )


@dataclass(frozen=True, slots=True)
class Column:
    """A metric, as a table shows it."""

    metric: str
    title: str
    show: Callable[[Row], str]
    """The text of a figure that has a value."""


def table(figures: Figures, columns: Sequence[Column], *, markdown: bool = False) -> str:
    """One block a case with one line a contender: aligned text, or Markdown."""
    blocks = []
    for case in figures.cases:
        shown = _measured(figures, case, columns)
        lines = [["contender", *(column.title for column in shown)], *_lines(figures, case, shown)]
        blocks.append(_markdown(case, lines) if markdown else _text(case, lines))
    return "\n\n".join(blocks)


def _measured(figures: Figures, case: str, columns: Sequence[Column]) -> list[Column]:
    """Those that a case has figures of."""
    metrics = {row.metric for row in figures.rows if row.case == case}
    return [column for column in columns if column.metric in metrics]


def _lines(figures: Figures, case: str, columns: Sequence[Column]) -> list[list[str]]:
    found: dict[str, dict[str, Row]] = {}
    for row in figures.rows:
        if row.case == case:
            found.setdefault(row.contender, {})[row.metric] = row
    return [_line(contender, rows, columns) for contender, rows in found.items()]


def _line(contender: str, rows: dict[str, Row], columns: Sequence[Column]) -> list[str]:
    notes = list(dict.fromkeys(row.note for row in rows.values() if row.note))
    if notes:
        return [contender, notes[0]]
    return [contender, *(column.show(rows[column.metric]) if column.metric in rows else "" for column in columns)]


def _text(case: str, lines: list[list[str]]) -> str:
    full = [line for line in lines if len(line) == len(lines[0])]
    widths = [max(len(line[number]) for line in full) for number in range(len(lines[0]))]
    widths[0] = max(len(line[0]) for line in lines)
    shown = [
        line[0].ljust(widths[0])
        + "  "
        + "  ".join(text.rjust(width) for text, width in zip(line[1:], widths[1:], strict=False))
        for line in lines
    ]
    return "\n".join([case, *(f"  {line.rstrip()}" for line in shown)])


def _markdown(case: str, lines: list[list[str]]) -> str:
    width = len(lines[0])
    filled = [line + [""] * (width - len(line)) for line in lines]
    rule = ["---", *["---:"] * (width - 1)]
    return "\n".join([f"**{case}**", "", *("| " + " | ".join(line) + " |" for line in (filled[0], rule, *filled[1:]))])


def write_figures(page: Path, shown: str) -> None:
    """Put the figures of a page, Markdown, between its two marks."""
    head, begin, rest = page.read_text(encoding="utf-8").partition("<!-- figures -->\n")
    _, end, tail = rest.partition("<!-- /figures -->")
    write_text(page, f"{head}{begin}\n{shown}\n{end}{tail}")

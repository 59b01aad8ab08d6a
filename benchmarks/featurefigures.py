"""From what was measured on each split to rows: which setting counts in a case is chosen on validation alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from featurebouts import OURS, Point
from maskfigures import interval
from table import Column, Row

#: What is held against all others, and at which of its settings.
REFERENCE, AT = "selection", "5%"
#: Bits a pixel, of which each contender may take so many.
RATES = (1, 4, 16, 64, 256, 2048)
#: Of the reference's bytes, at its score.
ALLOWED = 0.2

UNITS = {
    "bits_per_pixel": "bit",
    "score": "fraction",
    "gain_over_selection": "fraction",
    "bytes_of_selection": "fraction",
    "encode_ms_per_megapixel": "ms",
    "decode_ms_per_megapixel": "ms",
    "encoder_weights": "count",
}

COLUMNS = (
    Column("bits_per_pixel", "bits a pixel", lambda row: f"{row.value:.3g}"),
    Column("bytes_of_selection", "of selection's", lambda row: f"{row.value:.1%}"),
    Column("score", "score, %", lambda row: f"{100 * (row.value or 0):.1f}"),
    Column(
        "gain_over_selection",
        "against selection, points (95 %)",
        lambda row: f"{100 * (row.value or 0):+.1f} ({100 * (row.low or 0):+.1f} to {100 * (row.high or 0):+.1f})",
    ),
    Column("encode_ms_per_megapixel", "encode, ms/Mpx", lambda row: f"{row.value:,.0f}"),
    Column("decode_ms_per_megapixel", "decode, ms/Mpx", lambda row: f"{row.value:,.0f}"),
    Column("encoder_weights", "weights", lambda row: f"{row.value:,.0f}"),
    Column("seconds", "seconds", lambda row: f"{row.value:.1f}"),
    Column("bytes", "MB", lambda row: f"{(row.value or 0) / 1e6:.2f}"),
    Column("times_as_fast", "times as fast", lambda row: f"{row.value:.1f}"),
)

type _Settings = Mapping[str, Sequence[Point]]
"""Points of a contender, by setting, one a split."""
type Choose = Callable[[str, _Settings], str | None]
"""Of a contender and its points the setting that counts; None: none does."""


def make_rows(name: str, points: Sequence[Point], contenders: Sequence[str]) -> list[Row]:
    """Of one set: a row a metric of every contender in every case."""
    every = {one: _by_setting(points, one) for one in contenders}
    notes = {point.contender: point.note for point in points if point.note}
    reference = every.get(REFERENCE, {}).get(AT, ())
    rows = _case(f"{name}/equal_score", every, notes, reference, _equal(reference))
    for rate in RATES:
        rows += _case(f"{name}/rate={rate}", every, notes, reference, _within(rate))
    return rows


def _by_setting(points: Sequence[Point], contender: str) -> dict[str, list[Point]]:
    found: dict[str, list[Point]] = {}
    for point in points:
        if point.contender == contender and point.note is None:
            found.setdefault(point.setting, []).append(point)
    return found


def _mean(points: Sequence[Point], name: str) -> float:
    return fmean(getattr(point, name) for point in points)


def _equal(reference: Sequence[Point]) -> Choose:
    """Chooses the setting of least bits that does as well as the reference on validation, else the one that does best.

    The reference is the best of several candidates on the same cells, which flatters it there: a setting that passes it
    does at least as well.
    """
    wanted = _mean(reference, "validation") if reference else float("inf")

    def choose(contender: str, settings: _Settings) -> str | None:
        if contender == REFERENCE:
            return AT if AT in settings else None
        enough = [one for one in settings if _mean(settings[one], "validation") >= wanted]
        if not enough:
            return max(settings, key=lambda one: _mean(settings[one], "validation"), default=None)
        return min(enough, key=lambda one: _mean(settings[one], "bits"))

    return choose


def _within(rate: float) -> Choose:
    """Chooses the setting that does best on validation, of those within so many bits."""

    def choose(contender: str, settings: _Settings) -> str | None:
        small = [one for one in settings if _mean(settings[one], "bits") <= rate]
        return max(small, key=lambda one: _mean(settings[one], "validation"), default=None)

    return choose


def _case(
    case: str,
    every: Mapping[str, _Settings],
    notes: Mapping[str, str],
    reference: Sequence[Point],
    choose: Choose,
) -> list[Row]:
    rows = []
    for contender, settings in every.items():
        setting = choose(contender, settings)
        if setting is not None:
            rows += _rows(contender, case, settings[setting], reference)
            continue
        note = notes.get(contender) or _why(settings)
        rows += [Row(contender, case, metric, None, UNITS[metric], note=note) for metric in ("bits_per_pixel", "score")]
    return rows


def _why(settings: _Settings) -> str:
    """Why no setting counts."""
    if not settings:
        return "was not measured"
    best = max(settings.values(), key=lambda points: _mean(points, "validation"))
    least = min(_mean(points, "bits") for points in settings.values())
    return (
        f"no setting: {least:.3g} bits a pixel at the least; {100 * _mean(best, 'validation'):.1f} % on validation at "
        f"best, with {_mean(best, 'bits'):.3g}"
    )


def _rows(contender: str, case: str, points: Sequence[Point], reference: Sequence[Point]) -> list[Row]:
    names = {"bits_per_pixel": "bits", "score": "test"}
    if points[0].encode:
        names |= {"encode_ms_per_megapixel": "encode", "decode_ms_per_megapixel": "decode"}
    if points[0].weights:
        names["encoder_weights"] = "weights"
    rows = []
    for metric, name in names.items():
        values = [float(getattr(point, name)) for point in points]
        rows.append(Row(contender, case, metric, fmean(values), UNITS[metric], len(values), min(values), max(values)))
    if contender != REFERENCE and reference:
        theirs = {point.fold: point for point in reference}
        gains = [point.test - theirs[point.fold].test for point in points if point.fold in theirs]
        low, high = interval(gains)
        rows.append(Row(contender, case, "gain_over_selection", fmean(gains), "fraction", len(gains), low, high))
        share = _mean(points, "bits") / _mean(reference, "bits")
        rows.append(Row(contender, case, "bytes_of_selection", share, "fraction", len(points)))
    return rows


def summarise(rows: Sequence[Row]) -> str:
    """What was to be shown, beside what was."""
    found = {(row.contender, row.case, row.metric): row for row in rows if row.value is not None}
    lines = []
    for case in dict.fromkeys(row.case for row in rows if row.case.endswith("/equal_score")):
        for contender in OURS:
            share, gain = (found.get((contender, case, name)) for name in ("bytes_of_selection", "gain_over_selection"))
            if share is None or gain is None:
                lines.append(f"{case}: {contender} does not get there")
                continue
            held = f"; {ALLOWED:.0%} at most: {_yes((share.value or 0) <= ALLOWED)}" if contender == OURS[0] else ""
            points = [100 * (value or 0) for value in (gain.value, gain.low, gain.high)]
            lines.append(
                f"{case}: {contender} takes {share.value:.1%} of the bytes of {REFERENCE} at {AT}, and does "
                f"{points[0]:+.1f} points ({points[1]:+.1f} to {points[2]:+.1f}) on test{held}"
            )
    for case in dict.fromkeys(row.case for row in rows if row.case.startswith("link/")):
        fast = {name: row.value for (name, of, metric), row in found.items() if (of, metric) == (case, "seconds")}
        if OURS[0] in fast:
            others = ", ".join(f"{name} {value:.1f} s" for name, value in fast.items() if name != OURS[0])
            read = [value for name, value in fast.items() if not name.startswith(OURS[0])]
            first = _yes(fast[OURS[0]] < min(read, default=float("inf")))
            lines.append(f"{case}: {OURS[0]} {fast[OURS[0]]:.1f} s; {others}; faster than what reads: {first}")
    return "\n".join(f"* {line}" for line in lines)


def _yes(met: bool) -> str:
    return "yes" if met else "no"

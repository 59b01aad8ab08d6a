"""What the outcomes of all contenders come to: tidy rows, and the three things that they are to show."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

import numpy as np
from maskmethods import RANKINGS, Outcome
from scipy import stats
from table import Column, Row

DENSE = "dense"
#: A mean gap to dense that the default may have at the budget it is judged by, in points.
ALLOWED, JUDGED = -1.0, "5%"


def _points(row: Row) -> str:
    value, low, high = (100 * (number or 0.0) for number in (row.value, row.low, row.high))
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"


COLUMNS = (
    Column("score", "score, %", lambda row: f"{100 * (row.value or 0):.1f}"),
    Column("gain_over_dense", "against dense, points (95 %)", _points),
    Column("bytes", "bytes or channels", lambda row: f"{row.value:,.0f}"),
    Column("seconds", "seconds", lambda row: f"{row.value:.1f}"),
    Column("splits", "splits", lambda row: f"{row.value:.0f}"),
)


def make_rows(outcomes: Sequence[Outcome], cases: Sequence[str], missing: Mapping[str, str]) -> list[Row]:
    """Rows of each case and contender; dense is a contender in each case of its set. `missing` says why, by set."""
    rows = []
    for case in cases:
        name = case.partition("/")[0]
        if name in missing:
            rows.append(Row(DENSE, case, "score", None, "fraction", note=missing[name]))
            continue
        here = [one for one in outcomes if one.case in (case, f"{name}/100%")]
        dense = _by_fold(one for one in here if one.contender == DENSE)
        for contender in dict.fromkeys(one.contender for one in here):
            rows += _rows(contender, case, [one for one in here if one.contender == contender], dense)
    return rows


def _rows(contender: str, case: str, outcomes: Sequence[Outcome], dense: Mapping[int, float]) -> list[Row]:
    there = [one for one in outcomes if one.score is not None]
    if not there:
        notes = Counter(one.note for one in outcomes)
        note = "; ".join(f"{note} ({count} of {len(outcomes)} splits)" for note, count in notes.items())
        return [Row(contender, case, "score", None, "fraction", note=note)]
    unit = "byte" if case.startswith("nrt") else "channel"
    gains = [score - dense[fold] for fold, score in _by_fold(there).items() if fold in dense]
    rows = [
        _extremes(contender, case, "score", [one.score or 0.0 for one in there], "fraction"),
        _extremes(contender, case, "bytes", [one.price for one in there], unit),
        _extremes(contender, case, "seconds", [one.seconds for one in there], "second"),
        Row(contender, case, "splits", float(len(there)), "split", len(outcomes)),
    ]
    if contender != DENSE and gains:
        low, high = interval(gains)
        rows.insert(1, Row(contender, case, "gain_over_dense", fmean(gains), "fraction", len(gains), low, high))
    return rows


def _extremes(contender: str, case: str, metric: str, values: Sequence[float], unit: str) -> Row:
    return Row(contender, case, metric, fmean(values), unit, len(values), min(values), max(values))


def interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % t interval of the mean of paired differences; that mean twice where there is one."""
    mean = fmean(values)
    if len(values) < 2:
        return mean, mean
    half = float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)
    return mean - half, mean + half


def summarise(outcomes: Sequence[Outcome]) -> str:
    """The three things to show, of the default as it is trained, and which of its candidates won."""
    scores: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for one in outcomes:
        if one.score is not None:
            scores[one.case, one.contender][one.fold] = one.score
    lines = [_against_dense(scores), *_against_rankings(scores), *_against_published(scores)]
    won = Counter(one.detail.partition(" ")[0].rstrip(",") for one in outcomes if one.contender == "default/joint")
    if won:
        told = ", ".join(f"{name} {count}" for name, count in won.most_common())
        lines.append(f"candidates of the default that won: {told}")
    return "\n".join(f"* {line}" for line in lines if line)


type _Scores = Mapping[tuple[str, str], Mapping[int, float]]


def _cases(scores: _Scores, share: str = "") -> list[str]:
    end = f"/{share}" if share else ""
    return [case for case, contender in scores if contender == "default/joint" and case.endswith(end)]


def _gains(scores: _Scores, case: str, other: str) -> list[float]:
    """The default's gain over another contender, split by split."""
    reference = f"{case.partition('/')[0]}/100%" if other == DENSE else case
    rival = scores.get((reference, other), {})
    return [score - rival[fold] for fold, score in scores[case, "default/joint"].items() if fold in rival]


def _against_dense(scores: _Scores) -> str:
    gaps = {case: gains for case in _cases(scores, JUDGED) if (gains := _gains(scores, case, DENSE))}
    if not gaps:
        return ""
    means = {case: 100 * fmean(gains) for case, gains in gaps.items()}
    mean = fmean(means.values())
    each = ", ".join(f"{case.partition('/')[0]} {gap:+.1f}" for case, gap in means.items())
    held = _yes(mean >= ALLOWED)
    return f"against dense at {JUDGED}: {mean:+.1f} points on average ({each}); {ALLOWED:+.1f} at least: {held}"


def _against_rankings(scores: _Scores) -> list[str]:
    """The ranking that comes closest to the default, or is the furthest ahead of it, in each case."""
    lines = []
    for case in _cases(scores):
        gains = {name: _gains(scores, case, f"{name}/retrained") for name in RANKINGS}
        means = {name: fmean(of) for name, of in gains.items() if of}
        if means:
            worst = min(means, key=lambda name: means[name])
            low, high = (100 * bound for bound in interval(gains[worst]))
            held = _yes(high >= 0)
            lines.append(
                f"{case}: {100 * means[worst]:+.1f} points ({low:+.1f} to {high:+.1f}) against {worst}, the best "
                f"baseline there; not worse beyond the noise: {held}"
            )
    return lines


def _against_published(scores: _Scores) -> list[str]:
    lines = []
    for case in _cases(scores):
        tried, gains = len(scores[case, "default/joint"]), _gains(scores, case, "oehmcke2022/joint")
        if gains:
            mean = fmean(gains)
            lines.append(
                f"{case}: {100 * mean:+.1f} points against oehmcke2022 as trained, which got there on {len(gains)} of "
                f"{tried} splits; better: {_yes(mean > 0)}"
            )
    return lines


def _yes(met: bool) -> str:
    return "yes" if met else "no"


def _by_fold(outcomes: Iterable[Outcome]) -> dict[int, float]:
    return {one.fold: one.score for one in outcomes if one.score is not None}

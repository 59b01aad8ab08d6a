"""One page with the table and the figures: a single HTML file that refers to nothing outside itself.

Equal input gives an equal page, to the byte. Whatever comes out of a file (names of bands, items, packages) is escaped.
"""

from __future__ import annotations

import io
import re
import warnings
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from ..atomic import write_text
from ..errors import RunError
from ..selection import Selection
from .outcome import load_outcomes
from .style import INK, PAPER, plain
from .summary import bytes_text, read_summary, table_cells

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from matplotlib.figure import Figure

    from .outcome import Outcome
    from .summary import Summary

#: Pixels of a map's longer side; a larger one is thinned, so that the page stays small.
MAP_SIDE = 400

MINUS = "\u2212"

MAPS = ("truth", "dense", "learned")

_STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --paper: #fdfdfd; --soft: #59636e; --line: #d5d9de; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #dfe3e8; --paper: #14171b; --soft: #9aa4af; --line: #343a41; }
}
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 54rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, sans-serif; }
h1 { margin-bottom: .2rem; } h2 { margin-top: 2.6rem; font-size: 1.2rem; }
p.lead { font-size: 1.1rem; } .soft, figcaption { color: var(--soft); font-size: .9rem; }
figure { margin: 1.6rem 0; } figure svg { width: 100%; height: auto; display: block; }
svg image { image-rendering: pixelated; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: .35rem .6rem; text-align: right; border-bottom: 1px solid var(--line); }
td { white-space: nowrap; } th:first-child, td:first-child { text-align: left; } thead th { vertical-align: bottom; }
dt { font-weight: 600; } dd { margin: 0 0 .6rem; overflow-wrap: anywhere; }
""".strip()

_HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
"""

_CAVEATS = (
    "The seeds of one split share its training and test cells. Their scores are not independent, so an interval over "
    "splits and seeds is optimistic: where it only just excludes zero, do not lean on it.",
    "All splits lie in one scene. The scores say how well a method does there, not elsewhere.",
    "Bytes are those of response bodies, headers included, each map over a cold start. The budget bounds the plan of "
    "the whole training grid.",
    "Seconds depend on the machine and on the network; compare them within this table only.",
    "The maps show training cells too, so they look better than the score on the test cells.",
)


def write_page(folder: str | Path, summary: Summary | None = None) -> Path:
    """Write ``report.html`` into a folder of runs, whole or not at all; returns its path.

    `summary` is that of the folder, read from its ``summary.json`` where it is None. Raises RunError where runs or maps
    are missing or broken, or matplotlib is not installed, and SelectionError where selections are broken or do not fit
    together.
    """
    folder = Path(folder)
    summary = summary or read_summary(folder)
    path = folder / "report.html"
    write_text(path, render_page(folder, summary))
    return path


def render_page(folder: Path, summary: Summary) -> str:
    """The HTML that `write_page` writes; raises as it does."""
    outcomes = load_outcomes(folder)
    title = f"geomask: {', '.join(dict.fromkeys(row.case for row in summary.rows))}"
    parts = [
        f"{_HEAD}<title>{_text(title)}</title>\n<style>\n{_STYLE}\n</style>",
        f"<h1>{_text(title)}</h1>\n<p class=soft>{_text(_span(outcomes))}</p>",
        # No line ends between a number and its sign, and no number begins with a hyphen.
        f"<p class=lead>{_text(_lead(summary)).replace(' %', '&nbsp;%').replace('-', MINUS)}</p>",
        _table(summary),
        *_figures(folder, outcomes),
        _origin(summary, outcomes, _items(folder)),
        "<h2>What to keep in mind</h2>\n<ul>\n" + "\n".join(f"<li>{_text(line)}</li>" for line in _CAVEATS) + "\n</ul>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def svg(figure: Figure, name: str) -> str:
    """A figure as an inline ``<svg>`` in the colours of the page; `name` keeps its ids apart from those of others."""
    import matplotlib

    draft = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}), warnings.catch_warnings():
        # The reader's fonts draw the text; which letters matplotlib's own lacks does not matter.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(draft, format="svg", metadata=nothing)
    drawn = draft.getvalue()
    return re.sub("<[^>]+>", lambda tag: _adapt_tag(tag[0], name), drawn[drawn.index("<svg") :]).strip()


def _adapt_tag(tag: str, name: str) -> str:
    """A tag of matplotlib's SVG as HTML wants it: no namespaces, ids of its own, the page's colours."""
    tag = re.sub(r' xmlns(:\w+)?="[^"]*"', "", tag)
    tag = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{name}-", tag)
    return tag.replace(INK, "currentColor").replace(PAPER, "var(--paper)")


def _figures(folder: Path, outcomes: Sequence[Outcome]) -> Iterator[str]:
    from . import figures

    method, selections = _shown(outcomes)
    runs = f"the {method} run" + ("s" if len(selections) > 1 else "")
    yield f"<h2>What {_text(runs)} kept</h2>"
    note = "Each column is a slot, each row a band; the lines part years."
    yield _figure(figures.selection_matrix(selections), "matrix", note)
    note = "How often each band was kept" + ("; a dot is one run." if len(selections) > 1 else ".")
    yield _figure(figures.kept_by_band(selections), "bands", note)
    yield _figure(figures.kept_by_time(selections), "slots", "How often each slot was kept.")
    if any(one.reading and one.reading.nbytes for one in outcomes):
        yield "<h2>Score against bytes</h2>"
        note = (
            "Light: one run. Strong: the mean of a method and the 95 % t interval of its score, drawn a little aside "
            "of its runs; the legend has its bytes. The byte axis is logarithmic."
        )
        yield _figure(figures.score_against_bytes(outcomes), "score", note)
    if rasters := _read_maps(folder / "maps"):
        yield "<h2>Maps</h2>"
        yield _figure(figures.maps(rasters, outcomes[0].class_names), "maps", "Classes by " + ", ".join(rasters) + ".")


def _figure(figure: Figure, name: str, caption: str) -> str:
    drawn = svg(figure, name).replace("<svg", f'<svg role="img" aria-label="{_text(caption)}"', 1)
    return f"<figure>\n{drawn}\n<figcaption>{_text(caption)}</figcaption>\n</figure>"


def _shown(outcomes: Sequence[Outcome]) -> tuple[str, list[Selection]]:
    """The method whose selections are shown: the learned one where there is one, else the last but for dense."""
    methods = [one.contender for one in outcomes]
    method = "learned" if "learned" in methods else methods[-1]
    return method, [Selection.load(one.folder / "selection.json") for one in outcomes if one.contender == method]


def _read_maps(folder: Path) -> dict[str, np.ndarray]:
    """The class maps that are there, by name, thinned to `MAP_SIDE`; 255 without data."""
    import numpy as np
    import rasterio

    rasters = {}
    for name in MAPS:
        path = next((path for path in (folder / f"{name}.tif", folder / name / "map.vrt") if path.is_file()), None)
        if path is None:
            continue
        try:
            with rasterio.open(path) as file:
                step = max(1, -(-max(file.shape) // MAP_SIDE))
                pixels = file.read(1)[::step, ::step]
        except rasterio.errors.RasterioError as error:
            raise RunError(f"{path} is no readable map: {error}; infer anew") from error
        if pixels.dtype != np.uint8:
            raise RunError(f"{path} holds {pixels.dtype}, not classes as uint8; infer anew")
        rasters[name] = pixels
    return rasters


def _table(summary: Summary) -> str:
    head, *rows = ([_text(cell) for cell in row] for row in table_cells(summary))
    lines = ["".join(f"<td>{cell.replace('-', MINUS)}</td>" for cell in row) for row in rows]
    return (
        f"<div class=wide><table>\n<thead><tr>{''.join(f'<th>{cell}</th>' for cell in head)}</tr></thead>\n<tbody>\n"
        + "\n".join(f"<tr>{line}</tr>" for line in lines)
        + "\n</tbody></table></div>\n<p class=soft>Means over n runs, for majority over n splits; ± is half the 95 % t "
        "interval. The gain is paired by split and seed.</p>"
    )


def _lead(summary: Summary) -> str:
    """The comparison in a sentence, where there is one to make."""
    score, other = (summary.row(name, "score") for name in ("learned", "dense"))
    few, many = (summary.row(name, "bytes") for name in ("learned", "dense"))
    gain = summary.row("learned", "gain_over_dense")
    if not (score and other and few and many and gain):
        return "What was measured, as a table and as figures."
    sure = "" if gain.n < 2 else f" (95 % interval {100 * gain.low:+.1f} to {100 * gain.high:+.1f})"
    return (
        f"The learned selections read {bytes_text(few.value)} for a map where all channels take "
        f"{bytes_text(many.value)}, and score {100 * score.value:.1f} % against {100 * other.value:.1f} %: "
        f"{100 * gain.value:+.1f} points{sure}."
    )


def _span(outcomes: Sequence[Outcome]) -> str:
    folds, seeds = ({getattr(one, name) for one in outcomes} for name in ("fold", "seed"))
    budget = next((one.budget for one in outcomes if one.contender != "dense"), "")
    limit = budget and f", a budget of {budget}" + (" of all channels' bytes" if budget.endswith("%") else " bytes")
    return f"{len(outcomes)} runs: {len(folds)} spatial splits, {len(seeds)} seeds{limit}"


def _items(folder: Path) -> str:
    if not (folder / "items.json").is_file():
        return "Not recorded."
    from ..stac.search import load_items
    from ..stac.slots import item_time

    items = sorted(load_items(folder / "items.json"), key=item_time)
    return f"{len(items)}, from {items[0].id} to {items[-1].id}" if items else "None."


def _origin(summary: Summary, outcomes: Sequence[Outcome], items: str) -> str:
    served = {one.reading.served for one in outcomes if one.reading}
    counter = "the server" if served == {True} else "the reader" if served == {False} else "server or reader"
    facts = {
        "Date": summary.date,
        "Machine": ", ".join(f"{name} {value}" for name, value in summary.machine.items()),
        "Versions": ", ".join(f"{name} {number}" for name, number in summary.versions.items()),
        "Items": items,
        "Score": "Share of the labelled pixels of the test cells whose class is right.",
        "Majority": "Always the most frequent class of the training cells; it reads nothing.",
        "Gain over dense": "Score minus that of all channels at the same split and seed.",
        "Bytes, requests": f"Of one map with each run, as {counter} counted." if served else "Not measured.",
        "Seconds": "From the first request to the last pixel decoded." if served else "Not measured.",
    }
    lines = "\n".join(f"<dt>{_text(name)}</dt><dd>{_text(fact)}</dd>" for name, fact in facts.items())
    return f"<h2>What was measured, and how</h2>\n<dl>\n{lines}\n</dl>"


def _text(text: str) -> str:
    return escape(plain(text, 2000))

"""Figures of a report, each a matplotlib ``Figure`` 8 inches wide, white and with dark ink.

None touches pyplot or leaves a setting changed. All raise RunError where the extra ``demo`` is not installed.
"""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import RunError, SelectionError
from .style import (
    ACCENT,
    COLOURS,
    INK,
    MARKERS,
    PAPER,
    band_label,
    class_colours,
    mark_mean,
    name_slots,
    new_figure,
    plain,
    styled,
    tint,
)
from .summary import bytes_text, mean_interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..selection import Selection
    from ..stac.profile import Band
    from ..stac.slots import Slot
    from .outcome import Outcome, Reading

#: The grey of pixels without data, uint8.
NODATA_GREY = (158, 158, 158)


@styled()
def selection_matrix(selections: Sequence[Selection]) -> Figure:
    """Which channels were kept: the share of the selections that keep each, bands down and slots across.

    Raises SelectionError where there is no selection, or where they differ in slots or bands.
    """
    slots, bands = _common_axes(selections)
    share = kept_share(selections).T
    figure = new_figure(min(12.0, 1.9 + 0.3 * len(bands)))
    axes = figure.add_subplot()
    mesh = axes.pcolormesh(share, cmap=tint(), vmin=0, vmax=1, edgecolors=PAPER, linewidth=1.2)
    axes.set_yticks(np.arange(len(bands)) + 0.5, [band_label(band) for band in bands])
    axes.invert_yaxis()
    name_slots(axes, slots, 0.5)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(f"Channels kept: {_kept(selections)} of {share.size}")
    if len(selections) > 1:
        bar = figure.colorbar(mesh, ax=axes, ticks=[0, 0.5, 1], pad=0.02, aspect=12)
        bar.ax.set_yticklabels(["none", "half", "all"])
        bar.set_label(f"of {len(selections)} runs keep it")
        bar.ax.tick_params(length=0)
        bar.ax.spines[:].set_visible(False)
    return figure


@styled()
def kept_by_band(selections: Sequence[Selection]) -> Figure:
    """The spectral pattern: the share of each band's slots that is kept, its mean over the selections and each of them.

    Raises SelectionError as `selection_matrix` does.
    """
    _, bands = _common_axes(selections)
    shares = np.stack([kept_share([selection]).mean(0) for selection in selections])
    figure = new_figure(1.4 + 0.36 * len(bands))
    axes = figure.add_subplot()
    places = np.arange(len(bands))
    axes.barh(places, 100 * shares.mean(0), height=0.62, color=ACCENT, alpha=0.75)
    if len(selections) > 1:
        for values in shares:
            axes.plot(100 * values, places, "o", ms=4, mec="none", color=INK, alpha=0.4)
    axes.set_yticks(places, [band_label(band, wavelength=True) for band in bands])
    axes.invert_yaxis()
    axes.set_xlabel("share of the band's slots that is kept, %")
    axes.set_title(f"Spectral pattern of {_runs(selections)}")
    mark_mean(axes, float(shares.mean()), across=False)
    return figure


@styled()
def kept_by_time(selections: Sequence[Selection]) -> Figure:
    """The temporal pattern: the share of each slot's bands that is kept, its mean over the selections.

    Raises SelectionError as `selection_matrix` does.
    """
    slots, _ = _common_axes(selections)
    share = kept_share(selections).mean(1)
    figure = new_figure(3.1)
    axes = figure.add_subplot()
    axes.bar(np.arange(len(slots)), 100 * share, width=0.72, color=ACCENT, alpha=0.75)
    name_slots(axes, slots, 0.0)
    axes.set_ylabel("share of the slot's\nbands that is kept, %")
    axes.set_title(f"Temporal pattern of {_runs(selections)}")
    mark_mean(axes, float(share.mean()), across=True)
    return figure


@styled()
def score_against_bytes(outcomes: Sequence[Outcome]) -> Figure:
    """Test score over bytes read, on a logarithmic axis: each run a light dot, each method's mean with its interval.

    Runs that read nothing are left out. Raises RunError where that leaves none.
    """
    read = [(one, one.reading) for one in outcomes if one.reading and one.reading.nbytes > 0]
    if not read:
        raise RunError("no run has a receipt of what it read; infer with the runs first, as geomask demo does")
    figure = new_figure(4.2)
    axes = figure.add_subplot()
    methods = list(dict.fromkeys(one.contender for one, _ in read))
    for number, method in enumerate(methods):
        # Methods of one budget read almost the same: aside of their runs, their intervals do not hide one another.
        aside = 11.0 * (number - (len(methods) - 1) / 2)
        _plot_method(axes, method, [pair for pair in read if pair[0].contender == method], number, aside)
    majority = fmean({one.fold: 100 * one.majority for one in outcomes}.values())
    axes.axhline(majority, color=INK, lw=1, ls=(0, (5, 3)), alpha=0.7, label="majority, 0 B")
    _scale_bytes(axes)
    axes.set_xlabel("bytes read for one map")
    axes.set_ylabel("score on the test cells, %")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    axes.set_title("Score against bytes: runs, and their means with 95 % intervals")
    axes.grid(True)
    return figure


@styled()
def maps(rasters: Mapping[str, np.ndarray], class_names: Sequence[str] = (), nodata: int = 255) -> Figure:
    """Class maps side by side under their names, with one legend; `nodata` is grey.

    Each is of unsigned integers (rows, columns). `class_names` are those of classes 0, 1, ...; "class 0", ... where
    they are too few. Raises RunError where there is no map.
    """
    from matplotlib.patches import Patch

    if not rasters:
        raise RunError("there is no map to show")
    known = np.concatenate([raster[raster != nodata] for raster in rasters.values()])
    names = [plain(name) for name in class_names]
    names += [f"class {k}" for k in range(len(names), int(known.max(initial=0)) + 1)]
    palette = np.vstack([class_colours(len(names)), NODATA_GREY])
    rows, columns = next(iter(rasters.values())).shape
    figure = new_figure(min(9.0, 8 / len(rasters) * rows / columns + 0.75))
    for axes, (name, raster) in zip(figure.subplots(1, len(rasters), squeeze=False)[0], rasters.items(), strict=True):
        # Unsmoothed: between two classes lies no third.
        axes.imshow(palette[np.where(raster == nodata, len(names), raster)].astype(np.uint8), interpolation="none")
        axes.set_axis_off()
        axes.set_title(plain(name))
    marks = [Patch(color=colour / 255, label=name) for colour, name in zip(palette, [*names, "no data"], strict=True)]
    blank = any((raster == nodata).any() for raster in rasters.values())
    figure.legend(handles=marks if blank else marks[:-1], loc="outside lower center", ncols=min(len(marks), 6))
    return figure


def kept_share(selections: Sequence[Selection]) -> np.ndarray:
    """The share of the selections that keep each channel, float (slots, bands); raises as `selection_matrix` does."""
    slots, bands = _common_axes(selections)
    kept = np.zeros((len(slots), len(bands)))
    for selection in selections:
        for channel in selection.channels:
            kept[channel.slot, channel.band] += 1
    return kept / len(selections)


def _common_axes(selections: Sequence[Selection]) -> tuple[tuple[Slot, ...], tuple[Band, ...]]:
    axes = [(selection.slots, selection.bands) for selection in selections]
    if not (axes and all(axes[0])):
        raise SelectionError("there is no selection to show, or it has no slots or no bands")
    if any(other != axes[0] for other in axes):
        raise SelectionError("these selections differ in their slots or bands; show those of one task")
    return axes[0]


def _kept(selections: Sequence[Selection]) -> str:
    counts = [len(selection.channels) for selection in selections]
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def _runs(selections: Sequence[Selection]) -> str:
    return "the selection" if len(selections) == 1 else f"{len(selections)} selections"


def _plot_method(axes: Axes, method: str, runs: Sequence[tuple[Outcome, Reading]], number: int, aside: float) -> None:
    """The runs of a method where they are, their mean so many points aside."""
    from matplotlib.transforms import ScaledTranslation

    sizes, scores = [reading.nbytes for _, reading in runs], [100 * one.score for one, _ in runs]
    look: dict[str, Any] = {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "ls": "none",
    }
    axes.plot(sizes, scores, ms=4.5, mec="none", alpha=0.55, **look)
    mean, low, high = mean_interval(scores)
    reach = [[mean - low], [high - mean]]
    moved = axes.transData + ScaledTranslation(aside / 72, 0, axes.figure.dpi_scale_trans)
    look |= {"ms": 8, "mec": PAPER, "mew": 0.8}
    axes.errorbar(fmean(sizes), mean, reach, capsize=3, elinewidth=1.6, transform=moved, **look)
    axes.plot([], [], label=f"{method}, {bytes_text(fmean(sizes))}", **look)


def _scale_bytes(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    def shorten(nbytes: float, _: int) -> str:
        number, unit = bytes_text(nbytes).split()
        return f"{float(number):g} {unit}"

    axes.set_xscale("log")
    axes.margins(x=0.12, y=0.1)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(shorten))
    axes.xaxis.set_minor_formatter(NullFormatter())

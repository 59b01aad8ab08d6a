"""How figures look: colours, labels, axes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import RunError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

    from ..stac.profile import Band
    from ..stac.slots import Slot

#: Of lines and text, and of the ground. A page puts its own in their place.
INK, PAPER = "#1f2328", "#fdfdfd"

#: Of methods, in order: those of Okabe and Ito, which stay apart for the colour-blind, made to fit light and dark.
COLOURS = ("#8a8f98", "#1c8fd1", "#e69f00", "#00a378", "#cc79a7", "#d55e00")
MARKERS = "soD^vP"
ACCENT = COLOURS[1]

#: More slots than this cannot be named side by side.
MOST_NAMES = 30

_STYLE: dict[str, Any] = {
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
    "legend.frameon": False,
    "font.size": 9,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": INK,
    "grid.alpha": 0.15,
    "text.parse_math": False,  # a band may be called $x_1
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}


@contextmanager
def styled() -> Iterator[None]:
    """Matplotlib's own defaults and ours, whatever the user has set. Raises RunError where it is not installed."""
    try:
        import matplotlib.style
    except ImportError as error:
        raise RunError("figures need matplotlib: pip install 'geomask[demo]'") from error
    with matplotlib.style.context(["default", _STYLE]):
        yield


def new_figure(height: float) -> Figure:
    """An empty figure, 8 x `height` inches."""
    from matplotlib.figure import Figure

    return Figure((8, height), layout="constrained")


def tint() -> Colormap:
    """From almost nothing to the accent, over whatever lies below."""
    from matplotlib.colors import LinearSegmentedColormap, to_rgb

    ends = [(*to_rgb(INK), 0.07), (*to_rgb(ACCENT), 0.2), (*to_rgb(ACCENT), 1.0)]
    # Under 50 colours matplotlib draws a colour bar as shapes, above as an image.
    return LinearSegmentedColormap.from_list("tint", [(0.0, ends[0]), (0.03, ends[1]), (1.0, ends[2])], N=49)


def class_colours(count: int) -> np.ndarray:
    """A colour for each class, from light to dark, uint8 (count, 3)."""
    import matplotlib

    shades = matplotlib.colormaps["viridis_r"](np.linspace(0.04, 0.96, max(count, 2)))
    return np.round(255 * shades[:count, :3]).astype(np.uint8)


def plain(text: object, limit: int = 40) -> str:
    """A name out of a file, fit for a label: what cannot be printed is replaced, and it is cut after `limit`."""
    safe = "".join(letter if letter.isprintable() else "\ufffd" for letter in str(text))
    return safe if len(safe) <= limit else safe[: limit - 1] + "\u2026"


def band_label(band: Band, wavelength: bool = False) -> str:
    """``B04 red``, and with its wavelength ``B04 red, 0.665 µm``."""
    name = plain(band.name, 16) + (f" {plain(band.common_name, 12)}" if band.common_name else "")
    known = wavelength and isinstance(band.wavelength, int | float)
    return f"{name}, {band.wavelength:.4g} µm" if known else name


def name_slots(axes: Axes, slots: Sequence[Slot], offset: float) -> None:
    """Name slot k at x = k + `offset`, each year's first alone where they are many, with a line between years."""
    years = [k for k in range(len(slots)) if k == 0 or slots[k].start.year != slots[k - 1].start.year]
    named = range(len(slots)) if len(slots) <= MOST_NAMES else _thinned(years)
    axes.set_xticks([k + offset for k in named], [plain(slots[k].name, 16) for k in named], rotation=90)
    for year in years[1:]:
        axes.axvline(year + offset - 0.5, color=INK, lw=0.8, alpha=0.45)
    axes.set_xlim(offset - 0.5, len(slots) + offset - 0.5)


def _thinned(places: list[int]) -> list[int]:
    return places[:: -(-len(places) // MOST_NAMES)]


def mark_mean(axes: Axes, share: float, across: bool) -> None:
    """A dashed line at the mean share (0..1) on an axis in percent, with a legend above; `across`: on the y axis."""
    line = axes.axhline if across else axes.axvline
    line(100 * share, color=INK, lw=1, ls=(0, (5, 3)), alpha=0.7, label=f"mean, {100 * share:.0f} %")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)
    axes.grid(True, axis="y" if across else "x")
    axes.tick_params(axis="x" if across else "y", length=0)

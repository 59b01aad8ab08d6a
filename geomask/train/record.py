"""What a run says of itself: settings, scores, cost, and what its numbers mean."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..errors import RunError
from ..plan.kinds import each, finite, whole
from ..plan.limits import check_scaling

VERSION = 2
PACKAGES = (
    *("geomask", "torch", "torchgeo", "lightning", "timm", "segmentation-models-pytorch"),
    *("rasterio", "numpy", "pystac-client"),
)


@dataclass(frozen=True)
class Record:
    """What a run says of itself; ``run.json``."""

    method: str
    """dense, learned, uniform or random."""
    seed: int
    fold: int
    """Which of the spatial splits, 0-based."""
    folds: int
    budget: str
    """As it was asked for."""
    planned_nbytes: int
    """Of the selection over the training grid, headers included."""
    dense_nbytes: int
    """Of all channels over the same grid."""
    class_names: list[str]
    """Of the labels' classes, from 0; none where values were learned."""
    gsd: float
    """Pixel size of the grid, units of the CRS."""
    scores: dict[str, float]
    """Fractions, as the task has them (`Objective`): ``validation``, ``test``, ``majority`` (on test, of what says the
    same everywhere), and ``joint_validation``: when the gate was frozen, before the network was tuned.
    """
    curve: list[list[float]]
    """[step, validation score], from the moment the gate was hard."""
    candidates: list[dict[str, Any]] = field(default_factory=list)
    """Of a learned run what was tried, by `name`: its `planes` as [version, channel], its score on `validation`, and
    whether it `won` (`train_candidates`)."""
    settings: dict[str, Any] = field(default_factory=dict)
    objective: dict[str, Any] = field(default_factory=dict)
    """What the network's outputs mean; `save_run` fills it in."""
    versions: dict[str, str] = field(default_factory=lambda: {name: version(name) for name in PACKAGES})
    scaling: list[list[float]] | None = None
    """[scale, offset] in which the network learned the stored values of each channel of the run's selection, in its
    order: physical value = value * scale + offset. None: not known."""
    transfer: str = "select"
    """What crosses the link: select, pixels of channels; bottleneck, features; auto, whichever of both."""
    feature_nbytes: int = 0
    """Of `planned_nbytes` those of features, as the chips of training and validation took them."""
    size: list[int] | None = None
    """[rows, columns] of the chips that it was trained on, in pixels of the grid; None: not known."""

    def __post_init__(self) -> None:
        """Refuse a scaling or a size that is none. Raises TypeError or ValueError."""
        if self.scaling is not None:
            pairs = each(partial(each, finite), "scaling", [list(pair) for pair in self.scaling])
            if wrong := [pair for pair in pairs if len(pair) != 2]:
                raise ValueError(f"scaling has a pair of {len(wrong[0])} numbers; it is a scale and an offset")
            check_scaling([(scale, offset) for scale, offset in pairs], len(pairs))
            object.__setattr__(self, "scaling", [list(pair) for pair in pairs])
        if self.size is not None:
            size = list(each(whole, "size", list(self.size)))
            if len(size) != 2 or min(size) < 1:
                raise ValueError(f"size is {size}; chips have rows and columns, 1 or more")
            object.__setattr__(self, "size", size)


def load_record(folder: str | Path) -> Record:
    """The record of a run, without its network and without torch.

    Raises RunError where there is none or it is of another version.
    """
    path = Path(folder) / "run.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict) or document.pop("geomask", None) != "run":
            raise RunError(f"{path} is no record of a run")
        if (found := document.pop("version", None)) != VERSION:
            raise RunError(f"{path} is of version {found}; this geomask reads version {VERSION}: train anew")
        return Record(**document)
    except FileNotFoundError as error:
        raise RunError(f"{folder} is no finished run: it has no run.json; train it first") from error
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise error if isinstance(error, RunError) else RunError(f"{path} is broken: {error}") from error

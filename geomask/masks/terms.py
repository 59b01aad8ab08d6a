"""What a saved dynamic mask chooses from, and by which rule: plain data, checked."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

from ..errors import SelectionError
from ..selection import Channel, Selection
from ..window import Window
from .grain import Grain
from .preview import Preview

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Terms:
    """All of a policy but its tensors."""

    selection: Selection
    """All channels that the mask decides on, in the order of its input."""
    levels: tuple[int | None, ...]
    """The level that is read for each version of a unit; None is full resolution."""
    grain: Grain
    """Units of a chip."""
    size: tuple[int, int]
    """(rows, columns) of a chip, in pixels of the grid."""
    preview: Preview
    """Its channels count as those of `selection`; its factor is that of `preview_level`."""
    preview_level: int | None
    """The level that the preview is read from."""
    mean: tuple[float, ...]
    """Of each channel of the preview, in stored values."""
    deviation: tuple[float, ...]
    """Likewise: scores see (stored value - mean) / deviation, and 0 where a pixel is not valid."""
    model: str
    """Name of the scores' mask model."""
    theta: float
    """Of each unit the version of the greatest score - theta * price is read, if that is above 0. Prices are in units
    of the mean of the units' dearest versions."""

    def __post_init__(self) -> None:
        """Refuse numbers that do not fit each other. Raises SelectionError."""
        channels = len(self.preview.channels)
        if len(self.mean) != channels or len(self.deviation) != channels:
            raise SelectionError(f"a preview of {channels} channels needs a mean and a deviation for each")
        if not all(map(math.isfinite, (*self.mean, *self.deviation, self.theta))) or min(self.deviation) <= 0:
            raise SelectionError("means, deviations and theta are finite numbers, and deviations above 0")
        if not self.levels:
            raise SelectionError("there are no levels; give one for each version")
        if len(self.grain.groups) != len(self.selection.channels):
            raise SelectionError(f"{len(self.grain.groups)} groups for {len(self.selection.channels)} channels")
        if not (1 <= self.grain.rows <= self.size[0] and 1 <= self.grain.columns <= self.size[1]):
            raise SelectionError(
                f"{self.grain.rows} x {self.grain.columns} blocks in a chip of {self.size[0]} x {self.size[1]} pixels"
            )
        for level in (*self.levels, self.preview_level):
            Channel(0, 0, level)  # refuses what is no level
        _ = self.preview_selection  # and here a channel that is not there

    @property
    def preview_selection(self) -> Selection:
        """What is read for the preview."""
        return self.preview.selection(self.selection, self.preview_level)

    def windows(self, chip: Window) -> list[list[Window]]:
        """The blocks of a chip, by row, then column: pixel r of R lies in block floor(r * rows / R), as in `Grain`."""
        rows, columns = (
            [-(-place * pixels // blocks) for place in range(blocks + 1)]
            for pixels, blocks in zip(self.size, (self.grain.rows, self.grain.columns), strict=True)
        )
        return [
            [
                Window(chip.row_off + top, chip.col_off + left, bottom - top, right - left)
                for left, right in pairwise(columns)
            ]
            for top, bottom in pairwise(rows)
        ]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, for `from_dict`."""
        return {**asdict(self), "selection": self.selection.to_dict()}

    @classmethod
    def from_dict(cls, document: Any) -> Self:
        """Raises SelectionError, or KeyError, TypeError or ValueError, where a document holds no terms."""
        grain, preview = document["grain"], document["preview"]
        rows, columns, height, width, factor, version = _whole(
            [grain["rows"], grain["columns"], *document["size"], preview["factor"], preview["version"]]
        )
        return cls(
            selection=Selection.from_dict(document["selection"]),
            levels=tuple(document["levels"]),
            grain=Grain(_whole(grain["groups"]), rows, columns),
            size=(height, width),
            preview=Preview(_whole(preview["channels"]), factor, version, preview["resampling"]),
            preview_level=document["preview_level"],
            mean=tuple(map(float, document["mean"])),
            deviation=tuple(map(float, document["deviation"])),
            model=document["model"],
            theta=float(document["theta"]),
        )


def _whole(numbers: Sequence[Any]) -> tuple[int, ...]:
    if any(type(number) is not int or number < 0 for number in numbers):
        raise TypeError(f"{numbers} are not whole numbers from 0")
    return tuple(numbers)

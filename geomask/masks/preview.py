"""What a dynamic mask looks at before it decides: a chip in few pixels of few channels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

from torch.nn import functional

from ..errors import SelectionError
from ..selection import Selection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from ..plan.cost import Cost

Resampling = Literal["nearest", "average"]


@dataclass(frozen=True, slots=True)
class Preview:
    """Every factor-th pixel of some channels: what an overview of that factor shows.

    It is made of the image that the network is trained on, so that no other file is read in training; what stands in
    the overview is the same up to its rounding, where chips line up with its pixels. Where a version of the image is an
    overview already, each of its pixels fills factor x factor of the image's, and ``nearest`` takes it as it is.
    """

    channels: tuple[int, ...]
    """Positions in the input."""
    factor: int
    """Pixels of the image, down and across, to one of the preview's."""
    version: int = 0
    """The version it is made of, where the image has versions; of further version axes the first."""
    resampling: Resampling = "average"
    """``average``: the mean of factor x factor pixels, fewer at the far edges; ``nearest``: the first one of them."""

    def __post_init__(self) -> None:
        """Refuse what shows nothing."""
        if not self.channels or min(self.channels) < 0 or len(set(self.channels)) < len(self.channels):
            raise SelectionError(f"a preview has channels, each once and from 0, not {self.channels}")
        if self.factor < 1 or self.version < 0 or self.resampling not in get_args(Resampling):
            raise SelectionError(
                f"a preview has a factor from 1, a version from 0 and a resampling of {', '.join(get_args(Resampling))}"
                f", not {self.factor}, {self.version}, {self.resampling!r}"
            )

    def __call__(self, image: Tensor) -> Tensor:
        """Float32 (samples, [versions, ...] channels, rows, columns) to (samples, channels, rows, columns).

        Rows and columns are those of the image over the factor, rounded up, as GDAL has overviews.
        """
        if image.ndim > 4:
            image = image[:, self.version]
        while image.ndim > 4:
            image = image[:, 0]
        shown = image[:, list(self.channels)]
        if self.resampling == "nearest":
            return shown[..., :: self.factor, :: self.factor]
        return functional.avg_pool2d(shown, self.factor, ceil_mode=True) if self.factor > 1 else shown

    def size(self, size: tuple[int, int]) -> tuple[int, int, int]:
        """(channels, rows, columns) of the preview of an image of `size` (rows, columns) pixels."""
        return len(self.channels), -(-size[0] // self.factor), -(-size[1] // self.factor)

    def selection(self, selection: Selection, level: int | None) -> Selection:
        """What is read for the preview: its channels, of those of `selection`, at an overview level.

        Raises SelectionError for a channel that is not there.
        """
        kept = selection.keep(self.channels)
        return replace(kept, channels=tuple(replace(channel, level=level) for channel in kept.channels))

    def nbytes(self, cost: Cost, level: int | None, blocks: Sequence[int] | None = None) -> int:
        """Planned bytes of the preview of these blocks of `cost` (None: all), headers included: what a dynamic mask
        costs whatever it chooses. The header of a file that is read at full resolution as well counts here too.
        """
        return cost.total_of(self.selection(cost.selection, level), blocks)

"""Hard gates: what every learned choice ends as."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..errors import SelectionError
from .gate import Choice, Gate
from .versions import pass_chosen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from .grain import Grain

#: The channel of a head that nothing fills.
EMPTY = -1


class HardGate(Gate):
    """Passes the chosen channels and nothing else: y_j = x[channels_j], 0 for a head that nothing fills."""

    channels: Tensor

    def __init__(self, channels: Sequence[int]) -> None:
        """`channels` are positions in the input, one a head, 0-based; -1 for a head that nothing fills.

        Of an image with versions, positions are those of planes: version * channels + channel.
        """
        super().__init__()
        self.register_buffer("channels", torch.tensor(channels, dtype=torch.int64))

    @property
    def heads(self) -> int:
        """As many as channels were chosen, and those that nothing fills."""
        return len(self.channels)

    def draw(self, image: Tensor) -> Choice:
        """The channels, int64 (heads,)."""
        return (self.channels,)

    def apply_choice(self, image: Tensor, choice: Choice) -> Tensor:
        """(samples, [versions,] channels, rows, columns) to (samples, heads, rows, columns)."""
        channels, planes = choice[0], image.flatten(1, -3)
        return planes.index_select(1, channels.clamp(min=0)).masked_fill((channels < 0)[:, None, None], 0.0)

    def freeze(self) -> HardGate:
        """Itself."""
        return self

    @property
    def is_hard(self) -> bool:
        """Always."""
        return True


class HardMask(Gate):
    """Passes the chosen versions of the chosen units, 0 for the rest: y = sum_v x_v * choice_v.

    The network behind it keeps its heads; `geomask.train.fold` makes of both what takes only what is read.
    """

    choice: Tensor

    def __init__(self, grain: Grain, choice: Tensor) -> None:
        """`choice` is float (versions, [versions, ...,] groups, rows, columns) over the units of `grain`.

        It is 0 where a version of a unit is left out, and else what it is multiplied by: 1. Raises SelectionError where
        it does not fit the grain.
        """
        super().__init__()
        if choice.ndim < 4 or tuple(choice.shape[-3:]) != grain.shape:
            raise SelectionError(
                f"a choice of {tuple(choice.shape)} for a grain of {grain.shape}; they have to be alike"
            )
        self.grain = grain
        self.register_buffer("choice", choice.detach().clone()[None])

    @property
    def heads(self) -> int:
        """All channels."""
        return len(self.grain.groups)

    def draw(self, image: Tensor) -> Choice:
        """The choice, float32 (1, versions, [versions, ...,] groups, rows, columns)."""
        return (self.choice,)

    def apply_choice(self, image: Tensor, choice: Choice) -> Tensor:
        """See `pass_chosen`."""
        return pass_chosen(image, choice[0], self.grain)

    def freeze(self) -> HardMask:
        """Itself."""
        return self

    def channels(self) -> HardGate:
        """The gate of the channels that are read anywhere, each at its place; the others are empty heads.

        Identity: where an input is 0 in all that was left out, and holds each unit in its chosen version, as one does
        that was read through the selection, the gate passes the same of it, to the bit. Raises SelectionError where the
        mask multiplies by other numbers than 1, as one that was rescaled does.
        """
        if not ((self.choice == 0) | (self.choice == 1)).all():
            raise SelectionError("this mask was rescaled, which channels alone cannot be; train without `rescale`")
        read = self.choice[0].flatten(0, -4).flatten(2).amax((0, 2)) > 0  # (groups,)
        groups = self.grain.groups
        return HardGate([channel if read[group] else EMPTY for channel, group in enumerate(groups)])

    @property
    def is_hard(self) -> bool:
        """Always."""
        return True

    @property
    def is_spatial(self) -> bool:
        """Whether its units are blocks or pixels."""
        return self.grain.rows * self.grain.columns > 1

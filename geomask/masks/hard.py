"""The hard gate of channels: what every learned choice of channels ends as."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .gate import Choice, Gate

if TYPE_CHECKING:
    from torch import Tensor


class HardGate(Gate):
    """Passes the chosen channels and nothing else: y_j = x[channels_j]."""

    channels: Tensor

    def __init__(self, channels: list[int]) -> None:
        """`channels` are positions in the input, one a head, 0-based."""
        super().__init__()
        self.register_buffer("channels", torch.tensor(channels, dtype=torch.int64))

    @property
    def heads(self) -> int:
        """As many as channels were chosen."""
        return len(self.channels)

    def draw(self, image: Tensor) -> Choice:
        """The channels, int64 (heads,)."""
        return (self.channels,)

    def apply_choice(self, image: Tensor, choice: Choice) -> Tensor:
        """(samples, channels, rows, columns) to (samples, heads, rows, columns)."""
        return image.index_select(1, choice[0])

    def freeze(self) -> HardGate:
        """Itself."""
        return self

    @property
    def is_hard(self) -> bool:
        """Always."""
        return True

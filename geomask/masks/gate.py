"""What a gate is: it stands between a model's input and its network, and decides what of the input passes.

A gate maps (samples, [versions,] channels, rows, columns) to (samples, channels or heads, rows, columns). Training
draws a choice, applies it, and adds what the choice is fined; when it is decided, the gate is frozen into a hard one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

#: What was drawn: one tensor for each mask in a row, so one for most gates. What it holds is the gate's own.
type Choice = tuple[Tensor, ...]


class Gate(nn.Module, ABC):
    """The base of all gates: what a training needs to know of one."""

    @property
    @abstractmethod
    def heads(self) -> int:
        """Channels of what passes: what the network takes."""

    @abstractmethod
    def draw(self, image: Tensor) -> Choice:
        """What is chosen, for each sample or for all: at random in training where the gate draws, decided otherwise.

        Noise is of torch's global generator, as dropout's is: whoever trains seeds it.
        """

    @abstractmethod
    def apply_choice(self, image: Tensor, choice: Choice) -> Tensor:
        """What passes of `image`, float32 (samples, channels or heads, rows, columns)."""

    def forward(self, image: Tensor) -> Tensor:
        """`image` is float32 (samples, [versions,] channels, rows, columns)."""
        return self.apply_choice(image, self.draw(image))

    def penalty(self, choice: Choice) -> Tensor:
        """What is added to the task's loss, a scalar: 0 for gates that meet their budget by how they are built."""
        return choice[0].new_zeros(())

    def anneal(self, progress: float) -> None:
        """Follow the schedule to `progress`, from 0 at the first step to 1 at the one before the gate is frozen."""

    @abstractmethod
    def freeze(self) -> Gate:
        """The hard gate of what was learned. A hard gate is its own."""

    def spent(self, choice: Choice) -> Tensor | None:
        """The share of all bytes that the choice takes, a scalar, for a training's log; None: it knows no prices."""
        return None

    @property
    def is_hard(self) -> bool:
        """Whether it decides the same for good."""
        return False

    @property
    def is_spatial(self) -> bool:
        """Whether it decides by place: then chips are not turned in training, its units would stay where they are."""
        return False

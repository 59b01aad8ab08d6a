"""Reading blocks of chips: the same of each, or in two stages, as a policy says of each by its preview.

A map is cut into chips of the size that the run was trained on, from the grid's first row and column on. Which blocks
of a chip are read depends on that chip alone, so tiles that share one agree.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from ..cog.index import HeaderIndex
from ..errors import RunError
from ..grid import Window
from ..masks.policy import Answer, join_answers
from ..plan.request import Requests
from ..read.receipt import Receipt
from .agenda import whole_chips
from .ground import Reading

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pystac import Item

    from ..masks.policy import Policy
    from ..plan.coverage import Coverage
    from ..plan.manifest import Manifest
    from ..selection import Selection
    from ..train.run import Run
    from .ground import Ground
    from .ledger import Stage


@dataclass(frozen=True, eq=False)
class Pattern:
    """Which blocks of a chip are read, in which channels and at which levels."""

    selection: Selection
    """All channels that there may be."""
    size: tuple[int, int]
    """(rows, columns) of a chip, pixels of the grid."""
    versions: tuple[int | None, ...]
    """The level of each version; plane p of the network's input is version p // channels of channel p % channels.
    Of a pattern without a policy, whose channels have one level each, there is one version."""
    blocks: np.ndarray | None
    """bool (channels, rows, columns of blocks) where it is the same for each chip."""
    policy: Policy | None
    """What decides for each chip."""

    @classmethod
    def of(cls, run: Run, selection: Selection) -> Pattern | None:
        """Of a run; `selection` is its own, on slots that fit the items. None where all of a chip is read.

        Raises RunError where the run does not say how large its chips are.
        """
        from ..train.fold import FoldedMask

        if run.policy is not None:
            policy = replace(run.policy, terms=replace(run.policy.terms, selection=selection))
            return cls(selection, policy.terms.size, policy.terms.levels, None, policy)
        gate = run.model.gate
        if not (gate.is_spatial and isinstance(gate, FoldedMask)):
            return None
        if run.record.size is None:
            raise RunError("this run reads some blocks of a chip and does not say how large its chips are; train anew")
        rows, cols = run.record.size
        return cls(selection, (rows, cols), (None,), gate.blocks.cpu().numpy() != 0, None)

    @property
    def planes(self) -> int:
        """Of the network's input."""
        return len(self.versions) * len(self.selection.channels)

    def plane(self, channel: int, level: int | None) -> int:
        """The plane of a channel that is read at a level."""
        version = self.versions.index(level) if self.policy is not None else 0
        return version * len(self.selection.channels) + channel

    def repeat(self, chip: Window) -> Iterator[Answer]:
        """What is read of a chip where that is the same for each."""
        if self.blocks is None:
            return
        edges = [
            [-(-place * pixels // count) for place in range(count + 1)]
            for pixels, count in zip(self.size, self.blocks.shape[1:], strict=True)
        ]
        for row, column in np.argwhere(self.blocks.any(0)).tolist():
            (top, bottom), (left, right) = edges[0][row : row + 2], edges[1][column : column + 2]
            window = Window(chip.row_off + top, chip.col_off + left, bottom - top, right - left)
            yield Answer(self.selection.keep(np.flatnonzero(self.blocks[:, row, column]).tolist()), (window,))


class BlockGround:
    """Reads windows of a grid as a pattern says, where `Ground` reads all of them."""

    def __init__(self, ground: Ground, pattern: Pattern) -> None:
        self._ground, self._pattern = ground, pattern

    @property
    def planes(self) -> int:
        """Of the network's input."""
        return self._pattern.planes

    def manifests(self, items: Iterable[Item] | Coverage, windows: Sequence[Window]) -> dict[Stage, Manifest]:
        """What is fetched for windows of whole chips at most, by what for. Raises what planning does."""
        found: dict[Stage, Manifest] = {"pixels": self._ground.plan(items, windows)[0]}
        if self._pattern.policy is not None:
            found["preview"] = self._ground.plan(items, windows, self._pattern.policy.terms.preview_selection)[0]
        return found

    def read(self, items: Iterable[Item], window: Window) -> Reading:
        """All planes of one window; what is not read of it is not valid. Raises what planning and reading raise.

        There is something to tell, of blocks that are left out too, where the preview is valid; without one all over a
        chip of which anything is.
        """
        items, size = list(items), (window.height, window.width)
        shape = (self._pattern.planes, *size)
        reading = Reading(np.zeros(shape, np.float32), np.zeros(shape, bool), np.zeros(size, bool), {}, {})
        chips = cut_chips(window, self._pattern.size)
        if self._pattern.policy is None:
            answers = [answer for chip in chips for answer in self._pattern.repeat(chip)]
        else:
            manifest, index = self._ground.plan(items, chips, self._pattern.policy.terms.preview_selection)
            image, valid, reading.receipts["preview"] = self._ground.fetch(manifest, index)
            reading.manifests["preview"] = manifest
            answers = [answer for chip in self._pattern.policy.answer(image, valid, chips) for answer in chip]
            for chip, shown in zip(chips, valid.any(1), strict=True):
                _paste(reading.seen[None], [0], chip, window, shown[None])
        if kept := _that_meet(window, join_answers(answers)):
            self._fill(reading, items, window, kept)
        if self._pattern.policy is None:
            valid = reading.valid.any(0)
            for chip in chips:
                rows, cols = _within(chip, window)
                reading.seen[rows, cols] = valid[rows, cols].any()
        return reading

    def _fill(self, reading: Reading, items: Sequence[Item], window: Window, answers: Sequence[Answer]) -> None:
        """Plan the answers as one manifest, read it, and put each block in its place."""
        manifest, index = self._plan(items, answers)
        planes = [
            [self._pattern.plane(channel, answer.selection.channels[own].level) for own, channel in enumerate(channels)]
            for answer, channels in ((answer, self._channels(answer)) for answer in answers)
            for _ in answer.windows
        ]
        filled = [self._channels(answer) for answer in answers for _ in answer.windows]
        sizes = {(chip.height, chip.width) for chip in manifest.chips}
        receipts = []
        for size in sorted(sizes):  # a read stacks chips of one size
            at = [place for place, chip in enumerate(manifest.chips) if (chip.height, chip.width) == size]
            image, valid, receipt = self._ground.fetch(manifest.part(at), index)
            receipts.append(receipt)
            index = HeaderIndex(index.entries(index), sign=index.sign)  # its trips count once
            for place, pixels, seen in zip(at, image, valid, strict=True):
                _paste(reading.image, planes[place], manifest.chips[place], window, pixels[filled[place]])
                _paste(reading.valid, planes[place], manifest.chips[place], window, seen[filled[place]])
        reading.manifests["pixels"], reading.receipts["pixels"] = manifest, reduce(Receipt.plus, receipts)

    def _plan(self, items: Sequence[Item], answers: Sequence[Answer]) -> tuple[Manifest, HeaderIndex]:
        """One manifest of all answers: its chips are their windows, its channels those of the pattern."""
        selection, scaling = self._pattern.selection, dict[int, tuple[float, float]]()
        parts, chips, index = list[Requests](), list[Window](), HeaderIndex()
        for answer in answers:
            manifest, found = self._ground.plan(items, answer.windows, answer.selection)
            channels, index = self._channels(answer), index.join(found)
            scaling |= dict(zip(channels, manifest.scaling, strict=True))
            sources = tuple(
                replace(source, channels=tuple(channels[own] for own in source.channels))
                for source in manifest.requests.sources
            )
            parts.append(replace(manifest.requests, sources=sources, chip=manifest.requests.chip + len(chips)))
            chips += answer.windows
        names = tuple((selection.slots[c.slot].name, selection.bands[c.band].name) for c in selection.channels)
        joined = replace(
            manifest,
            chips=tuple(chips),
            channels=names,
            scaling=tuple(scaling.get(channel, (1.0, 0.0)) for channel in range(len(names))),
            requests=Requests.join(parts),
            selection=selection.digest,
        )
        return joined, index

    def _channels(self, answer: Answer) -> list[int]:
        """Of each channel of an answer its position in the pattern's selection."""
        at = {(channel.slot, channel.band): number for number, channel in enumerate(self._pattern.selection.channels)}
        return [at[channel.slot, channel.band] for channel in answer.selection.channels]


def cut_chips(window: Window, size: tuple[int, int]) -> list[Window]:
    """The chips of `size` that meet a window, by row, then column."""
    whole = whole_chips(window, size)
    return [
        Window(row, col, *size)
        for row in range(whole.row_off, whole.row_stop, size[0])
        for col in range(whole.col_off, whole.col_stop, size[1])
    ]


def _that_meet(window: Window, answers: Iterable[Answer]) -> list[Answer]:
    """The answers without blocks beside the window."""

    def meets(block: Window) -> bool:
        rows = block.row_off < window.row_stop and window.row_off < block.row_stop
        return rows and block.col_off < window.col_stop and window.col_off < block.col_stop

    kept = [Answer(answer.selection, tuple(filter(meets, answer.windows))) for answer in answers]
    return [answer for answer in kept if answer.windows and answer.selection.channels]


def _paste(target: np.ndarray, planes: Sequence[int], block: Window, window: Window, values: np.ndarray) -> None:
    """Put a block's values, (planes, rows, columns), where it lies in a window; what lies beside it is left out."""
    inside = (slice(None), *_within(window, block))
    for plane, pixels in zip(planes, values[inside], strict=True):
        target[plane, *_within(block, window)] = pixels


def _within(one: Window, other: Window) -> tuple[slice, slice]:
    """Rows and columns that two windows share, counted from the first of `other`."""
    top, left = max(one.row_off, other.row_off), max(one.col_off, other.col_off)
    bottom, right = min(one.row_stop, other.row_stop), min(one.col_stop, other.col_stop)
    row, col = other.row_off, other.col_off
    return slice(top - row, bottom - row), slice(left - col, right - col)

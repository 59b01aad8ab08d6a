"""Labels of many chips."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..window import Window

if TYPE_CHECKING:
    from collections.abc import Callable

#: Windows are cut out of one that holds them all where that is at most so many times as large as they are together.
LARGER = 2


def read_masks(read: Callable[[Window], np.ndarray], windows: np.ndarray) -> np.ndarray:
    """The labels of chips of one size, int64 (chips, rows, columns); `read` gives those of any window.

    `windows` is int64 (chips, 4), each row as `Window` has it. Neighbours are read at once. Raises as `read` does.
    """
    top, left = windows[:, :2].min(0).tolist()
    bottom, right = (windows[:, :2] + windows[:, 2:]).max(0).tolist()
    rows, cols = windows[0, 2:].tolist()
    if (bottom - top) * (right - left) > LARGER * len(windows) * rows * cols:
        return np.stack([read(Window(*window)) for window in windows.tolist()])
    whole = read(Window(top, left, bottom - top, right - left))
    return np.stack(
        [whole[row - top : row - top + rows, col - left : col - left + cols] for row, col, *_ in windows.tolist()]
    )

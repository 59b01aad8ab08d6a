"""How far a network looks: found on the network itself, so that chips of a map can be cut to match."""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm
from typing import TYPE_CHECKING

import torch

from ..errors import RunError

if TYPE_CHECKING:
    from torch import Tensor

    from ..train.network import MaskedNetwork

#: Pixels across the strips that are looked through: what happens along them does not depend on it.
ACROSS = 32
#: Pixels that are marked at once: networks of a stride up to half of that are understood.
PHASES = 64
#: Pixels of the longest strip. Who looks further than half of it looks at everything.
LONGEST = 2048
#: Answers to the same pixels that differ by less than this share of the largest do so by rounding.
ROUNDING = 1e-3


@dataclass(frozen=True, slots=True)
class Field:
    """The receptive field of a network that says something of each pixel."""

    halo: int
    """Pixels to each side that an answer may depend on, rounded up to a multiple of `stride`."""
    stride: int
    """Where the network halves its input on the way: answers move with the input only by multiples of that."""


def find_field(model: MaskedNetwork) -> Field:
    """The field of a folded network, in eval mode, on the CPU or wherever it is.

    Rows of a strip are not a number, and so is every answer that depends on them, whatever the weights: `PHASES` rows
    in the middle of the longest strip say how far that is at most. A strip of random pixels is moved until answers move
    with it, which says the stride; a network that halves its input treats rows differently, so as many rows as that are
    marked one by one.

    Raises RunError where an answer depends on everything, as behind an average of the whole chip or attention, the
    network is of a larger stride, or it takes no strips.
    """
    try:
        down, across = (_look(model, along) for along in (-2, -1))
    except RuntimeError as error:
        said = " ".join(str(error).split())[:200]
        raise RunError(f"this network cannot be shown a strip of {ACROSS} pixels ({said}); blend them") from error
    stride = lcm(down.stride, across.stride)
    far = max(down.halo, across.halo)
    return Field(-(-far // stride) * stride, stride)


def _look(model: MaskedNetwork, along: int) -> Field:
    """The field along rows (-2) or columns (-1), not rounded."""
    middle = LONGEST // 2
    first, last = _touched(model, along, LONGEST, middle, PHASES)
    if first == 0 or last == LONGEST - 1:
        raise RunError(
            f"this network's answers depend on pixels over {middle} away, so chips cannot be put together without "
            "seams; blend them"
        )
    most = max(middle - first, last - middle) + PHASES
    stride, middle = _stride(model, along, most), -(-most // PHASES) * PHASES + PHASES
    rows = range(middle, middle + stride)
    ends = [_touched(model, along, 2 * middle + PHASES, row) for row in rows]
    return Field(max(max(row - first, last - row) for row, (first, last) in zip(rows, ends, strict=True)), stride)


def _touched(model: MaskedNetwork, along: int, length: int, row: int, count: int = 1) -> tuple[int, int]:
    """(first, last) answer of a strip that depends on any of `count` rows from `row` on; `row` where none does."""
    size = (length, ACROSS) if along == -2 else (ACROSS, length)
    image = torch.zeros(1, *model.mean.shape, *size, device=model.mean.device)
    valid = torch.ones_like(image, dtype=torch.bool)
    image.narrow(along, row, count).fill_(torch.nan)
    with torch.inference_mode():
        said = model(image, valid)
    touched = said.isnan().flatten(0, -3).any(0).any(-1 if along == -2 else -2).nonzero().flatten().tolist()
    return (touched[0], touched[-1]) if touched else (row, row)


def _stride(model: MaskedNetwork, along: int, halo: int) -> int:
    """The least step that answers move by with the input. Raises RunError where there is none."""
    length = -(-2 * halo // PHASES) * PHASES + 2 * PHASES
    size = (length + PHASES, ACROSS) if along == -2 else (ACROSS, length + PHASES)
    device = model.mean.device
    noise = torch.randn(1, *model.mean.shape, *size, generator=torch.Generator().manual_seed(0)).to(device)
    strip = model.mean[..., None, None] + model.deviation[..., None, None] * noise

    def ask(first: int) -> Tensor:
        image = strip.narrow(along, first, length)
        with torch.inference_mode():
            said: Tensor = model(image, torch.ones_like(image, dtype=torch.bool))
        return said

    still = ask(0)
    for step in range(1, PHASES // 2 + 1):
        common = length - 2 * halo - step
        apart = ask(step).narrow(along, halo, common) - still.narrow(along, halo + step, common)
        if apart.abs().max() <= ROUNDING * still.abs().max():
            return step
    raise RunError(f"this network has a stride over {PHASES // 2}; a map is made of chips, which have to match it")

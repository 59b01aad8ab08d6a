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
#: Pixels that are marked one after the other. Networks of a stride up to that are understood.
PHASES = 64
#: Strips are made longer up to so many pixels. Who looks further looks at everything.
LONGEST = 4096
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

    One row of a long strip is not a number, and so is every answer that depends on it, whatever the weights. Strips
    along rows and along columns are made longer until no answer at their ends depends on the middle; each row of
    `PHASES` is marked in turn, as a network that halves its input treats rows differently. Where another way through it
    looks further and halves nothing, that does not show; so a strip of random pixels is moved, too, until answers move
    with it.

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
    length = 3 * PHASES
    while length <= LONGEST:
        reaches = _reaches(model, along, length)
        if reaches is not None:
            halo = max(max(abs(first), abs(last)) for first, last in reaches)
            return Field(halo, _stride(model, along, halo, _period(reaches)))
        length *= 2
    raise RunError(
        f"this network's answers depend on pixels over {LONGEST // 2} away, so chips cannot be put together without "
        "seams; blend them"
    )


def _reaches(model: MaskedNetwork, along: int, length: int) -> list[tuple[int, int]] | None:
    """(first, last) answer that depends on a row, counted from that row, for `PHASES` rows; None: some reach an end."""
    size = (length, ACROSS) if along == -2 else (ACROSS, length)
    device = model.mean.device
    image = torch.zeros(1, *model.mean.shape, *size, device=device)
    valid, reaches = torch.ones_like(image), list[tuple[int, int]]()
    middle = length // 2 // PHASES * PHASES
    for at in range(middle, middle + PHASES):
        marked = image.clone()
        marked.select(along, at).fill_(torch.nan)
        with torch.inference_mode():
            said = model(marked, valid)
        touched = said.isnan().flatten(0, -3).any(0).any(-1 if along == -2 else -2).nonzero().flatten().tolist()
        if touched and (touched[0] == 0 or touched[-1] == length - 1):
            return None
        reaches.append((touched[0] - at, touched[-1] - at) if touched else (0, 0))
    return reaches


def _stride(model: MaskedNetwork, along: int, halo: int, period: int) -> int:
    """The least multiple of `period` that answers move by with the input. Raises RunError where there is none."""
    length = -(-2 * halo // PHASES) * PHASES + 2 * PHASES
    size = (length + PHASES, ACROSS) if along == -2 else (ACROSS, length + PHASES)
    device = model.mean.device
    noise = torch.randn(1, *model.mean.shape, *size, generator=torch.Generator().manual_seed(0)).to(device)
    strip = model.mean[..., None, None] + model.deviation[..., None, None] * noise

    def ask(first: int) -> Tensor:
        image = strip.narrow(along, first, length)
        with torch.inference_mode():
            said: Tensor = model(image, torch.ones_like(image))
        return said

    still = ask(0)
    for step in range(period, PHASES // 2 + 1, period):
        common = length - 2 * halo - step
        apart = ask(step).narrow(along, halo, common) - still.narrow(along, halo + step, common)
        if apart.abs().max() <= ROUNDING * still.abs().max():
            return step
    raise RunError(f"this network has a stride over {PHASES // 2}; a map is made of chips, which have to match it")


def _period(reaches: list[tuple[int, int]]) -> int:
    """After how many rows they repeat. Raises RunError where they do not within half of them."""
    for period in range(1, PHASES // 2 + 1):
        if all(one == other for one, other in zip(reaches, reaches[period:], strict=False)):
            return period
    raise RunError(f"this network has a stride over {PHASES // 2}; a map is made of chips, which have to match it")

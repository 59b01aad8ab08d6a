"""Bands and latents side by side, priced in bytes: a gate says of each whether it is read, received or neither."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..errors import SelectionError
from ..masks.grain import Grain
from ..masks.hard import HardGate
from ..masks.priced import PricedGate
from ..train.candidates import train_planes
from ..train.network import MaskedNetwork
from ..train.step import Training
from .encoder import Design, Encoder
from .rates import feature_nbytes
from .tables import Tables
from .transfer import Transfer, spread_cells

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..chips.memory import Chips
    from ..chips.split import Split
    from ..plan.cost import Cost
    from ..train.networks import Factory
    from ..train.settings import Settings
    from ..train.step import Trained
    from .rates import Pupil, Rate


@dataclass(frozen=True)
class Mix:
    """What is read at the far end, what is received there, and the network of both."""

    trained: Trained
    """Over all channels of the chips, by a gate of those that either side sees, ascending."""
    design: Design
    """Of the encoder, of the latents that are sent."""
    near: tuple[int, ...]
    """Places, among the channels that the gate passes, of those that the encoder sees."""
    far: tuple[int, ...]
    """Likewise, of those that are read at the far end."""
    channels: tuple[int, ...]
    """The latter, by their places in the chips."""
    feature_nbytes: int


def train_mix(
    chips: Chips,
    split: Split,
    cost: Cost,
    area: int,
    budget: int,
    pupil: Pupil,
    rate: Rate,
    settings: Settings,
    seed: int,
    on_step: Callable[[], object] | None = None,
    network: Factory | None = None,
) -> Mix | None:
    """Let the priced gate choose among all channels and a bottleneck's latents, and train a network on its choice.

    A latent is one more channel of the chips, each of its values over the pixels that it stands for, at the bytes that
    coding it takes over `area` pixels. None where the gate chooses no latent, or the budget holds none. Raises what
    `Training` raises.
    """
    count, latents = chips.image.shape[1], rate.tables.latents
    both = with_latents(chips, pupil, rate)
    bits = rate.bits(pupil, chips.take([*split.train, *split.validation]))
    headers = feature_nbytes(0.0, area)
    prices = np.concatenate([cost.alone.astype(np.float64), bits * area / 8 + headers])

    def total(choice: np.ndarray) -> float:
        units = np.flatnonzero(choice)
        sent = [unit - count for unit in units.tolist() if unit >= count]
        return cost.total(units[units < count].tolist()) + _sent_nbytes(bits, sent, area)

    try:
        gate = PricedGate(Grain(tuple(range(count + latents))), prices[None, :, None, None], budget, total=total)
        chosen = Training(both, split, gate, settings, seed, on_step, network=network).finish().channels
    except SelectionError:
        return None
    sent = [unit - count for unit in chosen if unit >= count]
    if not sent:
        return None
    trained = train_planes(both, split, [(0, unit) for unit in chosen], settings, seed, on_step, network)
    return _joined(trained, chips, chosen[: len(chosen) - len(sent)], sent, pupil, rate, bits, area)


def with_latents(chips: Chips, pupil: Pupil, rate: Rate) -> Chips:
    """Chips with a bottleneck's latents as further channels, float32, each value over its pixels."""
    symbols, seen = rate.symbols(pupil, chips)
    size, stride = (chips.image.shape[-2], chips.image.shape[-1]), rate.distilled.design.stride
    planes = spread_cells(torch.from_numpy(symbols.astype(np.float32)), stride, size).numpy()
    there = spread_cells(torch.from_numpy(seen)[:, None], stride, size).numpy()
    image = np.concatenate([chips.image, np.where(there, planes, 0)], 1).astype(np.float32)
    return replace(chips, image=image, valid=np.concatenate([chips.valid, there.repeat(len(planes[0]), 1)], 1))


def _sent_nbytes(bits: np.ndarray, sent: Sequence[int], area: int) -> int:
    return feature_nbytes(float(bits[list(sent)].sum()), area) if sent else 0


def _joined(
    trained: Trained,
    chips: Chips,
    read: list[int],
    sent: list[int],
    pupil: Pupil,
    rate: Rate,
    bits: np.ndarray,
    area: int,
) -> Mix:
    """One network of both sides, of one that was trained on pixels and latents."""
    count = chips.image.shape[1]
    union = sorted({*pupil.planes, *read})
    near, far = (tuple(union.index(channel) for channel in part) for part in (pupil.planes, read))
    before, model = rate.distilled.design, trained.model
    encoder, tables = keep_latents(rate, sent)
    at = [count + latent for latent in sent]
    link = Transfer(
        encoder, tables, model.network, before.stride, near, far, (model.mean[at].clone(), model.deviation[at].clone())
    )
    mean, deviation = model.mean[:count].clone(), model.deviation[:count].clone()
    # The encoder's own, to the bit: both are of the same chips, summed in another order.
    seen = list(pupil.planes)
    mean[seen], deviation[seen] = pupil.model.mean, pupil.model.deviation
    whole = MaskedNetwork(mean, deviation, HardGate(union), link, model.objective).eval()
    design = replace(before, latents=len(sent))
    nbytes = _sent_nbytes(bits, sent, area)
    return Mix(replace(trained, model=whole), design, near, far, tuple(read), nbytes)


def keep_latents(rate: Rate, sent: Sequence[int]) -> tuple[Encoder, Tables]:
    """A copy of a bottleneck's encoder that makes these latents alone, and their tables."""
    design, at = rate.distilled.design, list(sent)
    encoder = Encoder(replace(design, latents=len(at)))
    state = rate.distilled.encoder.state_dict()
    for name in ("out.weight", "out.bias"):
        state[name] = state[name][at]
    encoder.load_state_dict(state)
    tables = rate.tables
    return encoder.eval(), Tables(tables.lows[at], tables.counts[at], tables.cuts[at])

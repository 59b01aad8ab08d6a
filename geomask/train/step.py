"""One training: a network behind a gate, on chips that are in memory."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .batches import draw_batch, turned
from .checkpoint import gate_state, set_random
from .fold import can_fold, fold
from .journal import Journal
from .score import predict as predict
from .score import score as score
from .settings import Settings as Settings
from .update import find_device, make_model, make_optimizer, set_schedule, set_train_mode, take_step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ..chips.split import Split
    from ..chips.store import Chips
    from ..masks.gate import Gate
    from .candidates import Candidate
    from .network import MaskedNetwork
    from .networks import Factory
    from .update import Step


@dataclass(frozen=True)
class Trained:
    """A trained, hard-gated network and how it came about."""

    model: MaskedNetwork
    curve: tuple[tuple[int, float], ...]
    """(step, validation score), from the moment the gate is hard."""
    joint: float | None = None
    """The validation score at the moment the gate was frozen, before the network was tuned; None: it was hard."""
    candidates: tuple[Candidate, ...] = ()
    """What it was the best of on validation (`train_candidates`); none where nothing else was tried."""
    won: str | None = None
    """The name of the candidate that it is."""

    @property
    def planes(self) -> list[tuple[int, int]]:
        """(version, channel) of what the gate passes anything of, by channel, then version; see `fold`."""
        channels = self.model.mean.shape[-1]
        return [divmod(plane, channels) for plane in fold(self.model)[0]]

    @property
    def channels(self) -> list[int]:
        """The channels that the gate passes, ascending."""
        return sorted({channel for _, channel in self.planes})


class Training:
    """A training under way: advance it to a step, freeze its gate, finish it.

    AdamW; all chips or a batch of them at each step, under one of the eight symmetries of the square unless the gate
    decides by place. Nothing is chosen by the validation score; it is recorded to show the plateau. The test chips are
    not touched. Results depend on `seed`, on the device and on the number of torch's threads alone, not on what else is
    trained in between.
    """

    def __init__(
        self,
        chips: Chips,
        split: Split,
        gate: Gate,
        settings: Settings,
        seed: int,
        on_step: Callable[[], object] | Journal | None = None,
        *,
        network: Factory | None = None,
        start: Mapping[str, Tensor] | None = None,
    ) -> None:
        """`gate` is trained in place; `on_step` is called at each step, a `Journal` also keeps what it came to.

        `network` makes a network in place of the one that the settings name; `start` are weights by name that it starts
        from, in place of those of `settings.warm_start`. Raises SelectionError where labels, weights or network do not
        fit each other, and what loading the run to start from raises.
        """
        self.settings, self.seed = settings, seed
        self.device = find_device(settings)
        self.step = 0
        """Updates that were made."""
        self.curve: list[tuple[int, float]] = []
        self.joint: float | None = None
        self.soft: dict[str, Tensor] | None = None
        """The gate's state at the moment it was frozen."""
        self.resumed: dict[str, Tensor] | None = None
        """Random numbers' state, of a leg that goes on where it was interrupted."""
        self._chips, self._split, self._on_step = chips, split, on_step
        part = chips.take(split.train)
        with self.leg():
            self.model = make_model(part, gate, settings, network, start)
        pixels = self.model.standardise(torch.from_numpy(part.image), torch.from_numpy(part.valid))
        labels = self.model.objective.targets(torch.from_numpy(part.labels))
        self.model.to(self.device)
        self.optimizer = make_optimizer(self.model, settings)
        keep_here = torch.device("cpu") if settings.batch else self.device  # batches are moved one by one
        self.pixels, self.labels = pixels.to(keep_here), labels.to(keep_here)
        """Standardised training chips, and what is learned of them."""
        self._network = torch.compile(self.model.network) if settings.compile else self.model.network
        self._page = on_step.enter(self) if isinstance(on_step, Journal) else None

    def freeze(self) -> list[int]:
        """Advance to the turn, freeze the gate, and return the channels that it passes, ascending.

        Where it decides anew for each chip that is all of them.
        """
        self._advance(self.settings.turn)
        if not self.model.gate.is_hard:
            self.harden()
            self.joint = self._validate()
        return Trained(self.model, ()).channels if can_fold(self.model.gate) else list(range(self.model.mean.shape[-1]))

    def harden(self) -> None:
        """Put the hard gate in the gate's place, as it is now."""
        gate = self.model.gate.cpu()
        self.soft = {name: tensor.clone() for name, tensor in gate_state(gate).items()}
        self.model.gate = gate.freeze().to(self.device)

    def finish(self) -> Trained:
        """Freeze, and tune the network on what is left for the rest of the steps."""
        self.freeze()
        self._advance(self.settings.steps)
        # Weights lie as a run's file holds them, so that the network says the same after it was loaded.
        model = self.model.eval().cpu().to(memory_format=torch.contiguous_format)
        return Trained(model, tuple(self.curve), self.joint)

    @contextmanager
    def leg(self) -> Iterator[None]:
        """Random numbers of its own for each leg of the way: dropout draws from torch's global generator."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            if self.resumed is None:
                torch.manual_seed(self.seed * 1_000_003 + self.step)
            else:
                set_random(self.resumed)
                self.resumed = None
            yield

    def _advance(self, until: int) -> None:
        if self.step >= until or not any(weight.requires_grad for weight in self.model.parameters()):
            return
        with self.leg():
            while self.step < until:
                done = self._update()
                self.step += 1
                due = self.step % self.settings.check_every == 0
                if due and self.model.gate.is_hard:
                    self.curve.append((self.step, self._validate()))
                if self._page:
                    self._page.after(self, done, is_last=self.step == until)
                elif self._on_step:
                    self._on_step()

    def _update(self) -> Step:
        set_schedule(self.model, self.optimizer, self.settings, self.step)
        pixels, labels = draw_batch(self.pixels, self.labels, self.settings.batch, self.step, self.seed)
        pixels, labels = turned(pixels.to(self.device), labels.to(self.device), self.model.gate)
        set_train_mode(self.model, self.settings)
        done = take_step(self.model, pixels, labels, self.settings.precision == "bf16", self._network)
        self.optimizer.zero_grad()
        done.loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return done

    def _validate(self) -> float:
        return score(self.model, self._chips, self._split.validation, self.settings.batch)
